"""Means, spreads and paired tests over seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation; None where there is nothing to take them of."""

    mean: float | None
    deviation: float | None  # with n - 1; None for fewer than two values
    n: int


@dataclass(frozen=True)
class Paired:
    """A mean difference over seeds that both have, and the two-sided paired t-test of it."""

    difference: float | None
    pairs: int
    p: float | None  # None for fewer than two pairs, or where all differences are the same and not zero


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation ``sqrt(sum (x - mean)^2 / (n - 1))``.

    Args:
        values: any number of them.

    Returns:
        Both, with their number.

    Example:
        >>> spread([1.0, 2.0, 3.0])
        Spread(mean=2.0, deviation=1.0, n=3)
        >>> spread([1.0]).deviation is None
        True
    """
    n = len(values)
    if not n:
        return Spread(None, None, 0)
    return Spread(statistics.fmean(values), statistics.stdev(values) if n > 1 else None, n)


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> Paired:
    """The mean of ``values - reference`` over the seeds that both have, with a paired t-test (Student 1908).

    ``t = mean / (deviation / sqrt(n))`` has n - 1 degrees of freedom if the differences are normal. Where all
    differences are zero, p is 1; where all are the same and not zero the test has nothing to say, and p is None.

    Args:
        values: by seed.
        reference: by seed.

    Returns:
        Difference, number of pairs and p.

    Example:
        >>> found = paired({0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0})
        >>> found.difference, found.pairs, round(found.p, 4)
        (2.0, 3, 0.0742)
    """
    from scipy.special import stdtr

    seeds = sorted(set(values) & set(reference))
    found = spread([values[seed] - reference[seed] for seed in seeds])
    if found.mean is None or found.deviation is None:
        return Paired(found.mean, found.n, None)
    rounding = 1e-12 * max(abs(x) for seed in seeds for x in (values[seed], reference[seed]))
    if found.deviation <= rounding:
        return Paired(found.mean, found.n, 1.0 if abs(found.mean) <= rounding else None)
    t = found.mean / (found.deviation / math.sqrt(found.n))
    return Paired(found.mean, found.n, float(2 * stdtr(found.n - 1, -abs(t))))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number by Holm's step-down rule (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1, kept in order and at most 1.

    Args:
        values: p-values; those that are None are no tests and are not counted.

    Returns:
        The corrected ones, in the same places.

    Example:
        >>> holm([0.01, None, 0.04, 0.03])
        [0.03, None, 0.06, 0.06]
    """
    tests = sorted((value, place) for place, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, place) in enumerate(tests):
        highest = max(highest, min(1.0, (len(tests) - rank) * value))
        corrected[place] = highest
    return corrected
