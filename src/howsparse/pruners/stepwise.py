"""Methods with one training: masks chosen before its first step, and perhaps changed at its steps."""

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from howsparse.masks import Masks
from howsparse.pruners.cyclic import CyclicMethod
from howsparse.pruners.cyclic_pruner import CyclicPruner
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.settings import setting
from howsparse.training import Recipe


@dataclass(frozen=True, kw_only=True)
class StepwiseMethod(CyclicMethod):
    """Choose masks, then train once; `update` may change them at any step.

    In `howsparse.prune` the network as given is cycle 0, trained only if the recipe's ``dense_epochs`` say so; the one
    training is cycle 1. In a loop of one's own the first masks are in place when `attach` returns.
    """

    pruner_class: ClassVar[type[CyclicPruner]] = StepwisePruner
    moving: ClassVar[bool] = False
    """Whether masks change during the training; the last epoch is then the answer, as earlier ones are denser."""

    sparsity: float = setting(0.9, "fraction of prunable weights to remove", at_least=0, below=1)

    @property
    def needs_trained(self) -> bool:
        """The one training may begin anywhere."""
        return False

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

    def recipe_in(self, recipe: Recipe, cycle: int) -> Recipe:
        """See `CyclicMethod.recipe_in`; the last epoch counts where masks move."""
        recipe = super().recipe_in(recipe, cycle)
        return dataclasses.replace(recipe, keep="last") if cycle and self.moving else recipe

    def training_steps(self, recipe: Recipe, steps_per_epoch: int) -> int:
        """Optimizer steps of the one training."""
        return self.recipe_in(recipe, 1).epochs_of(1) * steps_per_epoch
