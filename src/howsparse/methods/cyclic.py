"""Methods that train, prune and treat the survivors, cycle after cycle, and the pruner that carries them out."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from howsparse.errors import HowsparseError
from howsparse.masks import Masks, Scope
from howsparse.masks.prunable import Pattern
from howsparse.measures import gini, pqi
from howsparse.methods.method import Method
from howsparse.methods.pruner import Pruner
from howsparse.methods.stopping import Verdict, at_turning_point, within_tolerance
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

    scope: Scope = setting("global", "pool in which weights compete")
    rewind: int | str = setting("init", "where survivors go back to: init, none, or the step of the dense training")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rewind not in ("init", "none") and (isinstance(self.rewind, str) or self.rewind < 0):
            raise HowsparseError(f"{type(self).__name__}: rewind = {self.rewind!r}: it is init, none or a step >= 0")

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

    def attach(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        total_steps: int | None = None,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] | None = None,
        masks: Masks | None = None,
    ) -> "CyclicPruner":
        """See `Method.attach`. ``total_steps`` is the length of one training; rewinding to a later step is refused."""
        if isinstance(self.rewind, int) and total_steps is not None and self.rewind >= max(total_steps, 1):
            where = f"choose a step from 0 to {total_steps - 1}" if total_steps else "rewind to init instead"
            raise HowsparseError(
                f"{type(self).__name__}: rewind = {self.rewind}, but a training has only {total_steps} steps; {where}"
            )
        return CyclicPruner(self, model, optimizer, include=include, exclude=exclude, masks=masks)


@dataclass(frozen=True, kw_only=True)
class IterativeMethod(CyclicMethod):
    """A cyclic method that prunes many times and may stop by itself."""

    cycles: int = setting(10, "how often to prune; there is one training more", at_least=1)
    stop: Stop = setting("never", "when to stop before the last cycle")
    tolerance: float = setting(0.01, "with --stop tolerance: allowed loss of the held-out metric", at_least=0)
    patience: int = setting(2, "cycles that must confirm a stop", at_least=1)

    @property
    def prunings(self) -> int:
        """How often weights are removed."""
        return self.cycles

    def verdict(self, records: Sequence[Mapping[str, Any]]) -> Verdict:
        """Whether to go on, by the stop rule."""
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


class CyclicPruner(Pruner):
    """Carries a cyclic method out.

    In a loop of one's own::

        pruner = SAP(cycles=5).attach(model, optimizer)
        for cycle in pruner.cycles():
            ...train, with pruner.step() after optimizer.step()...
        masks = pruner.finish()

    Args:
        method: the method.
        model: the network.
        optimizer: the loop's optimizer; its state is emptied whenever weights are pruned.
        include: see `howsparse.masks.prunable_parameters`.
        exclude: likewise.
        masks: the weights that live at the start.
    """

    def __init__(
        self,
        method: CyclicMethod,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        *,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] | None = None,
        masks: Masks | None = None,
    ) -> None:
        super().__init__(model, optimizer, include=include, exclude=exclude, masks=masks)
        asked = getattr(method, "sparsity", None)
        if asked is not None:
            removed_at(asked, self.masks.total)  # refuses what would leave nothing
        self.method = method
        self.cycle = 0
        self.records: list[dict[str, Any]] = []
        self.chosen = 0
        self.done = False
        self._dense: dict[str, Tensor] = {}
        self._rewind_state: dict[str, Tensor] | None = self._snapshot() if self.method.rewind in ("init", 0) else None

    @property
    def first_step(self) -> int:
        """The step of the training schedule at which this cycle begins: above 0 only after rewinding to a step."""
        return int(self.method.rewind) if self.cycle > 0 and isinstance(self.method.rewind, int) else 0

    def cycles(self) -> Iterator[int]:
        """Number the cycles that are left; train inside the loop body.

        Yields:
            The cycle, 0 for the dense network. After the body the weights are measured, pruned and treated.
        """
        while not self.done:
            if len(self.records) == self.cycle:
                yield self.cycle
            if len(self.records) == self.cycle:
                self.observe()
            if not self.done:
                self.prune()
                self.treat()

    def step(self) -> None:
        """Call right after ``optimizer.step()``: pruned weights are zero again, and a rewind step is remembered."""
        super().step()
        if self.cycle == 0 and self.steps == self.method.rewind:
            self._rewind_state = self._snapshot()

    def observe(self, metric: float | None = None, *, higher_is_better: bool = True) -> dict[str, Any]:
        """Measure this cycle's trained network and let the stop rule decide.

        Args:
            metric: held-out metric of the network, for ``stop="tolerance"``.
            higher_is_better: its direction.

        Returns:
            The record: cycle, sparsity, active, total, pqi and gini (global; p = 0.5, q = 1; None where undefined),
            layers, metric, higher_is_better.
        """
        loose = [n for n, w in self.weights.items() if bool((w[~self._masks[n]] != 0).any())]
        if loose:
            raise HowsparseError(
                f"pruned weights of {', '.join(loose[:3])} moved: call pruner.step() after every optimizer.step()"
            )
        del self.records[self.cycle :]  # observing again in the same cycle replaces what was observed before
        record = {
            "cycle": self.cycle,
            **portrait(self.weights, self._masks),
            "metric": metric,
            "higher_is_better": higher_is_better,
        }
        self.records.append(record)
        if self.cycle == 0 and self.method.needs_dense:
            self._dense = {name: weight.clone() for name, weight in self.weights.items()}
        verdict = self.method.verdict(self.records)
        self.chosen = verdict.chosen
        self.done = verdict.stop or self.cycle == self.method.prunings
        return record

    def prune(self) -> Masks:
        """Remove what the method wants gone from the trained weights; returns the new masks."""
        self.adopt(self.method.shrink(self.weights, self._masks, self._dense, self.cycle))
        if self.optimizer is not None:
            self.optimizer.state.clear()
        return self._masks

    @torch.no_grad()
    def treat(self) -> None:
        """Rewind the survivors, buffers included, if the method asks for it, and go on to the next cycle."""
        if self.method.rewind != "none":
            if self._rewind_state is None:
                raise HowsparseError(
                    f"rewind = {self.method.rewind}, but only {self.steps} steps were taken in the first cycle; "
                    "train longer, or call pruner.step() after every optimizer.step()"
                )
            self.model.load_state_dict(self._rewind_state)
            self._masks.apply_(self.weights)
        self.cycle += 1
        self.steps = self.first_step

    def finish(self) -> Masks:
        """End the pruning; the model holds its zeros and nothing of ours."""
        self.done = True
        self._masks.apply_(self.weights)
        self._rewind_state, self._dense = None, {}
        return self._masks

    def state_dict(self) -> dict[str, Any]:
        """Masks, position, records, and the weights to rewind to."""
        own = {"cycle": self.cycle, "records": list(self.records), "chosen": self.chosen, "done": self.done}
        return {**super().state_dict(), **own, "rewind_state": self._rewind_state, "dense": self._dense}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; load the model's and the optimizer's own state beside it."""
        super().load_state_dict(state)
        self.cycle, self.chosen, self.done = state["cycle"], state["chosen"], state["done"]
        self.records = list(state["records"])
        self._rewind_state = state["rewind_state"]
        self._dense = {name: tensor.to(self.parameters[name].device) for name, tensor in state["dense"].items()}

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}


def portrait(weights: Mapping[str, Tensor], masks: Masks) -> dict[str, Any]:
    """Counts, PQ Index (p = 0.5, q = 1) and Gini index of a network and of each layer, ready for JSON.

    Args:
        weights: weights by name.
        masks: the living ones.

    Returns:
        ``sparsity, active, total, pqi, gini`` and ``layers``, a list of the same with ``name``; None where undefined.
    """
    layers = [
        {"name": name, **_numbers([weights[name]], [mask], int(mask.sum()), mask.numel())}
        for name, mask in masks.items()
    ]
    whole = _numbers([weights[name] for name in masks], list(masks.values()), masks.active, masks.total)
    return {**whole, "layers": layers}


def _numbers(weights: list[Tensor], masks: list[Tensor], active: int, total: int) -> dict[str, Any]:
    index, inequality = float(pqi(weights, masks)), float(gini(weights, masks))
    return {
        "sparsity": (total - active) / total,
        "active": active,
        "total": total,
        "pqi": None if math.isnan(index) else index,
        "gini": None if math.isnan(inequality) else inequality,
    }
