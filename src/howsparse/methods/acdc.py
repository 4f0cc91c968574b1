"""AC/DC: alternating compressed and decompressed training (Peste et al., NeurIPS 2021, arXiv 2106.12379)."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from howsparse.errors import HowsparseError
from howsparse.masks import Masks
from howsparse.pruners.at_init import keep_best
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.pruners.timed import TimedMethod
from howsparse.scores.magnitude import magnitude
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class ACDC(TimedMethod):
    """Warm up dense, then alternate phases with and without masks, and end with a long one with masks.

    Each compressed phase begins with the largest weights of the whole network; each decompressed one lets all weights
    train, the pruned ones from zero. Between warm-up and final phase as many pairs of phases follow each other as fit;
    the last decompressed phase takes what is left. The defaults are the paper's 100 epochs: 10 of warm-up, phases of 5,
    the last decompressed one of 10, and 15 at the end.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(10, 10)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruner = ACDC(sparsity=0.8).attach(net, optimizer, total_steps=100)
        >>> found = []
        >>> for _ in range(100):
        ...     found.append(pruner.sparsity)
        ...     net(torch.ones(1, 10)).sum().backward()
        ...     optimizer.step()
        ...     pruner.step()
        >>> found[9], found[10], found[15], found[84], found[85], found[99]
        (0.0, 0.8, 0.0, 0.0, 0.8, 0.8)
    """

    name: ClassVar[str] = "acdc"
    about: ClassVar[str] = "while training, alternate phases with masks and without"
    source: ClassVar[str] = "arXiv 2106.12379"

    begin: float = setting(0.1, "share of the training at which masks begin to change", at_least=0, below=1)
    phase: float = setting(0.05, "length of a phase, as a share of the training", above=0, below=1)
    final: float = setting(0.15, "length of the last compressed phase, as a share of the training", above=0, below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.begin + 2 * self.phase + self.final > 1 + 1e-9:
            raise HowsparseError(
                f"ACDC: begin = {self.begin:g}, phase = {self.phase:g}, final = {self.final:g} is not allowed: "
                "warm-up, two phases and the final one do not fit into one training"
            )

    def start(self, pruner: StepwisePruner) -> Masks:
        """Dense, or as given; compressed at once without a warm-up."""
        return self._masks(pruner, compressed=self.events(self._known(pruner.total_steps)).get(0, False))

    def events(self, total_steps: int) -> Mapping[int, bool]:
        """The steps after which a phase begins, and whether it is a compressed one."""
        return _phases(total_steps, self.begin, self.phase, self.final)

    def event(self, pruner: StepwisePruner, total_steps: int) -> Masks:
        """Put masks on or lift them."""
        return self._masks(pruner, compressed=self.events(total_steps)[pruner.steps])

    def _masks(self, pruner: StepwisePruner, *, compressed: bool) -> Masks:
        return keep_best(pruner, magnitude(pruner.weights), self.sparsity) if compressed else pruner.allowed


@functools.lru_cache
def _phases(total_steps: int, begin: float, phase: float, final: float) -> dict[int, bool]:
    """Where phases begin, and whether they are compressed."""
    first, last = round(begin * total_steps), total_steps - max(round(final * total_steps), 1)
    length = max(round(phase * total_steps), 1)
    pairs = (last - first) // (2 * length)
    if pairs < 1:
        raise HowsparseError(
            f"ACDC: a training of {total_steps:,} steps is too short for a pair of phases of {length:,} between "
            f"the steps {first:,} and {last:,}; train longer, or choose a smaller begin, phase or final"
        )
    begins = {first + number * length: number % 2 == 0 for number in range(2 * pairs)}
    return {**begins, last: True}
