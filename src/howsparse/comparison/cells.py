"""Cells: which runs a comparison is made of, and what each of them is to do."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from howsparse.comparison.budget import fit, in_cycles
from howsparse.errors import HowsparseError
from howsparse.methods import CyclicMethod, Method, method_class
from howsparse.schedules import cycles_to_reach
from howsparse.settings import settings_of
from howsparse.task import Task
from howsparse.training import Recipe

Maker = Callable[[int], Task]
"""Builds the task of a seed: a `howsparse.named_task.NamedTask`, or a function of the user's own."""


@dataclass(frozen=True)
class Cell:
    """One run: a task, a method at a sparsity, a seed."""

    task: str
    method: str  # label, the method's name unless the user gave another
    sparsity: float | None  # asked for; None for a method that finds its own
    seed: int
    configured: CyclicMethod
    recipe: Recipe
    changed: str  # what the budget changed in the method, in words

    @property
    def folder(self) -> str:
        """Run directory, below that of the comparison."""
        return f"{self.task}/{self.method}/{sparsity_name(self.sparsity)}/seed{self.seed}"

    @property
    def trainings(self) -> tuple[int, ...]:
        """Epochs of every training."""
        return self.configured.trainings(self.recipe)


def sparsity_name(sparsity: float | None) -> str:
    """A sparsity as tables and folders show it.

    Example:
        >>> sparsity_name(0.95), sparsity_name(None)
        ('0.95', 'own')
    """
    return "own" if sparsity is None else f"{sparsity:.10g}"


def plan(
    tasks: Mapping[str, bool],
    methods: Mapping[str, CyclicMethod],
    sparsities: Sequence[float],
    *,
    seeds: Sequence[int],
    epochs: int,
    recipe: Recipe,
) -> list[Cell]:
    """All cells, so ordered that early ones already compare methods: by seed, then sparsity, task and method.

    Args:
        tasks: whether each starts from trained weights.
        methods: by label.
        sparsities: fractions removed.
        seeds: of initial weights, held-out samples and data order.
        epochs: budget of each cell.
        recipe: how to train.

    Returns:
        The cells.

    Raises:
        HowsparseError: a method does not fit into the budget.
    """
    configured: dict[tuple[str, str, float | None], tuple[CyclicMethod, Recipe, str]] = {}
    for task, trained in tasks.items():
        for label, method in methods.items():
            for sparsity, asked in at_sparsities(method, sparsities).items():
                shorter, own = fit(asked, recipe, epochs, trained=trained)
                configured[task, label, sparsity] = (shorter, own, _change(asked, shorter))
    order = list(configured)
    grid: list[float | None] = [*sparsities, None]
    order.sort(key=lambda key: grid.index(key[2]))  # stable: tasks and methods stay in the order given
    return [Cell(*key, seed, *configured[key]) for seed in seeds for key in order]


def at_sparsities(method: CyclicMethod, sparsities: Sequence[float]) -> dict[float | None, CyclicMethod]:
    """The method at each sparsity; alone, under None, where it finds its own.

    Args:
        method: with any sparsity.
        sparsities: fractions removed.

    Returns:
        Methods by sparsity. One that removes a share in each of a number of cycles gets the share that uses them all.

    Example:
        >>> from howsparse.methods import OneShot
        >>> [m.sparsity for m in at_sparsities(OneShot(), [0.5, 0.9]).values()]
        [0.5, 0.9]
    """
    known = settings_of(type(method))
    if "sparsity" in known:
        found = {s: dataclasses.replace(method, sparsity=s) for s in sparsities}  # type: ignore[call-arg]
        return {s: _evenly(m, s) if {"fraction", "cycles"} <= set(known) else m for s, m in found.items()}
    return {None: method}


def _evenly(method: CyclicMethod, sparsity: float) -> CyclicMethod:
    fraction: float = getattr(method, "fraction")  # noqa: B009 - only some methods have it
    return method if method.prunings == cycles_to_reach(sparsity, fraction) else in_cycles(method, method.prunings)


def _change(asked: CyclicMethod, shorter: CyclicMethod) -> str:
    if asked.prunings == shorter.prunings:
        return ""
    share = f", each removes {shorter.fraction:.3g}" if hasattr(shorter, "fraction") else ""
    return f"{shorter.prunings} instead of {asked.prunings} cycles{share}"


