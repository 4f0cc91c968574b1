"""Smart-Ratio and hybrid tickets: layer densities that fall with depth (Su et al., NeurIPS 2020)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from howsparse.allocation.smart_ratio import Family, Variant, smart_ratio
from howsparse.masks import Masks, remove_smallest
from howsparse.pruners.removal import still_to_remove
from howsparse.pruners.sparse_start import still_to_give
from howsparse.pruners.stepwise import StepwiseMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.schedules import removed_at
from howsparse.scores.magnitude import magnitude
from howsparse.scores.random_scores import random_scores
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class SmartRatio(StepwiseMethod):
    """Draw a ticket at random, layer by layer, in densities that depend on depth alone; then train.

    The hybrid ticket keeps the largest weights of each layer instead, as they are when the run begins. See
    `howsparse.allocation.smart_ratio` for the densities.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8, 2))
        >>> round(SmartRatio(sparsity=0.9).attach(net).sparsity, 2)
        0.9
    """

    name: ClassVar[str] = "smart-ratio"
    about: ClassVar[str] = "before training, a random (or hybrid) ticket with densities that fall with depth"
    source: ClassVar[str] = "arXiv 2009.11094"

    ticket: Literal["random", "hybrid"] = setting("random", "weights kept in a layer: random ones, or the largest")
    family: Family = setting("residual", "kind of network: residual, or plain as VGG")
    variant: Variant = setting("quadratic", "how density falls with depth; quadratic is the paper's")
    linear_density: float = setting(0.3, "fraction that linear layers keep", at_least=0, at_most=1)

    def start(self, pruner: StepwisePruner) -> Masks:
        """The ticket."""
        masks = pruner.masks
        if still_to_remove(masks, self.sparsity) == 0:
            return masks
        shares = smart_ratio(
            {name: mask.shape for name, mask in masks.items()},
            removed_at(self.sparsity, masks.total),
            family=self.family,
            variant=self.variant,
            linear_density=self.linear_density,
        )
        weights = pruner.weights
        scores = magnitude(weights) if self.ticket == "hybrid" else random_scores(weights, pruner.generator)
        return remove_smallest(masks, scores, still_to_give(masks, shares), scope="layer")
