"""The points behind the plots, taken from a run's history; what is undefined is NaN."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from howsparse.measures.turning_point import Phase, turning_point
from howsparse.pruners.shrinking import IterativeMethod
from howsparse.report.reading import Record, RunFiles

Point = tuple[float, float]


@dataclass(frozen=True)
class Tradeoff:
    """Metric against sparsity: (sparsity, metric) of retrained networks and of merely pruned ones."""

    label: str
    retrained: tuple[Point, ...]
    merely_pruned: tuple[Point, ...]
    dense: float
    start: str  # what the network of cycle 0 is called
    answer: tuple[Point, ...]  # one point; none while the run is not finished
    smallest_density: float  # one weight of all: where a network without weights is drawn


@dataclass(frozen=True)
class Turn:
    """Where the PQ Index turned, in cycles, and what the run made of it."""

    cycle: int
    low: int
    high: int
    confirmed: bool
    phase: Phase
    text: str


@dataclass(frozen=True)
class IndexCourse:
    """PQ Index and Gini index of the retrained networks, cycle by cycle."""

    cycles: tuple[int, ...]
    pqi: tuple[float, ...]
    gini: tuple[float, ...]
    turn: Turn
    spans: tuple[tuple[Phase, int, int], ...]  # phase, first cycle, last cycle


@dataclass(frozen=True)
class Spread:
    """A histogram of living weights: counts of equal bins over [-limit, limit]."""

    limit: float
    counts: tuple[int, ...]

    @property
    def width(self) -> float:
        """Width of one bin."""
        return 2 * self.limit / len(self.counts)

    @property
    def edges(self) -> list[float]:
        """Bin edges, one more than counts."""
        return [-self.limit + i * self.width for i in range(len(self.counts) + 1)]

    def per(self, unit: float) -> list[float]:
        """Weights per ``unit`` of weight value, so that histograms with other bins can be laid over each other.

        Example:
            >>> Spread(1.0, (4, 2)).per(0.1)
            [0.4, 0.2]
        """
        return [found * unit / self.width for found in self.counts]


@dataclass(frozen=True)
class Spreads:
    """Living weights of the dense network and of the one shown; pruned zeros are not in them."""

    dense: Spread
    shown: Spread | None  # None when the network shown is the dense one
    unit: float  # a power of ten near the dense bin width
    label: str


@dataclass(frozen=True)
class TrainingCourse:
    """Training loss and held-out metric over the epochs of all cycles, in one row."""

    losses: tuple[float, ...]
    held_out: tuple[float, ...]  # empty without held-out data
    held_out_label: str
    sparsities: tuple[float, ...]  # empty where masks change between cycles only
    starts: tuple[int, ...]  # index of the first epoch of each cycle
    shown: tuple[int, int] | None  # first and one past the last epoch of the cycle shown


def tradeoff(run: RunFiles) -> Tradeoff | None:
    """Metric against sparsity.

    Args:
        run: the run.

    Returns:
        The points, or None while there are fewer than two sparsities or no metric.
    """
    yardstick = run.yardstick
    trained = run.cycles if run.start == "dense" else run.cycles[1:]
    retrained = _defined((record["sparsity"], yardstick.of(record)) for record in trained)
    pruned = [record["pruned"] for record in run.cycles if record.get("pruned")]
    merely = _defined((found["sparsity"], yardstick.of(found)) for found in pruned)
    dense = yardstick.of(run.cycles[0]) if run.cycles else None
    if dense is None or len({0.0, *(sparsity for sparsity, _ in retrained + merely)}) < 2:
        return None
    answer = [] if run.result is None else [run.cycles[run.result["chosen_cycle"]]]
    return Tradeoff(
        label=yardstick.label,
        retrained=retrained,
        merely_pruned=merely,
        dense=dense,
        start=run.start,
        answer=_defined((record["sparsity"], yardstick.of(record)) for record in answer),
        smallest_density=1 / max(run.cycles[0]["total"], 1),
    )


def _defined(points: Iterable[tuple[float, float | None]]) -> tuple[Point, ...]:
    return tuple(sorted((x, y) for x, y in points if y is not None))


def index_course(run: RunFiles) -> IndexCourse | None:
    """PQ Index and Gini index against cycle, with the turning point and the phases.

    Args:
        run: the run.

    Returns:
        The points, or None while there are fewer than three cycles, too few for a turn, or no index is defined.
    """
    indices = tuple(_nan(record["pqi"]) for record in run.cycles)
    steered = run.method is None or isinstance(run.method, IterativeMethod)  # of others two points say nothing
    if not steered or len(indices) < 3 or all(map(math.isnan, indices)):
        return None
    turn = turn_of(run)
    return IndexCourse(
        cycles=tuple(record["cycle"] for record in run.cycles),
        pqi=indices,
        gini=tuple(_nan(record["gini"]) for record in run.cycles),
        turn=turn,
        spans=phases(indices, turn),
    )


def turn_of(run: RunFiles) -> Turn:
    """The turning point as the result states it, or as it looks so far.

    Args:
        run: a run with at least one complete cycle.

    Returns:
        The turn.
    """
    found: Record
    if run.result is not None:
        found = run.result["turning_point"]
    else:
        patience = run.settings["method"].get("patience", 2)
        indices = [_nan(c["pqi"]) for c in run.cycles]
        seen = turning_point(indices, [c["sparsity"] for c in run.cycles], patience=patience)
        found = {**vars(seen), "text": str(seen)}
    cycle, last = found["cycle"], len(run.cycles) - 1
    return Turn(
        cycle=cycle,
        low=max(cycle - 1, 0),
        high=min(cycle + 1, last),
        confirmed=found["confirmed"],
        phase=found["phase"],
        text=found["text"],
    )


def phases(indices: Sequence[float], turn: Turn) -> tuple[tuple[Phase, int, int], ...]:
    """Which cycles regularise, compress and collapse: the index falls, rises, and has fallen again.

    Args:
        indices: PQ Index of each cycle; NaN where undefined.
        turn: the turning point.

    Returns:
        Phase, first and last cycle; neighbours share a cycle.

    Example:
        >>> turn = Turn(cycle=1, low=0, high=2, confirmed=True, phase="collapsing", text="")
        >>> phases([0.3, 0.2, 0.3, 0.4, 0.1], turn)
        (('regularising', 0, 1), ('compressing', 1, 3), ('collapsing', 3, 4))
    """
    last = len(indices) - 1
    if not turn.confirmed:
        return (("regularising", 0, last),)
    peak = last
    if turn.phase == "collapsing":
        peak = max(range(turn.cycle + 1, last + 1), key=lambda t: -math.inf if math.isnan(indices[t]) else indices[t])
    spans: list[tuple[Phase, int, int]] = [
        ("regularising", 0, turn.cycle),
        ("compressing", turn.cycle, peak),
        ("collapsing", peak, last),
    ]
    return tuple(span for span in spans if span[2] > span[1])


def spreads(run: RunFiles) -> Spreads | None:
    """Weight histograms of the dense network and of the one shown.

    Args:
        run: the run.

    Returns:
        The histograms, or None before the first cycle is complete.
    """
    if run.shown is None:
        return None
    dense = _spread(run.cycles[0])
    return Spreads(
        dense=dense,
        shown=_spread(run.cycles[run.shown]) if run.shown > 0 else None,
        unit=10.0 ** math.floor(math.log10(dense.width)),
        label=f"answer (cycle {run.shown})" if run.finished else f"cycle {run.shown}",
    )


def _spread(record: Record) -> Spread:
    found = record["histograms"]
    return Spread(limit=float(found["limit"]), counts=tuple(found["counts"]))


def training_course(run: RunFiles) -> TrainingCourse | None:
    """Training loss and held-out metric of every epoch.

    Args:
        run: the run.

    Returns:
        The points, or None while fewer than two epochs were trained.
    """
    epochs = run.epochs
    if len(epochs) < 2:
        return None
    key = f"val_{run.yardstick.key}"
    held_out = tuple(_nan(record[key]) for record in epochs)
    sparsities = tuple(record.get("sparsity", math.nan) for record in epochs)
    moving = len({(record["cycle"], record.get("sparsity")) for record in epochs}) > len({r["cycle"] for r in epochs})
    starts = tuple(i for i, record in enumerate(epochs) if i == 0 or record["cycle"] != epochs[i - 1]["cycle"])
    inside = [i for i, record in enumerate(epochs) if record["cycle"] == run.shown]
    return TrainingCourse(
        losses=tuple(_nan(record["train_loss"]) for record in epochs),
        held_out=() if all(map(math.isnan, held_out)) else held_out,
        held_out_label=f"held-out {run.yardstick.name}",
        sparsities=sparsities if moving else (),
        starts=starts,
        shown=(inside[0], inside[-1] + 1) if inside else None,
    )


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
