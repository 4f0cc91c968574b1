"""What a worker does: carry one cell out, in this process or another, and leave a run directory or a reason."""

import hashlib
import re
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from howsparse.comparison.cells import Cell, Maker
from howsparse.errors import HowsparseError
from howsparse.files import write_json
from howsparse.masks.prunable import Pattern
from howsparse.pruning import prune
from howsparse.settings import function_name
from howsparse.training.run import CONFIG

FAILED = "failed.json"


@dataclass(frozen=True)
class Site:
    """Where and how cells are carried out; the same for all."""

    out: Path  # absolute
    makers: Mapping[str, Maker]
    threads: int | None  # None leaves PyTorch's choice
    checkpoint_every: float
    include: Sequence[Pattern] | None
    exclude: Sequence[Pattern] | None


@dataclass(frozen=True)
class Outcome:
    """How a cell ended."""

    cell: Cell
    seconds: float  # of this call, by the clock
    failure: dict[str, Any] | None  # what failed.json holds


def work(cell: Cell, site: Site) -> Outcome:
    """Carry a cell out; whatever goes wrong in it is written to ``failed.json`` and goes no further.

    Args:
        cell: what to do.
        site: where.

    Returns:
        How it ended.

    Raises:
        HowsparseError: the comparison's directory is not there, or cannot be written.
    """
    if not (site.out / CONFIG).is_file():
        raise HowsparseError(f"{site.out} is not there where this worker runs: use a folder that all machines share")
    started, folder = time.monotonic(), site.out / cell.folder
    (folder / FAILED).unlink(missing_ok=True)
    failure = None
    try:
        with _threads(site.threads):
            _prune(cell, site, folder)
    except Exception as error:  # noqa: BLE001 - the user's network, data and methods may raise anything
        failure = fail(folder, error)
    return Outcome(cell, time.monotonic() - started, failure)


def fail(folder: Path, error: BaseException) -> dict[str, Any]:
    """Write down why a cell failed; file names without their folders.

    Args:
        folder: of the cell.
        error: what happened.

    Returns:
        What ``failed.json`` holds: type, message, and the places in the code, outermost first.
    """
    frames = traceback.extract_tb(error.__traceback__)
    found = {
        "type": type(error).__name__,
        "message": without_paths(str(error)) or "no message",
        "trace": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FAILED, found)
    return found


def without_paths(text: str) -> str:
    """The text with absolute paths cut to their last part.

    Example:
        >>> without_paths("cannot read /home/me/data.npz: empty")
        'cannot read data.npz: empty'
    """
    return re.sub(r"(?<![\w./])/(?:[^\s/:'\"]+/)+([^\s/:'\"]+)", r"\1", text)


def origin_of(maker: Maker) -> dict[str, Any]:
    """Where a task comes from, in plain values that may be published."""
    found = getattr(maker, "origin", None)
    return dict(found) if isinstance(found, dict) else {"task": function_name(maker)}


def _prune(cell: Cell, site: Site, folder: Path) -> None:
    maker = site.makers[cell.task]
    torch.manual_seed(cell.seed)  # also for makers that forget to seed the initial weights
    task = maker(cell.seed)
    prune(
        task,
        cell.configured,
        cell.recipe,
        folder,
        seed=cell.seed,
        include=site.include,
        exclude=site.exclude,
        checkpoint_every=site.checkpoint_every,
        origin={**origin_of(maker), "initial_weights": digest(task.model)},
    )


def digest(model: nn.Module) -> str:
    """A few letters that tell whether two networks hold the same weights.

    Args:
        model: a network.

    Returns:
        Sixteen hexadecimal digits.
    """
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
