"""STE: magnitude masks in the forward pass only, dense weights trained straight through them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from howsparse.masks import Masks, Scope
from howsparse.pruners.cyclic_pruner import CyclicPruner
from howsparse.pruners.latent import LatentPruner
from howsparse.pruners.removal import without_lowest
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.pruners.timed import PeriodicMethod
from howsparse.schedules.cubic import cubic
from howsparse.schedules.jump import constant
from howsparse.scores.magnitude import magnitude
from howsparse.settings import setting


class STEPruner(LatentPruner, StepwisePruner):
    """The latent variable is the dense weight W; the network computes with ``W * mask``."""

    def prune(self) -> Masks:
        """Put the first masks over the dense weights."""
        self.hide({name: weight.clone() for name, weight in self.weights.items()})
        return super().prune()

    def change(self, masks: Masks) -> None:
        """Adopt masks; dense weights and optimizer state stay as they are."""
        self.adopt(masks)
        self.show()

    def effective(self, name: str) -> Tensor:
        """``W * mask``."""
        return self.latent[name].masked_fill(~self.masks[name], 0)

    def latent_gradient(self, name: str, gradient: Tensor) -> Tensor:  # noqa: ARG002
        """``dL/dW = dL/d(W * mask)``: straight through, masked weights too."""
        return gradient


@dataclass(frozen=True, kw_only=True)
class STE(PeriodicMethod):
    """Compute with the largest weights, train them all, choose anew after every step.

    The gradient of the masked weights is applied to the dense ones (Bengio et al., arXiv 1308.3432), so that a weight
    under the mask may grow and come back. Sparsity rises along a cubic or is constant; masks are chosen anew up to the
    last step, and what finally remains are the masked weights. As ``magnitude_ste`` of jaxpruner (arXiv 2304.14082).

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(10, 10)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruner = STE(sparsity=0.8).attach(net, optimizer, total_steps=20)
        >>> for _ in range(20):
        ...     net(torch.ones(1, 10)).sum().backward()
        ...     optimizer.step()
        ...     pruner.step()
        >>> pruner.finish().sparsity, int((net.weight == 0).sum())
        (0.8, 80)
    """

    name: ClassVar[str] = "ste"
    about: ClassVar[str] = "compute with the largest weights, train all of them straight through the mask"
    source: ClassVar[str] = "arXiv 1308.3432, 2304.14082"
    pruner_class: ClassVar[type[CyclicPruner]] = STEPruner

    growth: Literal["cubic", "constant"] = setting("cubic", "how sparsity grows: cubic, or constant from the start")
    every: int | None = setting(
        1, "steps between changes (none: a hundredth of the training, at most 1000)", at_least=1
    )  # fmt: skip
    scope: Scope = setting("global", "pool in which weights compete")

    def events(self, total_steps: int) -> range:
        """All multiples of ``every``: masks change after sparsity has ceased to grow, too."""
        interval = super().events(total_steps).step
        return range(interval, total_steps + 1, interval)

    def start(self, pruner: StepwisePruner) -> Masks:
        """Dense, or as given; with constant sparsity the largest weights."""
        return self._largest(pruner.weights, pruner.allowed, self.sparsity if self.growth == "constant" else 0.0)

    def event(self, pruner: StepwisePruner, total_steps: int) -> Masks:
        """The largest dense weights, as many as the schedule wants."""
        assert isinstance(pruner, STEPruner)
        grow, last = (cubic if self.growth == "cubic" else constant), super().events(total_steps)[-1]
        sparsity = grow(pruner.steps, self.begin * total_steps, last, last=self.sparsity)
        return self._largest(pruner.latent, pruner.allowed, sparsity)

    def _largest(self, weights: dict[str, Tensor], allowed: Masks, sparsity: float) -> Masks:
        return without_lowest(allowed, magnitude(weights), sparsity, scope=self.scope)
