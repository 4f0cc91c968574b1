"""Reading trained weights from files, safely: nobody's pickle is run."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from howsparse.errors import HowsparseError

_NESTS = ("state_dict", "model_state_dict", "model", "module", "net")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file or a PyTorch state dict.

    A PyTorch file is read with ``weights_only=True``. A checkpoint that holds the state dict under one of the usual
    keys (``state_dict``, ``model`` ...) is unwrapped, and the prefix ``module.`` of parallel training is taken off.

    Args:
        path: the file.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        HowsparseError: absent, damaged, not a state dict, or a pickle that would run code.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        ...     torch.save({"state_dict": {"module.fc.weight": torch.ones(2, 2)}}, file.name)
        ...     list(read_weights(file.name))
        ['fc.weight']
    """
    path = Path(path)
    if not path.is_file():
        raise HowsparseError(f"no weights file {path}" + (" (it is a directory)" if path.is_dir() else ""))
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise HowsparseError(f"{path.name} is not a sound safetensors file: {error}") from error
    return _without_prefix(_state_dict(_unpickled(path), path))


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Put the weights of a file into a network.

    Batch counters that a file lacks are left as they are; everything else must fit.

    Args:
        model: the network; changed only if everything fits.
        path: the file, see `read_weights`.

    Raises:
        HowsparseError: missing or unexpected keys, other shapes, or NaN; names the keys.
    """
    state, have = read_weights(path), model.state_dict()
    missing = [n for n in have if n not in state and not n.endswith("num_batches_tracked")]
    extra = [n for n in state if n not in have]
    unlike = [
        f"{n} is {tuple(state[n].shape)} in the file, {tuple(t.shape)} in the model"
        for n, t in have.items()
        if n in state and state[n].shape != t.shape
    ]
    if missing or extra or unlike:
        raise HowsparseError(
            f"{Path(path).name} does not fit {type(model).__name__}: "
            + "; ".join(filter(None, (_listed("missing in the file", missing), _listed("not in the model", extra),
                                      _listed("other shape", unlike))))
        )  # fmt: skip
    bad = [n for n, t in state.items() if t.is_floating_point() and not bool(t.isfinite().all())]
    if bad:
        raise HowsparseError(f"{Path(path).name} holds NaN or infinite values in {', '.join(bad[:5])}")
    model.load_state_dict(state, strict=False)


def _unpickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what matters is whether it can be read safely
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it asks for {found[1]}" if found else "it holds more than tensors"
        raise HowsparseError(
            f"{path.name} is not a plain state dict and was not opened, because reading it could run code ({what}). "
            "Save the weights alone: torch.save(model.state_dict(), ...) or a safetensors file."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise HowsparseError(
            f"{path.name} ({path.stat().st_size:,} bytes) is not a file of weights that PyTorch can read: "
            f"{type(error).__name__} {error}"
        ) from error


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for key in _NESTS:
            if isinstance(content.get(key), Mapping):
                return _state_dict(content[key], path)
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return dict(content)
    raise HowsparseError(
        f"{path.name} holds a {type(content).__name__}, not a state dict of names and tensors; "
        "save model.state_dict() alone"
    )


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _listed(what: str, names: list[str]) -> str:
    return f"{what}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}" if names else ""
