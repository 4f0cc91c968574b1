"""Progress of long work: bars in a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from howsparse import processes
from howsparse.training import Callback


class Bars(Callback):
    """Two bars, all steps of the run and the current epoch, with a line for every cycle above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = _bars(console)
        self._moved = 0.0
        self._plan: dict[str, Any] = {}
        self._cycle = 0

    def on_start(self, plan: dict[str, Any]) -> None:
        """Say what it will cost, then show the bars."""
        self._plan, self._cycle = plan, plan["cycle"]
        self._console.print(cost_line(plan), highlight=False)
        left = sum(plan["epochs"][self._cycle :])
        self._run = self._progress.add_task("run", total=max(left, 1), note="epochs")
        self._epoch = self._progress.add_task("epoch", total=plan["steps_per_epoch"], note="steps")
        self._progress.start()

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Move the epoch's bar, a few times a second: small networks take thousands of steps in that time."""
        now = time.monotonic()
        if now - self._moved < 0.2:
            return
        self._moved = now
        epochs = self._plan["epochs"][self._cycle]
        name = f"cycle {self._cycle}, {epoch + 1}/{epochs}"
        self._progress.update(self._epoch, completed=step, total=steps, description=name)

    def on_epoch(self, record: dict[str, Any]) -> None:  # noqa: ARG002
        """Move the run's bar."""
        self._progress.advance(self._run)

    def on_cycle(self, record: dict[str, Any]) -> None:
        """A line about the cycle."""
        self._cycle = record["cycle"] + 1
        self._console.print(cycle_line(record, self._plan), highlight=False)

    def stop(self) -> None:
        """Take the bars away."""
        self._progress.stop()


class Lines(Callback):
    """Plain lines, for logs and pipes."""

    def __init__(self) -> None:
        self._plan: dict[str, Any] = {}
        self._last = time.monotonic()

    def on_start(self, plan: dict[str, Any]) -> None:
        """Say what it will cost."""
        self._plan = plan
        click.echo(cost_line(plan), err=True)

    def on_epoch(self, record: dict[str, Any]) -> None:
        """At most one line every ten seconds."""
        if time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            click.echo(f"cycle {record['cycle']} epoch {record['epoch'] + 1} loss {record['train_loss']:.4f}", err=True)

    def on_cycle(self, record: dict[str, Any]) -> None:
        """A line about the cycle."""
        click.echo(cycle_line(record, self._plan), err=True)

    def stop(self) -> None:
        """Nothing to take away."""


class Stages(Protocol):
    """Shows work that goes through stages."""

    def say(self, line: str) -> None:
        """A line that stays."""

    def move(self, stage: str, done: float, total: float, unit: str = "") -> None:
        """How far a stage is; stages appear when they are first moved."""

    def stop(self) -> None:
        """The work is over."""


class StageBars:
    """A bar for every stage, with lines above them."""

    def __init__(self, console: Console) -> None:
        self._console, self._progress = console, _bars(console)
        self._bars: dict[str, TaskID] = {}
        self._progress.start()

    def say(self, line: str) -> None:
        """Print above the bars."""
        self._console.print(line, highlight=False, markup=False)

    def move(self, stage: str, done: float, total: float, unit: str = "") -> None:
        """Move the stage's bar."""
        if stage not in self._bars:
            self._settle()
            self._bars[stage] = self._progress.add_task(stage, total=total, note=unit)
        self._progress.update(self._bars[stage], completed=min(done, total), total=total, note=unit)

    def _settle(self) -> None:
        """What stages needed less than they were given is not waited for."""
        for task in self._progress.tasks:
            self._progress.update(task.id, total=task.completed)

    def stop(self) -> None:
        """Take the bars away."""
        self._progress.stop()


class StageLines:
    """Plain lines: one when a stage begins, then at most one every ten seconds."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._last = time.monotonic()

    def say(self, line: str) -> None:
        """Print the line."""
        click.echo(line, err=True)

    def move(self, stage: str, done: float, total: float, unit: str = "") -> None:
        """A line about the stage, if it is time for one."""
        if stage in self._begun and time.monotonic() - self._last < 10:
            return
        self._begun.add(stage)
        self._last = time.monotonic()
        click.echo(f"{stage}: {done:.{0 if done == int(done) else 1}f} of {total:.0f} {unit}".rstrip(), err=True)

    def stop(self) -> None:
        """Nothing to take away."""


class _Stoppable(Protocol):
    def stop(self) -> None: ...


_Shown = TypeVar("_Shown", bound=_Stoppable)


@contextmanager
def watching() -> Iterator[list[Callback]]:
    """Callbacks that show a run's progress on standard error, in the first process only."""
    with _while_needed(lambda: Bars(Console(stderr=True)) if sys.stderr.isatty() else Lines()) as found:
        yield [] if found is None else [found]


@contextmanager
def stages() -> Iterator[Stages | None]:
    """Shows the progress of stages on standard error; None in all processes but the first."""
    with _while_needed(lambda: StageBars(Console(stderr=True)) if sys.stderr.isatty() else StageLines()) as found:
        yield found


@contextmanager
def _while_needed(make: Callable[[], _Shown]) -> Iterator[_Shown | None]:
    if processes.rank() != 0:
        yield None
        return
    found = make()
    try:
        yield found
    finally:
        found.stop()


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        refresh_per_second=5,
    )


def cost_line(plan: dict[str, Any]) -> str:
    """What a run will cost, before it starts."""
    left = plan["epochs"][plan["cycle"] :]
    start = f"resuming at cycle {plan['cycle']}: " if plan["cycle"] else ""
    return (
        f"{start}{plan['prunable']:,} prunable weights; {len(left)} trainings, {sum(left)} epochs, "
        f"{sum(left) * plan['steps_per_epoch']:,} steps"
    )


def cycle_line(record: dict[str, Any], plan: dict[str, Any]) -> str:
    """One cycle in a line."""
    name = plan.get("metric") or "loss"
    key = "metric" if plan.get("metric") else "loss"
    parts = [f"cycle {record['cycle']:>2}", f"sparsity {record['sparsity']:.4f}"]
    for split in ("val", "test"):
        value = (record[split] or {}).get(key)
        if value is not None:
            parts.append(f"{split} {name} {value:.4f}")
    parts.append(f"PQI {record['pqi']:.4f}" if record["pqi"] is not None else "PQI undefined")
    return "  ".join(parts)
