"""The width of the ellipsoid of small loss increase, seen from afar: the curvature's part of the paper's limit."""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from howsparse.errors import HowsparseError

Array: TypeAlias = npt.NDArray[np.float64]
Numbers: TypeAlias = npt.ArrayLike | Tensor
Width: TypeAlias = Callable[[float], float]
"""The normalised width g as a function of the distance R."""
Negative: TypeAlias = Literal["abs", "clip"]


def finite(values: Numbers, name: str) -> Array:
    """Numbers as a float64 array on the CPU; refuses none at all, NaN and infinity."""
    array = np.asarray(values.detach().double().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    if array.size == 0:
        raise HowsparseError(f"no {name} were given; at least one is needed")
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)]
        raise HowsparseError(f"{bad.size} of {array.size} {name} are not finite, such as {bad[0]}")
    return array


def check_eps(eps: float) -> float:
    """The admissible loss increase as a float; refuses zero, negative and non-finite ones."""
    if not (math.isfinite(eps) and eps > 0):
        raise HowsparseError(f"eps={eps}: the admissible loss increase is a positive number, such as 0.01")
    return float(eps)


def sharpness(eigenvalues: Array, negative: Negative = "abs") -> Array:
    """Eigenvalues as the width sees them: negative ones by absolute value, or as zeros (``clip``)."""
    if negative not in ("abs", "clip"):
        raise HowsparseError(f"negative={negative!r} is unknown; negative eigenvalues enter by 'abs' or 'clip'")
    return np.abs(eigenvalues) if negative == "abs" else np.maximum(eigenvalues, 0.0)


def spectral_measure(nodes: Numbers, weights: Numbers | None, negative: Negative = "abs") -> tuple[Array, Array]:
    """The spectrum as sharpnesses (n,) >= 0 and their shares (n,), which sum to one."""
    values = finite(nodes, "eigenvalues")
    mass = np.ones_like(values) if weights is None else finite(weights, "weights of eigenvalues")
    if mass.shape != values.shape:
        raise HowsparseError(f"weights have shape {mass.shape}, eigenvalues {values.shape}; give one weight for each")
    if float(mass.min()) < 0 or float(mass.sum()) <= 0:
        raise HowsparseError(
            f"the weights of the eigenvalues go down to {mass.min():.3g} and sum to {mass.sum():.3g}; "
            "they are not negative and not all zero"
        )
    return sharpness(values.reshape(-1), negative), mass.reshape(-1) / mass.sum()


def contribution(R: float, eps: float, *, negative: Negative = "abs") -> Callable[[Array], Array]:
    """What one eigen-direction adds to the width, as a function of its eigenvalue.

    f(λ) = r² / (R² + r²) with the semi-axis r² = 2ε/|λ|, computed as 2ε / (R²|λ| + 2ε): nothing is divided by λ,
    so f(0) = 1 exactly, and f = 1 for R = 0. The form serves any estimator of spectral averages tr f(H)/D.

    Args:
        R: distance from the trained weights to the pruned ones, >= 0.
        eps: admissible loss increase, > 0.
        negative: eigenvalues below zero enter by absolute value (``abs``, as in the authors' code; cautious, since the
            loss truly falls along them) or as zeros, which contribute 1 (``clip``).

    Returns:
        A function from eigenvalues (any shape) to contributions in (0, 1] of the same shape.

    Raises:
        HowsparseError: R negative or not finite, eps not positive, or an unknown ``negative``.

    Source: Zhang et al., arXiv 2306.05857; the width of an ellipsoid as in Larsen et al., arXiv 2107.05802.

    Example:
        >>> contribution(1.0, 0.5)(np.array([0.0, 1.0, -3.0])).tolist()
        [1.0, 0.5, 0.25]
        >>> contribution(1.0, 0.5, negative="clip")(np.array([-3.0])).tolist()
        [1.0]
    """
    check_eps(eps)
    squared = float(R) * float(R)
    if not (R >= 0 and math.isfinite(squared)):
        raise HowsparseError(f"R={R}: the distance between trained and pruned weights is a finite number >= 0")
    sharpness(np.zeros(1), negative)  # refuses an unknown option here, not at the first use

    def share(eigenvalues: Array) -> Array:
        with np.errstate(over="ignore"):  # an infinite product gives the right contribution, zero
            found: Array = 2 * eps / (squared * sharpness(np.asarray(eigenvalues, np.float64), negative) + 2 * eps)
        return found

    return share


