"""Lanczos tridiagonalisation of a symmetric operator, several starting vectors in lockstep.

Lanczos, "An iteration method for the solution of the eigenvalue problem", 1950; the order of operations is the stable
one of Paige, "Computational variants of the Lanczos method", 1972.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from howsparse.curvature.operators import Operator
from howsparse.errors import HowsparseError

Reorthogonalise = Literal["none", "full"]

_COLUMNS = 1 << 16  # entries taken to float64 at a time: dot products need no float64 copy of whole vectors
_ROUNDING = 32  # sqrt(D) stops counting here: noise in a product does not grow on, small but real norms would be lost


class Lanczos:
    """Lanczos in lockstep over p starting vectors: A Q_M = Q_M T_M + beta_M q_{M+1} e_M' for each of them.

    T_M is tridiagonal with diagonal alpha and off-diagonal beta. One product with all unfinished vectors a step. Dot
    products and coefficients are float64 whatever the type of the vectors. A vector whose norm after a step is rounding
    only (at most eps * sqrt(D) times the largest product so far; D counts up to 1024) has found an invariant subspace:
    it is finished, its quadrature rule is exact and no random vector takes its place, while the others go on.

    Without reorthogonalisation the vectors lose orthogonality once an extreme eigenvalue has converged, and copies of
    it appear; rules stay good, eigenvectors do not. ``full`` keeps all vectors and orthogonalises twice.

    Args:
        operator: symmetric, float32 or float64.
        starts: (p, D) starting vectors, none zero; they are normalised exactly.
        reorthogonalise: ``none`` (three vectors a start are held) or ``full`` (M + 2 after M steps).
        memory: most bytes the vectors may take; None for no limit. See `lanczos_memory`.
        steps: how many steps that memory must last for; refused at once if it does not.

    Raises:
        HowsparseError: starts that do not fit, are zero or not finite, or too little memory.

    Example:
        >>> from howsparse.curvature.operators import Dense
        >>> lanczos = Lanczos(Dense(torch.tensor([[2.0, 1.0], [1.0, 2.0]])), torch.tensor([[1.0, 0.0]]))
        >>> lanczos.step(), lanczos.step()  # goes on?
        (True, False)
        >>> lanczos.alpha.tolist(), lanczos.beta[:, 0].tolist()
        ([[2.0, 2.0]], [1.0])
    """

    def __init__(
        self,
        operator: Operator,
        starts: Tensor,
        *,
        reorthogonalise: Reorthogonalise = "none",
        memory: int | None = None,
        steps: int = 1,
    ) -> None:
        _check(operator, starts, reorthogonalise)
        self._operator = operator
        self._full = reorthogonalise == "full"
        self._limit = memory
        self._starts = starts.shape[0]
        self._alpha: list[Tensor] = []  # (p,) a step, zero for finished vectors
        self._beta: list[Tensor] = []
        self._lengths = torch.zeros(self._starts, dtype=torch.int64)
        self._scale = torch.zeros(self._starts, dtype=torch.float64)  # largest product so far
        self._active = torch.arange(self._starts)
        self._check_memory(steps)
        self._current = _normalised(starts.to(operator.device, operator.dtype))
        self._previous = torch.zeros_like(self._current)
        self._basis = [self._current] if self._full else []

    @property
    def steps(self) -> int:
        """Steps taken by the vectors that went furthest."""
        return len(self._alpha)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the vectors."""
        return self._operator.dtype

    @property
    def alpha(self) -> Tensor:
        """(p, M) float64: diagonals; zero behind a vector's last step."""
        return _columns(self._alpha, self._starts)

    @property
    def beta(self) -> Tensor:
        """(p, M) float64: norms after each step; zero behind a vector's last step."""
        return _columns(self._beta, self._starts)

    @property
    def lengths(self) -> Tensor:
        """(p,) int64: steps each vector took."""
        return self._lengths.clone()

    @property
    def finished(self) -> Tensor:
        """(p,) bool: vectors that have found an invariant subspace."""
        found = torch.ones(self._starts, dtype=torch.bool)
        found[self._active] = False
        return found

    @property
    def basis(self) -> list[Tensor]:
        """With ``full``: the orthonormal vectors, one tensor (vectors in the last step, D) a step; else empty."""
        return list(self._basis)

    @property
    def memory(self) -> int:
        """Bytes of the vectors at the peak of the last step, the operator's own needs apart."""
        return self._bytes(max(self.steps, 1))

    def coefficients(self, index: int) -> tuple[Tensor, Tensor]:
        """Diagonal and norms of one vector, without padding.

        Args:
            index: which starting vector, 0 <= index < p.

        Returns:
            Two (m,) float64 tensors, m the steps it took.
        """
        length = int(self._lengths[index])
        return self.alpha[index, :length], self.beta[index, :length]

    @torch.no_grad()
    def step(self) -> bool:
        """Take one step with every unfinished vector.

        Returns:
            Whether any vector is still unfinished; once none is, further calls do nothing.

        Raises:
            HowsparseError: a product that is not finite, or more memory needed than allowed.
        """
        if not self._active.numel():
            return False
        self._check_memory(self.steps + 1)
        current, before = self._current, self._before()
        product = self._operator @ current
        if product.data_ptr() == current.data_ptr():  # an operator that hands its argument back
            product = product.clone()
        _subtract(product, before, self._previous)
        alpha = row_dots(product, current)
        _subtract(product, alpha, current)
        for _ in range(2 if self._full else 0):
            for vectors in self._basis:
                _subtract(product, row_dots(product, vectors), vectors)
        beta = row_dots(product, product).sqrt()
        self._record(alpha, beta, before)
        self._advance(product, beta)
        return bool(self._active.numel())

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on to the same bits; with ``full`` it holds all vectors.

        Tensors are not copied, and no later step changes them.
        """
        state = {
            "alpha": self.alpha,
            "beta": self.beta,
            "lengths": self.lengths,
            "scale": self._scale.clone(),
            "active": self._active,
            "current": self._current,
            "previous": self._previous,
        }
        return state | ({"basis": self.basis} if self._full else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Args:
            state: what `state_dict` returned for the same operator, number of vectors and reorthogonalisation.

        Raises:
            HowsparseError: a state of another problem.
        """
        size = state["current"].shape[1]
        if state["alpha"].shape[0] != self._starts or size != self._operator.size or ("basis" in state) != self._full:
            raise HowsparseError(
                f"the saved Lanczos state has {state['alpha'].shape[0]} vectors of {size} entries and "
                f"{'full' if 'basis' in state else 'no'} reorthogonalisation; this run has {self._starts} of "
                f"{self._operator.size} and {'full' if self._full else 'none'}"
            )
        self._alpha, self._beta = list(state["alpha"].unbind(1)), list(state["beta"].unbind(1))
        self._lengths, self._scale = state["lengths"].clone(), state["scale"].clone()
        self._active = state["active"]
        place = {"device": self._operator.device, "dtype": self._operator.dtype}
        self._current, self._previous = state["current"].to(**place), state["previous"].to(**place)
        self._basis = [vectors.to(**place) for vectors in state.get("basis", [])]

    def _before(self) -> Tensor:
        """Norms after the previous step of the unfinished vectors."""
        return self._beta[-1][self._active] if self._beta else torch.zeros(self._starts, dtype=torch.float64)

    def _record(self, alpha: Tensor, beta: Tensor, before: Tensor) -> None:
        """Store the coefficients of a step."""
        bad = ~(alpha.isfinite() & beta.isfinite())
        if bool(bad.any()):
            raise HowsparseError(
                f"Lanczos step {self.steps + 1}: the product with vector {int(self._active[bad][0])} holds NaN or "
                "infinity; check the weights and data for NaN, or use a wider type than "
                f"{self._operator.dtype}"
            )
        for values, column in ((alpha, self._alpha), (beta, self._beta)):
            column.append(torch.zeros(self._starts, dtype=torch.float64).index_copy_(0, self._active, values))
        self._lengths[self._active] += 1
        product = (before**2 + alpha**2 + beta**2).sqrt()
        self._scale[self._active] = torch.maximum(self._scale[self._active], product)

    def _advance(self, product: Tensor, beta: Tensor) -> None:
        """Make the remainders the next vectors and drop those that are rounding only."""
        eps = torch.finfo(self._operator.dtype).eps
        goes_on = beta > eps * min(self._operator.size**0.5, _ROUNDING) * self._scale[self._active]
        kept = goes_on.nonzero().squeeze(1)
        self._previous = self._current
        if kept.numel() < goes_on.numel():
            self._active = self._active[kept]
            rows = kept.to(product.device)
            product, self._previous = product[rows], self._previous[rows]
            if kept.numel():
                self._basis = [vectors[rows] for vectors in self._basis]
        self._current = product.div_(_column(beta[kept], product))
        if self._full and kept.numel():
            self._basis.append(self._current)

    def _bytes(self, steps: int, full: bool | None = None) -> int:
        held = _vectors_held(steps, self._full if full is None else full)
        return held * self._starts * self._operator.size * self._operator.dtype.itemsize

    def _check_memory(self, steps: int) -> None:
        if self._limit is None or self._bytes(steps) <= self._limit:
            return
        without = f"; without reorthogonalisation {self._bytes(1, full=False):,} would do" if self._full else ""
        raise HowsparseError(
            f"{steps} Lanczos steps with {self._starts} vectors of {self._operator.size:,} entries need at least "
            f"{self._bytes(steps):,} bytes and the budget is {self._limit:,}{without}"
        )


