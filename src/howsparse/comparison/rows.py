"""Rows: what each cell found, read from its run directory."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from howsparse.comparison.cells import Cell, sparsity_name
from howsparse.comparison.work import FAILED
from howsparse.training.run import CONFIG, RESULT, read_json

State = Literal["done", "failed", "waiting"]


@dataclass(frozen=True)
class Row:
    """One cell of a comparison. Sparsities are fractions removed; what is not known is None."""

    task: str
    method: str
    sparsity: float | None  # asked for; None for a method that finds its own
    seed: int
    run: str  # run directory, below that of the comparison
    trainings: tuple[int, ...]  # epochs of each training, as planned
    changed: str  # what the budget changed in the method
    state: State = "waiting"
    metric: str | None = None  # name
    higher_is_better: bool | None = None
    split: str | None = None  # the data that the metric is of
    value: float | None = None  # of the pruned network
    dense: float | None = None  # of the network before the first pruning
    achieved: float | None = None  # sparsity
    epochs: int | None = None  # trained
    seconds: float | None = None  # of training
    start: str | None = None  # digest of the initial weights
    error: str | None = None  # type
    message: str | None = None

    @property
    def asked_epochs(self) -> int:
        """Epochs as planned, all trainings together."""
        return sum(self.trainings)

    @property
    def at(self) -> str:
        """The sparsity as tables show it."""
        return sparsity_name(self.sparsity)

    def to_plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {**dataclasses.asdict(self), "trainings": list(self.trainings)}


def row_of(cell: Cell, out: Path) -> Row:
    """A cell's row, as its directory stands now.

    Args:
        cell: the cell.
        out: directory of the comparison.

    Returns:
        The row.
    """
    row = Row(cell.task, cell.method, cell.sparsity, cell.seed, cell.folder, cell.trainings, cell.changed)
    return refreshed(row, out)


def refreshed(row: Row, out: Path) -> Row:
    """The row with what its run directory holds now.

    Args:
        row: what was planned.
        out: directory of the comparison.

    Returns:
        The row: done, failed, or waiting.
    """
    folder = out / row.run
    if (folder / RESULT).is_file():
        return _finished(row, folder)
    if (folder / FAILED).is_file():
        found = read_json(folder / FAILED)
        return dataclasses.replace(row, state="failed", error=found["type"], message=found["message"])
    return row


def _finished(row: Row, folder: Path) -> Row:
    result, metric = read_json(folder / RESULT), read_json(folder / RESULT)["metric"]
    origin = read_json(folder / CONFIG)["settings"].get("origin") or {}
    found = {
        "metric": metric["name"],
        "higher_is_better": metric["higher_is_better"],
        "split": metric["split"],
        "value": metric["pruned"],
        "dense": metric["dense"],
        "achieved": result["achieved"],
        "epochs": result["epochs"],
        "seconds": result["seconds"],
        "start": origin.get("initial_weights"),
    }
    return dataclasses.replace(row, state="done", error=None, message=None, **found)
