"""Gini index of weights: the classical measure of inequality, on magnitudes."""

import math

import torch
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.measures import entries
from howsparse.measures.entries import Active, Pair, Weights


def gini(x: Weights, mask: Active = None, *, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Gini index of the active magnitudes: 0 when all are equal, 1 - 1/N for a single non-zero among N.

    G = sum_i (2i - N - 1) x_(i) / (N sum_i x_(i)), with x_(1) <= ... <= x_(N) the sorted magnitudes (Hurley, Rickard,
    "Comparing Measures of Sparsity", arXiv 0811.4706). Active zeros count; masked entries do not, and may hold
    anything. No offset is added to the magnitudes, so the index does not depend on their scale. Sorting takes one copy
    of the active magnitudes in float32 (float64 for float64 weights); sums are float64.

    Args:
        x: Weights of any real floating-point type and shape, or a sequence of such tensors taken as one group.
        mask: Boolean, same shape, True = active; None for all. For a sequence: one mask or None per tensor.
        dim: Dimension(s) to reduce; None for one index of everything. Only for a single tensor.

    Returns:
        float64, 0-dim for dim=None, else of the remaining shape; NaN where undefined (nothing active, or all zero).

    Raises:
        HowsparseError: Active NaN or Inf, or mask and weights that do not fit.

    Example:
        >>> import torch
        >>> gini(torch.tensor([0.0, -3.0, 0.0, 0.0])).item()
        0.75
        >>> gini([torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]).item() * 9
        2.0
    """
    checked = entries.pairs(x, mask)
    if dim is None:
        return _of_group(checked)
    if not isinstance(x, Tensor):
        raise HowsparseError(f"dim={dim} needs one tensor; a sequence of tensors is one group, for which dim is None")
    return _of_rows(*checked[0], dim)


def _of_group(checked: list[Pair]) -> Tensor:
    """Gini index of all active entries together."""
    values = _sorted(_active_magnitudes(checked))
    n = values.numel()
    weighted = total = values.new_zeros((), dtype=torch.float64)
    scale = values[-1:].to(torch.float64)
    if n == 0 or scale.item() == 0:
        return total + math.nan
    for start in range(0, n, entries.CHUNK):
        piece = values[start : start + entries.CHUNK].to(torch.float64) / scale
        rank = torch.arange(start + 1, start + 1 + len(piece), dtype=torch.float64, device=piece.device)
        weighted = weighted + torch.dot(2 * rank - (n + 1), piece)
        total = total + piece.sum()
    return (weighted / (n * total)).clamp(0.0, 1 - 1 / n)


def _active_magnitudes(checked: list[Pair]) -> Tensor:
    """Active magnitudes of all tensors in one new 1-D tensor, in float32, or float64 when any of them is."""
    double = any(x.dtype == torch.float64 for x, _ in checked)
    n = sum(x.numel() if mask is None else int(mask.sum()) for x, mask in checked)
    device = checked[0][0].device if checked else None
    values = torch.empty(n, dtype=torch.float64 if double else torch.float32, device=device)
    filled = 0
    for x, mask in checked:
        for piece in entries.flat_chunks(x, mask):
            target = values[filled : filled + len(piece)].copy_(piece).abs_()
            entries.require_finite(target.amax(), x, mask)
            filled += len(piece)
    return values


def _sorted(values: Tensor) -> Tensor:
    """The values in ascending order; the argument may be sorted in place."""
    if values.device.type != "cpu":
        return values.sort().values
    values.numpy().sort()  # twenty times faster than torch on a CPU, and without an array of indices
    return values


def _of_rows(x: Tensor, mask: Tensor | None, dim: int | tuple[int, ...]) -> Tensor:
    """Gini index over the dimensions `dim`, one for each index of the others; rows are taken whole."""
    rows, shape = entries.as_rows(x, dim)
    active = None if mask is None else entries.as_rows(mask, dim)[0]
    step = max(1, entries.CHUNK // max(1, rows.shape[1]))
    parts = [rows.new_empty(0, dtype=torch.float64)]
    for start in range(0, rows.shape[0], step):
        block = rows[start : start + step].to(torch.float64).abs()
        count = block.new_full(block.shape[:1], block.shape[1])
        if active is not None:
            live = active[start : start + step]
            block, count = block.masked_fill_(~live, -1.0), live.sum(-1).to(torch.float64)
        if block.shape[1]:
            entries.require_finite(block.amax(-1), x, mask)
        parts.append(_of_sorted_rows(block.sort(-1).values, count.unsqueeze(-1)))
    return torch.cat(parts).reshape(shape)


def _of_sorted_rows(block: Tensor, count: Tensor) -> Tensor:
    """Gini index of each row of (rows, n), ascending, whose last `count` (rows, 1) entries are active."""
    if not block.shape[1]:
        return torch.full(block.shape[:1], math.nan, dtype=torch.float64, device=block.device)
    values = block.clamp_min(0.0) / block[:, -1:]
    rank = torch.arange(1, block.shape[1] + 1, dtype=torch.float64, device=block.device) - (block.shape[1] - count)
    index = ((2 * rank - count - 1) * values).sum(-1, keepdim=True) / (count * values.sum(-1, keepdim=True))
    index = torch.minimum(index.clamp_min(0.0), 1 - 1 / count)
    return torch.where(block[:, -1:] > 0, index, math.nan).squeeze(-1)
