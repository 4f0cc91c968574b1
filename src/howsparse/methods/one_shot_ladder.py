"""The SAP paper's one-shot baseline: one ranking, ever sparser, each level retrained from initialisation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from howsparse.allocation import fraction_of_each
from howsparse.masks import Masks, group_sizes, remove_smallest
from howsparse.pruners.shrinking import IterativeMethod
from howsparse.scores.magnitude import magnitude
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class OneShotLadder(IterativeMethod):
    """Rank the weights of the trained dense network once; climb to higher sparsity by that ranking.

    Each level equals pruning the dense trained network once to that sparsity and training from initialisation. The
    removed share per cycle is rounded as in the paper's code: ``ceil(fraction * (d - 1))``.

    Example:
        >>> from torch import nn
        >>> pruner = OneShotLadder(cycles=2, fraction=0.5).attach(nn.Linear(11, 1))
        >>> for cycle in pruner.cycles():
        ...     pass  # train here
        >>> pruner.masks.active
        3
    """

    name: ClassVar[str] = "one-shot-ladder"
    about: ClassVar[str] = "one ranking by the dense network, ever sparser, each level trained from initialisation"
    source: ClassVar[str] = "baseline of arXiv 2302.05601"
    needs_dense: ClassVar[bool] = True

    fraction: float = setting(0.2, "share of the remaining weights removed each cycle", above=0, below=1)

    def shrink(self, weights: Mapping[str, Tensor], masks: Masks, dense: Mapping[str, Tensor], cycle: int) -> Masks:  # noqa: ARG002
        """Remove the share of each group with the smallest dense weights."""
        counts = fraction_of_each(group_sizes(masks, self.scope), self.fraction, "quantile")
        return remove_smallest(masks, magnitude(dense), self.within_asked(counts, masks, cycle), scope=self.scope)
