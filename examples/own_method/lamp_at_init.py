"""Prune before training by LAMP scores: a method of one's own from parts that exist."""

from dataclasses import dataclass
from typing import ClassVar

from howsparse.methods import StepwiseMethod
from howsparse.pruners.at_init import keep_best
from howsparse.scores import lamp


@dataclass(frozen=True, kw_only=True)
class LampAtInit(StepwiseMethod):
    """Keep the highest LAMP scores of the network as it is, then train."""

    name: ClassVar[str] = "lamp-at-init"
    about: ClassVar[str] = "before training, keep the highest LAMP scores"
    source: ClassVar[str] = "arXiv 2010.07611"

    def start(self, pruner):
        """The masks of the first step."""
        return keep_best(pruner, lamp(pruner.weights, pruner.masks), self.sparsity)
