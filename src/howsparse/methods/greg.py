"""GReg: growing regularisation (Wang et al., Neural Pruning via Growing Regularization, ICLR 2021)."""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from howsparse.allocation.fraction import fraction_of_each
from howsparse.allocation.proportional import proportional
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, Scope, group_sizes
from howsparse.masks.select import Counts
from howsparse.methods.greg_pruner import GRegPruner
from howsparse.pruners.cyclic_pruner import CyclicPruner
from howsparse.pruners.removal import still_to_remove
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.pruners.timed import TimedMethod
from howsparse.scores.magnitude import magnitude
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class Course:
    """Penalties over a training in closed form: increases are counted, never added up.

    Example:
        >>> course = Course(every=2, growing=5, delta=0.1, hold=6)
        >>> [round(course.penalty(iteration), 2) for iteration in (0, 1, 2, 8, 14)], course.removal
        ([0.1, 0.1, 0.2, 0.5, 0.5], 15)
    """

    every: int  # iterations between increases; the first is at iteration 0
    growing: int  # increases of the chosen weights' penalty
    delta: float
    hold: int  # iterations with the full penalty after the last increase
    picking: int = 0  # increases of all weights' penalty before the choice
    pick_delta: float = 0.0

    def penalty(self, iteration: int) -> float:
        """Of the weights that are to go; before the choice, of all weights."""
        count = min(self._count(iteration), self.picking + self.growing)
        return min(count, self.picking) * self.pick_delta + max(count - self.picking, 0) * self.delta

    def choosing(self, iteration: int) -> bool:
        """Whether the weights that are to go are known in this iteration."""
        return self._count(iteration) >= self.picking

    def recovering(self, iteration: int) -> bool:
        """Whether the kept weights have a penalty of their own by now."""
        return self._count(iteration) > self.picking

    @property
    def removal(self) -> int:
        """The step, counted from 1, after which the chosen weights are removed."""
        return self.every * (self.picking + self.growing - 1) + self.hold + 1

    def _count(self, iteration: int) -> int:
        return iteration // self.every + 1


