"""The race carried out on a task: racers on disk, marks in the notebook."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from howsparse.limits.dense import DenseNetwork
from howsparse.limits.extrapolation import Mark
from howsparse.limits.notebook import Notebook
from howsparse.limits.racer import Racer
from howsparse.limits.retuned import Outcome, Terms, hold_race
from howsparse.limits.yardstick import Yardstick
from howsparse.schedules import removed_at
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
        return hold_race(self.run, Terms(self.yardstick.dense + eps, steps, lap, budget, kept_one_shot))

    def run(self, kept: float, epochs: int) -> Sequence[Mark]:
        """All marks of one racer up to the end of an epoch."""
        key = f"race {kept:.6f} epochs {epochs}"
        found = self.notebook.once(key, lambda: self._run(kept, epochs))
        return [Mark(*mark) for mark in found]

    def _run(self, kept: float, epochs: int) -> list[list[Any]]:
        racer = self._racer(kept)
        marks: list[list[Any]] = list(self._earlier(kept, racer.epochs))

        def look(step: int) -> None:
            increase = self.yardstick.increase()
            last = step == epochs * len(self.task.train)
            metric = evaluate(self.task, self.task.val).metric if last and self.task.val is not None else None
            marks.append([step, max(self.yardstick.dense + increase.mean, 0.0), metric])

        racer.run(epochs, mark_steps(epochs * len(self.task.train)), look)
        if self.folder is not None:
            racer.save(self.folder / f"{1 - kept:.6f}")
        return marks

    def _earlier(self, kept: float, epochs: int) -> Sequence[list[Any]]:
        if epochs == 0:
            return []
        found: list[list[Any]] = self.notebook.once(f"race {kept:.6f} epochs {epochs}", list)
        return found

    def _racer(self, kept: float) -> Racer:
        if kept not in self._racers:
            masks = self.dense.masks(removed_at(1 - kept, self.dense.total))
            racer = Racer(self.task, self.dense, masks, self.recipe, seed=self.seed, callbacks=self.callbacks)
            if self.folder is not None and (self.folder / f"{1 - kept:.6f}" / "racer.pt").exists():
                racer.load(self.folder / f"{1 - kept:.6f}")
            self._racers[kept] = racer
        return self._racers[kept]


def mark_steps(last: int) -> list[int]:
    """Steps at which an average is looked at: the end of a lap, and 0.7 and half of it.

    Example:
        >>> mark_steps(100)
        [50, 71, 100]
    """
    return sorted({max(round(last * 2 ** (-j / 2)), 1) for j in range(3)})
