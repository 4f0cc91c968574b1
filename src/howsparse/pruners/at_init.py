"""Pruning once, before training: by any scores, over the whole network."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from howsparse.allocation.proportional import proportional
from howsparse.masks import Masks, group_sizes, remove_smallest
from howsparse.schedules import removed_at

if TYPE_CHECKING:
    from howsparse.pruners.stepwise_pruner import StepwisePruner


def to_remove(pruner: "StepwisePruner", sparsity: float) -> int:
    """How many of the weights that live now have to go for a sparsity."""
    masks = pruner.masks
    return max(removed_at(sparsity, masks.total) - (masks.total - masks.active), 0)


def keep_best(pruner: "StepwisePruner", scores: Mapping[str, Tensor], sparsity: float) -> Masks:
    """Masks of the highest scores of the whole network, with exactly ``sparsity`` of the weights gone."""
    counts = proportional(group_sizes(pruner.masks, "global"), to_remove(pruner, sparsity))
    return remove_smallest(pruner.masks, scores, counts, scope="global")
