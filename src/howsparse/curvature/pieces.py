"""Recorded computations over chunks of data, kept between products as far as memory allows."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from howsparse.curvature import chunks
from howsparse.curvature.memory import counted, free_memory
from howsparse.curvature.objective import Objective
from howsparse.errors import HowsparseError
from howsparse.task import Batch

Tensors = Sequence[Tensor]  # shaped as the parameters
_RTOL = 1e-4  # a chunk's loss in two passes: kernels may round in another order, noise is larger
_ON_TOP = 0.7  # of what a piece holds, measured: slopes on their way through it
_VECTORS_ON_TOP = 3  # and tensors of the parameters' size, measured
_SHARE = 0.5  # of the free memory, when no budget is given


class Piece(NamedTuple):
    """A chunk of data, recorded; sums over its samples."""

    product: Callable[[Tensors], Tensors]  # v -> Σ_i A_i v
    form: Callable[[Tensors], Tensor]  # v -> Σ_i vᵀ A_i v, shape ()
    losses: Tensor  # (B,)


class Need(NamedTuple):
    """Bytes that a piece takes."""

    fixed: float
    per_sample: float  # 0 when batches cannot be cut
    vectors: float  # while it is at work

    def held(self, samples: int) -> float:
        """Between products."""
        return self.fixed + self.per_sample * samples

    def at_work(self, samples: int) -> float:
        """While it is recorded or multiplied with."""
        return (1 + _ON_TOP) * self.held(samples) + self.vectors

    def fitting(self, budget: float) -> int:
        """The most samples that fit a budget at work."""
        most = ((budget - self.vectors) / (1 + _ON_TOP) - self.fixed) / max(self.per_sample, 1.0)
        return math.floor(most + 1e-9)  # what `at_work` said is enough is enough


class Pieces:
    """All pieces of an objective's data, one pass after the other.

    The budget decides the chunks (a whole batch where it fits) and how many pieces stay recorded from pass to pass.

    Args:
        objective: the data, and the losses by which chunks are checked.
        record: records a chunk.
        state: what the network holds anyway.
        memory: bytes; by default half of what is free when the first pass begins.

    Raises:
        HowsparseError: the budget is not positive.
    """

    def __init__(
        self,
        objective: Objective,
        record: Callable[[Batch], Piece],
        state: Sequence[Tensor],
        *,
        memory: int | None,
    ) -> None:
        if memory is not None and memory <= 0:
            raise HowsparseError(f"memory = {memory} is not allowed: it is a number of bytes above 0, or None")
        self._objective, self._record, self._state = objective, record, state
        self._memory = memory
        self._vectors = float(_VECTORS_ON_TOP * objective.size * objective.dtype.itemsize)
        self._budget = 0.0  # bytes, known when the first pass begins
        self._needs: dict[object, Need] = {}
        self._sizes: dict[object, int] = {}  # samples in a chunk
        self._kept: dict[tuple[int, int], Piece] = {}  # by number of batch and of chunk
        self._held: dict[tuple[int, int], float] = {}  # bytes of what is kept
        self._most = 0.0  # bytes that the largest chunk so far takes at work
        self._losses: dict[tuple[int, int], float] = {}
        self._all_kept = False

    def __iter__(self) -> Iterator[tuple[int, Piece]]:
        """One pass, in the data's order: every piece with the number of its batch among those of this process.

        Raises:
            HowsparseError: data or losses changed since an earlier pass, or the memory is too small.
        """
        if self._all_kept:
            yield from ((where[0], self._kept[where]) for where in sorted(self._kept))
            return
        if not self._budget:
            device = self._objective.device
            self._budget = _SHARE * free_memory(device) if self._memory is None else float(self._memory)
        for number, batch in enumerate(self._objective.batches()):
            for part, chunk in enumerate(chunks.cut(batch, self._size(batch))):
                yield number, self._kept.get((number, part)) or self._recorded(chunk, (number, part))
        self._all_kept = len(self._kept) == len(self._losses)

    def _recorded(self, chunk: Batch, where: tuple[int, int]) -> Piece:
        """Record a chunk; keep it if there is room for it and for the largest one at work."""
        need, samples = self._need(chunk), chunks.length(chunk)
        self._most = max(self._most, need.at_work(samples))
        while self._held and sum(self._held.values()) + self._most > self._budget:
            self._held.popitem()
            self._kept.popitem()
        piece = self._record(chunk)
        mean = float(piece.losses.double().mean())
        expected = self._losses.setdefault(where, mean)
        if abs(mean - expected) > _RTOL * (abs(expected) + _RTOL):
            raise HowsparseError(
                f"the mean loss of batch {where[0]} changed from {expected:.6g} to {mean:.6g} between two products, "
                "though inputs and weights did not: something random is at work in the network; "
                "objective.check_repeatable() names it"
            )
        if sum(self._held.values()) + need.held(samples) + self._most <= self._budget:
            self._kept[where], self._held[where] = piece, need.held(samples)
        return piece

    # --- how large a chunk may be ---------------------------------------------------------------------------------
    def _size(self, batch: Batch) -> int:
        """Samples in a chunk of a batch like this one.

        Raises:
            HowsparseError: the budget does not hold one sample, or holds no batch and the batch cannot be cut.
        """
        samples, kind = chunks.length(batch), (chunks.length(batch), chunks.signature(batch))
        if kind not in self._sizes:
            need = self._need(batch)
            if need.at_work(samples) <= self._budget:
                self._sizes[kind] = samples
            else:
                self._sizes[kind] = self._fitting(batch, need)
        return self._sizes[kind]

    def _fitting(self, batch: Batch, need: Need) -> int:
        samples, fitting = chunks.length(batch), need.fitting(self._budget)
        whole = not need.per_sample or (fitting >= 1 and not self._divisible(batch, fitting))
        if fitting >= 1 and not whole:
            return math.ceil(samples / math.ceil(samples / fitting))  # chunks of equal size
        what = f"a batch of {samples} samples, which forward does not take in parts" if whole else "one sample"
        raise HowsparseError(
            f"memory = {self._budget:,.0f} bytes is too small for {what}: it takes at least "
            f"{math.ceil(need.at_work(samples if whole else 1)):,} bytes" + (", or smaller batches" if whole else "")
        )

    def _need(self, batch: Batch) -> Need:
        """What pieces of such samples hold, from recording one and two of them."""
        kind = chunks.signature(batch)
        if kind not in self._needs:
            try:
                one, two = (self._bytes(chunks.first(batch, size)) for size in (1, 2))
            except HowsparseError:
                raise
            except Exception:  # noqa: BLE001 - whatever a network says that does not take batches in parts
                self._needs[kind] = Need(self._bytes(batch), 0.0, self._vectors)
            else:
                per_sample = max(two - one, 0.0) if chunks.length(batch) > 1 else one
                self._needs[kind] = Need(one - per_sample, per_sample, self._vectors)
        return self._needs[kind]

    def _bytes(self, chunk: Batch) -> float:
        with counted(self._state) as held:
            self._record(chunk)
        return float(held.bytes)

    @torch.no_grad()
    def _divisible(self, batch: Batch, size: int) -> bool:
        """Whether chunks give the samples the losses they have in the whole batch."""
        self._objective.check_noise(batch)
        whole = self._objective.losses(batch)
        parts = torch.cat([self._objective.losses(chunk) for chunk in chunks.cut(batch, size)])
        return parts.shape == whole.shape and torch.allclose(parts, whole, rtol=_RTOL, atol=_RTOL)


def graph_only(tensor: Tensor) -> Tensor:
    """The tensor with its graph but without its numbers, which a kept piece need not hold."""
    copy = tensor.clone()  # a view would hold on to what it is a view of
    copy.data = tensor.new_zeros(()).expand_as(tensor)
    return copy
