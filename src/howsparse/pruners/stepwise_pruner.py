"""The pruner that carries a step-wise method out."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from howsparse.errors import HowsparseError
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

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._given: dict[str, Tensor] = {}  # the weights as they were before `begin`, until the first step

    def begin(self) -> None:
        """Choose the first masks; the next step is the first of the one training."""
        self._given = {name: weight.clone() for name, weight in self.weights.items()}
        self.observe()
        self.prune()
        self.treat()

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradients of the prunable weights as the last backward pass left them; dead weights have theirs too.

        Raises:
            HowsparseError: there are none.
        """
        if all(p.grad is None for p in self.parameters.values()):
            raise HowsparseError(
                f"{type(self.method).__name__} grows weights where gradients are large, but there are none: call "
                "pruner.step() after optimizer.step() and before optimizer.zero_grad()"
            )
        return {n: torch.zeros_like(p) if p.grad is None else p.grad.detach() for n, p in self.parameters.items()}

    def prune(self) -> Masks:
        """Put the method's first masks in place; the optimizer's state may be one that has been loaded."""
        self.adopt(self.method.start(self))
        return self.masks

    def step(self) -> None:
        """Call right after ``optimizer.step()``, before gradients are cleared."""
        self._given = {}
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

    def let_go(self) -> None:
        """See `CyclicPruner.let_go`."""
        super().let_go()
        self._given = {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, before the first step.

        The model's and the optimizer's own state may be loaded before ``attach`` or after it: what `begin` has removed
        from weights that are otherwise as it found them is put back first.
        """
        self._give_back()
        super().load_state_dict(state)

    @torch.no_grad()
    def _give_back(self) -> None:
        left = ((self.parameters[n], given.masked_fill(~self.masks[n], 0)) for n, given in self._given.items())
        if all(torch.equal(weight, expected) for weight, expected in left):  # else the model was loaded after `begin`
            for name, given in self._given.items():
                self.parameters[name].copy_(given)
        self._given = {}


@torch.no_grad()
def _forget(optimizer: torch.optim.Optimizer, changed: dict[str, Tensor], parameters: dict[str, nn.Parameter]) -> None:
    """Clear momentum and other running values where a weight died or came to life."""
    for name, entries in changed.items():
        state: dict[str, Any] = optimizer.state.get(parameters[name], {})
        for value in state.values():
            if isinstance(value, Tensor) and value.shape == entries.shape:
                value.masked_fill_(entries, 0)
