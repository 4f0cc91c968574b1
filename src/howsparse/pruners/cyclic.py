"""Methods that train, prune and treat the survivors, cycle after cycle."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from howsparse.masks import Masks
from howsparse.masks.prunable import Pattern
from howsparse.pruners.cyclic_pruner import CyclicPruner
from howsparse.pruners.method import Method
from howsparse.pruners.stopping import Verdict
from howsparse.task import Task
from howsparse.training import Recipe


@dataclass(frozen=True, kw_only=True)
class CyclicMethod(Method):
    """Train, prune, treat - `prunings` times, and train once more.

    A method of this kind states how often it prunes (`prunings`), and which pruner carries it out (`pruner_class`).
    """

    pruner_class: ClassVar[type[CyclicPruner]]
    """What carries the method out."""

    @property
    def needs_trained(self) -> bool:
        """Whether the first pruning makes sense on a trained network only."""
        return True

    @property
    def rewind(self) -> int | str:
        """Where survivors go back to after a pruning: ``init``, ``none``, or a step of the dense training."""
        return "none"

    @property
    @abstractmethod
    def prunings(self) -> int:
        """How often weights are removed; there is one training more."""

    def recipe_in(self, recipe: Recipe, cycle: int) -> Recipe:
        """How a cycle's network is trained; by default as the run's recipe says, the same in all cycles.

        The network as given is trained only if asked for where the method does not need a trained one.
        """
        if cycle == 0 and not self.needs_trained:
            return dataclasses.replace(recipe, dense_epochs=recipe.dense_epochs or 0)
        return recipe

    def trainings(self, recipe: Recipe) -> tuple[int, ...]:
        """Epochs of every training of a run by a recipe, the one before the first pruning first."""
        return tuple(self.recipe_in(recipe, cycle).epochs_of(cycle) for cycle in range(self.prunings + 1))

    def settled(
        self,
        task: Task,  # noqa: ARG002
        recipe: Recipe,  # noqa: ARG002
        *,
        seed: int,  # noqa: ARG002
        folder: Path | None,  # noqa: ARG002
        **choice: Any,  # noqa: ARG002
    ) -> "CyclicMethod":
        """This method with everything decided that needs the trained network and its data; by default itself.

        Args:
            task: its network is the trained one of the cycle that is about to be pruned.
            recipe: of the run.
            seed: of the run.
            folder: where work may be kept; None for nowhere.
            **choice: ``include`` and ``exclude`` of the run.
        """
        return self

    def verdict(self, records: Sequence[Mapping[str, Any]]) -> Verdict:
        """Whether to go on after the cycles recorded so far; without a stop rule the last network is the answer."""
        return Verdict(stop=False, chosen=len(records) - 1)

    def check_fits(self, task: Task) -> None:
        """Refuse a task that this method cannot work on, before anything is trained.

        Raises:
            HowsparseError: says what the task lacks.
        """

    def training_steps(self, recipe: Recipe, steps_per_epoch: int) -> int:
        """Optimizer steps of one training, the shortest where they differ: a step to rewind to lies in all."""
        return min(self.recipe_in(recipe, cycle).epochs_of(cycle) for cycle in (0, 1)) * steps_per_epoch

    def attach(  # noqa: PLR0913 - as in Method
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        total_steps: int | None = None,
        task: Task | None = None,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] | None = None,
        masks: Masks | None = None,
        seed: int = 0,
    ) -> CyclicPruner:
        """See `Method.attach`. ``total_steps`` is the length of one training."""
        options = {"task": task, "include": include, "exclude": exclude, "masks": masks, "seed": seed}
        pruner = self.pruner(model, optimizer, total_steps=total_steps, **options)
        pruner.begin()
        return pruner

    def check_length(self, total_steps: int | None) -> None:
        """Refuse a length of one training that does not fit; None where nobody said it.

        Raises:
            HowsparseError: too short, or not known to a method that acts on steps.
        """

    def pruner(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        total_steps: int | None = None,
        **options: Any,
    ) -> CyclicPruner:
        """The pruner before its first cycle; options as of `attach`."""
        self.check_length(total_steps)
        return self.pruner_class(self, model, optimizer, total_steps=total_steps, **options)
