"""What a directory of `howsparse.limit` says about its limits, finished or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from howsparse.report.reading import Record, known_history
from howsparse.training.run import CONFIG, RESULT, read_json

Kind = Literal["one-shot", "re-tuned", "paper"]
"""Which of the three limits."""

_UNKNOWN = ("retuned", "accuracy", "verified", "trace_bound", "weights", "samples", "loss", "histograms", "cost")


@dataclass(frozen=True)
class Interval:
    """One limit as a sparsity; ``value`` is None where only an interval is known."""

    kind: Kind
    value: float | None
    low: float
    high: float


@dataclass(frozen=True)
class LimitFiles:
    """The content of a limit's directory, apart from the networks of the race.

    Args:
        settings: everything that was asked for.
        environment: versions and hardware.
        notes: pieces of the computation by key, in the order in which they became known.
        result: what was found; None while the computation is not finished.

    Example:
        >>> limit = LimitFiles({"task": {"name": "Net", "metric": None}}, {}, {"eps": {"value": 0.1}}, None)
        >>> limit.finished, limit.details["eps"], limit.details["paper"], limit.intervals
        (False, 0.1, None, ())
    """

    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    notes: Mapping[str, Any]
    result: Record | None

    @property
    def finished(self) -> bool:
        """Whether there is a result."""
        return self.result is not None

    @property
    def details(self) -> Record:
        """The result; of an unfinished computation what its notes hold, under the same keys, and None for the rest."""
        if self.result is not None:
            return self.result
        points = _points(self.notes)
        return {
            **dict.fromkeys(_UNKNOWN),
            "eps": self.notes.get("eps", {}).get("value"),
            "one_shot": {"measured": None, "points": points, "checked": []} if points else None,
            "paper": self.notes.get("paper"),
            "hessian": self.notes.get("hessian"),
            "task": self.settings["task"]["name"],
            "metric": self.settings["task"]["metric"],
            "warnings": [],
        }

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """The limits that are known."""
        return intervals(self.details)


def intervals(details: Record) -> tuple[Interval, ...]:
    """The limits that a result holds, one-shot first.

    Args:
        details: the result of a limit.

    Returns:
        Up to three intervals.

    Example:
        >>> intervals({"one_shot": {"measured": 0.5, "low": 0.4, "high": 0.6}, "retuned": None, "paper": None})
        (Interval(kind='one-shot', value=0.5, low=0.4, high=0.6),)
    """
    one_shot, retuned, paper = details["one_shot"], details["retuned"], details["paper"]
    found = []
    if one_shot is not None and one_shot["measured"] is not None:
        found.append(Interval("one-shot", one_shot["measured"], one_shot["low"], one_shot["high"]))
    if retuned is not None:
        found.append(Interval("re-tuned", retuned["value"], retuned["low"], retuned["high"]))
    if paper is not None:
        found.append(Interval("paper", paper["value"], paper["low"], paper["high"]))
    return tuple(found)


def holds_limit(folder: Path) -> bool:
    """Whether a directory was written by `howsparse.limit`.

    Args:
        folder: a run directory.

    Returns:
        False also for a folder without a run.
    """
    if not (folder / CONFIG).is_file():
        return False
    settings = read_json(folder / CONFIG).get("settings")
    return isinstance(settings, dict) and settings.get("command") == "limit"


def read_limit(folder: Path) -> LimitFiles:
    """Read a limit's directory, also one that is still being written.

    Args:
        folder: the directory, for which `holds_limit` is true.

    Returns:
        Its content.

    Raises:
        HowsparseError: a file in it is damaged.
    """
    config = read_json(folder / CONFIG)
    return LimitFiles(
        settings=config["settings"],
        environment=config["environment"],
        notes={line["key"]: line["value"] for line in known_history(folder) if line["kind"] == "note"},
        result=read_json(folder / RESULT) if (folder / RESULT).exists() else None,
    )


def _points(notes: Mapping[str, Any]) -> list[list[float | None]]:
    """(sparsity, loss increase, its error) of the pruned networks measured so far; removing everything comes first."""
    found = {int(key.split()[1]): value for key, value in notes.items() if key.startswith("one-shot ")}
    total = max(found, default=0)
    return [[removed / total, *found[removed]] for removed in sorted(found)]