def lanczos_memory(
    size: int, starts: int, steps: int, *, dtype: torch.dtype = torch.float32, reorthogonalise: Reorthogonalise = "none"
) -> int:
    """Bytes that the vectors of a Lanczos run take: 3 p D numbers, or (M + 2) p D with full reorthogonalisation.

    Args:
        size: D, entries of a vector.
        starts: p, vectors in lockstep.
        steps: M >= 1.
        dtype: type of the vectors.
        reorthogonalise: ``none`` or ``full``.

    Returns:
        Bytes, without what the operator needs for its products.

    Example:
        >>> lanczos_memory(46_778_400, 1, 96, reorthogonalise="full") // 10**9  # AlexNet, float32
        18
    """
    return _vectors_held(steps, reorthogonalise == "full") * starts * size * dtype.itemsize


def row_dots(a: Tensor, b: Tensor) -> Tensor:
    """Dot products of matching rows, summed in float64 without a float64 copy of the whole.

    Args:
        a: (p, D).
        b: (p, D).

    Returns:
        (p,) float64 on the CPU.

    Example:
        >>> row_dots(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([11.], dtype=torch.float64)
    """
    total = torch.zeros(a.shape[0], dtype=torch.float64, device=a.device)
    for start in range(0, a.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        total += (a[:, columns].double() * b[:, columns].double()).sum(dim=1)
    return total.cpu()


def _vectors_held(steps: int, full: bool) -> int:
    """Per start: the previous one, the current one and the product; or all of them, the product and one spare."""
    return max(steps + 2, 3) if full else 3


def _subtract(a: Tensor, factors: Tensor, b: Tensor) -> None:
    """Take factors[i] * b[i] from each row of a, in place."""
    a.addcmul_(b, _column(factors, a), value=-1)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.device, like.dtype).unsqueeze(1)


