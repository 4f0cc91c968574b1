"""Pruning at once, by any scores, over the whole network."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from howsparse.masks import Masks
from howsparse.pruners.removal import without_lowest

if TYPE_CHECKING:
    from howsparse.pruners.stepwise_pruner import StepwisePruner


def keep_best(pruner: "StepwisePruner", scores: Mapping[str, Tensor], sparsity: float) -> Masks:
    """Masks of the highest scores of the whole network, with exactly ``sparsity`` of the weights gone."""
    return without_lowest(pruner.masks, scores, sparsity)