# --- what the user names ----------------------------------------------------------------------------------------------
def named_methods(given: Iterable[Any] | Mapping[str, Any]) -> dict[str, CyclicMethod]:
    """Methods by label, from names, classes, configured methods, or a mapping of labels to these.

    Raises:
        HowsparseError: unknown names, with the nearest ones; a label twice; a method that does not prune in cycles.

    Example:
        >>> list(named_methods(["one-shot", "imp"]))
        ['one-shot', 'imp']
    """
    if isinstance(given, str | Method | type):
        given = [given]
    if isinstance(given, Mapping):
        found = {str(label): _method(method) for label, method in given.items()}
        pairs = list(found.items())
    else:
        pairs = [(method.name, method) for method in map(_method, given)]
    _refuse_bad_labels("method", [label for label, _ in pairs])
    if "limit" in dict(pairs):
        raise HowsparseError(
            "no method can be labelled limit: that folder holds the task's limit; choose another label"
        )
    return dict(pairs)


def _method(given: Any) -> CyclicMethod:
    method = method_class(given)() if isinstance(given, str) else given() if isinstance(given, type) else given
    if not isinstance(method, CyclicMethod):
        raise HowsparseError(f"{given!r} is no method that howsparse.prune carries out; give a name such as imp")
    return method


def named_tasks(given: Any) -> dict[str, Maker]:
    """Tasks by label, from one maker, several, or a mapping of labels to makers.

    Raises:
        HowsparseError: something else than functions of a seed, none at all, or a label twice.
    """
    if isinstance(given, Task):
        raise HowsparseError(
            "give compare() a function make_task(seed) that builds the task, not a task: every cell starts afresh"
        )
    makers = given if isinstance(given, Mapping) else {label(m): m for m in ([given] if callable(given) else given)}
    if not isinstance(given, Mapping) and not callable(given):
        _refuse_bad_labels("task", [label(maker) for maker in given])
    for maker in makers.values():
        if not callable(maker):
            raise HowsparseError(f"{maker!r} is no task: give a NamedTask or a function make_task(seed) -> Task")
    _refuse_bad_labels("task", list(makers))
    return {str(name): maker for name, maker in makers.items()}


def label(maker: Any) -> str:
    """A name for folders and tables.

    Example:
        >>> from howsparse.named_task import NamedTask
        >>> label(NamedTask(model="nets.py:make", data="npz:mine.npz"))
        'nets-make-npz-mine'
    """
    origin = getattr(maker, "origin", None)
    words = [origin["model"], origin["data"]] if origin else [getattr(maker, "__name__", "") or type(maker).__name__]
    stems = [re.sub(r"\.(py|npz)\b", "", word) for word in words]
    return "-".join(re.sub(r"[^\w.]+", "-", stem).strip("-_.") for stem in stems) or "task"


def _refuse_bad_labels(kind: str, labels: Sequence[str]) -> None:
    if not labels:
        raise HowsparseError(f"there is no {kind} to compare; give at least one")
    for name in labels:
        if labels.count(name) > 1:
            raise HowsparseError(
                f"two {kind}s are called {name}; give them labels: {{'{name}-a': ..., '{name}-b': ...}}"
            )
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise HowsparseError(f"the label {name!r} cannot name a folder: use letters, digits, - _ . +")


def checked_sparsities(given: Iterable[float] | float) -> list[float]:
    """The sparsities to compare at.

    Raises:
        HowsparseError: one is outside (0, 1), one is there twice, or there is none.

    Example:
        >>> checked_sparsities([0.9, 0.99])
        [0.9, 0.99]
    """
    found = [float(s) for s in ([given] if isinstance(given, int | float) else given)]
    for sparsity in found:
        if not 0 < sparsity < 1:
            hint = f"; {sparsity:g} % is {sparsity / 100:g}" if 1 < sparsity < 100 else ""
            raise HowsparseError(
                f"sparsity {sparsity:g} is out of range: it is the fraction removed, above 0 and below 1{hint}"
            )
    if not found or len(set(found)) < len(found):
        raise HowsparseError(f"sparsities {found}: give at least one, each once")
    return found


def checked_seeds(given: Iterable[int] | int) -> list[int]:
    """The seeds: a number of them stands for 0, 1, 2 and so on.

    Raises:
        HowsparseError: not whole numbers from 0, one is there twice, or there is none.

    Example:
        >>> checked_seeds(3), checked_seeds([7])
        ([0, 1, 2], [7])
    """
    seeds = list(range(given)) if isinstance(given, int) else list(given)
    right = all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)
    if not seeds or not right or len(set(seeds)) < len(seeds):
        raise HowsparseError(f"seeds = {given!r} is not allowed: give a number of seeds, 1 or more, or different seeds")
    return seeds