def _normalised(starts: Tensor) -> Tensor:
    """Rows of unit length: divided by their exact norm, with no guard added to it."""
    norms = row_dots(starts, starts).sqrt()
    bad = ~((norms > 0) & norms.isfinite())
    if bool(bad.any()):
        index = int(bad.nonzero()[0])
        raise HowsparseError(f"starting vector {index} has norm {norms[index]:g}; it must be finite and not zero")
    return starts / _column(norms, starts)


def _columns(steps: list[Tensor], starts: int) -> Tensor:
    return torch.stack(steps, dim=1) if steps else torch.zeros(starts, 0, dtype=torch.float64)


def _check(operator: Operator, starts: Tensor, reorthogonalise: str) -> None:
    if operator.dtype not in (torch.float32, torch.float64):
        raise HowsparseError(f"the operator has type {operator.dtype}; spectra need float32 or float64")
    if starts.ndim != 2 or starts.shape[0] == 0 or starts.shape[1] != operator.size:
        raise HowsparseError(
            f"starting vectors of shape {tuple(starts.shape)} for an operator of size {operator.size}; "
            f"(p, {operator.size}) with p >= 1 is needed"
        )
    if reorthogonalise not in get_args(Reorthogonalise):
        raise HowsparseError(f"reorthogonalise is none or full, not {reorthogonalise!r}")
