"""Down to a sparsity: how many weights still have to go, and the network without its lowest scores."""

from collections.abc import Mapping

from torch import Tensor

from howsparse.allocation.proportional import proportional
from howsparse.masks import Masks, Scope, group_sizes, remove_smallest
from howsparse.schedules import removed_at


def still_to_remove(masks: Masks, sparsity: float) -> int:
    """How many of the weights that live have to go for a sparsity; 0 where as many are gone already.

    Args:
        masks: the weights that live.
        sparsity: fraction of all weights that are to be gone, in [0, 1).

    Returns:
        The count.

    Raises:
        HowsparseError: nothing would be left.

    Example:
        >>> import torch
        >>> masks = Masks({"w": torch.tensor([0, 1, 1, 1])})
        >>> still_to_remove(masks, 0.75), still_to_remove(masks, 0.0)
        (2, 0)
    """
    return max(removed_at(sparsity, masks.total) - (masks.total - masks.active), 0)


def without_lowest(masks: Masks, scores: Mapping[str, Tensor], sparsity: float, *, scope: Scope = "global") -> Masks:
    """The masks without their lowest scores, with exactly a sparsity; groups of a scope give the same share.

    Args:
        masks: the weights that live.
        scores: importance of each weight, higher stays; ties go by position.
        sparsity: fraction of all weights that are gone afterwards, in [0, 1).
        scope: the pool in which weights compete.

    Returns:
        Masks nested in ``masks``; equal ones where as many are gone already.

    Raises:
        HowsparseError: nothing would be left, or scores that do not fit.

    Example:
        >>> import torch
        >>> masks = Masks({"w": torch.tensor([0, 1, 1, 1])})
        >>> without_lowest(masks, {"w": torch.tensor([9.0, 1.0, 3.0, 2.0])}, 0.5)["w"].tolist()
        [False, False, True, True]
    """
    counts = proportional(group_sizes(masks, scope), still_to_remove(masks, sparsity))
    return remove_smallest(masks, scores, counts, scope=scope)
