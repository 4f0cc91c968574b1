"""One-shot magnitude pruning: train, remove the smallest weights once, fine-tune."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from howsparse.masks import Masks
from howsparse.pruners.removal import without_lowest
from howsparse.pruners.shrinking import RewindingMethod
from howsparse.scores.magnitude import magnitude
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class OneShot(RewindingMethod):
    """Prune once, by magnitude, to a given sparsity.

    The asked-for sparsity is met to the weight: ``round(sparsity * N)`` of the N prunable weights go. Within a layer or
    neuron scope every group gives the same share, by largest remainder. The survivors keep their values by default and
    are fine-tuned for ``Recipe.epochs``.

    Example:
        >>> from torch import nn
        >>> net = nn.Linear(10, 10)
        >>> pruner = OneShot(sparsity=0.75).attach(net)
        >>> for cycle in pruner.cycles():
        ...     pass  # train here: cycle 0 is dense, cycle 1 fine-tunes
        >>> int((net.weight == 0).sum())
        75
    """

    name: ClassVar[str] = "one-shot"
    about: ClassVar[str] = "train, remove the smallest weights once, fine-tune"
    source: ClassVar[str] = "Han et al., NeurIPS 2015"

    sparsity: float = setting(0.9, "fraction of prunable weights to remove", at_least=0, below=1)
    rewind: int | str = setting("none", "where survivors go back to: init, none, or the step of the dense training")

    @property
    def prunings(self) -> int:
        """One."""
        return 1

    def shrink(self, weights: Mapping[str, Tensor], masks: Masks, dense: Mapping[str, Tensor], cycle: int) -> Masks:  # noqa: ARG002
        """Keep the largest weights of each group."""
        return without_lowest(masks, magnitude(weights), self.sparsity, scope=self.scope)
