"""The pruner that carries a step-wise method out."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from howsparse.masks import Masks
from howsparse.pruners.cyclic_pruner import CyclicPruner

if TYPE_CHECKING:
    from howsparse.pruners.stepwise import StepwiseMethod


class StepwisePruner(CyclicPruner):
    """Chooses the first masks when the one training begins and lets the method change them after every step.

    In a loop of one's own::

        pruner = RigL(sparsity=0.9).attach(model, optimizer, total_steps=steps)
        for x, y in loader:
            ...loss.backward(); optimizer.step(); pruner.step(); optimizer.zero_grad()...
        masks = pruner.finish()

    Attributes:
        allowed: the weights that were there at the start; no others ever come to life.
        total_steps: length of the training, or None where nobody said it.
    """

    method: "StepwiseMethod"

    def begin(self) -> None:
        """Choose the first masks; the next step is the first of the one training."""
        self.observe()
        self.prune()
        self.treat()

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradients of the prunable weights as the last backward pass left them; dead weights have theirs too."""
        return {n: torch.zeros_like(p) if p.grad is None else p.grad.detach() for n, p in self.parameters.items()}

    def prune(self) -> Masks:
        """Put the method's first masks in place."""
        self.change(self.method.start(self))
        return self.masks

    def step(self) -> None:
        """Call right after ``optimizer.step()``, before gradients are cleared."""
        super().step()
        if self.cycle:
            masks = self.method.update(self)
            if masks is not None:
                self.change(masks)

    def change(self, masks: Masks) -> None:
        """Adopt masks; weights that come to life start at zero, and optimizer state of all that changed is cleared."""
        before = self.masks
        self.adopt(masks)
        if self.optimizer is not None:
            _forget(self.optimizer, {n: self.masks[n] ^ before[n] for n in before}, self.parameters)


@torch.no_grad()
def _forget(optimizer: torch.optim.Optimizer, changed: dict[str, Tensor], parameters: dict[str, nn.Parameter]) -> None:
    """Clear momentum and other running values where a weight died or came to life."""
    for name, entries in changed.items():
        state: dict[str, Any] = optimizer.state.get(parameters[name], {})
        for value in state.values():
            if isinstance(value, Tensor) and value.shape == entries.shape:
                value.masked_fill_(entries, 0)
