"""Power sums of magnitudes: all that the PQ Index needs to know, mergeable across tensors and processes."""

import math
import warnings
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.measures import entries
from howsparse.measures.entries import Active, Weights

_NARROW = 0.05 - 1e-9  # below this gap the exponent pq/(q - p) magnifies rounding of the index
_TINY = 1e-64  # its square root adds at most 1e-32 an entry to a sum that is at least 1


def check_orders(p: float, q: float) -> None:
    """Raise unless 0 < p < q, both finite; warn when they are so close that the bound is ill-conditioned."""
    if not (math.isfinite(p) and math.isfinite(q) and 0 < p < q):
        raise HowsparseError(f"p={p}, q={q}: the PQ Index needs 0 < p < q, for example p=0.5, q=1 or p=1, q=2")
    if q - p < _NARROW:
        warnings.warn(
            f"p={p} and q={q} differ by less than 0.05: the bound's exponent is {p * q / (q - p):.3g} and "
            "magnifies every rounding error; take them further apart",
            stacklevel=3,
        )


def largest_index(count: Tensor, p: float, q: float) -> Tensor:
    """The PQ Index of one non-zero among `count` entries, 1 - count^(1/q - 1/p); NaN for none."""
    return torch.where(count > 0, -torch.expm1((1 / q - 1 / p) * torch.log(count.to(torch.float64))), math.nan)


@dataclass(frozen=True, eq=False)
class PowerSums:
    """Everything the PQ Index needs to know of some weights; parts merge without concatenating them.

    With s the largest magnitude, the fields are s, sum (|w|/s)^p, sum (|w|/s)^q and d, the number of active entries.
    All are tensors of one shape: 0-dim for a whole group, (rows,) for an index per row. Parts may be the tensors of a
    network or the shards of one tensor on several processes (reduce `scale` by maximum, call `rescaled`, add the rest).

    Attributes:
        scale: Largest magnitude, float64; 0 when nothing is active or all active entries are zero.
        sum_p: Sum of scaled magnitudes to the power p, float64.
        sum_q: Sum of scaled magnitudes to the power q, float64.
        count: Number of active entries d, int64.
        p: Smaller order.
        q: Larger order.

    Example:
        >>> import torch
        >>> halves = [power_sums(torch.tensor(v)) for v in ([0.0, 3.0], [-3.0, 0.0])]
        >>> halves[0].merge(halves[1]).pqi.item()  # two equal non-zeros of four: 1 - (2/4)^(1/p - 1/q)
        0.5
    """

    scale: Tensor
    sum_p: Tensor
    sum_q: Tensor
    count: Tensor
    p: float
    q: float

    def rescaled(self, scale: Tensor) -> "PowerSums":
        """The same sums relative to another, not smaller, `scale` of the same shape."""
        ratio = self.scale / torch.where(scale > 0, scale, 1.0)
        return PowerSums(
            scale, self.sum_p * ratio.pow(self.p), self.sum_q * ratio.pow(self.q), self.count, self.p, self.q
        )

    def merge(self, other: "PowerSums") -> "PowerSums":
        """The sums of both groups together, on the device of the first.

        Args:
            other: Sums of other weights with the same p and q, and of the same shape.

        Returns:
            Sums of the union.

        Raises:
            HowsparseError: p or q differ.
        """
        if (self.p, self.q) != (other.p, other.q):
            raise HowsparseError(
                f"sums for p={self.p}, q={self.q} cannot merge with sums for p={other.p}, q={other.q}; "
                "compute both with the same p and q"
            )
        device = self.scale.device
        scale = torch.maximum(self.scale, other.scale.to(device))
        a, b = self.rescaled(scale), other.rescaled(scale.to(other.scale.device))
        return PowerSums(
            scale,
            a.sum_p + b.sum_p.to(device),
            a.sum_q + b.sum_q.to(device),
            a.count + b.count.to(device),
            self.p,
            self.q,
        )

    @property
    def log_ratio(self) -> Tensor:
        """log(1 - I) before clamping, float64; NaN where the index is undefined."""
        ratio = torch.log(self.sum_p / self.count) / self.p - torch.log(self.sum_q / self.count) / self.q
        return torch.where(self.scale > 0, ratio, math.nan)

    @property
    def pqi(self) -> Tensor:
        """The PQ Index, float64, within [0, 1 - d^(1/q - 1/p)]; NaN where undefined."""
        index = 0.0 - torch.expm1(self.log_ratio)  # not -expm1, which makes -0.0 of a flat group
        return torch.minimum(index.clamp_min(0.0), largest_index(self.count, self.p, self.q))

    @property
    def effective_count(self) -> Tensor:
        """Effective number of weights r_0, float64, within [1, d]; NaN where undefined."""
        exponent = self.p * self.q / (self.q - self.p)
        return torch.minimum((self.count * torch.exp(exponent * self.log_ratio)).clamp_min(1.0), self.count)


