"""Share a total out in proportion to sizes, exact to the weight."""

from collections.abc import Mapping

import torch
from torch import Tensor

from howsparse.errors import HowsparseError


def proportional(sizes: Mapping[str, Tensor], total: int) -> dict[str, Tensor]:
    """Counts proportional to group sizes that add up to ``total`` exactly, by largest remainder.

    Ties between remainders go to earlier groups. With one group (global scope) it gets everything.

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
    numerators = flat * total  # int64: exact up to 9e18
    counts, remainders = numerators // max(have, 1), numerators % max(have, 1)
    order = remainders.argsort(descending=True, stable=True)
    counts[order[: total - int(counts.sum())]] += 1
    parts = counts.split([size.numel() for size in sizes.values()])
    return {group: part.reshape(size.shape) for (group, size), part in zip(sizes.items(), parts, strict=True)}
