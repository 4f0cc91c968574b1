"""Comparison: what `howsparse.comparison` found, cell by cell and in summary."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from howsparse.comparison.cells import sparsity_name
from howsparse.comparison.rows import Row, refreshed
from howsparse.comparison.statistics import Paired, holm, paired, spread
from howsparse.errors import HowsparseError
from howsparse.training.run import read_json

SCHEMA = "howsparse/compare/1"
JSON = "comparison.json"


@dataclass(frozen=True)
class Summary:
    """A method on a task at a sparsity, over seeds."""

    task: str
    method: str
    sparsity: float | None
    mean: float | None
    deviation: float | None  # sample standard deviation; None for one seed
    n: int  # seeds that are done
    failed: int
    waiting: int
    achieved: float | None  # mean sparsity
    dense: float | None  # mean metric before the first pruning
    epochs_asked: int
    epochs_used: float | None  # mean
    seconds: float | None  # mean
    reference: str | None  # the method that this one is compared to; itself for the reference
    difference: float | None  # mean over pairs of this minus the reference
    pairs: int
    p: float | None  # two-sided paired t-test
    p_holm: float | None  # corrected for the number of methods at this task and sparsity


@dataclass(frozen=True)
class Comparison:
    """All cells of a comparison, finished or not.

    Attributes:
        rows: the cells.
        epochs: budget of each cell.
        against: the method that others are compared to; None for the best of each task and sparsity.
        recipe: how networks were trained, as plain values.
        limits: predicted limits by task, as ``result.json`` of their directories holds them.
        out: directory.
    """

    rows: tuple[Row, ...]
    epochs: int
    against: str | None
    recipe: Mapping[str, Any]
    limits: Mapping[str, Mapping[str, Any]]
    trained: Mapping[str, bool]  # whether a task starts from trained weights
    out: Path

    @property
    def tasks(self) -> list[str]:
        """Labels, in order."""
        return list(dict.fromkeys(row.task for row in self.rows))

    @property
    def methods(self) -> list[str]:
        """Labels, in order."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def sparsities(self) -> list[float | None]:
        """Those asked for, in order; None, last, where a method finds its own."""
        found = dict.fromkeys(row.sparsity for row in self.rows)
        return [*sorted(s for s in found if s is not None), *([None] if None in found else [])]

    @property
    def seeds(self) -> list[int]:
        """In order."""
        return list(dict.fromkeys(row.seed for row in self.rows))

    @property
    def failures(self) -> list[Row]:
        """Cells that failed."""
        return [row for row in self.rows if row.state == "failed"]

    @property
    def summary(self) -> list[Summary]:
        """Every method on every task at every sparsity, over seeds."""
        groups: dict[tuple[str, float | None], dict[str, list[Row]]] = {}
        for row in self.rows:
            groups.setdefault((row.task, row.sparsity), {}).setdefault(row.method, []).append(row)
        found = [line for cells in groups.values() for line in _summarised(cells, self.against)]
        tasks, methods, grid = self.tasks, self.methods, self.sparsities
        return sorted(found, key=lambda s: (tasks.index(s.task), methods.index(s.method), grid.index(s.sparsity)))

    @property
    def warnings(self) -> list[str]:
        """What stands in the way of trusting the tables."""
        return [*_unlike_starts(self.rows), *_too_few(self.seeds), *_unused(self.rows, self.epochs)]

    def metric_of(self, task: str) -> Row | None:
        """A finished row of a task: it names metric, direction and split."""
        return next((row for row in self.rows if row.task == task and row.state == "done"), None)

    def of_task(self, task: str) -> list[Summary]:
        """The summary's lines of one task."""
        return [line for line in self.summary if line.task == task]

    def __str__(self) -> str:
        from howsparse.comparison.tables import as_text

        return as_text(self)

    def to_plain(self) -> dict[str, Any]:
        """The object that ``howsparse compare --json`` prints."""
        return {
            "schema": SCHEMA,
            "epochs": self.epochs,
            "against": self.against,
            "recipe": dict(self.recipe),
            "trained": dict(self.trained),
            "summary": [dataclasses.asdict(line) for line in self.summary],
            "rows": [row.to_plain() for row in self.rows],
            "limits": {task: dict(found) for task, found in self.limits.items()},
            "warnings": self.warnings,
        }


