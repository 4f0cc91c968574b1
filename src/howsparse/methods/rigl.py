"""RigL: rigging the lottery (Evci et al., ICML 2020, arXiv 1911.11134)."""

from dataclasses import dataclass
from typing import ClassVar

from howsparse.masks import Masks
from howsparse.pruners.drop_and_grow import drop_and_grow
from howsparse.pruners.sparse_start import Distribution, sparse_start
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.pruners.timed import PeriodicMethod
from howsparse.schedules.cosine import cosine
from howsparse.scores.gradient_magnitude import gradient_magnitude
from howsparse.scores.random_scores import random_scores
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class RigL(PeriodicMethod):
    """Train a random sparse network; each layer drops its smallest weights and grows where gradients are largest.

    The share exchanged at step t is ``drop_rate / 2 (1 + cos(pi t / T))`` with T the step at which changes end. Every
    layer keeps the number of weights it began with. With ``distribution="uniform"`` the first layer stays dense, as in
    the paper; the others then give a little more, so that the sparsity holds for the whole network.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(10, 10)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruner = RigL(sparsity=0.8, every=5).attach(net, optimizer, total_steps=20)
        >>> for _ in range(20):
        ...     net(torch.arange(10.0).reshape(1, 10)).sum().backward()
        ...     optimizer.step()
        ...     pruner.step()
        >>> pruner.masks.active
        20
    """

    name: ClassVar[str] = "rigl"
    about: ClassVar[str] = "sparse from the start; drop the smallest weights, grow where gradients are largest"
    source: ClassVar[str] = "arXiv 1911.11134"

    distribution: Distribution = setting("erk", "densities of layers: erk (small ones denser), uniform or global")
    drop_rate: float = setting(0.3, "share of each layer's living weights exchanged at first", at_least=0, at_most=1)

    def start(self, pruner: StepwisePruner) -> Masks:
        """A random sparse network."""
        first = list(pruner.masks)[:1] if len(pruner.masks) > 1 else []
        scores = random_scores(pruner.weights, pruner.generator)
        return sparse_start(pruner.masks, scores, sparsity=self.sparsity, distribution=self.distribution, dense=first)

    def event(self, pruner: StepwisePruner, total_steps: int) -> Masks:
        """Drop the smallest, grow the largest gradients of the step just taken."""
        rate = cosine(pruner.steps / (self.end * total_steps), self.drop_rate)
        wanted = gradient_magnitude(pruner.gradients)
        return drop_and_grow(pruner.masks, pruner.weights, wanted, rate=rate, allowed=pruner.allowed)
