"""Pruner: a method at work on one model, used like an optimizer or a learning-rate scheduler."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from howsparse import processes
from howsparse.masks import Masks, Upkeep, prunable_parameters
from howsparse.masks.prunable import Pattern, detached


class Pruner(ABC):
    """Holds the masks of a model and keeps pruned weights at zero.

    Args:
        model: the network.
        optimizer: the loop's optimizer, or None.
        include: see `howsparse.masks.prunable_parameters`.
        exclude: likewise.
        masks: the weights that live at the start; all by default.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        *,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] | None = None,
        masks: Masks | None = None,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.parameters = prunable_parameters(model, include=include, exclude=exclude)
        self.steps = 0
        self.adopt(Masks.dense(self.weights) if masks is None else masks)

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
        return {"steps": self.steps, "mask_bits": bits, "mask_shapes": shapes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.steps = state["steps"]
        bits = {name: np.asarray(tensor.cpu()) for name, tensor in state["mask_bits"].items()}
        self.adopt(Masks.unpacked(bits, state["mask_shapes"]))

    def adopt(self, masks: Masks) -> None:
        """Adopt masks that process 0 decided on, and zero what they remove."""
        masks.check(self.weights)
        self._masks = Masks({name: mask.to(self.parameters[name].device) for name, mask in masks.items()})
        processes.agree(self._masks)
        self._masks.apply_(self.weights)
        self._upkeep = Upkeep(self.parameters, self._masks)
