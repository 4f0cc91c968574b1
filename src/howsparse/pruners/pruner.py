"""Pruner: a method at work on one model, used like an optimizer or a learning-rate scheduler."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from howsparse import processes
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, Upkeep, prunable_parameters
from howsparse.masks.prunable import Pattern, detached
from howsparse.task import Task

_STREAM = 0x5EED  # a network initialised by the same seed holds that seed's own first draws


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
        self.generator = torch.Generator().manual_seed((seed * 0x9E3779B1 + _STREAM) % 2**32)
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
            self._hook = optimizer.register_step_pre_hook(self._before_step)

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

    def _before_step(self, optimizer: torch.optim.Optimizer, given: tuple[Any, ...], named: dict[str, Any]) -> None:  # noqa: ARG002
        """The optimizer's hook; it comes before the forward pass that a closure would make."""
        if named.get("closure") is not None or any(map(callable, given[1:])):
            raise HowsparseError(
                f"{type(self).__name__} works on gradients inside optimizer.step(), which a closure would only make "
                "after that: call loss.backward() first, then optimizer.step() without a closure"
            )
        self.before_step()

    def step(self) -> None:
        """Call right after ``optimizer.step()``: every pruned weight is zero again."""
        self._upkeep.step()
        self.steps += 1

    @abstractmethod
    def finish(self) -> Masks:
        """End the pruning: zeros are in place, the model holds nothing of ours; returns the final masks."""

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the pruning depends on, beside the model's own state."""
        drawn = self.generator.get_state()
        return {
            "steps": self.steps,
            "masks": _packed(self._masks),
            "allowed": _packed(self.allowed),
            "generator": drawn,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.steps = state["steps"]
        self.generator.set_state(state["generator"].cpu())
        self.allowed = self._here(_unpacked(state["allowed"]))
        self.adopt(_unpacked(state["masks"]))

    def adopt(self, masks: Masks) -> None:
        """Adopt masks that process 0 decided on, and zero what they remove."""
        self._masks = self._here(masks)
        processes.agree(self._masks)
        self._masks.apply_(self.weights)
        self._upkeep = Upkeep(self.parameters, self._masks)

    def _here(self, masks: Masks) -> Masks:
        """Masks that fit the weights, on their devices."""
        masks.check(self.weights)
        return Masks({name: mask.to(self.parameters[name].device) for name, mask in masks.items()})


def _packed(masks: Masks) -> dict[str, Any]:
    """Masks as `_unpacked` takes them, an eighth of a byte a weight."""
    bits = {name: torch.from_numpy(packed) for name, packed in masks.packed().items()}
    return {"bits": bits, "shapes": {name: list(mask.shape) for name, mask in masks.items()}}


def _unpacked(state: dict[str, Any]) -> Masks:
    return Masks.unpacked({name: np.asarray(bits.cpu()) for name, bits in state["bits"].items()}, state["shapes"])
