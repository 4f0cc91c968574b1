"""Deflation: the largest eigenvalues taken out exactly, so that quadrature has only the bulk left to resolve.

In trained networks a few outliers, about as many as classes, dominate the range of the spectrum (Sagun et al., arXiv
1706.04454), and the steps a rule needs grow with the square root of that range.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from howsparse.curvature.lanczos import Lanczos, row_dots
from howsparse.curvature.operators import Operator
from howsparse.curvature.probes import rademacher
from howsparse.curvature.quadrature import Floats
from howsparse.errors import HowsparseError

_STREAM = 1 << 31  # number of the starting vector, beyond those of any probes


class Squared(Operator):
    """A^2: two products with A for one.

    Its spectrum is not negative, so rules for functions of |A| = (A^2)^(1/2) can be certified whatever the signs in A.

    Args:
        operator: A.

    Example:
        >>> from howsparse.curvature.operators import Dense
        >>> Squared(Dense(torch.diag(torch.tensor([1.0, -3.0])))) @ torch.ones(2)
        tensor([1., 9.])
    """

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.size, self.dtype, self.device = operator.size, operator.dtype, operator.device

    def products(self, vectors: Tensor) -> Tensor:
        """A (A v) for every row."""
        return self.operator @ (self.operator @ vectors)


class Projected(Operator):
    """P A, with P the projection off orthonormal vectors; on vectors that are orthogonal to them it is P A P.

    Args:
        operator: A.
        away: (q, D) orthonormal rows.

    Example:
        >>> from howsparse.curvature.operators import Dense
        >>> Projected(Dense(torch.ones(2, 2)), torch.tensor([[1.0, 0.0]])) @ torch.tensor([0.0, 1.0])
        tensor([0., 1.])
    """

    def __init__(self, operator: Operator, away: Tensor) -> None:
        self.operator, self.away = operator, away
        self.size, self.dtype, self.device = operator.size, operator.dtype, operator.device

    def products(self, vectors: Tensor) -> Tensor:
        """P (A v) for every row."""
        return project(self.operator @ vectors, self.away)


def project(vectors: Tensor, away: Tensor) -> Tensor:
    """The rows of ``vectors`` (p, D) less their parts along the orthonormal rows of ``away`` (q, D).

    Example:
        >>> project(torch.ones(1, 2), torch.tensor([[1.0, 0.0]]))
        tensor([[0., 1.]])
    """
    return vectors - (vectors @ away.T) @ away


@dataclass(frozen=True)
class Deflation:
    """Eigenpairs taken out, and where a function must be evaluated for both sides of a bracket.

    Let B be the operator that quadrature runs on (A, or A^2 where signs are mixed), y_i the vectors, t_i = y_i' B y_i,
    and r_i the length of B y_i - t_i y_i. For convex f the trace can only fall when B is replaced by its blocks on the
    y_i and on the rest, so f(t_i) belongs to the lower side. For any s_i > 0, B is at least (in the order of positive
    semidefinite matrices) t_i - s_i - ||r|| on the y_i and the rest less sum r_i^2 / s_i; with s_i = sqrt(t_i r_i) both
    losses are far below the residuals. A completely monotone f is log-convex, so lowering the rest by ``slack``
    multiplies its trace by f(0) / f(slack) at most. Where residuals are too large for that, as in float32 for A^2,
    Cauchy's interlacing still says that each vector taken out adds f(0) at most.

    Attributes:
        vectors: (q, D) orthonormal rows.
        values: (q,) y' A y, with signs, largest magnitude first.
        low: (q,) where f is evaluated for the lower side; |values| up to the residual for A^2.
        high: (q,) where it is evaluated for the upper side.
        slack: how much the rest may be lowered; zero when the pairs are exact.
    """

    vectors: Tensor
    values: Floats
    low: Floats
    high: Floats
    slack: float

    @property
    def count(self) -> int:
        """How many there are, q."""
        return self.values.size

    def state_dict(self) -> dict[str, Any]:
        """Tensors and a number, exact."""
        arrays = {name: torch.tensor(getattr(self, name)) for name in ("values", "low", "high")}
        return {"vectors": self.vectors, "slack": self.slack} | arrays

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any], operator: Operator) -> "Deflation":
        """What `state_dict` held, on the operator's device."""
        arrays = {name: state[name].numpy().copy() for name in ("values", "low", "high")}
        return cls(vectors=state["vectors"].to(operator.device), slack=float(state["slack"]), **arrays)


def no_deflation(operator: Operator) -> Deflation:
    """A deflation of no eigenpairs."""
    nothing = np.zeros(0)
    return Deflation(torch.zeros(0, operator.size, dtype=operator.dtype), nothing, nothing, nothing, 0.0)


def deflation_steps(size: int, count: int) -> int:
    """Most Lanczos steps spent on ``count`` eigenpairs: 20 + 4 q, at most D."""
    return min(size, 20 + 4 * count)


