"""Share a total out in proportion to sizes, exact to the weight."""

from collections.abc import Mapping

import torch
from torch import Tensor

from howsparse.errors import HowsparseError


def proportional(sizes: Mapping[str, Tensor], total: int) -> dict[str, Tensor]:
    """Counts proportional to group sizes that add up to ``total`` exactly, by largest remainder.

    Ties between remainders go to earlier groups. A group keeps at least one weight as long as the others can give the
    rest. With one group (global scope) it gives everything.

    Args:
        sizes: living weights per group, as from `howsparse.masks.group_sizes`.
        total: weights to remove altogether, 0 <= total <= sum of sizes.

    Returns:
        Counts of the same form.

    Raises:
        HowsparseError: more is asked for than there is.

    Example:
        >>> counts = proportional({"a": torch.tensor(10), "b": torch.tensor(5)}, 8)
        >>> int(counts["a"]), int(counts["b"])
        (5, 3)
    """
    flat = torch.cat([size.reshape(-1) for size in sizes.values()])
    have = int(flat.sum())
    if not 0 <= total <= have:
        raise HowsparseError(f"cannot remove {total:,} weights: {have:,} are left")
    counts = _largest_remainder(flat, total)
    room = (flat - 1).clamp(min=0)
    if total <= int(room.sum()):
        # no group is emptied while others can still give: the excess goes to those with most room, one weight a turn
        excess = int((counts - room).clamp(min=0).sum())
        counts = torch.minimum(counts, room)
        while excess:
            takers = (room - counts).argsort(descending=True, stable=True)[: min(excess, int((counts < room).sum()))]
            counts[takers] += 1
            excess -= len(takers)
    parts = counts.split([size.numel() for size in sizes.values()])
    return {group: part.reshape(size.shape) for (group, size), part in zip(sizes.items(), parts, strict=True)}


def _largest_remainder(sizes: Tensor, total: int) -> Tensor:
    have = max(int(sizes.sum()), 1)
    numerators = sizes * total  # int64: exact up to 9e18
    counts, remainders = numerators // have, numerators % have
    order = remainders.argsort(descending=True, stable=True)
    counts[order[: total - int(counts.sum())]] += 1
    return counts
