"""Writing a network as ONNX, and checking the file against onnxruntime (extra ``onnx``)."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from howsparse.errors import HowsparseError
from howsparse.files import write_atomic
from howsparse.structured.fitting import difference, scale
from howsparse.structured.tracing import Run

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_TOLERANCE = 1e-4  # onnxruntime fuses and reorders float32 sums


def check_onnx() -> None:
    """Refuse, before any work, when a package is missing.

    Raises:
        HowsparseError: names the package and what installs it.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise HowsparseError(f"ONNX needs {', '.join(missing)}, not installed here: pip install 'howsparse[onnx]'")


def write_onnx(model: nn.Module, run: Run, path: str | Path, *, tolerance: float = _TOLERANCE) -> float:
    """Write a network as ONNX; the file appears only if onnxruntime gives what the network gives.

    The first dimension of every input is left open where the network's code allows it.

    Args:
        model: the network; exported in evaluation mode and left in the mode it was in.
        run: runs it on example inputs.
        path: the file.
        tolerance: largest difference allowed, relative to the larger of 1 and the largest output.

    Returns:
        The largest difference between onnxruntime's outputs and the network's.

    Raises:
        HowsparseError: a package is missing, the network cannot be exported, or the outputs differ.
    """
    check_onnx()
    was_training = model.training
    try:
        args, kwargs = _inputs(model.eval(), run)
        with torch.no_grad():
            truth = model(*args, **kwargs)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            _export(model, args, kwargs, file)
            off = difference([x.cpu() for x in _tensors(truth)], _by_onnxruntime(file, _tensors([args, kwargs])))
            if not off <= tolerance * scale(truth):
                raise HowsparseError(
                    f"onnxruntime's outputs differ from PyTorch's by {off:.3g}; no ONNX file was written"
                )
            write_atomic(Path(path), file.read_bytes())
    finally:
        model.train(was_training)
    return off


def _inputs(model: nn.Module, run: Run) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the network itself is given when ``run`` runs it."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handle = model.register_forward_pre_hook(lambda _m, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    try:
        with torch.no_grad():
            run(model)
    finally:
        handle.remove()
    return seen[0]


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def _export(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], file: Path) -> None:
    spec = {"args": args, "kwargs": kwargs}
    shapes = torch.utils._pytree.tree_map(_open_batch, spec)  # noqa: SLF001 - torch.export takes these very trees
    with _quiet():
        try:
            program = torch.onnx.export(
                model, args, kwargs=kwargs, dynamic_shapes=(*shapes["args"], *shapes["kwargs"].values()), dynamo=True
            )
            assert program is not None
            program.save(str(file), external_data=False)
        except Exception as error:
            reason = str(error.__cause__ or error).strip().split("\n")[0]
            raise HowsparseError(f"{type(model).__name__} cannot be written as ONNX: {reason}") from error


def _open_batch(value: Any) -> Any:
    return {0: torch.export.Dim.AUTO} if isinstance(value, Tensor) and value.dim() else None


def _by_onnxruntime(file: Path, given: list[Tensor]) -> list[Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    inputs = {slot.name: x.cpu().numpy() for slot, x in zip(session.get_inputs(), given, strict=True)}
    return [torch.from_numpy(x) for x in session.run(None, inputs)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress marks, its notes on packages we do not use, and its deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
