"""Active magnitudes of weight tensors in float64, chunk by chunk, so that large tensors need little extra memory."""

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from howsparse.errors import HowsparseError

Weights: TypeAlias = Tensor | Sequence[Tensor]
Active: TypeAlias = Tensor | Sequence[Tensor | None] | None
Pair: TypeAlias = tuple[Tensor, Tensor | None]

CHUNK = 1 << 20  # entries held in float64 at a time (8 MiB): as fast as any size from 2^16 to 2^22


def pairs(x: Weights, mask: Active) -> list[Pair]:
    """The tensors with their masks, checked and detached."""
    if isinstance(x, Tensor):
        if mask is not None and not isinstance(mask, Tensor):
            raise HowsparseError(f"one tensor of weights needs one mask tensor or None, got a {type(mask).__name__}")
        return [checked(x, mask)]
    if isinstance(mask, Tensor):
        raise HowsparseError("several tensors of weights need a sequence of masks (None for all active), got one")
    masks: Sequence[Tensor | None] = [None] * len(x) if mask is None else mask
    if len(masks) != len(x):
        raise HowsparseError(f"{len(x)} tensors came with {len(masks)} masks; give one mask (or None) per tensor")
    return [checked(tensor, active) for tensor, active in zip(x, masks, strict=True)]


def checked(x: Tensor, mask: Tensor | None) -> Pair:
    """The pair without its graph, or an error when it is not dense floating point with a boolean mask of its shape."""
    if not x.is_floating_point():
        raise HowsparseError(
            f"weights of type {x.dtype} cannot be measured: the measures need real floating-point values; "
            "dequantise or convert them first, for example with x.float() or x.abs() for complex ones"
        )
    if x.layout != torch.strided:
        raise HowsparseError(f"weights in layout {x.layout} cannot be measured; pass x.to_dense()")
    if mask is None:
        return x.detach(), None
    if mask.dtype != torch.bool:
        raise HowsparseError(f"the mask is {mask.dtype}, it must be boolean (True = active); pass mask.bool()")
    if mask.shape != x.shape:
        raise HowsparseError(
            f"the mask has shape {tuple(mask.shape)}, the weights have {tuple(x.shape)}; they must agree"
        )
    return x.detach(), mask.to(x.device)


def flat_chunks(x: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
    """Pieces of the active entries, 1-D and in their own type.

    Yields:
        At most CHUNK entries at a time; no empty pieces.
    """
    values = x.reshape(-1)
    active = None if mask is None else mask.reshape(-1)
    for start in range(0, values.numel(), CHUNK):
        piece = values[start : start + CHUNK]
        if active is not None:
            piece = piece[active[start : start + CHUNK]]
        if piece.numel():
            yield piece


def magnitudes(x: Weights, mask: Active) -> Iterator[tuple[Tensor, Tensor]]:
    """Float64 chunks of active magnitudes.

    Yields:
        A 1-D chunk, which the next one overwrites, and its largest entry.
    """
    for tensor, active in pairs(x, mask):
        buffer = float64_buffer(tensor)
        for piece in flat_chunks(tensor, active):
            chunk = load(piece, buffer)
            largest = chunk.amax()
            require_finite(largest, tensor, active)
            yield chunk, largest


def float64_buffer(x: Tensor) -> Tensor:
    """Room for one chunk of `x`: reusing it saves the page faults of a fresh allocation per chunk."""
    return x.new_empty(min(CHUNK, x.numel()), dtype=torch.float64)


def load(piece: Tensor, buffer: Tensor) -> Tensor:
    """Magnitudes of `piece` in the buffer, in the shape of `piece`."""
    return buffer[: piece.numel()].view(piece.shape).copy_(piece).abs_()


def silence(block: Tensor, active: Tensor) -> Tensor:
    """Set the inactive entries of a float64 block (rows, n) to 0, whatever they hold; active ones in each row."""
    bits = active.to(torch.int64)
    count = bits.sum(-1)
    # And-ing bits costs a tenth of a masked fill, whose branches a random mask makes unpredictable, and unlike a
    # product it also removes NaN.
    block.view(torch.int64).bitwise_and_(bits.neg_())
    return count


def as_rows(x: Tensor, dim: int | tuple[int, ...] | None) -> tuple[Tensor, tuple[int, ...]]:
    """`x` as (rows, entries) with the dimensions `dim` (None: all) in the last one, and the shape of the rows."""
    if dim is None:
        return x.reshape(1, -1), ()
    dims = (dim,) if isinstance(dim, int) else dim
    reduced = [d % x.ndim for d in dims if -x.ndim <= d < x.ndim]
    if not reduced or len(set(reduced)) != len(dims):
        raise HowsparseError(f"dim={dim} does not name distinct dimensions of a tensor of shape {tuple(x.shape)}")
    kept = [d for d in range(x.ndim) if d not in reduced]
    shape = tuple(x.shape[d] for d in kept)
    entries = math.prod(x.shape[d] for d in reduced)
    return x.permute(*kept, *reduced).reshape(math.prod(shape), entries), shape


def require_finite(largest: Tensor, x: Tensor, mask: Tensor | None) -> None:
    """Raise when a largest magnitude tells of NaN or Inf among the active entries of `x`."""
    if bool(torch.isfinite(largest).all()):
        return
    bad = ~torch.isfinite(x.float() if x.element_size() == 1 else x)  # torch cannot test eight-bit floats
    if mask is not None:
        bad &= mask
    where = bad.nonzero()
    first = tuple(where[0].tolist())
    raise HowsparseError(
        f"{len(where)} of {x.numel()} weights (shape {tuple(x.shape)}) are NaN or Inf, the first at index {first} "
        f"({x[first].item()}); measures need finite active weights: mask those entries or repair the weights"
    )