def read_comparison(out: Path) -> Comparison:
    """The comparison of a directory, its cells as they stand now.

    Args:
        out: directory that `howsparse.comparison` wrote.

    Returns:
        The comparison.

    Raises:
        HowsparseError: the directory holds none, or a file in it is damaged.
    """
    found = read_json(out / JSON)
    try:
        rows = [Row(**{**row, "trainings": tuple(row["trainings"])}) for row in found["rows"]]
        return Comparison(
            rows=tuple(refreshed(row, out) for row in rows),
            epochs=found["epochs"],
            against=found["against"],
            recipe=found["recipe"],
            limits=found["limits"],
            trained=found["trained"],
            out=out,
        )
    except (KeyError, TypeError) as error:
        raise HowsparseError(f"{out / JSON} is damaged ({error}); run the same howsparse compare again") from error


# --- over seeds -------------------------------------------------------------------------------------------------------
def _summarised(cells: Mapping[str, Sequence[Row]], against: str | None) -> list[Summary]:
    """The methods of one task and sparsity, each compared to the reference."""
    values = {method: {row.seed: row.value for row in rows if row.value is not None} for method, rows in cells.items()}
    higher = next((row.higher_is_better for rows in cells.values() for row in rows if row.value is not None), True)
    reference = against if against in values else _best(values, higher_is_better=bool(higher)) if not against else None
    tests = {m: paired(own, values[reference]) for m, own in values.items() if reference and m != reference}
    corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    nothing = Paired(None, 0, None)
    return [
        _summary(rows, values[method], reference, tests.get(method, nothing), corrected.get(method))
        for method, rows in cells.items()
    ]


def _best(values: Mapping[str, Mapping[int, float]], *, higher_is_better: bool) -> str | None:
    """The method with the best mean among those with the most seeds done."""
    most = max(map(len, values.values()), default=0)
    means = {m: spread(list(own.values())).mean for m, own in values.items() if own and len(own) == most}
    choose: Callable[..., str] = max if higher_is_better else min
    return choose(means, key=lambda method: means[method]) if means else None


def _summary(
    rows: Sequence[Row], values: Mapping[int, float], reference: str | None, test: Paired, p_holm: float | None
) -> Summary:
    found, first = spread(list(values.values())), rows[0]
    done = [row for row in rows if row.state == "done"]

    def mean(name: str) -> float | None:
        return spread([x for row in done if (x := getattr(row, name)) is not None]).mean

    return Summary(
        task=first.task,
        method=first.method,
        sparsity=first.sparsity,
        mean=found.mean,
        deviation=found.deviation,
        n=found.n,
        failed=sum(row.state == "failed" for row in rows),
        waiting=sum(row.state == "waiting" for row in rows),
        achieved=mean("achieved"),
        dense=mean("dense"),
        epochs_asked=first.asked_epochs,
        epochs_used=mean("epochs"),
        seconds=mean("seconds"),
        reference=reference,
        difference=test.difference,
        pairs=test.pairs,
        p=test.p,
        p_holm=p_holm,
    )


# --- warnings ---------------------------------------------------------------------------------------------------------
def _unlike_starts(rows: Sequence[Row]) -> list[str]:
    starts: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        if row.start is not None:
            starts.setdefault((row.task, row.seed), set()).add(row.start)
    unlike = [f"{task}, seed {seed}" for (task, seed), found in starts.items() if len(found) > 1]
    if not unlike:
        return []
    which = "; ".join(unlike)
    return [f"methods did not start from the same weights ({which}): the task's function gives others each time"]


def _too_few(seeds: Sequence[int]) -> list[str]:
    if len(seeds) > 1:
        return []
    return ["one seed: there is no standard deviation and no test; differences may be chance"]


def _unused(rows: Sequence[Row], epochs: int) -> list[str]:
    """Methods that trained for less than the budget, which puts them at a disadvantage."""
    found: dict[str, None] = {}
    for row in rows:
        used = row.epochs if row.epochs is not None else row.asked_epochs
        if used < epochs:
            found[f"{row.method} at {sparsity_name(row.sparsity)} ({used})"] = None
    return [f"not all {epochs} epochs were used by {', '.join(found)}"] if found else []
