"""What is looked at before any cell begins, so that errors come before hours of work."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from howsparse import processes
from howsparse.comparison.cells import Cell, Maker
from howsparse.comparison.options import Options
from howsparse.comparison.work import origin_of
from howsparse.errors import HowsparseError, RunMismatchError, near
from howsparse.masks import prunable_parameters
from howsparse.masks.prunable import Pattern
from howsparse.schedules import removed_at
from howsparse.task import Task
from howsparse.training.describe import pattern_names
from howsparse.training.randomness import randomness_of_its_own
from howsparse.training.run import CONFIG, read_json


def refuse_bad_options(options: Options, methods: Sequence[str], trained: Mapping[str, bool]) -> None:
    """Refuse options that do not go with the methods and tasks.

    Args:
        options: the options.
        methods: labels.
        trained: whether a task starts from trained weights.

    Raises:
        HowsparseError: an unknown reference, limits of untrained networks, or several processes.
    """
    if options.against is not None and options.against not in methods:
        hint = near(options.against, methods)
        raise HowsparseError(f"against = {options.against!r} is not among the methods {', '.join(methods)}{hint}")
    untrained = [task for task, is_trained in trained.items() if not is_trained]
    if options.limit and untrained:
        raise HowsparseError(
            f"limits are those of trained networks, and {', '.join(untrained)} starts untrained: give trained weights, "
            "or leave the limit out"
        )
    if processes.world() > 1:
        raise HowsparseError("a comparison shares its cells out itself: run it without torchrun, with engine and jobs")


def refuse_other_runs(
    cells: Sequence[Cell],
    makers: Mapping[str, Maker],
    out: Path,
    *,
    include: Sequence[Pattern] | None,
    exclude: Sequence[Pattern] | None,
) -> None:
    """Refuse a directory in which a cell's run was begun with other settings.

    Args:
        cells: all cells.
        makers: tasks by label.
        out: directory of the comparison.
        include: patterns of this call.
        exclude: likewise.

    Raises:
        RunMismatchError: shows what differs.
    """
    origins = {task: origin_of(maker) for task, maker in makers.items()}
    for cell in cells:
        path = out / cell.folder / CONFIG
        if path.is_file():
            asked = {
                "method": cell.configured.to_plain(),
                "recipe": cell.recipe.to_plain(),
                "include": pattern_names(include),
                "exclude": pattern_names(exclude),
                "origin": origins[cell.task],
            }
            _refuse_difference(cell.folder, read_json(path)["settings"], json.loads(json.dumps(asked)))


def _refuse_difference(folder: str, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    lines = []
    for part, wanted in asked.items():
        found = there.get(part)
        if isinstance(wanted, dict) and isinstance(found, dict):
            names = [name for name in wanted if found.get(name) != wanted[name]]
            lines += [f"  {part}.{name}: {found.get(name)!r} there, {wanted[name]!r} asked for" for name in names]
        elif found != wanted:
            lines.append(f"  {part}: {found!r} there, {wanted!r} asked for")
    if lines:
        raise RunMismatchError(
            f"{folder} was run with other settings; choose another directory, ask for the same, or delete that run:\n"
            + "\n".join(lines)
        )


def probe(
    cells: Sequence[Cell],
    makers: Mapping[str, Maker],
    include: Sequence[Pattern] | None,
    exclude: Sequence[Pattern] | None,
) -> None:
    """Build every task once and see that it can be pruned as far as is asked.

    Args:
        cells: those that are not done.
        makers: tasks by label.
        include: which parameters compete.
        exclude: likewise.

    Raises:
        HowsparseError: a task cannot be built, has no such parameters, too few of them, or does not go through.
    """
    for name in dict.fromkeys(cell.task for cell in cells):
        mine = [cell for cell in cells if cell.task == name]
        with randomness_of_its_own(torch.device("cpu")):
            try:
                _probe_task(makers[name](mine[0].seed), mine, include, exclude)
            except HowsparseError as error:
                raise HowsparseError(f"task {name}: {error}; nothing was run: leave it out, or mend it") from error


def _probe_task(
    task: Task, cells: Sequence[Cell], include: Sequence[Pattern] | None, exclude: Sequence[Pattern] | None
) -> None:
    if not isinstance(task, Task):
        raise HowsparseError(f"the function gave a {type(task).__name__}, not a howsparse.Task")
    parameters = prunable_parameters(task.model, include=include, exclude=exclude)
    total = sum(parameter.numel() for parameter in parameters.values())
    removed_at(max(cell.sparsity or 0.0 for cell in cells), total)
    task.probe()
