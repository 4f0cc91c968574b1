"""Norms of what magnitude pruning removes: the weights' part of every limit."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from howsparse.errors import HowsparseError

Weights: TypeAlias = Tensor | npt.NDArray[np.floating] | Sequence[Tensor] | Mapping[str, Tensor]
BLOCK = 1 << 16  # norms are stored once a block and summed inside: no second array of the network's size


@dataclass(frozen=True, eq=False)
class PrefixNorms:
    """R(m), the norm of the m smallest of N weights, for every m from 0 to N.

    R(m) = sqrt(a_1² + … + a_m²) with magnitudes a_1 <= … <= a_N; squares and sums are float64. R never falls with m, to
    the last bit. Memory: one sorted copy of the magnitudes in the weights' own precision (400 MB for 10⁸ float32).

    Attributes:
        magnitudes: sorted magnitudes (N,), float32 or float64, before the factor.
        blocks: sums of squares of the first 0, 65536, … of them, float64.
        factor: what all weights are multiplied by, see `scaled`.

    Example:
        >>> norms = prefix_norms(torch.tensor([4.0, -3.0, 0.0]))
        >>> norms.size, norms.norm(1), norms.norm(2), norms.total
        (3, 0.0, 3.0, 5.0)
        >>> norms.scaled(2.0).total
        10.0
    """

    magnitudes: npt.NDArray[np.floating]
    blocks: npt.NDArray[np.float64]
    factor: float = 1.0

    @property
    def size(self) -> int:
        """Number of weights, N."""
        return int(self.magnitudes.size)

    @property
    def total(self) -> float:
        """Norm of all weights, R(N)."""
        return self.norm(self.size)

    def norm(self, m: int) -> float:
        """R(m), the norm of the m smallest weights.

        Args:
            m: how many, 0 <= m <= N.

        Returns:
            The norm; 0 for m = 0.

        Raises:
            HowsparseError: m out of range.
        """
        self._check(m, least=0)
        block, rest = divmod(m, BLOCK)
        inside = _running_squares(self.magnitudes[block * BLOCK : m])[-1] if rest else 0.0
        return self.factor * math.sqrt(float(self.blocks[block] + inside))

    def magnitude(self, m: int) -> float:
        """a_m, the m-th smallest magnitude.

        Args:
            m: rank, 1 <= m <= N.

        Returns:
            The magnitude.

        Raises:
            HowsparseError: m out of range.
        """
        self._check(m, least=1)
        return self.factor * float(self.magnitudes[m - 1])

    def with_ties(self, m: int) -> int:
        """How many weights are not larger than the m-th smallest, 1 <= m <= N."""
        self._check(m, least=1)
        return int(np.searchsorted(self.magnitudes, self.magnitudes[m - 1], side="right"))

    def scaled(self, c: float) -> "PrefixNorms":
        """The norms of the same weights multiplied by c >= 0; nothing is copied.

        Args:
            c: the factor. c = 2 for weights asks the same of the curvature as ε/4.

        Returns:
            Norms that share the sorted magnitudes.

        Raises:
            HowsparseError: c negative or not finite.
        """
        if not (math.isfinite(c) and c >= 0):
            raise HowsparseError(f"c={c}: weights are scaled by a finite factor >= 0, such as 2")
        return replace(self, factor=self.factor * c)

    def _check(self, m: int, least: int) -> None:
        if not least <= m <= self.size:
            raise HowsparseError(f"m={m}: there are {self.size} weights, so m goes from {least} to {self.size}")


def prefix_norms(weights: Weights) -> PrefixNorms:
    """Sort weights by magnitude once, for `PrefixNorms`.

    Args:
        weights: floating-point tensors of any shape and device: one, a list, or a mapping by name; taken as one pool. A
            numpy array is one tensor. float16 and bfloat16 widen to float32; one float64 tensor makes all float64.

    Returns:
        The norms; they do not depend on how the weights are split into tensors, or on their order.

    Raises:
        HowsparseError: no weights, integers, NaN or infinity, or squares that overflow float64.

    Example:
        >>> prefix_norms({"a": torch.tensor([[3.0]]), "b": torch.tensor([4.0])}).total
        5.0
    """
    magnitudes = flat_weights(weights)
    np.abs(magnitudes, out=magnitudes)
    magnitudes.sort()
    if not np.isfinite(magnitudes[-1]):  # NaN sorts last
        raise HowsparseError(f"the largest weight is {magnitudes[-1]}; were the weights trained to a finite loss?")
    return PrefixNorms(magnitudes, _block_sums(magnitudes))


def flat_weights(weights: Weights) -> npt.NDArray[np.floating]:
    """A copy of all weights (N,), one tensor after the other, in float64 if any tensor is and float32 otherwise."""
    parts = [torch.from_numpy(w) if isinstance(w, np.ndarray) else w.detach() for w in _tensors(weights)]
    count = sum(part.numel() for part in parts)
    if count == 0:
        raise HowsparseError("there are no weights, so there is nothing to prune; give tensors with entries")
    for part in parts:
        if not part.is_floating_point():
            raise HowsparseError(f"weights of type {part.dtype} have no limit; floating point is needed")
    pool = torch.empty(count, dtype=torch.float64 if any(p.dtype == torch.float64 for p in parts) else torch.float32)
    for piece, part in zip(pool.split([p.numel() for p in parts]), parts, strict=True):
        piece.copy_(part.reshape(-1))
    flat: npt.NDArray[np.floating] = pool.numpy()
    return flat


def _tensors(weights: Weights) -> Iterable[Tensor | npt.NDArray[np.floating]]:
    """The tensors of any way to give weights."""
    if isinstance(weights, Tensor | np.ndarray):
        return [weights]
    return weights.values() if isinstance(weights, Mapping) else weights


def _running_squares(magnitudes: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Running sums of squares in float64, one after the other so that they never fall."""
    squares: npt.NDArray[np.float64] = np.square(magnitudes, dtype=np.float64).cumsum()
    return squares


