"""The pruner that presses weights to zero by growing penalties."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from howsparse.masks import Masks, remove_smallest
from howsparse.pruners.before_step import decay_in_gradient, moving_optimizer, refuse_missing_optimizer
from howsparse.pruners.stepwise_pruner import StepwisePruner

if TYPE_CHECKING:
    from howsparse.methods.greg import Course, GReg


class GRegPruner(StepwisePruner):
    """Adds the penalties to the gradients inside ``optimizer.step()``.

    Attributes:
        to_go: the weights that will be removed; None before they are chosen.
    """

    method: "GReg"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.to_go: Masks | None = None
        self._giving: set[str] | None = None  # worked out when needed

    @property
    def course(self) -> "Course":
        """The penalties of this training."""
        assert self.total_steps is not None
        return self.method.course(self.total_steps)

    def step(self) -> None:
        """Call right after ``optimizer.step()``, before gradients are cleared."""
        if self.cycle:
            refuse_missing_optimizer(self)
        super().step()

    def chosen_to_go(self) -> Masks:
        """The weights that will be removed, chosen now unless they were before."""
        if self.to_go is None:
            left = remove_smallest(
                self.masks, self.method.scores(self.weights), self.method.counts(self), scope=self.method.scope
            )
            self.to_go, self._giving = self.masks - left, None
        return self.to_go

    @torch.no_grad()
    def before_step(self) -> None:
        """Add ``lambda w`` to the gradients."""
        optimizer = moving_optimizer(self)
        if optimizer is None or self.cycle == 0 or self.steps >= self.course.removal:
            return
        if self.course.choosing(self.steps):
            self.chosen_to_go()
        names = {id(parameter): name for name, parameter in self.parameters.items()}
        for group in optimizer.param_groups:
            kept = self.method.kept_penalty(decay_in_gradient(optimizer, group))
            for parameter in group["params"]:
                if id(parameter) in names and parameter.grad is not None:
                    parameter.grad.add_(self.penalty(names[id(parameter)], kept) * parameter)

    def penalty(self, name: str, kept: float) -> Tensor | float:
        """The penalty of a tensor's weights in the iteration under way; ``kept`` is that of those that stay."""
        if self._giving is None:
            self._giving = self._giving_layers()
        if name not in self._giving:
            return 0.0
        pressed = self.course.penalty(self.steps)
        if self.to_go is None or not self.course.recovering(self.steps):
            return pressed
        return torch.full_like(self.parameters[name], kept).masked_fill_(self.to_go[name], pressed)

    def _giving_layers(self) -> set[str]:
        """The tensors that have weights to go; the others are left alone."""
        if self.to_go is not None:
            return {name for name, mask in self.to_go.items() if bool(mask.any())}
        if self.method.scope == "global":
            return set(self.parameters)
        return {name for name, count in self.method.counts(self).items() if bool(count.any())}

    def state_dict(self) -> dict[str, Any]:
        """See `CyclicPruner.state_dict`; with the chosen weights."""
        return {**super().state_dict(), "to_go": None if self.to_go is None else dict(self.to_go)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `CyclicPruner.load_state_dict`."""
        super().load_state_dict(state)
        found = state["to_go"]
        device = {name: parameter.device for name, parameter in self.parameters.items()}
        self.to_go = None if found is None else Masks({name: mask.to(device[name]) for name, mask in found.items()})
        self._giving = None
