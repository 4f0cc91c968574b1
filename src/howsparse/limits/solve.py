"""The paper's limit: the largest sparsity at which the width still covers what was removed, solved exactly."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from howsparse.errors import HowsparseError
from howsparse.limits.norms import PrefixNorms
from howsparse.limits.width import (
    Negative,
    Numbers,
    Width,
    check_eps,
    contribution,
    spectral_measure,
    trace_width,
    width_curve,
)

SLACK = 1e-12  # a width that should be exactly 1 is a rounded sum; far below 1/N for any network


@dataclass(frozen=True)
class Solution:
    """A limit found by `solve_limit`: the last number of weights that can go, and the first that cannot.

    Attributes:
        removed: weights removed, m*.
        sparsity: m*/N.
        density: 1 - m*/N.
        R: norm of the removed weights, R(m*).
        width: normalised width g(R(m*)), not below the sparsity.
        next_R: R(m* + 1), None when everything can go.
        next_width: g(R(m* + 1)), below (m* + 1)/N; None when everything can go.
    """

    removed: int
    sparsity: float
    density: float
    R: float
    width: float
    next_R: float | None  # noqa: N815 - R as in the paper
    next_width: float | None


@dataclass(frozen=True)
class LimitInterval:
    """The limits found with a lower and with an upper curve of the width; the exact one lies between.

    Attributes:
        low: the limit of the lower curve.
        high: the limit of the upper curve.
    """

    low: Solution
    high: Solution


@dataclass(frozen=True)
class KeptBounds:
    """Bounds on the fraction of weights that must stay, as densities.

    Attributes:
        lower: no sparser network can work (necessary).
        upper: magnitude pruning to this density works (sufficient).
        gap: upper - lower.
    """

    lower: float
    upper: float
    gap: float


def last_feasible(feasible: Callable[[int], bool], count: int) -> int:
    """The largest m in 0..count with ``feasible(m)``, for a predicate that holds on an initial segment with 0."""
    low, high = 0, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if feasible(middle) else (low, middle)
    return low


def solve_limit(width_of_R: Width, norms: PrefixNorms) -> Solution:
    """The paper's self-consistent limit m* = max { m : m/N <= g(R(m)) }.

    R(m) never falls and g never rises with R, so h(m) = g(R(m)) - m/N falls from h(0) = 1 and the feasible m are an
    initial segment: bisection over the integers is exact, with about log2 N evaluations of the width.

    Args:
        width_of_R: normalised width g, from `width_curve` or any estimator of it; g(0) = 1.
        norms: of the N weights that compete, see `prefix_norms`. N may differ from the dimension of the curvature.

    Returns:
        The solution. All weights zero or a flat loss give sparsity 1; a loss so sharp that no weight can go, 0.

    Raises:
        HowsparseError: a width that is not a number.

    Source: Zhang et al., arXiv 2306.05857. A prediction, not a bound: it assumes a quadratic loss in random
    orientation.

    Example:
        >>> from howsparse.limits.norms import prefix_norms
        >>> norms = prefix_norms(np.arange(1, 11) / 10)
        >>> solve_limit(width_curve([1.0], None, 0.05), norms).sparsity  # R(3)² = 0.14: width 0.1 / 0.24 >= 0.3
        0.3
    """

    def feasible(m: int) -> bool:
        return m / norms.size <= _checked(width_of_R, norms.norm(m)) + SLACK

    m = last_feasible(feasible, norms.size)
    next_R = norms.norm(m + 1) if m < norms.size else None
    R = norms.norm(m)
    return Solution(
        removed=m,
        sparsity=m / norms.size,
        density=1 - m / norms.size,
        R=R,
        width=_checked(width_of_R, R),
        next_R=next_R,
        next_width=None if next_R is None else _checked(width_of_R, next_R),
    )


def _checked(width_of_R: Width, R: float) -> float:
    """The width at R; NaN would silently compare as infeasible."""
    found = float(width_of_R(R))
    if math.isnan(found):
        raise HowsparseError(f"the width at R={R:.6g} is not a number; were loss and curvature finite?")
    return found


def solve_interval(lower: Width, upper: Width, norms: PrefixNorms) -> LimitInterval:
    """The limits of two curves that bracket the width, such as Gauss and Gauss-Radau quadrature.

    A width that is off by η moves the sparsity by at most η, so the exact limit of anything between the curves lies
    between the two. Where rounding makes converged curves cross, the smaller limit is still called low.

    Args:
        lower: width from below.
        upper: width from above.
        norms: of the N weights that compete.

    Returns:
        The two solutions, low first.

    Raises:
        HowsparseError: a width that is not a number.

    Source: monotonicity of the fixed point; brackets by quadrature: Golub and Meurant.

    Example:
        >>> from howsparse.limits.norms import prefix_norms
        >>> norms = prefix_norms(np.arange(1, 11) / 10)
        >>> found = solve_interval(width_curve([4.0], None, 0.05), width_curve([0.25], None, 0.05), norms)
        >>> found.low.sparsity, found.high.sparsity
        (0.2, 0.4)
    """
    low, high = sorted((solve_limit(lower, norms), solve_limit(upper, norms)), key=lambda found: found.removed)
    return LimitInterval(low, high)


def trace_bound(trace: float, eps: float, norms: PrefixNorms, *, size: int | None = None) -> Solution:
    """The limit of the smallest width that a curvature matrix of given trace can have: a cheap first answer.

    Solves m/N <= 1 / (1 + R(m)² Tr|H| / (2εD)) exactly. It lies below the paper's limit, and so above its density; it
    says nothing of the measured one-shot limit, which may lie on either side.

    Args:
        trace: Tr|H|, the sum of absolute eigenvalues, >= 0; for positive semi-definite curvature the trace.
        eps: admissible loss increase, > 0.
        norms: of the N weights that compete.
        size: dimension D of the curvature; N by default.

    Returns:
        The solution.

    Raises:
        HowsparseError: see `trace_width`.

    Source: Jensen's inequality for the width of Zhang et al., arXiv 2306.05857.

    Example:
        >>> from howsparse.limits.norms import prefix_norms
        >>> trace_bound(10.0, 0.05, prefix_norms(np.arange(1, 11) / 10)).sparsity  # as for the identity
        0.3
    """
    dimension = norms.size if size is None else size
    return solve_limit(lambda R: trace_width(trace, eps, R=R, size=dimension), norms)


def kept_bounds(dense: Width, pruned: Width, norms: PrefixNorms) -> KeptBounds:
    """The paper's lower and upper bounds on the kept fraction, and their gap Δ.

    Lower: a k-sparse solution needs k >= D - δ; the distance is smallest, and so the width largest, for the weights
    that magnitude pruning keeps: the smallest k/N with k/N >= 1 - g(R(m)). Upper: the same expression with the width of
    the *pruned* problem, for which k >= D - δ' suffices up to lower-order terms. Which spectrum and centre enter δ'
    could not be verified: the caller chooses, for example the curvature at the pruned weights.

    Args:
        dense: width of the trained network.
        pruned: width of the pruned problem.
        norms: of the N weights that compete.

    Returns:
        Both densities and their difference (negative when the pruned problem is flatter).

    Raises:
        HowsparseError: a width that is not a number.

    Source: Zhang et al., arXiv 2306.05857.

    Example:
        >>> from howsparse.limits.norms import prefix_norms
        >>> norms = prefix_norms(np.arange(1, 11) / 10)
        >>> found = kept_bounds(width_curve([1.0], None, 0.05), width_curve([4.0], None, 0.05), norms)
        >>> found.lower, found.upper, round(found.gap, 3)
        (0.7, 0.8, 0.1)
    """
    lower, upper = solve_limit(dense, norms).density, solve_limit(pruned, norms).density
    return KeptBounds(lower, upper, upper - lower)


def scaled_limits(
    width_of_R: Width, norms: PrefixNorms, factors: Sequence[float] = (2.0, 3.0, 4.0, 5.0)
) -> dict[float, Solution]:
    """The limits of the same curvature with all weights multiplied by a factor: larger weights, smaller limit.

    The spectrum enters only through R²|λ|/(2ε): factor c is the same as ε/c², or as curvature times c².

    Args:
        width_of_R: normalised width g.
        norms: of the N weights that compete.
        factors: each >= 0; the paper's experiment takes 2 to 5.

    Returns:
        A solution for each factor; its norms are those of the scaled weights.

    Raises:
        HowsparseError: a negative factor.

    Source: Zhang et al., arXiv 2306.05857.

    Example:
        >>> from howsparse.limits.norms import prefix_norms
        >>> found = scaled_limits(width_curve([1.0], None, 0.05), prefix_norms(np.arange(1, 11) / 10))
        >>> {factor: solution.sparsity for factor, solution in found.items()}
        {2.0: 0.2, 3.0: 0.1, 4.0: 0.1, 5.0: 0.1}
    """
    return {factor: solve_limit(width_of_R, norms.scaled(factor)) for factor in factors}


def eps_grid(eps: float, *, decades: float = 2.0, points: int = 41) -> list[float]:
    """Loss increases around ε, evenly spaced in their logarithm, for `limit_curve`.

    Args:
        eps: the middle, > 0.
        decades: how many powers of ten to each side, > 0.
        points: how many, >= 2; an odd number holds ε itself.

    Returns:
        ε · 10^x for x from -decades to decades.

    Raises:
        HowsparseError: eps not positive, fewer than two points, or decades not positive.

    Example:
        >>> [round(value, 6) for value in eps_grid(0.01, decades=1, points=3)]
        [0.001, 0.01, 0.1]
    """
    check_eps(eps)
    if points < 2 or not 0 < decades <= 100:
        raise HowsparseError(
            f"points={points}, decades={decades}: a grid has two points or more over up to 100 decades"
        )
    return [eps * 10.0 ** float(x) for x in np.linspace(-decades, decades, points)]


def limit_curve(
    width_of_R: Width, norms: PrefixNorms, eps: float, *, grid: Sequence[float] | None = None
) -> list[tuple[float, float]]:
    """The limit as a function of the admissible loss increase, s*(ε), from the width at one ε.

    The spectrum enters through R²|λ|/(2ε) alone: g at ε' and R equals g at ε and R·sqrt(ε/ε'), so no curvature is
    computed again, whichever estimator the width comes from.

    Args:
        width_of_R: normalised width g at ``eps``.
        norms: of the N weights that compete.
        eps: loss increase that the width was computed for, > 0.
        grid: loss increases of the curve, each > 0; `eps_grid` around ``eps`` by default.

    Returns:
        Pairs (ε', sparsity) in the order of the grid; the sparsity never falls with ε'.

    Raises:
        HowsparseError: a loss increase that is not positive.

    Source: scaling law of the width of Zhang et al., arXiv 2306.05857.

    Example:
        >>> from howsparse.limits.norms import prefix_norms
        >>> norms = prefix_norms(np.arange(1, 11) / 10)
        >>> limit_curve(width_curve([1.0], None, 0.05), norms, 0.05, grid=[0.005, 0.05, 0.5])
        [(0.005, 0.1), (0.05, 0.3), (0.5, 0.5)]
    """
    check_eps(eps)
    values = eps_grid(eps) if grid is None else grid
    scales = [math.sqrt(eps / check_eps(value)) for value in values]
    return [
        (value, solve_limit(width_of_R, norms.scaled(scale)).sparsity)
        for value, scale in zip(values, scales, strict=True)
    ]


def sensitivity(
    nodes: Numbers, weights: Numbers | None, eps: float, *, norms: PrefixNorms, negative: Negative = "abs"
) -> float:
    """How much the limit moves when ε grows by a factor e: ds*/d log ε at the solution.

    ds*/d log ε = E[f(1 - f)] / (1 - dg/ds), with E over the spectrum, f the contributions at R(m*), and the slope
    dg/ds = -N a² E[|λ| f²] / (2ε), a the magnitude of the next weight to go.

    Args:
        nodes: eigenvalues or quadrature nodes.
        weights: their weights; None for equal ones.
        eps: admissible loss increase, > 0.
        norms: of the N weights that compete.
        negative: see `contribution`.

    Returns:
        The derivative, in [0, 1/4].

    Raises:
        HowsparseError: see `width_curve`.

    Source: implicit differentiation of the fixed point of Zhang et al., arXiv 2306.05857.

    Example:
        >>> from howsparse.limits.norms import prefix_norms
        >>> norms = prefix_norms(np.sqrt(np.full(1000, 1e-3)))  # R² = s, so s = 2ε / (s + 2ε)
        >>> round(sensitivity([1.0], None, 0.25, norms=norms), 3)  # s = 1/2: 1/4 over 1 + 1/2
        0.167
    """
    values, shares = spectral_measure(nodes, weights, negative)
    found = solve_limit(width_curve(values, shares, eps), norms)
    if found.next_R is None:  # everything can go whatever ε is: a flat loss or weights that are all zero
        return 0.0
    f = contribution(found.R, eps)(values)
    spread = float(shares @ (f * (1 - f)))
    fall = norms.size * norms.magnitude(found.removed + 1) ** 2 * float(shares @ (values * f * f)) / (2 * eps)
    return spread / (1 + fall)
