"""The same share of every group's living weights, as in iterative magnitude pruning."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from howsparse.errors import HowsparseError

CountRule = Literal["ceil", "quantile", "reference"]
COUNT_RULES: tuple[CountRule, ...] = ("ceil", "quantile", "reference")


def share_of(size: int, fraction: float, rule: CountRule = "ceil") -> int:
    """How many of ``size`` weights a share removes.

    ``ceil``: ``ceil(f d)``. ``quantile``: ``ceil(f (d - 1))``, which is what pruning strictly below the interpolated
    f-quantile removes (Diao et al., ICLR 2023). ``reference``: ``ceil(f d) + 1``, the count of the open_lth code.
    The first two leave at least one weight.

    Args:
        size: living weights of the group.
        fraction: share in [0, 1).
        rule: one of the three.

    Returns:
        The count.

    Raises:
        HowsparseError: an unknown rule, or a ``reference`` count that would empty the group.

    Example:
        >>> [share_of(1000, 0.2, rule) for rule in ("ceil", "quantile", "reference")]
        [200, 200, 201]
    """
    if rule not in COUNT_RULES:
        raise HowsparseError(f"count rule {rule!r} is unknown; it is one of {', '.join(COUNT_RULES)}")
    if size == 0:
        return 0
    base = size - 1 if rule == "quantile" else size
    count = math.ceil(fraction * base - 1e-12 * size)  # 0.2 * 15 must not become 4 by rounding
    if rule == "reference":
        if count + 1 >= size:
            raise HowsparseError(f"cannot remove {count + 1} of {size} weights; stop earlier or lower the fraction")
        return count + 1
    return min(count, size - 1)


def fraction_of_each(sizes: Mapping[str, Tensor], fraction: float, rule: CountRule = "ceil") -> dict[str, Tensor]:
    """`share_of` for every group.

    Args:
        sizes: living weights per group, as from `howsparse.masks.group_sizes`.
        fraction: share removed, in [0, 1).
        rule: see `share_of`.

    Returns:
        Counts of the same form.

    Example:
        >>> fraction_of_each({"w": torch.tensor([4, 10])}, 0.2)["w"].tolist()
        [1, 2]
    """
    counts = {}
    for group, size in sizes.items():
        distinct, where = size.reshape(-1).unique(return_inverse=True)
        answers = torch.tensor([share_of(int(d), fraction, rule) for d in distinct], dtype=torch.int64)
        counts[group] = answers[where].reshape(size.shape)
    return counts
