"""Step-wise methods whose masks change at steps that are fixed in advance, as fractions of the training."""

import functools
from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from howsparse.errors import HowsparseError
from howsparse.masks import Masks
from howsparse.pruners.stepwise import StepwiseMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.schedules import update_steps
from howsparse.settings import setting

steps_of = functools.lru_cache(update_steps)
"""`howsparse.schedules.update_steps`, worked out once: it is asked for after every step."""


@dataclass(frozen=True, kw_only=True)
class TimedMethod(StepwiseMethod):
    """Masks change after the steps that `events` lists, as `event` says."""

    moving: ClassVar[bool] = True

    @abstractmethod
    def events(self, total_steps: int) -> Collection[int]:
        """The steps after which masks change; quick to ask again.

        Raises:
            HowsparseError: the training is too short for the method.
        """

    @abstractmethod
    def event(self, pruner: StepwisePruner, total_steps: int) -> Masks:
        """The masks after the event at ``pruner.steps``."""

    def update(self, pruner: StepwisePruner) -> Masks | None:
        """See `StepwiseMethod.update`."""
        total_steps = self._known(pruner.total_steps)
        return self.event(pruner, total_steps) if pruner.steps in self.events(total_steps) else None

    def check_length(self, total_steps: int | None) -> None:
        """A training of unknown length, or without a single event, is refused."""
        self.events(self._known(total_steps))

    def _known(self, total_steps: int | None) -> int:
        if total_steps is None:
            raise HowsparseError(
                f"{type(self).__name__} changes masks at fractions of the training, so it must know how long that is: "
                "attach(model, optimizer, total_steps=epochs * len(loader))"
            )
        return total_steps


@dataclass(frozen=True, kw_only=True)
class PeriodicMethod(TimedMethod):
    """Masks change every so many steps between two points of the training."""

    begin: float = setting(0.0, "share of the training at which masks begin to change", at_least=0, below=1)
    end: float = setting(0.75, "share of the training before which the last change lies", above=0, at_most=1)
    every: int | None = setting(
        None, "steps between changes (none: a hundredth of the training, at most 1000)", at_least=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.begin >= self.end:
            raise HowsparseError(
                f"{type(self).__name__}: begin = {self.begin:g}, end = {self.end:g} is not allowed: masks must begin "
                "to change before the end"
            )

    def events(self, total_steps: int) -> range:
        """The multiples of ``every`` from begin up to, but without, the end."""
        return steps_of(total_steps, self.begin, self.end, self.every)
