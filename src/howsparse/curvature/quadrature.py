"""Gauss and Gauss-Radau rules from Lanczos coefficients.

Lanczos on a symmetric matrix A from a unit vector v yields the tridiagonal matrix whose eigenvalues and first
eigenvector components integrate polynomials exactly against the spectral measure of v: v' f(A) v = sum_j w_j f(t_j) up
to degree 2M - 1 (Golub, Meurant, "Matrices, Moments and Quadrature with Applications", Princeton 2010, chapter 6).
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from howsparse.errors import HowsparseError

Floats: TypeAlias = npt.NDArray[np.float64]
Function: TypeAlias = Callable[[Floats], Floats]
"""A function of eigenvalues, applied to whole arrays."""

_EPS = float(np.finfo(np.float64).eps)


class Rule(NamedTuple):
    """Nodes, ascending, and weights that are positive and sum to one; both (M,) float64.

    Example:
        >>> Rule(np.array([0.0, 2.0]), np.array([0.25, 0.75])).integral(lambda x: x**2)
        3.0
    """

    nodes: Floats
    weights: Floats

    def integral(self, f: Function) -> float:
        """The weighted sum of f over the nodes, sum_j w_j f(t_j).

        Args:
            f: function of an array of nodes.

        Returns:
            The estimate of v' f(A) v for a unit vector v.
        """
        return float(self.weights @ f(self.nodes))


def gauss(alpha: npt.ArrayLike, beta: npt.ArrayLike) -> Rule:
    """Gauss rule of M Lanczos steps: exact for polynomials up to degree 2M - 1.

    Nodes are the eigenvalues of the tridiagonal matrix T_M with diagonal alpha_1..alpha_M and off-diagonal
    beta_1..beta_{M-1}, weights the squared first components of its eigenvectors (Golub, Welsch 1969). When all even
    derivatives of f are positive on the spectrum, the rule is a lower bound of v' f(A) v that rises with M.

    Args:
        alpha: (M,) diagonal, M >= 1.
        beta: (M,) or (M - 1,) norms after each step, positive; the last of M is not used here.

    Returns:
        A `Rule` with M nodes.

    Raises:
        HowsparseError: shapes that do not fit, or coefficients that are not finite.

    Example:
        >>> gauss([2.0, 2.0], [1.0]).nodes.round(12).tolist()  # T = [[2, 1], [1, 2]]
        [1.0, 3.0]
    """
    diagonal, off_diagonal = _checked(alpha, beta)
    return _rule(diagonal, off_diagonal[: diagonal.size - 1])


def radau(alpha: npt.ArrayLike, beta: npt.ArrayLike, at: float = 0.0) -> Rule:
    """Gauss-Radau rule with one node fixed at the lower end of the spectrum.

    T_M gets one more row and column: off-diagonal beta_M and diagonal at + d_M, where (T_M - at) d = beta_M^2 e_M, so
    that ``at`` is an eigenvalue; exact for polynomials up to degree 2M (Golub 1973). For a completely monotone f, such
    as 1 / (1 + c x), the rule is an upper bound of v' f(A) v that falls with M. The smallest node is ``at`` exactly.

    Where T_m - at is singular up to rounding for some m <= M, the Krylov space already reaches ``at``: the rule of the
    first m steps is taken, with its last diagonal entry replaced so that ``at`` is a node, which is the bound as well.

    Args:
        alpha: (M,) diagonal, M >= 1.
        beta: (M,) norms after each step; the last may be zero, when the Gauss rule is exact.
        at: the fixed node, not above the smallest eigenvalue of the operator (up to rounding).

    Returns:
        A `Rule` with at most M + 1 nodes.

    Raises:
        HowsparseError: shapes that do not fit, or coefficients that are not finite.

    Example:
        >>> rule = radau([2.0], [1.0])  # T = [[2, 1], [1, 1/2]]
        >>> rule.nodes.tolist(), rule.weights.round(12).tolist()
        ([0.0, 2.5], [0.2, 0.8])
    """
    diagonal, off_diagonal = _checked(alpha, beta)
    if off_diagonal.size != diagonal.size:
        raise HowsparseError(
            f"beta has {off_diagonal.size} entries for {diagonal.size} steps; a Radau rule needs the norm after the "
            f"last step too, {diagonal.size} in all"
        )
    pivots = _pivots(diagonal - at, off_diagonal)
    steps = pivots.size
    if steps == diagonal.size and pivots[-1] > 0:
        rule = _rule(np.append(diagonal, at + off_diagonal[-1] ** 2 / pivots[-1]), off_diagonal)
    else:
        rule = _rule(np.append(diagonal[: steps - 1], diagonal[steps - 1] - pivots[-1]), off_diagonal[: steps - 1])
    # nodes that rounding cannot tell from ``at`` are put there, where f is largest, so that the bound stays one
    blur = 8 * _EPS * (np.abs(diagonal).max() + 2 * off_diagonal.max())
    nodes = np.where(rule.nodes - at <= blur, at, rule.nodes)
    nodes[0] = at
    return Rule(nodes, rule.weights)


def _pivots(diagonal: Floats, off_diagonal: Floats) -> Floats:
    """Pivots of the Cholesky-like factorisation, up to and including the first that vanishes up to rounding."""
    pivots = [diagonal[0]]
    size = abs(diagonal[0])
    while len(pivots) < diagonal.size and pivots[-1] > 4 * _EPS * size:
        step = len(pivots)
        drop = off_diagonal[step - 1] ** 2 / pivots[-1]
        size = abs(diagonal[step]) + drop
        pivots.append(diagonal[step] - drop)
    return np.array(pivots)


def _rule(diagonal: Floats, off_diagonal: Floats) -> Rule:
    """Eigenvalues of a symmetric tridiagonal matrix and squared first components of its eigenvectors."""
    from scipy.linalg import eigh_tridiagonal

    nodes, vectors = eigh_tridiagonal(diagonal, off_diagonal)
    weights = vectors[0] ** 2
    return Rule(nodes, weights / weights.sum())


def _checked(alpha: npt.ArrayLike, beta: npt.ArrayLike) -> tuple[Floats, Floats]:
    diagonal, off_diagonal = np.asarray(alpha, dtype=np.float64), np.asarray(beta, dtype=np.float64)
    if diagonal.ndim != 1 or off_diagonal.ndim != 1 or diagonal.size == 0:
        raise HowsparseError(f"alpha {diagonal.shape} and beta {off_diagonal.shape} must be vectors, alpha not empty")
    if off_diagonal.size not in (diagonal.size, diagonal.size - 1):
        raise HowsparseError(f"{off_diagonal.size} betas for {diagonal.size} alphas; as many or one less are needed")
    if not (np.isfinite(diagonal).all() and np.isfinite(off_diagonal).all()):
        raise HowsparseError("alpha or beta holds NaN or infinity; was the operator finite?")
    return diagonal, off_diagonal