def power_sums(
    x: Weights, mask: Active = None, *, p: float = 0.5, q: float = 1.0, dim: int | tuple[int, ...] | None = None
) -> PowerSums:
    """Sums of p-th and q-th powers of the active magnitudes, in float64 and bounded memory.

    Args:
        x: Weights of any real floating-point type and shape, or a sequence of such tensors taken as one group.
        mask: Boolean, same shape, True = active; None for all. For a sequence: one mask or None per tensor.
        p: Smaller order, p > 0; the default pair (0.5, 1) is the one of arXiv 2302.05601.
        q: Larger order, q > p.
        dim: Dimension(s) to sum over; None sums over everything. Only for a single tensor.

    Returns:
        Sums of shape () for dim=None, else of the shape of the remaining dimensions.

    Raises:
        HowsparseError: Orders out of range, active NaN or Inf, or mask and weights that do not fit.

    Example:
        >>> import torch
        >>> sums = power_sums(torch.tensor([4.0, -1.0, 0.0]))
        >>> sums.scale.item(), sums.sum_p.item(), sums.sum_q.item(), sums.count.item()
        (4.0, 1.5, 1.25, 3)
    """
    check_orders(p, q)
    checked = entries.pairs(x, mask)
    if isinstance(x, Tensor):
        return _tensor_sums(*checked[0], dim, p, q)
    if dim is not None:
        raise HowsparseError(f"dim={dim} needs one tensor; a sequence of tensors is one group, for which dim is None")
    parts = (_tensor_sums(tensor, active, None, p, q) for tensor, active in checked)
    return reduce(PowerSums.merge, parts, _no_sums((), x, p, q))


def _tensor_sums(x: Tensor, mask: Tensor | None, dim: int | tuple[int, ...] | None, p: float, q: float) -> PowerSums:
    """Sums over the dimensions `dim` of one checked tensor."""
    rows, shape = entries.as_rows(x, dim)
    active = None if mask is None else entries.as_rows(mask, dim)[0]
    buffer = entries.float64_buffer(x)
    step = max(1, entries.CHUNK // max(1, rows.shape[1]))
    parts = [_no_sums((0,), x, p, q)]
    for start in range(0, rows.shape[0], step):
        some = slice(start, start + step)
        parts.append(_row_sums(rows[some], None if active is None else active[some], buffer, p, q))
    scale, sum_p, sum_q, count = (
        torch.cat(fields).reshape(shape)
        for fields in zip(*((s.scale, s.sum_p, s.sum_q, s.count) for s in parts), strict=True)
    )
    entries.require_finite(scale, x, mask)
    return PowerSums(scale, sum_p, sum_q, count, p, q)


def _row_sums(rows: Tensor, active: Tensor | None, buffer: Tensor, p: float, q: float) -> PowerSums:
    """Sums of each of a few rows (rows, n), whose first CHUNK columns fit the buffer."""
    sums = _no_sums((rows.shape[0],), rows, p, q)
    for start in range(0, rows.shape[1], entries.CHUNK):
        piece = rows[:, start : start + entries.CHUNK]
        live = None if active is None else active[:, start : start + entries.CHUNK]
        sums = sums.merge(_block_sums(piece, live, buffer, p, q))
    return sums


def _block_sums(piece: Tensor, active: Tensor | None, buffer: Tensor, p: float, q: float) -> PowerSums:
    """Sums of each row of a piece (rows, n) that fits the buffer; inactive entries become zeros, which add nothing."""
    block = entries.load(piece, buffer)
    count = piece.new_full(piece.shape[:1], piece.shape[1], dtype=torch.int64)
    if active is not None:
        count = entries.silence(block, active)
    scale = block.amax(-1)
    block.div_(torch.where(scale > 0, scale, 1.0).unsqueeze(-1))
    sum_q = (block if q == 1 else block.pow(q)).sum(-1)
    return PowerSums(scale, _raise(block, p).sum(-1), sum_q, count, p, q)


def _raise(block: Tensor, power: float) -> Tensor:
    """The block raised to a power in place."""
    if power == 1:
        return block
    if power == 0.5:
        # Square roots of zeros take twice as long as others on some processors, those of tiny numbers do not.
        return block.clamp_min_(_TINY).sqrt_()
    return block.pow_(power)


def _no_sums(shape: tuple[int, ...], like: Weights, p: float, q: float) -> PowerSums:
    """Sums of nothing, on the device of the first tensor of `like`."""
    first = like if isinstance(like, Tensor) else next(iter(like), torch.empty(0))
    zero = first.new_zeros(shape, dtype=torch.float64)
    return PowerSums(zero, zero, zero, zero.to(torch.int64), p, q)
