"""SET: sparse evolutionary training (Mocanu et al., Nature Communications 2018, arXiv 1707.04780)."""

from dataclasses import dataclass
from typing import ClassVar

from howsparse.masks import Masks
from howsparse.pruners.drop_and_grow import drop_and_grow
from howsparse.pruners.sparse_start import Distribution, sparse_start
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.pruners.timed import PeriodicMethod
from howsparse.scores.random_scores import random_scores
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class SET(PeriodicMethod):
    """Train a random sparse network; now and then each layer drops its smallest weights and grows as many at random.

    The share that is exchanged stays the same. Every layer keeps the number of weights it began with. Of small weights
    the smallest in magnitude go; the paper's smallest positive and largest negative ones are much the same.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(10, 10)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruner = SET(sparsity=0.8, every=5).attach(net, optimizer, total_steps=20)
        >>> first = pruner.masks
        >>> for _ in range(20):
        ...     net(torch.ones(1, 10)).sum().backward()
        ...     optimizer.step()
        ...     pruner.step()
        >>> first.active, pruner.masks.active, pruner.masks == first
        (20, 20, False)
    """

    name: ClassVar[str] = "set"
    about: ClassVar[str] = "sparse from the start; drop the smallest weights, grow others at random"
    source: ClassVar[str] = "arXiv 1707.04780"

    distribution: Distribution = setting("erk", "densities of layers: erk (small ones denser), uniform or global")
    drop_rate: float = setting(0.3, "share of each layer's living weights exchanged at a change", at_least=0, at_most=1)

    def start(self, pruner: StepwisePruner) -> Masks:
        """A random sparse network."""
        scores = random_scores(pruner.weights, pruner.generator)
        return sparse_start(pruner.masks, scores, sparsity=self.sparsity, distribution=self.distribution)

    def event(self, pruner: StepwisePruner, total_steps: int) -> Masks:  # noqa: ARG002
        """Drop the smallest, grow at random."""
        weights = pruner.weights
        wanted = random_scores(weights, pruner.generator)
        return drop_and_grow(pruner.masks, weights, wanted, rate=self.drop_rate, allowed=pruner.allowed)
