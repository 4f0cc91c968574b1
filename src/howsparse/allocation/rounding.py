"""Shares to whole weights: the sum is met exactly, by largest remainder, within bounds."""

import torch
from torch import Tensor

from howsparse.errors import HowsparseError


def largest_remainder(quotas: Tensor, total: int, *, low: Tensor, high: Tensor) -> Tensor:
    """Whole numbers near ``quotas`` that add up to ``total`` and stay between ``low`` and ``high``.

    Every quota is rounded down, into its bounds; what is missing goes one by one to the entries furthest below their
    quotas (or comes from those furthest above). Ties go to earlier entries. Without active bounds the answer is within
    one of every quota.

    Args:
        quotas: shares, float64, shape (n,); they add up to ``total`` but for rounding and bounds.
        total: the sum to meet.
        low: smallest allowed numbers, int64, shape (n,).
        high: largest allowed numbers, int64, shape (n,).

    Returns:
        int64, shape (n,).

    Raises:
        HowsparseError: the bounds do not admit the total.

    Example:
        >>> low, high = torch.zeros(3, dtype=torch.int64), torch.tensor([9, 9, 2])
        >>> largest_remainder(torch.tensor([1.5, 2.25, 4.25], dtype=torch.float64), 8, low=low, high=high).tolist()
        [3, 3, 2]
    """
    if not int(low.sum()) <= total <= int(high.sum()):
        raise HowsparseError(f"{total:,} is not between the bounds {int(low.sum()):,} and {int(high.sum()):,}")
    # the guard keeps a whole quota whole after rounding
    counts = torch.floor(quotas + 1e-9 * quotas.abs().clamp(min=1)).long().clamp(min=low, max=high)
    gap = total - int(counts.sum())
    step, bound = (1, high) if gap > 0 else (-1, low)
    for _ in range(abs(gap)):  # quotas that fit their bounds leave a gap of less than one per entry
        behind = (step * (quotas - counts)).masked_fill(counts == bound, -torch.inf)
        counts[behind.argmax()] += step
    return counts


def at_least_one(sizes: Tensor, total: int) -> Tensor:
    """Lower bounds of 1 for every entry that has something, where ``total`` is enough for that; 0 otherwise.

    Example:
        >>> at_least_one(torch.tensor([5, 0, 3]), 2).tolist(), at_least_one(torch.tensor([5, 0, 3]), 1).tolist()
        ([1, 0, 1], [0, 0, 0])
    """
    ones = sizes.clamp(max=1)
    return ones if int(ones.sum()) <= total else torch.zeros_like(sizes)
