"""Methods with one training: masks chosen before its first step, and perhaps changed at its steps."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from howsparse.masks import Masks
from howsparse.pruners.cyclic import CyclicMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.settings import setting
from howsparse.training import Recipe


@dataclass(frozen=True, kw_only=True)
class StepwiseMethod(CyclicMethod):
    """Choose masks, then train once; `update` may change them at any step.

    In `howsparse.prune` the network as given is cycle 0, trained only if the recipe's ``dense_epochs`` say so; the one
    training is cycle 1. In a loop of one's own the first masks are in place when `attach` returns.
    """

    needs_trained: ClassVar[bool] = False
    moving: ClassVar[bool] = False
    """Whether masks change during the training; the last epoch is then the answer, as earlier ones are denser."""

    sparsity: float = setting(0.9, "fraction of prunable weights to remove", at_least=0, below=1)

    @property
    def prunings(self) -> int:
        """One: the choice of the first masks."""
        return 1

    @abstractmethod
    def start(self, pruner: StepwisePruner) -> Masks:
        """The masks of the first step, nested in ``pruner.masks``."""

    def update(self, pruner: StepwisePruner) -> Masks | None:  # noqa: ARG002
        """The masks after the step just taken, or None where nothing changes; called after every step."""
        return None

    def shrink(self, weights: Mapping[str, Tensor], masks: Masks, dense: Mapping[str, Tensor], cycle: int) -> Masks:
        """Not a function of the weights alone: see `start`."""
        raise NotImplementedError

    def recipe_in(self, recipe: Recipe, cycle: int) -> Recipe:
        """No dense training unless asked for; the last epoch counts where masks move."""
        if cycle == 0:
            return dataclasses.replace(recipe, dense_epochs=recipe.dense_epochs or 0)
        return dataclasses.replace(recipe, keep="last") if self.moving else recipe

    def training_steps(self, recipe: Recipe, steps_per_epoch: int) -> int:
        """Optimizer steps of the one training."""
        return self.recipe_in(recipe, 1).epochs_of(1) * steps_per_epoch

    def pruner(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        total_steps: int | None = None,
        **options: Any,
    ) -> StepwisePruner:
        """See `CyclicMethod.pruner`."""
        return StepwisePruner(self, model, optimizer, total_steps=total_steps, **options)
