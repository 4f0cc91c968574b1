"""The pruner that carries a cyclic method out, in `howsparse.prune` or in a loop of one's own."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from howsparse.errors import HowsparseError
from howsparse.masks import Masks
from howsparse.measures import gini, pqi
from howsparse.pruners.pruner import Pruner
from howsparse.pruners.removal import still_to_remove
from howsparse.schedules import removed_at

if TYPE_CHECKING:
    from howsparse.pruners.cyclic import CyclicMethod


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
        optimizer: the loop's optimizer.
        total_steps: length of one training, for methods that act on steps.
        **options: see `Pruner`.
    """

    def __init__(
        self,
        method: "CyclicMethod",
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        *,
        total_steps: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, optimizer, **options)
        self.total_steps = total_steps
        asked = getattr(method, "sparsity", None)
        if asked is not None:
            removed_at(asked, self.masks.total)  # refuses what would leave nothing
        self.method = method
        self.cycle = 0
        self.records: list[dict[str, Any]] = []
        self.chosen = 0
        self.done = False
        self._rewind_state: dict[str, Tensor] | None = self._snapshot() if self.method.rewind in ("init", 0) else None

    def begin(self) -> None:
        """Begin in a loop of one's own; methods that prune before the first step do it here."""

    @property
    def enough(self) -> bool:
        """Whether this cycle's training may end before its last epoch."""
        return False

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
        verdict = self.method.verdict(self.records)
        self.chosen = verdict.chosen
        self.done = verdict.stop or self.cycle == self.method.prunings
        return record

    @abstractmethod
    def prune(self) -> Masks:
        """Remove what the method wants gone after this cycle's training; returns the new masks."""

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
        """End the pruning; the model holds its zeros and nothing of ours.

        Warns where less is gone than was asked for: the method has not come to its end.
        """
        self._warn_if_dense()
        self.done = True
        self.let_go()
        self._masks.apply_(self.weights)
        self.optimizer = None  # nothing of ours stays on it
        return self._masks

    def let_go(self) -> None:
        """Drop all that only a pruning under way needs."""
        self._rewind_state = None

    def state_dict(self) -> dict[str, Any]:
        """Masks, position, records, and the weights to rewind to."""
        own = {"cycle": self.cycle, "records": list(self.records), "chosen": self.chosen, "done": self.done}
        return {**super().state_dict(), **own, "rewind_state": self._rewind_state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; load the model's and the optimizer's own state beside it."""
        super().load_state_dict(state)
        self.cycle, self.chosen, self.done = state["cycle"], state["chosen"], state["done"]
        self.records = list(state["records"])
        self._rewind_state = state["rewind_state"]

    def _warn_if_dense(self) -> None:
        """A method with a stop rule may be content with less, any other one was not carried to its end."""
        asked = getattr(self.method, "sparsity", None)
        if asked is None or getattr(self.method, "stop", "never") != "never" or not still_to_remove(self._masks, asked):
            return
        warnings.warn(
            f"finish() at sparsity {self.sparsity:.4f}, but {type(self.method).__name__} was asked for {asked:g}, and "
            "that comes later: call pruner.step() after every optimizer.step(), and finish() when all training is done",
            stacklevel=3,
        )

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
