"""The race carried out on a task: racers on disk, marks in the notebook."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from howsparse import processes
from howsparse.errors import DivergedError
from howsparse.limits.dense import DenseNetwork
from howsparse.limits.extrapolation import T_EFF, Mark
from howsparse.limits.notebook import Notebook
from howsparse.limits.racer import STATE, Racer
from howsparse.limits.retuned import Outcome, Terms, hold_race
from howsparse.limits.yardstick import HOPELESS, Yardstick
from howsparse.task import Task
from howsparse.training import Callback, Recipe, evaluate


class RaceTrack:
    """Runs racers on a task, remembers every mark, and keeps each racer's network as an ordinary weight file.

    Args:
        task: network and data.
        dense: the network before anything is removed.
        yardstick: measures loss increases.
        recipe: the retraining that is predicted.
        notebook: where marks go.
        folder: where racers go, or None to keep nothing.
        seed: of data order.
        callbacks: onlookers.
    """

    def __init__(  # noqa: PLR0913 - built in one place, from the parts of a limit's computation
        self,
        task: Task,
        dense: DenseNetwork,
        yardstick: Yardstick,
        recipe: Recipe,
        notebook: Notebook,
        *,
        folder: Path | None,
        seed: int,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.task, self.dense, self.yardstick, self.recipe = task, dense, yardstick, recipe
        self.notebook, self.folder, self.seed, self.callbacks = notebook, folder, seed, callbacks
        self._racers: dict[float, Racer] = {}

    def hold(self, eps: float, kept_one_shot: float, lap: int, budget: int) -> Outcome:
        """The whole race; see `hold_race`."""
        steps = self.recipe.epochs * len(self.task.train)
        if self.recipe.schedule == "constant":  # followed as it is: its steps count in full
            steps = math.ceil(steps / T_EFF)
        longest = max(math.ceil(T_EFF * self.recipe.epochs), lap)
        return hold_race(self.run, Terms(self.yardstick.dense + eps, eps, steps, lap, budget, kept_one_shot, longest))

    def run(self, kept: float, epochs: int) -> Sequence[Mark]:
        """All marks of one racer up to the end of an epoch."""
        key = f"race {kept:.6f} epochs {epochs}"
        found = self.notebook.once(key, lambda: self._run(kept, epochs))
        return [Mark(*mark) for mark in found]

    def _run(self, kept: float, epochs: int) -> list[list[Any]]:
        racer = self._racer(kept)
        if racer.epochs < epochs:
            steps = epochs * len(self.task.train)
            try:
                racer.run(epochs, mark_steps(steps), lambda step: self._look(step, last=step == steps))
            except DivergedError:  # our constant learning rate may be too much where the recipe's own is not
                racer.marks = [[step, HOPELESS, None] for step in mark_steps(steps)]
                racer.epochs = epochs
                return racer.marks
            if self.folder is not None and processes.rank() == 0:
                racer.save(self._place(kept))
        if self.folder is not None and processes.world() == 1:
            del self._racers[kept]  # it holds several copies of the network; the disk has them
        return racer.marks

    def _look(self, step: int, *, last: bool) -> list[Any]:
        """A mark of the network as it is now: step, training loss, and at the end of a lap the held-out metric."""
        loss = min(max(self.yardstick.dense + self.yardstick.increase().mean, 0.0), HOPELESS)
        wanted = last and self.task.val is not None and self.task.metric is not None
        metric = evaluate(self.task, self.task.val).metric if wanted and self.task.val is not None else math.nan
        return [step, loss, metric if math.isfinite(metric) else None]

    def _place(self, kept: float) -> Path:
        assert self.folder is not None
        return self.folder / f"{1 - kept:.6f}"

    def _racer(self, kept: float) -> Racer:
        if kept not in self._racers:
            masks = self.dense.masks_keeping(kept)
            racer = Racer(self.task, self.dense, masks, self.recipe, seed=self.seed, callbacks=self.callbacks)
            if self.folder is not None and (self._place(kept) / STATE).exists():
                racer.load(self._place(kept))
            self._racers[kept] = racer
        return self._racers[kept]


def mark_steps(last: int) -> list[int]:
    """Steps at which an average is looked at: the end of a lap, and 0.7 and half of it.

    Example:
        >>> mark_steps(100)
        [50, 71, 100]
    """
    return sorted({max(round(last * 2 ** (-j / 2)), 1) for j in range(3)})
