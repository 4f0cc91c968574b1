"""Methods whose masks follow from the weights alone: shrink, perhaps rewind, perhaps again and again."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from howsparse.allocation.proportional import proportional
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, Scope, group_sizes
from howsparse.masks.select import Counts
from howsparse.pruners.cyclic import CyclicMethod
from howsparse.pruners.cyclic_pruner import CyclicPruner
from howsparse.pruners.removal import still_to_remove
from howsparse.pruners.shrinking_pruner import ShrinkingPruner
from howsparse.pruners.stopping import Verdict, at_turning_point, within_tolerance
from howsparse.schedules import removed_at
from howsparse.settings import setting

Stop = Literal["never", "turning-point", "tolerance"]


@dataclass(frozen=True, kw_only=True)
class ShrinkingMethod(CyclicMethod):
    """A cyclic method that states which of the trained weights go: `shrink`."""

    pruner_class: ClassVar[type[CyclicPruner]] = ShrinkingPruner
    needs_dense: ClassVar[bool] = False
    """Whether `shrink` wants the weights of the trained dense network."""

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


@dataclass(frozen=True, kw_only=True)
class RewindingMethod(ShrinkingMethod):
    """A shrinking method whose weights compete in a scope, and whose survivors may go back to earlier values."""

    scope: Scope = setting("global", "pool in which weights compete")
    rewind: int | str = setting("init", "where survivors go back to: init, none, or the step of the dense training")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rewind not in ("init", "none") and (isinstance(self.rewind, str) or self.rewind < 0):
            raise HowsparseError(f"{type(self).__name__}: rewind = {self.rewind!r}: it is init, none or a step >= 0")

    def check_length(self, total_steps: int | None) -> None:
        """Rewinding to a step beyond the training is refused."""
        if isinstance(self.rewind, int) and total_steps is not None and self.rewind >= max(total_steps, 1):
            where = f"choose a step from 0 to {total_steps - 1}" if total_steps else "rewind to init instead"
            raise HowsparseError(
                f"{type(self).__name__}: rewind = {self.rewind}, but a training has only {total_steps} steps; {where}"
            )


@dataclass(frozen=True, kw_only=True)
class IterativeMethod(RewindingMethod):
    """A rewinding method that prunes many times and may stop by itself."""

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
        room = still_to_remove(masks, self.sparsity)
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
