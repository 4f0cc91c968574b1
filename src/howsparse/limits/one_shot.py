"""The one-shot limit: how many of the smallest weights can go, without any retraining, before the loss rises by ε."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from howsparse.limits.yardstick import Increase

TOLERANCE = 0.002  # of a limit that bisection finds, as a sparsity


@dataclass(frozen=True)
class OneShotLimit:
    """Sparsities; ``low`` and ``high`` cover the sampling error of the loss and the width of the last bracket."""

    measured: float
    low: float
    high: float
    points: tuple[tuple[float, float, float], ...]  # (sparsity, loss increase, its standard error), ascending


def one_shot_limit(
    increase_at: Callable[[int], Increase],
    total: int,
    eps: float,
    *,
    tolerance: float = TOLERANCE,
    samples: int | None = None,
) -> OneShotLimit:
    """Bisect for the largest sparsity at which magnitude pruning keeps the loss within ε.

    The increase is taken to be below ε on the dense side of one crossing; where a curve crosses several times, one of
    the crossings is found.

    Args:
        increase_at: loss increase with the ``m`` smallest weights removed, 0 <= m <= total.
        total: number of prunable weights.
        eps: admissible increase of the mean training loss, > 0.
        tolerance: width of the last bracket, as a sparsity.
        samples: how many the standard errors come from: few make the interval wider, by Student's t; None for many.

    Returns:
        The `OneShotLimit`; 1 where even the empty network stays within ε.

    Example:
        >>> found = one_shot_limit(lambda m: Increase((m / 1000) ** 2, 0.0), 1000, 0.25, tolerance=0.001)
        >>> found.measured
        0.5
    """
    from scipy.special import stdtrit

    points: dict[int, Increase] = {}

    def within(removed: int) -> bool:
        points[removed] = increase_at(removed)
        return points[removed].mean <= eps

    ok, bad = 0, total
    if within(total):
        ok = total
    while bad - ok > max(tolerance * total, 1):
        middle = (ok + bad) // 2
        ok, bad = (middle, bad) if within(middle) else (ok, middle)
    ordered = sorted(points.items())
    quantile = NormalDist().inv_cdf(0.975) if samples is None else float(stdtrit(max(samples - 1, 1), 0.975))
    low, high = _sampling(ordered, ok, bad, quantile) if ok < total else (total, total)
    triples = tuple((m / total, increase.mean, increase.error) for m, increase in ordered)
    return OneShotLimit(ok / total, low / total, high / total, triples)


def _sampling(points: Sequence[tuple[int, Increase]], ok: int, bad: int, quantile: float) -> tuple[float, float]:
    """The last bracket, widened by the quantile's standard errors of the loss over the local slope."""
    inner = max((m for m, _ in points if m < ok), default=0)
    outer = min((m for m, _ in points if m > bad), default=bad)
    known = dict(points)
    steep = known[outer].mean - (known[inner].mean if inner in known else 0.0)
    slope = steep / (outer - inner)
    error = known[bad].error if bad in known else 0.0
    if not slope > 0 or not math.isfinite(slope):
        return ok, bad
    reach = quantile * error / slope
    return max(ok - reach, 0), min(bad + reach, points[-1][0])


def same_rise(increase_at: Callable[[int], float], known: Mapping[int, float], total: int, rise: float) -> float | None:
    """The sparsity of magnitude pruning at which the loss rises by as much: the first crossing that is known of.

    Args:
        increase_at: mean loss increase with the ``m`` smallest weights removed, 0 <= m <= total.
        known: increases that are known already, by the number of weights removed; the last one for ``total``.
        total: number of prunable weights.
        rise: the increase asked for.

    Returns:
        A sparsity, bisected to 0.002 and interpolated linearly from there; None for a rise that is not above zero or
        above that of removing every weight.

    Example:
        >>> known = {m: (m / 1000) ** 2 for m in (500, 1000)}
        >>> round(same_rise(lambda m: (m / 1000) ** 2, known, 1000, 0.49), 4)
        0.7
    """
    points = {0: 0.0, **known}
    beyond = [m for m in sorted(points) if points[m] > rise]
    if not rise > 0 or not beyond:
        return 1.0 if rise > 0 and rise == points[total] else None
    bad = beyond[0]
    ok = max(m for m in points if m < bad)
    while bad - ok > max(TOLERANCE * total, 1):
        middle = (ok + bad) // 2
        points[middle] = increase_at(middle)
        ok, bad = (middle, bad) if points[middle] <= rise else (ok, middle)
    if not math.isfinite(points[bad]):
        return ok / total
    return (ok + (rise - points[ok]) / (points[bad] - points[ok]) * (bad - ok)) / total


def crossing(sparsities: Sequence[float], increases: Sequence[float], eps: float) -> float | None:
    """Where a rising curve of loss increases passes ε: log-log interpolation, None when it does not in reach.

    Args:
        sparsities: ascending, in (0, 1].
        increases: predicted or measured increases at them; those not above zero are passed over.
        eps: the level.

    Returns:
        A sparsity between the first and last given (a factor 1.5 beyond at most), or None.

    Example:
        >>> round(crossing([0.25, 0.5], [0.0625, 0.25], 0.16), 6)
        0.4
    """
    usable = [(math.log(s), math.log(q)) for s, q in zip(sparsities, increases, strict=True) if q > 0 and s > 0]
    if len(usable) < 2:
        return None
    level = math.log(eps)
    pairs = list(itertools.pairwise(usable))
    nearest = pairs[0 if level < usable[0][1] else -1]
    (s0, q0), (s1, q1) = next((pair for pair in pairs if pair[0][1] <= level <= pair[1][1]), nearest)
    if not q1 > q0:
        return None
    found = s0 + (level - q0) * (s1 - s0) / (q1 - q0)
    inside = usable[0][0] - math.log(1.5) <= found <= usable[-1][0] + math.log(1.5)
    return min(math.exp(found), 1.0) if inside else None
