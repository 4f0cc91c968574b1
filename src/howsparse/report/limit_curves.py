"""The points behind the plots of a limit's page; ratios to ε are what the vertical axes show."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from howsparse.curvature import Spectrum
from howsparse.limits.extrapolation import Mark, ends_of
from howsparse.report.limit_reading import Interval, Kind, LimitFiles, intervals
from howsparse.report.reading import Record, RunFiles

Point = tuple[float, float]


@dataclass(frozen=True)
class Racer:
    """One entrant of the race: rises after so many steps, and the range in which it is expected to end; all in ε."""

    sparsity: float
    marks: tuple[Point, ...]  # (optimizer steps, rise)
    end: tuple[float, float, float]  # best guess, optimist, pessimist


@dataclass(frozen=True)
class Rise:
    """Rise of the training loss in units of ε against sparsity; 1 is what a limit allows."""

    one_shot: tuple[tuple[float, float, float], ...]  # sparsity, rise, its standard error
    quadratic: tuple[Point, ...]
    racers: tuple[Racer, ...]
    retrained: tuple[Point, ...]
    smallest_density: float


@dataclass(frozen=True)
class Kept:
    """A metric against sparsity."""

    label: str
    averages: tuple[Point, ...]  # of the race, at the end of each racer
    retrained: tuple[Point, ...]
    dense: float | None
    limit: float | None  # the sparsity up to which the averages keep it
    smallest_density: float


@dataclass(frozen=True)
class Width:
    """The width g(R), from below, best and from above, and what magnitude pruning removes at the same R."""

    R: tuple[float, ...]
    low: tuple[float, ...]
    best: tuple[float, ...]
    high: tuple[float, ...]
    removed: tuple[float, ...]
    crossing: Point


@dataclass(frozen=True)
class Density:
    """How many eigenvalues lie near a value: a single one alone gives 1."""

    at: tuple[float, ...]
    heights: tuple[float, ...]
    errors: tuple[float, ...]  # standard errors over probes; NaN with a single probe


@dataclass(frozen=True)
class Thresholds:
    """A histogram of all weights, and the magnitude below which each limit removes them."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    cuts: tuple[tuple[Interval, float], ...]


@dataclass(frozen=True)
class Course:
    """The limits of each cycle's network in a pruning run."""

    limits: tuple[tuple[Kind, tuple[tuple[int, float, float, float], ...]], ...]  # cycle, value, low, high
    sparsities: tuple[tuple[int, float], ...]  # of the networks, which were pruned in earlier cycles


def rise(limit: LimitFiles) -> Rise | None:
    """Rise of the training loss against sparsity, as measured, as modelled, during the race and after retraining.

    Args:
        limit: the limit.

    Returns:
        The points without the empty network, or None where fewer than two sparsities are known.
    """
    details, eps = limit.details, limit.details["eps"]
    if eps is None or details["one_shot"] is None:
        return None
    rows = details["one_shot"]["points"]
    found = Rise(
        one_shot=tuple((s, up / eps, error / eps) for s, up, error in rows if up is not None and s < 1),
        quadratic=tuple((s, (first + second) / eps) for s, first, second in details["one_shot"]["checked"] if s < 1),
        racers=_racers(details),
        retrained=tuple((s, (loss - details["loss"]["compared"]) / eps) for s, loss in _retrained(details, "loss")),
        smallest_density=_smallest_density(details),
    )
    sparsities = {p[0] for p in (*found.one_shot, *found.quadratic, *found.retrained)}
    return found if len(sparsities | {racer.sparsity for racer in found.racers}) > 1 else None


def _racers(details: Record) -> tuple[Racer, ...]:
    if details["retuned"] is None:
        return ()
    eps, dense, recipe = details["eps"], details["loss"]["compared"], details["recipe"]
    racers = []
    for probe in details["retuned"]["probes"]:
        marks = [Mark(*mark) for mark in probe["marks"]]
        straight, power = ends_of(marks, recipe["epochs"] * recipe["steps_per_epoch"])
        middle = ((math.sqrt(straight) + math.sqrt(power)) / 2) ** 2
        best, low, high = ((loss - dense) / eps for loss in (middle, min(straight, power), max(straight, power)))
        rises = tuple((float(mark.steps), (mark.loss - dense) / eps) for mark in marks)
        racers.append(Racer(probe["sparsity"], rises, (best, low, high)))
    return tuple(sorted(racers, key=lambda racer: racer.sparsity))


def _retrained(details: Record, key: str) -> tuple[Point, ...]:
    """(sparsity, number) of the full retrainings that were made to verify the prediction."""
    points = [] if details["verified"] is None else details["verified"]["points"]
    return tuple(sorted((1 - point["kept"], point[key]) for point in points if point[key] is not None))


