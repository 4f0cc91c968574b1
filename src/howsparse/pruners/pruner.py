"""Pruner: a method at work on one model, used like an optimizer or a learning-rate scheduler."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from howsparse import processes
from howsparse.masks import Masks, Upkeep, prunable_parameters
from howsparse.masks.prunable import Pattern, detached
from howsparse.task import Task


class Pruner(ABC):
    """Holds the masks of a model and keeps pruned weights at zero.

    Args:
        model: the network.
        optimizer: the loop's optimizer, or None.
        task: data and loss, for methods that look at them.
        include: see `howsparse.masks.prunable_parameters`.
        exclude: likewise.
        masks: the weights that live at the start; all by default. What is gone at the start never comes back.
        seed: of everything the method draws.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        *,
        task: Task | None = None,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] | None = None,
        masks: Masks | None = None,
        seed: int = 0,
    ) -> None:
        self.model, self.task = model, task
        self.generator = torch.Generator().manual_seed(seed)
        self._optimizer: torch.optim.Optimizer | None = None
        self._hook: RemovableHandle | None = None
        self.optimizer = optimizer
        self.parameters = prunable_parameters(model, include=include, exclude=exclude)
        self.steps = 0
        self.adopt(Masks.dense(self.weights) if masks is None else masks)
        self.allowed = self._masks

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The optimizer that moves the weights; `before_step` runs inside its ``step()``."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer | None) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._optimizer, self._hook = optimizer, None
        if optimizer is not None and type(self).before_step is not Pruner.before_step:
            self._hook = optimizer.register_step_pre_hook(lambda *_: self.before_step())

    @property
    def weights(self) -> dict[str, Tensor]:
        """The prunable weights as they are now, outside autograd."""
        return detached(self.parameters)

    @property
    def masks(self) -> Masks:
        """Which weights live now."""
        return self._masks

    @property
    def sparsity(self) -> float:
        """Fraction of prunable weights removed so far."""
        return self._masks.sparsity

    def before_step(self) -> None:  # noqa: B027 - most methods have nothing to do here
        """Runs inside ``optimizer.step()`` before the weights move, gradients in place; for growing penalties."""

    def step(self) -> None:
        """Call right after ``optimizer.step()``: every pruned weight is zero again."""
        self._upkeep.step()
        self.steps += 1

    @abstractmethod
    def finish(self) -> Masks:
        """End the pruning: zeros are in place, the model holds nothing of ours; returns the final masks."""

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the pruning depends on, beside the model's own state."""
        shapes = {name: list(mask.shape) for name, mask in self._masks.items()}
        bits = {name: torch.from_numpy(packed) for name, packed in self._masks.packed().items()}
        drawn = self.generator.get_state()
        return {"steps": self.steps, "mask_bits": bits, "mask_shapes": shapes, "generator": drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.steps = state["steps"]
        self.generator.set_state(state["generator"].cpu())
        bits = {name: np.asarray(tensor.cpu()) for name, tensor in state["mask_bits"].items()}
        self.adopt(Masks.unpacked(bits, state["mask_shapes"]))

    def adopt(self, masks: Masks) -> None:
        """Adopt masks that process 0 decided on, and zero what they remove."""
        masks.check(self.weights)
        self._masks = Masks({name: mask.to(self.parameters[name].device) for name, mask in masks.items()})
        processes.agree(self._masks)
        self._masks.apply_(self.weights)
        self._upkeep = Upkeep(self.parameters, self._masks)
