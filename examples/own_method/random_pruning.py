"""Random pruning: the baseline every method must beat, as a plug-in of a package of its own."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from howsparse.allocation import fraction_of_each
from howsparse.masks import group_sizes, remove_smallest
from howsparse.methods import IterativeMethod
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class RandomPruning(IterativeMethod):
    """Remove a random share of the living weights, rewind, repeat."""

    name: ClassVar[str] = "random"
    about: ClassVar[str] = "train, remove a random share, rewind, repeat"
    source: ClassVar[str] = "a baseline"

    fraction: float = setting(0.2, "share of the remaining weights removed each cycle", above=0, below=1)
    draw: int = setting(0, "seed of the random choice", at_least=0)

    def shrink(self, weights, masks, dense, cycle):
        """Score every weight by a random number; the smallest go."""
        generator = torch.Generator().manual_seed(1000 * self.draw + cycle)
        scores = {name: torch.rand(w.shape, generator=generator).to(w.device) for name, w in weights.items()}
        counts = fraction_of_each(group_sizes(masks, self.scope), self.fraction)
        return remove_smallest(masks, scores, counts, scope=self.scope)
