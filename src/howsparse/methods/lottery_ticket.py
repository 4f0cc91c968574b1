"""Iterative magnitude pruning with rewinding: lottery tickets (Frankle & Carbin 2019; Frankle et al. 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from howsparse.allocation import fraction_of_each
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, group_sizes, remove_smallest
from howsparse.pruners.shrinking import IterativeMethod
from howsparse.schedules import cycles_to_reach
from howsparse.scores.magnitude import magnitude
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class LotteryTicket(IterativeMethod):
    """Train, remove the same share of the smallest remaining weights, rewind the rest, repeat.

    Rewinding to ``init`` gives the original lottery ticket; rewinding to an early step k of the dense training gives
    the form that works on larger networks: schedule and data order then begin at step k.

    Example:
        >>> from torch import nn
        >>> net = nn.Linear(10, 100)
        >>> pruner = LotteryTicket(cycles=3, fraction=0.2).attach(net)
        >>> for cycle in pruner.cycles():
        ...     pass  # train here
        >>> pruner.masks.active
        512
    """

    name: ClassVar[str] = "imp"
    about: ClassVar[str] = "train, remove a share of the smallest, rewind, repeat (lottery tickets)"
    source: ClassVar[str] = "arXiv 1803.03635, 1912.05671"

    fraction: float = setting(0.2, "share of the remaining weights removed each cycle", above=0, below=1)
    count: Literal["ceil", "quantile"] = setting("ceil", "how that share is rounded; quantile as in the SAP paper")
    reference_mode: bool = setting(False, "remove one weight more each cycle, as the authors' code does")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reference_mode and (self.scope != "global" or self.count != "ceil"):
            raise HowsparseError("LotteryTicket: reference_mode exists for scope='global' and count='ceil' only")

    @property
    def prunings(self) -> int:
        """How often weights are removed: given, or as many cycles as the asked-for sparsity takes."""
        return self.cycles if self.sparsity is None else cycles_to_reach(self.sparsity, self.fraction)

    def shrink(self, weights: Mapping[str, Tensor], masks: Masks, dense: Mapping[str, Tensor], cycle: int) -> Masks:  # noqa: ARG002
        """Remove the share of each group with the smallest trained weights."""
        counts = fraction_of_each(
            group_sizes(masks, self.scope), self.fraction, "reference" if self.reference_mode else self.count
        )
        return remove_smallest(masks, magnitude(weights), self.within_asked(counts, masks, cycle), scope=self.scope)