@dataclass(frozen=True, kw_only=True)
class GReg(TimedMethod):
    """Press the weights that are to go towards zero by a growing L2 penalty, then remove them and train on."""

    pruner_class: ClassVar[type[CyclicPruner]] = GRegPruner

    scope: Scope = setting("layer", "pool in which weights compete")
    ceiling: float = setting(1.0, "penalty to exceed before weights are removed", above=0)
    delta: float | None = setting(None, "increase of the penalty (none: so that --ramp holds)", above=0)
    every: int = setting(1, "steps between increases of the penalty", at_least=1)
    ramp: float = setting(0.4, "share of the training in which the penalty grows, without --delta", above=0, below=1)
    hold: float = setting(0.2, "share of the training with the full penalty before removal", at_least=0, below=1)
    reference_mode: bool = setting(False, "round each group's number up, as the authors' code does")

    @property
    def needs_trained(self) -> bool:
        """The penalty presses on trained weights."""
        return True

    def start(self, pruner: StepwisePruner) -> Masks:
        """As given: nothing is removed before the end of the ramp."""
        return pruner.masks

    @abstractmethod
    def course(self, total_steps: int) -> Course:
        """The penalties of a training of so many steps."""

    def kept_penalty(self, weight_decay: float) -> float:  # noqa: ARG002
        """Penalty of the weights that stay, once the others are chosen; ``weight_decay`` is what the gradient holds."""
        return 0.0

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``|w|``."""
        return magnitude(weights)

    def counts(self, pruner: StepwisePruner) -> Counts:
        """How many weights of each group go: the same share of each, altogether exactly the asked-for number."""
        sizes = group_sizes(pruner.masks, self.scope)
        if self.reference_mode:
            return fraction_of_each(sizes, self.sparsity)
        return proportional(sizes, still_to_remove(pruner.masks, self.sparsity))

    def events(self, total_steps: int) -> Collection[int]:
        """The one step at which weights are removed."""
        removal = self.course(total_steps).removal
        if removal > total_steps:
            raise HowsparseError(
                f"{type(self).__name__} would remove weights after step {removal:,}, but the training has only "
                f"{total_steps:,}: choose a larger delta, a smaller every, ceiling, ramp or hold, or train longer"
            )
        return (removal,)

    def event(self, pruner: StepwisePruner, total_steps: int) -> Masks:  # noqa: ARG002
        """Remove the chosen weights."""
        assert isinstance(pruner, GRegPruner)
        return pruner.masks - pruner.chosen_to_go()

    def _growth(self, total_steps: int, start: float = 0.0) -> tuple[int, float]:
        """How many increases take the penalty from ``start`` above the ceiling, and how large each is."""
        if self.delta is not None:
            return math.floor((self.ceiling - start) / self.delta + 1e-9) + 1, self.delta
        growing = max(int(self.ramp * total_steps / self.every), 1)
        return growing, (self.ceiling - start) / (growing - 0.5)


@dataclass(frozen=True, kw_only=True)
class GReg1(GReg):
    """GReg-1: choose the smallest weights at the start, let their L2 penalty grow, then remove them and train on.

    Every K iterations the penalty of the chosen weights grows by delta: their gradient becomes ``g + lambda w``, beside
    the optimizer's own weight decay. When lambda has exceeded the ceiling it is held for a while; then the weights are
    removed, and the rest of the training fine-tunes the others. Starts from a trained network.

    By default the phases are shares of the training and delta follows; the authors give ``every`` 5 or 10 and ``delta``
    1e-4, which takes at least 50 000 steps. They round the share of each layer up; here layers give the same share and
    altogether exactly what was asked for.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(10, 10)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruner = GReg1(sparsity=0.8).attach(net, optimizer, total_steps=20)
        >>> for _ in range(20):
        ...     net(torch.ones(1, 10)).sum().backward()
        ...     optimizer.step()
        ...     pruner.step()
        >>> pruner.finish().sparsity
        0.8
    """

    name: ClassVar[str] = "greg1"
    about: ClassVar[str] = "press the smallest weights to zero by a growing L2 penalty, then remove them"
    source: ClassVar[str] = "arXiv 2012.09243"

    def course(self, total_steps: int) -> Course:
        """See `GReg.course`."""
        growing, delta = self._growth(total_steps)
        return Course(every=self.every, growing=growing, delta=delta, hold=round(self.hold * total_steps))


@dataclass(frozen=True, kw_only=True)
class GReg2(GReg):
    """GReg-2: let a growing penalty on all weights show which are expendable, then go on as GReg-1.

    With the loss ``h/2 (w - w*)^2`` a penalty lambda moves a weight to ``h w* / (h + lambda)``: flat directions shrink
    more, and the smallest weights after that are chosen. From the next increase on the chosen ones' penalty grows by
    delta and the kept ones' is ``recover``, by default the one that cancels the optimizer's weight decay; with
    decoupled decay (AdamW), which is not in the gradient, 0.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(10, 10)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruner = GReg2(sparsity=0.8).attach(net, optimizer, total_steps=20)
        >>> for _ in range(20):
        ...     net(torch.ones(1, 10)).sum().backward()
        ...     optimizer.step()
        ...     pruner.step()
        >>> pruner.finish().sparsity
        0.8
    """

    name: ClassVar[str] = "greg2"
    about: ClassVar[str] = "a growing L2 penalty on all weights picks those to press to zero and remove"
    source: ClassVar[str] = "arXiv 2012.09243"

    pick: float = setting(0.1, "share of the training in which all weights are pressed", above=0, below=1)
    pick_ceiling: float = setting(0.01, "penalty on all weights at which some are chosen", above=0)
    pick_delta: float | None = setting(None, "its increase (none: so that --pick holds)", above=0)
    recover: float | None = setting(
        None, "penalty of kept weights (none: minus the weight decay in the gradient)", at_most=0
    )

    def course(self, total_steps: int) -> Course:
        """See `GReg.course`."""
        if self.pick_delta is not None:
            picking, step = math.ceil(self.pick_ceiling / self.pick_delta - 1e-9), self.pick_delta
        else:
            picking = max(int(self.pick * total_steps / self.every), 1)
            step = self.pick_ceiling / picking
        growing, delta = self._growth(total_steps, picking * step)
        course = Course(every=self.every, growing=growing, delta=delta, hold=round(self.hold * total_steps))
        return dataclasses.replace(course, picking=picking, pick_delta=step)

    def kept_penalty(self, weight_decay: float) -> float:
        """Negative: the weights that stay may grow back."""
        return -weight_decay if self.recover is None else self.recover