def _smallest_density(details: Record) -> float:
    return 1 / max(details["weights"] or 1_000_000, 1)


def kept_metric(limit: LimitFiles) -> Kept | None:
    """The metric against sparsity, on held-out data where there are any, else of the retrained networks on test data.

    Args:
        limit: the limit.

    Returns:
        The points, or None where there are none.
    """
    details, accuracy = limit.details, limit.details["accuracy"]
    if accuracy is None:
        on_test = _retrained(details, "test")
        label = f"test {details['metric'] or 'loss'}"
        return Kept(label, (), on_test, None, None, _smallest_density(details)) if on_test else None
    points = tuple(sorted((s, y) for s, y in accuracy["points"]))
    if not points:
        return None
    return Kept(
        label=f"held-out {details['metric']}",
        averages=points,
        retrained=_retrained(details, "val"),
        dense=accuracy["dense"],
        limit=accuracy["value"],
        smallest_density=_smallest_density(details),
    )


def width(limit: LimitFiles) -> Width | None:
    """The width of the paper's formula and what magnitude pruning removes; they cross at the limit.

    Args:
        limit: the limit.

    Returns:
        The points, or None where the formula was left out.
    """
    paper = limit.details["paper"]
    if paper is None:
        return None
    R, removed, low, best, high = (tuple(column) for column in zip(*paper["crossing"], strict=True))
    return Width(R, low, best, high, removed, (paper["R"], paper["value"]))


def density(limit: LimitFiles, points: int = 241) -> Density | None:
    """The spectrum of the curvature, smoothed: eigenvalues within about a hundredth of its range.

    Args:
        limit: the limit.
        points: of the grid.

    Returns:
        The points, or None where the formula was left out or the curvature is zero.
    """
    paper = limit.details["paper"]
    if paper is None:
        return None
    spectrum = Spectrum.from_plain(paper["spectrum"])
    low, high = min(spectrum.smallest, 0.0), spectrum.largest
    if not high > low:
        return None
    spread = (high - low) / 100
    grid = np.linspace(low - 5 * spread, high + 5 * spread, points)
    heights, errors = spectrum.density(grid, width=spread)
    unit = spectrum.D * spread * math.sqrt(2 * math.pi)
    return Density(tuple(grid.tolist()), tuple((unit * heights).tolist()), tuple((unit * errors).tolist()))


def thresholds(limit: LimitFiles) -> Thresholds | None:
    """The weights' histogram with the magnitude up to which each limit removes them, read off the bins.

    Args:
        limit: the limit.

    Returns:
        The histogram, or None while it is not known.
    """
    found = limit.details["histograms"]
    if found is None:
        return None
    counts, edge = tuple(found["counts"]), float(found["limit"])
    edges = tuple(float(x) for x in np.linspace(-edge, edge, len(counts) + 1))
    exact = limit.details.get("thresholds") or {}
    cuts = [
        (i, exact[i.kind] if i.kind in exact else cut(counts, edge, i.value))
        for i in limit.intervals
        if i.value is not None
    ]
    return Thresholds(edges, counts, tuple(cuts))


def cut(counts: Sequence[int], edge: float, sparsity: float) -> float:
    """The magnitude below which a share of the weights lies; linear inside a bin.

    Args:
        counts: of equal bins over [-edge, edge], an odd number of them, so that zero lies in the middle of one.
        edge: the largest magnitude.
        sparsity: the share, in [0, 1].

    Returns:
        A magnitude in [0, edge].

    Example:
        >>> [round(cut([1, 2, 1], 0.3, share), 9) for share in (0.5, 0.75)]
        [0.1, 0.2]
    """
    middle, width = len(counts) // 2, 2 * edge / len(counts)
    folded = [counts[middle], *(counts[middle - i] + counts[middle + i] for i in range(1, middle + 1))]
    bounds = [0.0, *(width * (i + 0.5) for i in range(middle + 1))]
    reached = [0, *itertools.accumulate(folded)]
    return float(np.interp(sparsity * reached[-1], reached, bounds))


def course(run: RunFiles) -> Course | None:
    """The limits that were computed at the cycles of a pruning run.

    Args:
        run: the run, whose directory may hold ``limits/<cycle>/result.json``.

    Returns:
        Lines of the limits that are known of at least one cycle, or None without any.
    """
    lines: dict[Kind, list[tuple[int, float, float, float]]] = {}
    for cycle, details in sorted(run.limits.items()):
        for found in intervals(details):
            if found.value is not None:
                lines.setdefault(found.kind, []).append((cycle, found.value, found.low, found.high))
    if not lines:
        return None
    sparsities = tuple((c["cycle"], c["sparsity"]) for c in run.cycles if c["cycle"] in run.limits)
    return Course(tuple((kind, tuple(points)) for kind, points in lines.items()), sparsities)
