"""The limit after re-tuning the kept weights, for a quadratic loss in random orientation."""

import math
from dataclasses import dataclass

import numpy as np

from howsparse.limits.norms import PrefixNorms
from howsparse.limits.solve import SLACK, last_feasible
from howsparse.limits.width import Array, Negative, Numbers, check_eps, spectral_measure

_HUGE = 690.0  # its exponential is finite; a larger κ would stem from eigenvalues that are zero in all but name


@dataclass(frozen=True)
class RefitSolution:
    """A limit found by `solve_refit`.

    Attributes:
        removed: weights removed, m°.
        sparsity: m°/N.
        density: 1 - m°/N.
        R: norm of the removed weights, R(m°).
        kappa: κ at m°, infinite when as many directions as weights removed are free.
        tau: mean stiffness τ(m°) that the removed weights feel once the kept ones have moved.
        loss: predicted loss increase at m°, at most ε.
        next_loss: predicted loss increase at m° + 1, above ε; None when everything can go.
    """

    removed: int
    sparsity: float
    density: float
    R: float
    kappa: float
    tau: float
    loss: float
    next_loss: float | None


def solve_refit(
    nodes: Numbers, weights: Numbers | None, eps: float, *, norms: PrefixNorms, negative: Negative = "abs"
) -> RefitSolution:
    """The largest sparsity whose loss increase after re-tuning stays within ε: m° = max { m : ½ R(m)² τ(m) <= ε }.

    Removing weights P and re-optimising the rest of a quadratic costs ½ wᵀSw with the Schur complement S, whose inverse
    is (H⁻¹)_PP. For H in random orientation S acts as τ(m) times the identity: with s = m/N and κ the root of
    E[1/(1 + κ|λ|)] = s, τ = E[|λ|/(1 + κ|λ|)]/s = (1 - s)/(sκ). Both factors never fall with m, so bisection is
    exact. This is the paper's condition with R² replaced by R²(1 - s)/s; the two agree at s = ½. Trained networks
    are neither quadratic that far out nor randomly oriented: there it proved far too optimistic.

    Args:
        nodes: eigenvalues or quadrature nodes, any shape.
        weights: their weights >= 0, same shape, divided by their sum; None for equal ones.
        eps: admissible loss increase, > 0.
        norms: of the N weights that compete.
        negative: see `contribution`.

    Returns:
        The solution.

    Raises:
        HowsparseError: see `width_curve`.

    Source: deterministic equivalent of compressed inverses (free probability), derived for this project.

    Example:
        >>> from howsparse.limits.norms import prefix_norms
        >>> found = solve_refit([1.0], None, 0.05, norms=prefix_norms(np.arange(1, 11) / 10))
        >>> found.removed, round(found.tau, 9)  # a ball: exactly R² <= 2ε
        (2, 1.0)
    """
    check_eps(eps)
    values, shares = spectral_measure(nodes, weights, negative)

    def increase(m: int) -> float:
        return 0.5 * norms.norm(m) ** 2 * stiffness(values, shares, m / norms.size)[1]

    m = last_feasible(lambda m: increase(m) <= eps * (1 + SLACK), norms.size)
    kappa, tau = stiffness(values, shares, m / norms.size)
    return RefitSolution(
        removed=m,
        sparsity=m / norms.size,
        density=1 - m / norms.size,
        R=norms.norm(m),
        kappa=kappa,
        tau=tau,
        loss=increase(m),
        next_loss=increase(m + 1) if m < norms.size else None,
    )


def stiffness(values: Array, shares: Array, sparsity: float) -> tuple[float, float]:
    """κ and τ of `solve_refit` for a spectrum of sharpnesses and their shares, and the sparsity s in [0, 1].

    Args:
        values: sharpnesses >= 0, shape (n,).
        shares: shares of the spectrum, shape (n,), summing to one.
        sparsity: s = m/N.

    Returns:
        (κ, τ): (infinite, 0) while at least the share s of the spectrum is zero, (0, mean sharpness) at s = 1.

    Example:
        >>> stiffness(np.array([0.0, 1.0]), np.array([0.5, 0.5]), 0.5)
        (inf, 0.0)
        >>> kappa, tau = stiffness(np.array([0.0, 1.0]), np.array([0.5, 0.5]), 0.75)
        >>> round(kappa, 9), round(tau, 9)
        (1.0, 0.333333333)
    """
    if sparsity >= 1:
        return 0.0, float(shares @ values)
    largest = float(values.max()) or 1.0
    scaled = values / largest  # the root is then near 1, whatever the units of the loss
    flat = float(shares[scaled == 0].sum())
    if sparsity <= flat + SLACK:
        return math.inf, 0.0
    kappa = _root(scaled, shares, sparsity, flat) / largest
    if math.isinf(kappa):
        return math.inf, 0.0
    return kappa, float(shares @ (values / (1 + kappa * values))) / sparsity  # (1 - s)/(sκ) would cancel near s = 1


def _root(scaled: Array, shares: Array, sparsity: float, flat: float) -> float:
    """κ with E[1/(1 + κλ)] = s, for largest λ = 1 and share ``flat`` of zeros < s < 1, bracketed in log κ."""
    from scipy.optimize import brentq

    def excess(log_kappa: float) -> float:
        return float(shares @ (1 / (1 + math.exp(log_kappa) * scaled))) - sparsity

    # as if every sharpness were the largest, and as if it were the smallest above zero; one unit absorbs rounding
    low = math.log((1 - sparsity) / sparsity) - 1
    high = math.log((1 - sparsity) / (sparsity - flat)) - math.log(float(scaled[scaled > 0].min())) + 1
    if high > _HUGE and excess(_HUGE) > 0:
        return math.inf
    root = brentq(excess, low, min(high, _HUGE), xtol=1e-13, rtol=4 * np.finfo(float).eps, maxiter=500)
    return math.exp(float(root))
