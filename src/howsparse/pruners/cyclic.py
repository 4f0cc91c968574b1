"""Methods that train, prune and treat the survivors, cycle after cycle."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from howsparse.allocation.proportional import proportional
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, Scope, group_sizes
from howsparse.masks.prunable import Pattern
from howsparse.masks.select import Counts
from howsparse.pruners.cyclic_pruner import CyclicPruner
from howsparse.pruners.method import Method
from howsparse.pruners.stopping import Verdict, at_turning_point, within_tolerance
from howsparse.schedules import removed_at
from howsparse.settings import setting
from howsparse.task import Task
from howsparse.training import Recipe

Stop = Literal["never", "turning-point", "tolerance"]


@dataclass(frozen=True, kw_only=True)
class CyclicMethod(Method):
    """Train, prune, treat - `prunings` times, and train once more.

    A method of this kind states how often it prunes (`prunings`) and which weights go (`shrink`).
    """

    needs_dense: ClassVar[bool] = False
    """Whether `shrink` wants the weights of the trained dense network."""
    needs_trained: ClassVar[bool] = True
    """Whether the first pruning makes sense on a trained network only."""

    @property
    def rewind(self) -> int | str:
        """Where survivors go back to after a pruning: ``init``, ``none``, or a step of the dense training."""
        return "none"

    @property
    @abstractmethod
    def prunings(self) -> int:
        """How often weights are removed; there is one training more."""

    @abstractmethod
    def shrink(self, weights: Mapping[str, Tensor], masks: Masks, dense: Mapping[str, Tensor], cycle: int) -> Masks:
        """The masks after this cycle's pruning; a pure function.

        Args:
            weights: trained weights of this cycle.
            masks: the weights that live.
            dense: trained weights of cycle 0 when `needs_dense`, else empty.
            cycle: 0 for the first pruning.

        Returns:
            Masks nested in ``masks``.
        """

    def recipe_in(self, recipe: Recipe, cycle: int) -> Recipe:  # noqa: ARG002
        """How a cycle's network is trained; by default as the run's recipe says, the same in all cycles."""
        return recipe

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

    def pruner(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        total_steps: int | None = None,
        **options: Any,
    ) -> CyclicPruner:
        """The pruner before its first cycle; options as of `attach`."""
        return CyclicPruner(self, model, optimizer, total_steps=total_steps, **options)


@dataclass(frozen=True, kw_only=True)
class RewindingMethod(CyclicMethod):
    """A cyclic method whose groups of weights compete in a scope, and whose survivors may go back to earlier values."""

    scope: Scope = setting("global", "pool in which weights compete")
    rewind: int | str = setting("init", "where survivors go back to: init, none, or the step of the dense training")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rewind not in ("init", "none") and (isinstance(self.rewind, str) or self.rewind < 0):
            raise HowsparseError(f"{type(self).__name__}: rewind = {self.rewind!r}: it is init, none or a step >= 0")

    def pruner(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        total_steps: int | None = None,
        **options: Any,
    ) -> CyclicPruner:
        """See `CyclicMethod.pruner`; rewinding to a step beyond ``total_steps`` is refused."""
        if isinstance(self.rewind, int) and total_steps is not None and self.rewind >= max(total_steps, 1):
            where = f"choose a step from 0 to {total_steps - 1}" if total_steps else "rewind to init instead"
            raise HowsparseError(
                f"{type(self).__name__}: rewind = {self.rewind}, but a training has only {total_steps} steps; {where}"
            )
        return super().pruner(model, optimizer, total_steps=total_steps, **options)


@dataclass(frozen=True, kw_only=True)
class IterativeMethod(RewindingMethod):
    """A cyclic method that prunes many times and may stop by itself."""

    cycles: int = setting(10, "how often to prune; there is one training more", at_least=1)
    sparsity: float | None = setting(
        None, "prune until exactly this fraction is gone (imp: sets --cycles)", above=0, below=1
    )
    stop: Stop = setting("never", "when to stop before the last cycle")
    tolerance: float = setting(0.01, "with --stop tolerance: allowed loss of the held-out metric", at_least=0)
    patience: int = setting(2, "cycles that must confirm a stop", at_least=1)

    @property
    def prunings(self) -> int:
        """How often weights are removed."""
        return self.cycles

    def within_asked(self, counts: Counts, masks: Masks, cycle: int) -> Counts:
        """The counts to remove, cut down to what is asked for and, in the last cycle, raised to it."""
        if self.sparsity is None:
            return counts
        room = max(removed_at(self.sparsity, masks.total) - (masks.total - masks.active), 0)
        if cycle == self.prunings - 1 or sum(int(count.sum()) for count in counts.values()) > room:
            return proportional(group_sizes(masks, self.scope), room)
        return counts

    def verdict(self, records: Sequence[Mapping[str, Any]]) -> Verdict:
        """Whether to go on: by the stop rule, and only while there is something left to remove."""
        found = self._by_stop_rule(records)
        if self.sparsity is None:
            return found
        removed = records[-1]["total"] - records[-1]["active"]
        return replace(found, stop=found.stop or removed >= removed_at(self.sparsity, records[-1]["total"]))

    def _by_stop_rule(self, records: Sequence[Mapping[str, Any]]) -> Verdict:
        if self.stop == "turning-point":
            indices = [math.nan if r["pqi"] is None else r["pqi"] for r in records]
            return at_turning_point(indices, [r["sparsity"] for r in records], self.patience)
        if self.stop == "tolerance":
            metrics = [r["metric"] for r in records]
            if None in metrics:
                raise HowsparseError("stop = 'tolerance' needs a metric every cycle: pruner.observe(metric)")
            higher = bool(records[0]["higher_is_better"])
            return within_tolerance(metrics, self.tolerance, self.patience, higher_is_better=higher)
        return super().verdict(records)