def top_eigenpairs(
    operator: Operator,
    count: int,
    *,
    squared: bool = False,
    seed: int = 0,
    memory: int | None = None,
    watch: Callable[[Lanczos], None] | None = None,
    state: Mapping[str, Any] | None = None,
) -> Deflation:
    """The eigenpairs of largest magnitude that Lanczos with full reorthogonalisation converges.

    One starting vector of random signs; it stops as soon as the ``count`` Ritz values of largest magnitude have
    residuals |beta_M s_Mj| of at most 1e-9 or 50 eps times their magnitude, or after `deflation_steps` steps. Pairs
    that have not converged by then are left out, so fewer may come back; of a multiple eigenvalue one copy is found.
    Then residuals are computed anew, with one product (two for ``squared``) a vector.

    Args:
        operator: symmetric.
        count: q >= 1 pairs asked for.
        squared: whether ``low``, ``high`` and ``slack`` are for rules on A^2; they stay in units of A.
        seed: of the starting vector.
        memory: most bytes for the vectors; None for no limit.
        watch: called after each Lanczos step.
        state: of the Lanczos run to go on from.

    Returns:
        A `Deflation` of at most ``count`` pairs.

    Raises:
        HowsparseError: more pairs asked for than the operator can spare, or too little memory.

    Example:
        >>> from howsparse.curvature.operators import Dense
        >>> found = top_eigenpairs(Dense(torch.diag(torch.tensor([5.0, -9.0, 1.0, 1.0], dtype=torch.float64))), 2)
        >>> found.values.round(9).tolist()
        [-9.0, 5.0]
    """
    if not 1 <= count < operator.size:
        raise HowsparseError(
            f"{count} eigenpairs of an operator of size {operator.size}: from 1 to {operator.size - 1}"
        )
    most = deflation_steps(operator.size, count)
    start = rademacher(1, operator.size, seed=seed, first=_STREAM, dtype=operator.dtype)
    lanczos = Lanczos(operator, start, reorthogonalise="full", memory=memory, steps=most)
    if state is not None:
        lanczos.load_state_dict(state)
    while lanczos.steps < most and not bool(lanczos.finished.all()) and len(_converged(lanczos, count)) < count:
        lanczos.step()
        if watch is not None:
            watch(lanczos)
    chosen = _converged(lanczos, count)
    return _measured(operator, _ritz_vectors(lanczos, chosen), squared) if chosen else no_deflation(operator)


def _ritz(lanczos: Lanczos) -> tuple[Floats, Floats, float]:
    """Ritz values, their vectors in the basis (as columns), and the norm after the last step."""
    from scipy.linalg import eigh_tridiagonal

    alpha, beta = (values.numpy() for values in lanczos.coefficients(0))
    values, vectors = eigh_tridiagonal(alpha, beta[:-1])
    return values, vectors, float(beta[-1])


def _converged(lanczos: Lanczos, count: int) -> list[int]:
    """Which of the ``count`` Ritz values of largest magnitude have converged, largest first."""
    if lanczos.steps == 0:
        return []
    values, vectors, remainder = _ritz(lanczos)
    sizes = np.abs(values)
    eps = torch.finfo(lanczos.dtype).eps
    good = (remainder * np.abs(vectors[-1]) <= max(1e-9, 50 * eps) * sizes) & (sizes > 50 * eps * sizes.max())
    return [int(index) for index in np.argsort(-sizes, kind="stable")[:count] if good[index]]


def _ritz_vectors(lanczos: Lanczos, chosen: list[int]) -> Tensor:
    """The chosen Ritz vectors, (q, D), orthonormal."""
    mixing = torch.from_numpy(_ritz(lanczos)[1][:, chosen].T.copy())
    total = torch.zeros(len(chosen), lanczos.basis[0].shape[1], dtype=lanczos.dtype, device=lanczos.basis[0].device)
    for step, vector in enumerate(lanczos.basis[: mixing.shape[1]]):
        total.addcmul_(mixing[:, step : step + 1].to(total), vector)
    orthonormal: Tensor = torch.linalg.qr(total.T)[0].T.contiguous()
    return orthonormal


def _measured(operator: Operator, vectors: Tensor, squared: bool) -> Deflation:
    """Rayleigh quotients and residuals of orthonormal vectors, from products made for the purpose."""
    products = operator @ vectors
    values = row_dots(products, vectors)
    if squared:
        products = operator @ products
    quotients = row_dots(products, vectors)
    residuals = products - quotients.to(vectors).unsqueeze(1) * vectors
    sizes, lengths = quotients.abs().numpy(), row_dots(residuals, residuals).sqrt().numpy()
    lowered = np.maximum(sizes - np.sqrt(sizes * lengths) - np.linalg.norm(lengths), 0)
    slack = float((lengths**1.5 / np.sqrt(sizes)).sum())
    if squared:
        return Deflation(vectors, values.numpy(), np.sqrt(sizes), np.sqrt(lowered), slack**0.5)
    return Deflation(vectors, values.numpy(), values.numpy(), lowered, slack)
