"""Following a comparison: how far it is, and when it will be done."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from howsparse.comparison.cells import Cell
from howsparse.comparison.rows import Row
from howsparse.training.run import HISTORY


class Watch:
    """What an onlooker may want to know; override what you need."""

    def on_plan(self, cells: Sequence[Cell], done: Sequence[Row], epochs: int) -> None:
        """What is ahead: all cells, those that are done already, and the budget of each."""

    def on_limit(self, task: str, recipe: Any) -> Any:
        """A task's limit is about to be computed; returns a `howsparse.limits.search.Watch` for it, or None."""

    def on_epochs(self, done: int, total: int) -> None:
        """Epochs of training done so far in all cells that were left, now and then."""

    def on_cell(self, row: Row, done: int, total: int, seconds_left: float | None) -> None:
        """A cell is done or has failed; how many are, and about how long the rest will take."""


class Clock:
    """About how long the rest will take: by the median time of a method's cells, else by the time of an epoch.

    Args:
        jobs: cells at a time.

    Example:
        >>> Clock(jobs=2).left([]) is None
        True
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._cells: dict[tuple[str, str], list[float]] = {}
        self._epochs: dict[str, list[float]] = {}

    def note(self, cell: Cell, seconds: float) -> None:
        """A cell that took so long."""
        self._cells.setdefault((cell.task, cell.method), []).append(seconds)
        self._epochs.setdefault(cell.task, []).append(seconds / max(sum(cell.trainings), 1))

    def left(self, cells: Sequence[Cell]) -> float | None:
        """Seconds for these cells, or None while nothing is known."""
        if not self._epochs:
            return None
        return sum(map(self._expected, cells)) / max(min(self._jobs, len(cells)), 1)

    def _expected(self, cell: Cell) -> float:
        known = self._cells.get((cell.task, cell.method))
        if known:
            return median(known)
        times = self._epochs.get(cell.task) or [t for found in self._epochs.values() for t in found]
        return median(times) * sum(cell.trainings)


class Counter:
    """Counts the epochs in the histories of runs, reading only what was added since it last looked.

    Args:
        out: directory of the comparison.
        cells: the cells that are left.
    """

    def __init__(self, out: Path, cells: Sequence[Cell]) -> None:
        self._found = {out / cell.folder / HISTORY: (0, 0) for cell in cells}  # bytes read, epochs in them
        self._before = self.epochs()

    def new(self) -> int:
        """Epochs since this object was made."""
        return max(self.epochs() - self._before, 0)

    def epochs(self) -> int:
        """Epochs so far."""
        for path in self._found:
            self._read(path)
        return sum(epochs for _, epochs in self._found.values())

    def _read(self, path: Path) -> None:
        read, epochs = self._found[path]
        try:
            if path.stat().st_size < read:  # a resumed run cut its history back
                read, epochs = 0, 0
            with path.open("rb") as stream:
                stream.seek(read)
                fresh = stream.read()
        except OSError:
            return
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._found[path] = read + len(whole), epochs + whole.count(b'"kind": "epoch"')


@contextmanager
def counting(out: Path, cells: Sequence[Cell], watch: Watch, *, every: float = 0.5) -> Iterator[None]:
    """Tell the watch, again and again while the block runs, how many epochs are done, wherever they are trained.

    Args:
        out: directory of the comparison.
        cells: the cells that are left.
        watch: who is told.
        every: seconds.
    """
    counter, total = Counter(out, cells), sum(sum(cell.trainings) for cell in cells)
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(every):
            watch.on_epochs(min(counter.new(), total), total)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
