"""From short masked trainings to the end of a long one: the arithmetic of the race.

A mark says how high the loss still was after so many steps. Two straight lines through the marks of one density are
extended to the length of the whole retraining: sqrt(loss) against log(steps), and log sqrt(loss) against log(steps)
(a power law). The first is the optimist, it reaches zero in finite time; the second levels out. What lies between them
is our uncertainty about the end, and their mean the value.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from howsparse.errors import HowsparseError

Line = Literal["straight", "power"]
T_EFF = 0.8
"""Steps of annealed retraining count as so many at constant learning rate with averaged weights."""
MARGIN = 0.10
"""What the interval adds on both sides, in ln(kept): what four nets outside the tests needed, rounded up."""


@dataclass(frozen=True)
class Mark:
    """Training loss (and held-out metric, where there is one) of a racer's average after ``steps`` steps."""

    steps: int
    loss: float
    metric: float | None = None


@dataclass(frozen=True)
class Span:
    """A value with an interval; any of the three may be unknown."""

    value: float
    low: float
    high: float


def loss_at(marks: Sequence[Mark], steps: float, line: Line) -> float:
    """The loss that a line through the last marks reaches after ``steps`` steps.

    Args:
        marks: at least two, ascending in steps, losses >= 0.
        steps: the length of the retraining in steps of a race (see `T_EFF`).
        line: ``straight``: sqrt(loss) linear in log(steps), not below 0; ``power``: log(sqrt(loss)) linear in it.

    Returns:
        A loss >= 0, never above the last mark's.

    Raises:
        HowsparseError: fewer than two marks.

    Example:
        >>> marks = [Mark(100, 4.0), Mark(200, 1.0)]
        >>> loss_at(marks, 400, "straight"), round(loss_at(marks, 400, "power"), 9)
        (0.0, 0.25)
    """
    if len(marks) < 2:
        raise HowsparseError(f"{len(marks)} mark is not enough to extend a line: two are needed")
    x = np.log([mark.steps for mark in marks])
    y = np.sqrt([max(mark.loss, 1e-12) for mark in marks])
    if line == "power":
        slope, height = np.polyfit(x, np.log(y), 1)
        root = math.exp(height + slope * math.log(steps))
    else:
        slope, height = np.polyfit(x, y, 1)
        root = max(float(height + slope * math.log(steps)), 0.0)
    return min(root**2, marks[-1].loss)


def kept_at(losses: Mapping[float, float], target: float) -> float | None:
    """The kept fraction at which the loss reaches ``target``: sqrt(loss) interpolated linearly in ln(kept).

    Args:
        losses: kept fraction to loss, at least two.
        target: the loss asked for.

    Returns:
        A kept fraction; None where the target lies outside the losses by more than one step between the two outermost.

    Example:
        >>> round(kept_at({0.1: 4.0, 0.4: 0.0}, 1.0), 12)
        0.2
    """
    points = sorted((math.log(kept), math.sqrt(max(loss, 0.0))) for kept, loss in losses.items())
    level = math.sqrt(target)
    pairs = list(itertools.pairwise(points))
    inside = [pair for pair in pairs if pair[0][1] >= level >= pair[1][1]]
    if inside:
        (x0, y0), (x1, y1) = inside[-1]
    else:
        (x0, y0), (x1, y1) = pairs[-1] if points[-1][1] > level else pairs[0]
    if not y0 > y1:
        return None
    found = x0 + (y0 - level) * (x1 - x0) / (y0 - y1)
    step = x1 - x0
    return math.exp(found) if x0 - step <= found <= x1 + step else None


def ends_of(marks: Sequence[Mark], steps: int) -> tuple[float, float]:
    """The losses that both lines through the later half of the marks reach, (straight, power)."""
    last = marks[-1].steps
    recent = [mark for mark in marks if 2 * mark.steps >= last - 1]
    length = max(T_EFF * steps, last)
    return loss_at(recent, length, "straight"), loss_at(recent, length, "power")


def end_of(marks: Sequence[Mark], steps: int) -> float:
    """The loss expected after ``steps`` steps of retraining: the mean of both lines in sqrt(loss)."""
    straight, power = ends_of(marks, steps)
    return ((math.sqrt(straight) + math.sqrt(power)) / 2) ** 2


def predict_kept(probes: Mapping[float, Sequence[Mark]], target: float, steps: int) -> Span | None:
    """The kept fraction at which ``steps`` steps of retraining bring the loss back to ``target``.

    Where the answer lies outside the probed densities, the interval grows by its distance from them.

    Args:
        probes: marks by kept fraction, two densities at least.
        target: dense loss + ε.
        steps: length of the retraining that is predicted, in optimizer steps.

    Returns:
        Value and interval of the kept fraction, or None where the probes say nothing about the target.

    Example:
        >>> def marks(kept):
        ...     return [Mark(s, (0.1 / kept) ** 2 * 100 / s) for s in (50, 75, 100)]
        >>> span = predict_kept({k: marks(k) for k in (0.05, 0.1)}, 0.25, 1000)
        >>> span.low < span.value < span.high
        True
    """
    value = kept_at({kept: end_of(marks, steps) for kept, marks in probes.items()}, target)
    if value is None:
        return None
    outside = max(math.log(min(probes) / value), math.log(value / max(probes)), 0.0)
    both = [kept_at({kept: ends_of(m, steps)[line] for kept, m in probes.items()}, target) for line in (0, 1)]
    known = [value, *(kept for kept in both if kept is not None)]
    margin = math.exp(MARGIN + outside)
    return Span(value, min(known) / margin, min(max(known) * margin, 1.0))
