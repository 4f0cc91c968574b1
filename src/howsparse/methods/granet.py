"""GraNet: gradual pruning with zero-cost neuroregeneration (Liu et al., NeurIPS 2021, arXiv 2106.10404)."""

from dataclasses import dataclass
from typing import ClassVar

from howsparse.errors import HowsparseError
from howsparse.masks import Masks
from howsparse.pruners.at_init import keep_best
from howsparse.pruners.drop_and_grow import drop_and_grow
from howsparse.pruners.sparse_start import Distribution, sparse_start
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.pruners.timed import PeriodicMethod, steps_of
from howsparse.schedules.cosine import cosine
from howsparse.schedules.cubic import cubic
from howsparse.scores.gradient_magnitude import gradient_magnitude
from howsparse.scores.magnitude import magnitude
from howsparse.scores.random_scores import random_scores
from howsparse.settings import setting

_LAST_DROP_RATE = 0.005  # of the authors' cosine decay


@dataclass(frozen=True, kw_only=True)
class GraNet(PeriodicMethod):
    """Prune gradually; after every cut each layer drops its smallest weights and grows where gradients are largest.

    Between begin and end the smallest weights of the whole network go, along the cubic schedule
    ``s_f + (s_0 - s_f) (1 - t)^3``; the last cut meets the asked-for sparsity to the weight. After each cut, and on to
    the end of the training, every layer exchanges ``ceil(r n)`` of its n living weights; r falls from ``drop_rate`` to
    0.005 along a cosine over the whole training. With ``reference_mode`` the cuts are those of the authors' code: the
    last one comes one interval before the schedule's end, and each keeps one weight less than it should.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(10, 10)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruner = GraNet(sparsity=0.8, every=10).attach(net, optimizer, total_steps=100)
        >>> for _ in range(100):
        ...     net(torch.arange(10.0).reshape(1, 10)).sum().backward()
        ...     optimizer.step()
        ...     pruner.step()
        ...     if pruner.steps % 20 == 0:
        ...         print(pruner.sparsity, end=" ")
        0.7 0.8 0.8 0.8 0.8
    """

    name: ClassVar[str] = "granet"
    about: ClassVar[str] = "while training, prune gradually and regrow where gradients are largest"
    source: ClassVar[str] = "arXiv 2106.10404"

    end: float = setting(0.5, "share of the training before which the last cut lies", above=0, at_most=1)
    initial_sparsity: float = setting(0.0, "sparsity of the first step, drawn at random", at_least=0, below=1)
    distribution: Distribution = setting("erk", "densities of layers at the first step: erk, uniform or global")
    drop_rate: float = setting(0.5, "share of each layer's living weights exchanged at first", at_least=0, at_most=1)
    reference_mode: bool = setting(False, "cut when and by as much as the authors' code does")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initial_sparsity > self.sparsity:
            raise HowsparseError(
                f"{type(self).__name__}: initial_sparsity = {self.initial_sparsity:g} is not allowed: it must be at "
                f"most the sparsity asked for, {self.sparsity:g}"
            )

    def start(self, pruner: StepwisePruner) -> Masks:
        """Dense, or a random network of the initial sparsity."""
        if self.initial_sparsity == 0:
            return pruner.masks
        scores = random_scores(pruner.weights, pruner.generator)
        return sparse_start(pruner.masks, scores, sparsity=self.initial_sparsity, distribution=self.distribution)

    def events(self, total_steps: int) -> range:
        """Cuts lie between begin and end; regeneration goes on until the training ends."""
        if not self.cuts(total_steps):
            raise HowsparseError(
                f"{type(self).__name__}: with reference_mode the last cut lies an interval before end = "
                f"{self.end:g} of {total_steps:,} steps, so there is none; choose a smaller every, a "
                "later end, or train longer"
            )
        return steps_of(total_steps, self.begin, 1.0, self.every)

    def event(self, pruner: StepwisePruner, total_steps: int) -> Masks:
        """Cut, then drop and grow."""
        masks, weights = self._cut(pruner, total_steps), pruner.weights
        rate = cosine(pruner.steps / total_steps, self.drop_rate, min(_LAST_DROP_RATE, self.drop_rate))
        wanted = gradient_magnitude(pruner.gradients)
        return drop_and_grow(masks, weights, wanted, rate=rate, allowed=pruner.allowed, rounding="up")

    def cuts(self, total_steps: int) -> range:
        """The steps after which weights are cut."""
        cuts = steps_of(total_steps, self.begin, self.end, self.every)
        if not self.reference_mode:
            return cuts
        return range(cuts.start, _multiple(self.end * total_steps, cuts.step), cuts.step)

    def target(self, step: int, total_steps: int) -> float | None:
        """The sparsity that the cut at a step goes to; None where there is no cut."""
        cuts = self.cuts(total_steps)
        if step not in cuts:
            return None
        first, last = min(self.begin * total_steps, cuts[0]), cuts[-1]
        if self.reference_mode:  # the schedule counts whole intervals, and ends one after the last cut
            first, last = _multiple(first, cuts.step), last + cuts.step
        return cubic(step, first, last, first=self.initial_sparsity, last=self.sparsity)

    def _cut(self, pruner: StepwisePruner, total_steps: int) -> Masks:
        target = self.target(pruner.steps, total_steps)
        if target is None:
            return pruner.masks
        if self.reference_mode:
            total = pruner.masks.total
            target = (total - int(total * (1 - target)) + 1) / total
        return keep_best(pruner, magnitude(pruner.weights), target)


def _multiple(step: float, interval: int) -> int:
    """The largest multiple of an interval that is not after a step."""
    return interval * int(step / interval + 1e-9)