def _block_sums(magnitudes: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Sums of squares of the first 0, BLOCK, 2 BLOCK, … magnitudes, and refuses an overflow."""
    largest = float(magnitudes[-1])
    if not math.isfinite(largest * largest * magnitudes.size):
        raise HowsparseError(f"the largest weight is {largest:.3g}: its square overflows; rescale the weights")
    sums = [0.0]
    for start in range(0, magnitudes.size - magnitudes.size % BLOCK, BLOCK):
        sums.append(sums[-1] + float(_running_squares(magnitudes[start : start + BLOCK])[-1]))
    return np.array(sums)


@dataclass(frozen=True)
class LayerFactors:
    """One layer's part in the two quantities that set the limit.

    Attributes:
        name: the tensor.
        size: its number of weights.
        sparsity: fraction of them removed.
        magnitude_share: its share of R², the squared norm of everything removed; 0 when R = 0.
        sharpness_share: its share of the trace of the curvature; None when no traces were given.
    """

    name: str
    size: int
    sparsity: float
    magnitude_share: float
    sharpness_share: float | None


def factors(
    weights: Mapping[str, Tensor], removed: int, *, traces: Mapping[str, float] | None = None
) -> list[LayerFactors]:
    """Which layers' magnitudes and whose sharpness drive the limit: R and Tr|H|, split by layer.

    R²_l / R² with R²_l the squared norm of what global magnitude pruning takes from layer l (equal magnitudes go in the
    order of the tensors), and |Tr H_l| / Σ|Tr H_l|. A layer with a large product of both is where weights cost most.

    Args:
        weights: prunable tensors by name.
        removed: how many weights go, 0 <= removed <= N, such as ``solution.removed``.
        traces: trace of each layer's diagonal block of the curvature, by the same names.

    Returns:
        One row per layer, in order.

    Raises:
        HowsparseError: ``removed`` out of range, names that differ, or see `prefix_norms`.

    Source: the two controlling quantities of Zhang et al., arXiv 2306.05857.

    Example:
        >>> rows = factors({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([2.0])}, 3, traces={"a": 1.0, "b": 3.0})
        >>> [(row.name, row.sparsity, round(row.magnitude_share, 3), row.sharpness_share) for row in rows]
        [('a', 1.0, 0.556, 0.25), ('b', 1.0, 0.444, 0.75)]
    """
    norms = prefix_norms(weights)
    if traces is not None and set(traces) != set(weights):
        raise HowsparseError(f"traces are for {sorted(traces)[:5]}, weights for {sorted(weights)[:5]}")
    edge = norms.magnitude(removed) if removed else -1.0  # also refuses a count out of range
    below = {name: _below(weight, edge) for name, weight in weights.items()}
    ties = removed - sum(count for count, _, _ in below.values())
    whole = sum(abs(trace) for trace in traces.values()) if traces else 0.0
    rows = []
    for name, (count, squared, tied) in below.items():
        gone = min(ties, tied)
        ties -= gone
        size, taken = weights[name].numel(), squared + gone * edge**2
        sharp = None if traces is None else abs(traces[name]) / whole if whole else 0.0
        rows.append(LayerFactors(name, size, (count + gone) / size if size else 0.0, taken, sharp))
    everything = sum(row.magnitude_share for row in rows) or 1.0
    return [replace(row, magnitude_share=row.magnitude_share / everything) for row in rows]


def _below(weight: Tensor, edge: float) -> tuple[int, float, int]:
    """How many magnitudes lie below the edge, the sum of their squares, and how many equal it."""
    magnitudes = weight.detach().abs()
    smaller = magnitudes[magnitudes < edge].double()
    return smaller.numel(), float(smaller.square().sum()), int((magnitudes == edge).sum())
