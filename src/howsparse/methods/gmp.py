"""GMP: gradual magnitude pruning along a cubic schedule (Zhu & Gupta, arXiv 1710.01878)."""

from dataclasses import dataclass
from typing import ClassVar

from howsparse.masks import Masks, Scope
from howsparse.pruners.removal import without_lowest
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.pruners.timed import PeriodicMethod
from howsparse.schedules.cubic import cubic
from howsparse.scores.magnitude import magnitude
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class GMP(PeriodicMethod):
    """Remove the smallest weights little by little while training goes on.

    At step t the sparsity is ``s (1 - (1 - (t - b) / (e - b))^3)`` with b the begin and e the last event, which meets
    the asked-for sparsity s to the weight. What is gone stays gone.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(10, 10)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruner = GMP(sparsity=0.8, every=10).attach(net, optimizer, total_steps=50)
        >>> for _ in range(50):
        ...     net(torch.ones(1, 10)).sum().backward()
        ...     optimizer.step()
        ...     pruner.step()
        ...     if pruner.steps % 10 == 0:
        ...         print(pruner.sparsity, end=" ")
        0.7 0.8 0.8 0.8 0.8
    """

    name: ClassVar[str] = "gmp"
    about: ClassVar[str] = "while training, remove the smallest weights little by little"
    source: ClassVar[str] = "arXiv 1710.01878"

    end: float = setting(0.5, "share of the training before which the last change lies", above=0, at_most=1)
    scope: Scope = setting("global", "pool in which weights compete")

    def start(self, pruner: StepwisePruner) -> Masks:
        """Dense, or as given."""
        return pruner.masks

    def event(self, pruner: StepwisePruner, total_steps: int) -> Masks:
        """Remove the smallest weights down to the schedule's density."""
        events = self.events(total_steps)
        target = cubic(pruner.steps, min(self.begin * total_steps, events[0]), events[-1], last=self.sparsity)
        return without_lowest(pruner.masks, magnitude(pruner.weights), target, scope=self.scope)
