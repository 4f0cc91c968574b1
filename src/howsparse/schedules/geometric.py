"""Geometric growth: each cycle removes the same share of what is left."""

import math

from howsparse.errors import HowsparseError


def cycles_to_reach(sparsity: float, fraction: float) -> int:
    """How many cycles of removing ``fraction`` of the remaining weights reach a sparsity.

    ``ceil(log(1 - sparsity) / log(1 - fraction))``.

    Args:
        sparsity: target in [0, 1).
        fraction: share removed per cycle, in (0, 1).

    Returns:
        The number of cycles.

    Example:
        >>> cycles_to_reach(0.99, 0.2), cycles_to_reach(0.75, 0.5)
        (21, 2)
    """
    return math.ceil(math.log(1 - sparsity) / math.log(1 - fraction) - 1e-9)


def removed_at(sparsity: float, total: int) -> int:
    """The number of weights removed at a sparsity: ``sparsity * total`` to the nearest weight, halves up.

    Args:
        sparsity: fraction in [0, 1).
        total: number of prunable weights.

    Returns:
        The count.

    Raises:
        HowsparseError: nothing would be left.

    Example:
        >>> removed_at(0.29, 100)
        29
    """
    removed = int(sparsity * total + 0.5)
    if removed >= total:
        raise HowsparseError(
            f"sparsity {sparsity:g} of {total:,} weights leaves none; {(total - 1) / total:.6f} leaves one"
        )
    return removed
