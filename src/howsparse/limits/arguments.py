"""What Python callers give instead of a task or a recipe, and what would be right."""

import os
from pathlib import Path

from torch import nn

from howsparse.errors import HowsparseError
from howsparse.task import Task
from howsparse.training import Recipe


def check_task(task: object, call: str) -> None:
    """Refuse what is no task.

    Args:
        task: what was given.
        call: the function it was given to.

    Raises:
        HowsparseError: it is something else than a `Task`.
    """
    if isinstance(task, Task):
        return
    kind, given = type(task).__name__, "model" if isinstance(task, nn.Module) else "your_model"
    alone = f"the network {kind} alone" if isinstance(task, nn.Module) else f"{_outline(task)} ({kind})"
    raise HowsparseError(
        f"{call}() was given {alone}; it takes a Task, a network with its training data, such as "
        f"hs.{call}(hs.Task({given}, train=your_data))"
    )


def check_recipe(recipe: object) -> None:
    """Refuse what is no recipe.

    Raises:
        HowsparseError: it is something else than a `Recipe`.
    """
    if not isinstance(recipe, Recipe):
        epochs = recipe if type(recipe) is int and recipe > 0 else 12
        raise HowsparseError(
            f"recipe = {_outline(recipe)} is not allowed: the retraining that the re-tuned limit belongs to is a "
            f"Recipe, such as hs.limit(task, hs.Recipe(epochs={epochs}))"
        )


def check_folder(out: object) -> None:
    """Refuse what names no directory.

    Raises:
        HowsparseError: it is no path, or the path of a file.
    """
    if not isinstance(out, str | os.PathLike):
        raise HowsparseError(f"out = {_outline(out)} is not allowed: it is the path of a directory, or None")
    if Path(out).is_file():
        raise HowsparseError(
            f"{out} is a file, but a limit is kept in a directory: name one that is empty or does not exist, such as "
            f"{Path(out).with_suffix('')}-limit (the command's answer as JSON goes into a file by --json > {out})"
        )


def check_counts(**counts: object) -> None:
    """Refuse counts that are no whole numbers from 1 on.

    Raises:
        HowsparseError: names the first.
    """
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise HowsparseError(f"{name} = {_outline(count)} is not allowed: it is a whole number, at least 1")


def _outline(value: object) -> str:
    """A value in at most forty characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
