"""The points behind the plots of a limit's page; ratios to ε are what the vertical axes show."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from howsparse.curvature import Spectrum
from howsparse.limits.extrapolation import Mark, ends_of
from howsparse.report.limit_reading import Interval, LimitFiles
from howsparse.report.reading import Record

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
    tolerated: float | None  # the metric at which the accuracy limit lies
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
    sign = -1 if points[0][1] <= accuracy["dense"] or not _falls(points) else 1  # towards what sparsity does
    return Kept(
        label=f"held-out {details['metric']}",
        averages=points,
        retrained=_retrained(details, "val"),
        dense=accuracy["dense"],
        tolerated=accuracy["dense"] + sign * accuracy["tolerance"],
        smallest_density=_smallest_density(details),
    )
