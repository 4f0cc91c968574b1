"""Limits read off measurements: accuracies, losses and per-sample correctness at several sparsities."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.limits.width import Array, Numbers, check_eps, finite

Right: TypeAlias = npt.ArrayLike | Tensor
"""Which samples a network gets right: booleans, one a sample."""

ROUNDING = 1e-9  # a drop of exactly 0.1 point is not beyond 0.1, although 92.34 - 0.1 is not 92.24


@dataclass(frozen=True)
class AccuracyLimits:
    """Five readings of one accuracy curve, as sparsities. They differ widely when the curve wobbles.

    Attributes:
        last_above_dense: last level strictly better than the dense network (the authors' published rule); None when no
            level is.
        last_at_least_dense: last level not worse than the dense network.
        first_drop: first level worse by more than the drop (the authors' printed variant: a failing level); None when
            none is.
        last_before_first_drop: the level before it, or the last one measured.
        last_within: last level not worse by more than the drop.
    """

    last_above_dense: float | None
    last_at_least_dense: float
    first_drop: float | None
    last_before_first_drop: float
    last_within: float


def accuracy_limits(sparsities: Numbers, accuracies: Numbers, *, drop: float = 0.1) -> AccuracyLimits:
    """Read the limit off an accuracy curve by five definitions.

    Args:
        sparsities: levels (n,) in rising order, the first one 0 (the dense network).
        accuracies: accuracy at each (n,), higher is better; on a validation split, not the test set.
        drop: tolerated drop, >= 0, in the unit of the accuracies; 0.1 percentage points in the authors' code.

    Returns:
        The five limits.

    Raises:
        HowsparseError: levels that do not rise from 0, lists of different length, or a negative drop.

    Source: Zhang et al., arXiv 2306.05857, released code, for the first and third.

    Example:
        >>> accuracy_limits([0.0, 0.3, 0.6, 0.9], [92.0, 91.8, 92.1, 60.0])
        AccuracyLimits(last_above_dense=0.6, last_at_least_dense=0.6, first_drop=0.3, last_before_first_drop=0.0,
                       last_within=0.6)
    """
    levels, scores = _curve(sparsities, accuracies, "accuracies")
    if not drop >= 0:
        raise HowsparseError(f"drop={drop}: the tolerated drop is a number >= 0, such as 0.1")
    lost = scores[0] - scores
    beyond = lost > drop + ROUNDING
    first = _first(beyond)
    return AccuracyLimits(
        last_above_dense=float(levels[lost < 0][-1]) if (lost < 0).any() else None,
        last_at_least_dense=float(levels[lost <= 0][-1]),
        first_drop=None if first is None else float(levels[first]),
        last_before_first_drop=float(levels[-1 if first is None else first - 1]),
        last_within=float(levels[~beyond][-1]),
    )


@dataclass(frozen=True)
class LossLimit:
    """The largest sparsity whose loss increase stays within ε, read off measured points.

    Attributes:
        value: where the straight line between the bracket's points crosses ε; the last level when nothing fails.
        low: the last level before the first failure.
        high: the first level that fails; None when none does.
        last_within: the last level within ε, above ``low`` when the curve comes back.
    """

    value: float
    low: float
    high: float | None
    last_within: float


def loss_limit(sparsities: Numbers, losses: Numbers, eps: float) -> LossLimit:
    """The loss-based limit, which is what the theory speaks of: the largest s with L(s) - L(0) <= ε.

    Args:
        sparsities: levels (n,) in rising order, the first one 0 (the dense network).
        losses: mean training loss at each, over the same samples (n,).
        eps: admissible increase, > 0.

    Returns:
        The limit and its bracket.

    Raises:
        HowsparseError: levels that do not rise from 0, losses that are not finite, or eps not positive.

    Example:
        >>> loss_limit([0.0, 0.5, 0.75], [0.25, 0.3125, 0.75], 0.28125)  # midway between the last two
        LossLimit(value=0.625, low=0.5, high=0.75, last_within=0.5)
    """
    levels, values = _curve(sparsities, losses, "losses")
    rise = values - values[0]
    beyond = rise > check_eps(eps)
    first = _first(beyond)
    last = float(levels[~beyond][-1])
    if first is None:
        return LossLimit(last, last, None, last)
    part = (eps - rise[first - 1]) / (rise[first] - rise[first - 1])
    low, high = float(levels[first - 1]), float(levels[first])
    return LossLimit(low + float(part) * (high - low), low, high, last)


@dataclass(frozen=True)
class PairedDrop:
    """The accuracy that a pruned network loses on the same samples, in percentage points.

    Attributes:
        drop: dense accuracy minus pruned accuracy.
        low: lower end of its confidence interval.
        high: upper end.
        lost: samples that only the dense network gets right.
        gained: samples that only the pruned network gets right.
        p_value: of the exact two-sided McNemar test that neither network is better.
    """

    drop: float
    low: float
    high: float
    lost: int
    gained: int
    p_value: float


def paired_drop(
    dense: Right,
    pruned: Right,
    *,
    confidence: float = 0.95,
    method: Literal["adjusted", "bootstrap"] = "adjusted",
    seed: int = 0,
) -> PairedDrop:
    """How much accuracy pruning costs, with an interval from the samples on which the two networks differ.

    With b lost and c gained of n samples the drop is (b - c)/n. Only b and c matter (McNemar), so the interval is far
    narrower than from two separate accuracies.

    Args:
        dense: which samples the dense network gets right, booleans (n,).
        pruned: the same for the pruned network, in the same order.
        confidence: of the interval, in (0, 1).
        method: ``adjusted``, Wald's interval with one sample added to b and to c (good for any n >= 10), or
            ``bootstrap``, percentiles of 10,000 resamples of the samples.
        seed: of the bootstrap.

    Returns:
        The drop in percentage points; its interval always holds the drop.

    Raises:
        HowsparseError: no samples, different numbers of samples, values other than booleans, or options out of range.

    Source: McNemar 1947; Bonett and Price 2012 for the adjusted interval; Efron 1979 for the bootstrap.

    Example:
        >>> found = paired_drop([True] * 90 + [False] * 10, [True] * 84 + [False] * 16)
        >>> found.lost, found.gained, round(found.drop, 9), found.p_value
        (6, 0, 6.0, 0.03125)
    """
    before, after = _booleans(dense), _booleans(pruned)
    if before.shape != after.shape:
        raise HowsparseError(f"{before.size} samples for the dense network, {after.size} for the pruned one")
    if not 0 < confidence < 1 or method not in ("adjusted", "bootstrap"):
        raise HowsparseError(
            f"confidence={confidence}, method={method!r}: confidence lies between 0 and 1, such as 0.95, and the "
            "method is adjusted or bootstrap"
        )
    n, lost, gained = before.size, int((before & ~after).sum()), int((after & ~before).sum())
    drop = (lost - gained) / n
    if method == "adjusted":
        low, high = _adjusted(lost, gained, n, confidence)
    else:
        low, high = _bootstrap(lost, gained, n, confidence=confidence, seed=seed)
    return PairedDrop(
        100 * drop, 100 * min(low, drop), 100 * max(high, drop), lost, gained, mcnemar_p_value(lost, gained)
    )


def mcnemar_p_value(lost: int, gained: int) -> float:
    """The exact two-sided McNemar test: could a fair coin have split lost and gained so unevenly?

    p = min(1, 2 P[X <= min(b, c)]), X binomial with b + c fair throws.

    Args:
        lost: b >= 0.
        gained: c >= 0.

    Returns:
        The p-value; 1 when the networks never differ.

    Source: McNemar 1947.

    Example:
        >>> mcnemar_p_value(4, 0), mcnemar_p_value(3, 3)
        (0.125, 1.0)
    """
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(lost, gained), lost + gained, 0.5)))


@dataclass(frozen=True)
class PairedLimit:
    """The largest sparsity within a tolerated drop in accuracy, with the interval that the samples allow.

    Attributes:
        value: the last level before the measured drop first exceeds the tolerance.
        low: the last level before the interval first reaches beyond it: up to here it surely holds.
        high: the last level before the interval first lies wholly beyond it: after it, it surely does not hold.
        drops: the drop at each level.
    """

    value: float
    low: float
    high: float
    drops: tuple[PairedDrop, ...]


def paired_limit(sparsities: Numbers, right: Right, *, tolerance: float = 0.1, confidence: float = 0.95) -> PairedLimit:
    """The accuracy limit as an interval, from the same samples at every level.

    Args:
        sparsities: levels (levels,) in rising order, the first one 0 (the dense network).
        right: which samples are right at each level, booleans (levels, n).
        tolerance: tolerated drop in percentage points, >= 0.
        confidence: of the interval at each level, in (0, 1).

    Returns:
        The limit; low <= value <= high.

    Raises:
        HowsparseError: levels that do not rise from 0, shapes that do not fit, a negative tolerance, or no booleans.

    Source: see `paired_drop`.

    Example:
        >>> right = [[True] * 200, [True] * 200, [True] * 199 + [False], [True] * 100 + [False] * 100]
        >>> found = paired_limit([0.0, 0.5, 0.7, 0.9], right, tolerance=2.0)
        >>> found.low, found.value, found.high
        (0.5, 0.7, 0.7)
    """
    rows = _booleans(right)
    levels, _ = _curve(sparsities, rows.mean(axis=1) if rows.ndim == 2 else rows, "rows of samples")
    if rows.ndim != 2 or not tolerance >= 0:
        raise HowsparseError(f"shape {rows.shape}, tolerance={tolerance}: give (levels, samples) and a tolerance >= 0")
    drops = tuple(paired_drop(rows[0], row, confidence=confidence) for row in rows)

    def before(beyond: list[bool]) -> float:
        beyond[0] = False  # the dense network is within every tolerance of itself, however few the samples
        first = _first(np.array(beyond))
        return float(levels[-1 if first is None else first - 1])

    edge = tolerance + ROUNDING
    return PairedLimit(
        value=before([drop.drop > edge for drop in drops]),
        low=before([drop.high > edge for drop in drops]),
        high=before([drop.low > edge for drop in drops]),
        drops=drops,
    )


def _curve(sparsities: Numbers, values: Numbers, name: str) -> tuple[Array, Array]:
    """Checked levels and values of a curve."""
    levels, found = finite(sparsities, "sparsities").reshape(-1), finite(values, name).reshape(-1)
    if levels.size != found.size:
        raise HowsparseError(f"{levels.size} sparsities and {found.size} {name}; give one for each")
    if levels[0] != 0 or levels[-1] > 1 or (np.diff(levels) <= 0).any():
        raise HowsparseError(
            f"sparsities {levels[:5].tolist()} … {levels[-1]} must rise from 0, the dense network, to at most 1"
        )
    return levels, found


def _first(beyond: npt.NDArray[np.bool_]) -> int | None:
    """Index of the first True, None without one."""
    return int(beyond.argmax()) if beyond.any() else None


def _booleans(right: Right) -> npt.NDArray[np.bool_]:
    """Correctness as a numpy array."""
    array = np.asarray(right.detach().cpu() if isinstance(right, Tensor) else right)
    if array.dtype != np.bool_ or array.size == 0:
        raise HowsparseError(
            f"{array.size} values of type {array.dtype}: give booleans, whether each sample is right, for at least one"
        )
    return array


def _adjusted(lost: int, gained: int, n: int, confidence: float) -> tuple[float, float]:
    """Bonett and Price's interval of the difference of two paired proportions."""
    b, c = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt((b + c - (b - c) ** 2) / (n + 2))
    return max(-1.0, b - c - reach), min(1.0, b - c + reach)


def _bootstrap(lost: int, gained: int, n: int, *, confidence: float, seed: int) -> tuple[float, float]:
    """Percentile interval; resampling samples is drawing how many are lost, gained and neither."""
    shares = [lost / n, gained / n, (n - lost - gained) / n]
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=10_000)
    drops = (drawn[:, 0] - drawn[:, 1]) / n
    low, high = np.quantile(drops, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
