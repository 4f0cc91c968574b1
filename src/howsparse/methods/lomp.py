"""LOMP: L1-regularised one-shot magnitude pruning to the limit (Zhang et al., NeurIPS 2024, arXiv 2306.05857)."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.limits.limit import limit
from howsparse.masks import Masks
from howsparse.pruners.removal import without_lowest
from howsparse.pruners.shrinking import RewindingMethod
from howsparse.scores.magnitude import magnitude
from howsparse.settings import setting
from howsparse.task import Task
from howsparse.training import Recipe


@dataclass(frozen=True, kw_only=True)
class LOMP(RewindingMethod):
    """Train with an L1 penalty, then remove the smallest weights once, as many as the limit allows.

    The dense training minimises ``L + penalty * sum |w|`` over the prunable weights; the limit is computed on the
    trained network and as many of the smallest weights go in one shot, without retraining. ``fine_tune`` epochs
    afterwards, without the penalty, are an addition to the paper's method. The limit is the measured ``one-shot`` one,
    what the loss bears without retraining; the ``paper``'s formula, to the letter, which in our measurements removes
    far more than accuracy bears (docs/results/limit-experiments.md); or the ``re-tuned`` one, what the fine-tuning is
    predicted to bring back. See `howsparse.limit`.

    Example:
        >>> from torch import nn
        >>> net = nn.Linear(10, 10)
        >>> pruner = LOMP(sparsity=0.6).attach(net)
        >>> for cycle in pruner.cycles():
        ...     pass  # train here; cycle 0 with the penalty
        >>> pruner.finish().sparsity
        0.6
    """

    name: ClassVar[str] = "lomp"
    about: ClassVar[str] = "train with L1, remove the smallest weights once, to the limit"
    source: ClassVar[str] = "arXiv 2306.05857"

    sparsity: float | None = setting(
        None, "fraction of prunable weights to remove; none: as the limit says", at_least=0, below=1
    )
    limit: Literal["one-shot", "paper", "re-tuned"] = setting("one-shot", "limit to prune to, without --sparsity")
    penalty: float = setting(5e-5, "L1 penalty in the dense training (--l1 is the same for every method)", at_least=0)
    fine_tune: int = setting(0, "epochs of retraining after pruning, without the penalty", at_least=0)
    rewind: int | str = setting("none", "where survivors go back to: init, none, or the step of the dense training")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sparsity is None and self.limit == "re-tuned" and not self.fine_tune:
            raise HowsparseError(
                "LOMP: limit = re-tuned is the sparsity that retraining makes up for, but fine_tune is 0; "
                "give fine_tune the epochs of that retraining"
            )

    @property
    def prunings(self) -> int:
        """One."""
        return 1

    def recipe_in(self, recipe: Recipe, cycle: int) -> Recipe:
        """The penalty in the dense training, ``fine_tune`` epochs without it afterwards."""
        if cycle == 0:
            return dataclasses.replace(recipe, l1=recipe.l1 or self.penalty)
        return dataclasses.replace(recipe, epochs=self.fine_tune, l1=0.0)

    def check_fits(self, task: Task) -> None:
        """A limit reads a frozen pass over the training data."""
        if self.sparsity is None and task.calib is None:
            raise HowsparseError(
                "LOMP computes a limit on one frozen, ordered pass over the training samples, and iterable data have "
                "none: give the task calib=, or LOMP a sparsity"
            )

    def settled(self, task: Task, recipe: Recipe, *, seed: int, folder: Path | None, **choice: Any) -> "LOMP":
        """The same method with the sparsity that the limit of the trained network gives."""
        if self.sparsity is not None:
            return self
        efforts: dict[str, Any] = {} if self.limit == "re-tuned" else {"race_epochs": 0}
        if self.limit == "one-shot":
            efforts["curvature_epochs"] = 0
        found = limit(task, self.recipe_in(recipe, 1), folder, seed=seed, **choice, **efforts)
        spans = {"paper": found.paper, "one-shot": found.one_shot, "re-tuned": found.retuned}
        span = spans[self.limit]
        if span is None:
            raise HowsparseError(f"the {self.limit} limit could not be found ({found}); give LOMP a sparsity")
        total = int(found.details["weights"])
        return dataclasses.replace(self, sparsity=min(span.value, (total - 1) / total))

    def shrink(self, weights: Mapping[str, Tensor], masks: Masks, dense: Mapping[str, Tensor], cycle: int) -> Masks:  # noqa: ARG002
        """Keep the largest weights of each group."""
        if self.sparsity is None:
            raise HowsparseError(
                "LOMP in a loop of your own needs a sparsity: compute the limit on the trained network, "
                "hs.limit(task).paper.value, and give LOMP(sparsity=...)"
            )
        return without_lowest(masks, magnitude(weights), self.sparsity, scope=self.scope)
