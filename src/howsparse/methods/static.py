"""Static sparse training: choose which weights live before the first step, and never again."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from howsparse.masks import Masks
from howsparse.pruners.sparse_start import Distribution, sparse_start
from howsparse.pruners.stepwise import StepwiseMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.scores.magnitude import magnitude
from howsparse.scores.random_scores import random_scores
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class Static(StepwiseMethod):
    """Train a network whose masks are drawn at random before the first step, and stay.

    The baseline that every method of sparse training has to beat. By magnitude instead, the largest initial weights of
    each layer live.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(30, 10), nn.Linear(10, 2))
        >>> masks = Static(sparsity=0.8).attach(net).masks
        >>> masks.sparsity, int(masks["1.weight"].sum())  # of 20: small layers are denser
        (0.8, 15)
    """

    name: ClassVar[str] = "static"
    about: ClassVar[str] = "before training, draw sparse layers at random and keep them"
    source: ClassVar[str] = "arXiv 1911.11134 (baseline)"

    score: Literal["random", "magnitude"] = setting("random", "which weights live: random ones, or the largest")
    distribution: Distribution = setting("erk", "densities of layers: erk (small ones denser), uniform or global")

    def start(self, pruner: StepwisePruner) -> Masks:
        """Draw the masks."""
        weights = pruner.weights
        scores = magnitude(weights) if self.score == "magnitude" else random_scores(weights, pruner.generator)
        return sparse_start(pruner.masks, scores, sparsity=self.sparsity, distribution=self.distribution)