def width_curve(nodes: Numbers, weights: Numbers | None, eps: float, *, negative: Negative = "abs") -> Width:
    """The normalised width g(R) = δ(R)/D as a function of R, for use with `solve_limit`.

    g(R) = Σ_i ω_i · 2ε / (R²|λ_i| + 2ε), with shares ω of the spectrum that sum to one. It falls from g(0) = 1 to the
    share of zero eigenvalues.

    Args:
        nodes: eigenvalues, or nodes of a quadrature of the spectrum; any shape, such as (probes, steps).
        weights: their weights >= 0, same shape, divided by their sum; None for equal ones (the exact spectrum).
        eps: admissible loss increase, > 0.
        negative: see `contribution`.

    Returns:
        A function from R >= 0 to the width in [0, 1].

    Raises:
        HowsparseError: numbers that are not finite, shapes that differ, negative weights, or eps not positive.

    Source: Zhang et al., arXiv 2306.05857.

    Example:
        >>> g = width_curve([0.0, 1.0], None, 0.5)
        >>> g(0.0), g(1.0)
        (1.0, 0.75)
    """
    check_eps(eps)
    values, shares = spectral_measure(nodes, weights, negative)
    return lambda R: float(shares @ contribution(R, eps)(values))


def width(nodes: Numbers, weights: Numbers | None, eps: float, *, R: float, negative: Negative = "abs") -> float:
    """The normalised squared Gaussian width δ(R)/D of the ellipsoid ½ dᵀHd <= ε, seen from distance R.

    δ(R)/D = Σ_i ω_i · 2ε / (R²|λ_i| + 2ε), see `width_curve`.

    Args:
        nodes: eigenvalues or quadrature nodes, any shape.
        weights: their weights >= 0, same shape, divided by their sum; None for equal ones.
        eps: admissible loss increase, > 0.
        R: distance, >= 0.
        negative: see `contribution`.

    Returns:
        The width, in [0, 1]; 1 for R = 0.

    Raises:
        HowsparseError: see `width_curve` and `contribution`.

    Source: Zhang et al., arXiv 2306.05857.

    Example:
        >>> width([1.0, 1.0, 1.0], None, 0.5, R=3.0)  # identity: 2ε / (R² + 2ε)
        0.1
    """
    return width_curve(nodes, weights, eps, negative=negative)(R)


def trace_width(trace: float, eps: float, *, R: float, size: int) -> float:
    """The smallest width that a curvature matrix of given trace can have.

    g(R) >= 1 / (1 + R² Tr|H| / (2εD)): 1/(1 + x) is convex, so all curvature spread evenly is the worst case.
    It bounds the formula from below, not any measured limit.

    Args:
        trace: Tr|H|, the sum of absolute eigenvalues (the trace of a positive semi-definite matrix), >= 0.
        eps: admissible loss increase, > 0.
        R: distance, >= 0.
        size: dimension D of the matrix, >= 1.

    Returns:
        The bound, in (0, 1].

    Raises:
        HowsparseError: a negative trace, no dimension, or see `contribution`.

    Source: Jensen's inequality.

    Example:
        >>> trace_width(2.0, 0.5, R=1.0, size=2), width([0.5, 1.5], None, 0.5, R=1.0) > 0.5
        (0.5, True)
    """
    if not (math.isfinite(trace) and trace >= 0 and size >= 1):
        raise HowsparseError(
            f"trace={trace}, size={size}: the sum of absolute eigenvalues is a finite number >= 0 of at least one "
            "weight; for an indefinite matrix the plain trace is not it"
        )
    return width([trace / size], None, eps, R=R)
