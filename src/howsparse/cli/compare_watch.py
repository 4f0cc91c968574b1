"""Progress of a comparison: the plan with its budgets, a line a cell with the time that is left, a bar of epochs."""

from collections.abc import Sequence
from typing import Any

from howsparse.cli.limit_watch import LimitWatch
from howsparse.cli.progress import Stages
from howsparse.comparison import Row, Watch
from howsparse.comparison.cells import Cell
from howsparse.comparison.tables import aligned, budget_grid
from howsparse.report.wording import count, duration, number


class CompareWatch(Watch):
    """Says what is ahead and what is done.

    Args:
        stages: what shows it.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def on_plan(self, cells: Sequence[Cell], done: Sequence[Row], epochs: int) -> None:
        """How many cells and epochs there are, and how each method spends its budget."""
        folders = {row.run for row in done}
        left = sum(sum(cell.trainings) for cell in cells if cell.folder not in folders)
        before = f", {len(done)} of them done" if done else ""
        self._stages.say(
            f"{count(len(cells), 'cell')}{before}; {count(left, 'epoch')} ahead; "
            f"at most {count(epochs, 'epoch')} a cell, search included"
        )
        rows = [Row(c.task, c.method, c.sparsity, c.seed, c.folder, c.trainings, c.changed) for c in cells]
        self._stages.say(aligned(budget_grid(rows)))

    def on_limit(self, task: str, recipe: Any) -> LimitWatch:
        """Follow a limit's computation."""
        self._stages.say(f"limit of {task}")
        return LimitWatch(self._stages, recipe.epochs)

    def on_epochs(self, done: int, total: int) -> None:
        """Move the bar."""
        self._stages.move("cells", done, total, "epochs")

    def on_cell(self, row: Row, done: int, total: int, seconds_left: float | None) -> None:
        """A line about the cell."""
        if row.state == "failed":
            about = f"failed: {row.error}: {row.message}"
        else:
            value = "no number" if row.value is None else f"{row.split} {row.metric} {number(row.value)}"
            about = f"{value}, {count(row.epochs or 0, 'epoch')}, {duration(row.seconds or 0.0)}"
        rest = "" if done == total or seconds_left is None else f"; about {duration(seconds_left)} left"
        self._stages.say(f"[{done}/{total}{rest}] {row.run}: {about}")
