"""What a run directory says about its run, finished or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from howsparse.errors import HowsparseError
from howsparse.methods import method_class
from howsparse.pruners.cyclic import CyclicMethod
from howsparse.settings import settings_of
from howsparse.training import Recipe
from howsparse.training.run import CONFIG, HISTORY, RESULT, read_history, read_json

Record = Mapping[str, Any]
"""One line of the history, or one object inside it."""


@dataclass(frozen=True)
class Yardstick:
    """The number a run is judged by: the task's metric, or the loss where it has none."""

    name: str
    key: Literal["metric", "loss"]
    higher_is_better: bool
    split: Literal["test", "val"]  # whose figures head the report

    @property
    def split_name(self) -> str:
        """The split in words."""
        return "test" if self.split == "test" else "held-out"

    @property
    def label(self) -> str:
        """Split and name, for headings and axes."""
        return f"{self.split_name} {self.name}"

    def of(self, record: Record | None, split: str | None = None) -> float | None:
        """The number in a record that holds evaluations by split; None where it is undefined or was not measured."""
        found = None if record is None else record.get(split or self.split)
        return None if found is None else found.get(self.key)

    def verdict(self, difference: float) -> str:
        """Whether a difference from the dense network is good or bad."""
        if difference == 0:
            return "unchanged"
        return "better" if (difference > 0) == self.higher_is_better else "worse"


@dataclass(frozen=True)
class RunFiles:
    """The content of a run directory, apart from its tensors.

    Args:
        settings: everything the run was asked for.
        environment: versions and hardware it ran with.
        epochs: one record a training epoch.
        cycles: one record a cycle, cycle 0 the dense network.
        result: what the finished run found; None while it is not finished.
        limits: what `howsparse.limit` found for the network of a cycle, where it was asked.
        limit: what it found for the dense network, where the method prunes to a limit.

    Example:
        >>> run = RunFiles({"method": {"name": "sap"}, "task": {"metric": None, "samples": {}}}, {}, (), (), None)
        >>> run.finished, run.shown, run.yardstick.label
        (False, None, 'held-out loss')
    """

    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    epochs: tuple[Record, ...]
    cycles: tuple[Record, ...]
    result: Record | None
    limits: Mapping[int, Record] = field(default_factory=dict)
    limit: Record | None = None

    @property
    def finished(self) -> bool:
        """Whether the run has its result."""
        return self.result is not None

    @property
    def shown(self) -> int | None:
        """The cycle whose network the report describes: the answer, or in an unfinished run the last complete cycle."""
        if self.result is not None:
            return int(self.result["chosen_cycle"])
        return len(self.cycles) - 1 if self.cycles else None

    @property
    def yardstick(self) -> Yardstick:
        """The number the run is judged by."""
        task = self.settings["task"]
        if self.result is not None:
            found = self.result["metric"]
            name, higher, split = found["name"], found["higher_is_better"], found["split"]
        else:
            name = task["metric"] or "loss"
            higher = task["metric"] is not None and bool(self.cycles) and self.cycles[0]["higher_is_better"]
            split = "test" if self.measures("test") else "val"
        return Yardstick(name, "loss" if task["metric"] is None else "metric", higher, split)

    def measures(self, split: str) -> bool:
        """Whether the run evaluates on ``val`` or ``test``."""
        if self.cycles:
            return self.cycles[0].get(split) is not None
        return self.settings["task"]["samples"].get(split) is not None

    @property
    def method(self) -> CyclicMethod | None:
        """The method; None when it is not installed here."""
        settings = dict(self.settings["method"])
        try:
            method = method_class(settings.pop("name"))(**settings)
        except (HowsparseError, TypeError):
            return None
        return method if isinstance(method, CyclicMethod) else None

    @property
    def planned_cycles(self) -> int | None:
        """How many cycles there are at most; None for a method that is not installed here."""
        return None if self.method is None else self.method.prunings + 1

    @property
    def start(self) -> str:
        """What to call the network of cycle 0: nobody may have trained it where the method does not need that."""
        trained = any(record["cycle"] == 0 for record in self.epochs)
        return "dense" if trained or self.method is None or self.method.needs_trained else "as given"

    def planned_epochs(self, cycle: int) -> int:
        """Epochs the run has for a cycle: as the method says, or the recipe where that is not installed here."""
        known = {*settings_of(Recipe)} - {"optimizer"}  # that may have been a function, of which this holds the name
        recipe = Recipe(**{name: value for name, value in self.settings["recipe"].items() if name in known})
        method = self.method
        return (recipe if method is None else method.recipe_in(recipe, cycle)).epochs_of(cycle)


def read_run(folder: Path) -> RunFiles:
    """Read a run directory, also one that is still being written.

    Args:
        folder: the run directory.

    Returns:
        Its content.

    Raises:
        HowsparseError: the folder holds no run, or a file in it is damaged.

    Example:
        >>> read_run(Path("no-such-run"))
        Traceback (most recent call last):
        ...
        howsparse.errors.HowsparseError: no-such-run holds no run (config.json is missing); give...
    """
    if not (folder / CONFIG).is_file():
        raise HowsparseError(
            f"{folder} holds no run ({CONFIG} is missing); give the folder that prune wrote to (out=... or --out)"
        )
    config = read_json(folder / CONFIG)
    history = known_history(folder)
    return RunFiles(
        settings=config["settings"],
        environment=config["environment"],
        epochs=tuple(record for record in history if record["kind"] == "epoch"),
        cycles=tuple(record for record in history if record["kind"] == "cycle"),
        result=read_json(folder / RESULT) if (folder / RESULT).exists() else None,
        limits=_limits(folder),
        limit=read_json(folder / "limit" / RESULT) if (folder / "limit" / RESULT).exists() else None,
    )


def known_history(folder: Path) -> list[Record]:
    """The lines of a run's history so far.

    Args:
        folder: the run directory.

    Returns:
        One record a line; none without a history.

    Raises:
        HowsparseError: the history is damaged; the message says how to repair it.
    """
    try:
        return list(read_history(folder))
    except ValueError as error:
        raise HowsparseError(
            f"{folder / HISTORY} is damaged ({error}); run the same command again to repair it"
        ) from error


def _limits(folder: Path) -> dict[int, Record]:
    """Finished limits by cycle, from ``limits/<cycle>/result.json``."""
    found = {path.parent.name: path for path in folder.glob(f"limits/*/{RESULT}")}
    return {int(cycle): read_json(path) for cycle, path in found.items() if cycle.isdecimal()}
