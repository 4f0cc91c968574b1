"""What a run may cost: epochs of training in all, those before and between prunings included."""

import bisect
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

from howsparse.errors import HowsparseError
from howsparse.methods import CyclicMethod
from howsparse.pruners.searching import SearchMethod
from howsparse.settings import settings_of
from howsparse.training import Recipe

LEAST_SHARE = 0.2
"""Share of the budget below which no training goes while cycles can be spared."""


def fit(method: CyclicMethod, recipe: Recipe, epochs: int, *, trained: bool) -> tuple[CyclicMethod, Recipe]:
    """The method and the recipe whose run takes at most so many epochs of training, all trainings together.

    Every training gets the same number of epochs, as many as fit. The one before the first pruning is left out where
    weights are trained already, or where the method starts from untrained ones; otherwise it also gets the rest. What
    a method does in that training and nobody else (LOMP's penalty) it may do to trained weights too, with the epochs
    that are left; a search's rest goes to the last training. No training is shorter than a fifth of the budget, if the
    method can do with fewer cycles that each remove more: a network rewound and trained for one epoch is worth little.

    Args:
        method: what prunes.
        recipe: how to train; its ``epochs`` and ``dense_epochs`` are chosen here.
        epochs: the budget, at least 1.
        trained: whether runs start from trained weights.

    Returns:
        The method, perhaps with fewer cycles, and the recipe.

    Raises:
        HowsparseError: even one cycle with one epoch a training takes more, or weights are to be rewound to a step of
            a dense training that there is not.

    Example:
        >>> from howsparse.methods import LotteryTicket
        >>> method, recipe = fit(LotteryTicket(cycles=9), Recipe(), 12, trained=False)
        >>> method.cycles, round(method.fraction, 3), method.trainings(recipe)
        (3, 0.488, (3, 3, 3, 3))
    """
    if epochs < 1:
        raise HowsparseError(f"epochs = {epochs} is not allowed: every cell trains for at least one epoch")
    without_dense = trained or not method.needs_trained
    step = method.rewind if isinstance(method.rewind, int) else 0
    if step and without_dense:
        raise HowsparseError(
            f"{method.name}: rewind = {step} is a step of the dense training, but from trained weights there is none; "
            "rewind to init, which then means those weights"
        )

    def even(each: int) -> Recipe:
        return dataclasses.replace(recipe, epochs=each, dense_epochs=0 if without_dense else None)

    for shortest in (math.ceil(epochs * LEAST_SHARE), 1):
        for candidate in _ever_shorter(method, epochs):
            fits = functools.partial(_left, candidate, even, epochs)
            if fits(shortest) >= 0:
                # the largest number that fits: what is left only shrinks
                each = shortest + bisect.bisect(range(shortest + 1, epochs + 1), 0, key=lambda e: -fits(e))
                return _with_spare(candidate, even(each), fits(each), each=each, dense=not without_dense)
    least = sum(method.trainings(even(1)))
    raise HowsparseError(f"{method.name} takes at least {least} epochs of training, but epochs = {epochs} in all")


def _left(method: CyclicMethod, even: Callable[[int], Recipe], epochs: int, each: int) -> int:
    """What a budget leaves when every training gets ``each`` epochs; negative where that is too much."""
    return epochs - sum(method.trainings(even(each)))


def _with_spare(
    method: CyclicMethod, recipe: Recipe, spare: int, *, each: int, dense: bool
) -> tuple[CyclicMethod, Recipe]:
    """Method and recipe with the epochs that are left put where they can be used."""
    if not spare or (isinstance(method.rewind, int) and method.rewind > 0):  # a rewound schedule needs equal lengths
        return method, recipe
    if isinstance(method, SearchMethod):
        searching = each if method.search_epochs is None else method.search_epochs
        longer = dataclasses.replace(recipe, epochs=each + spare, dense_epochs=each if dense else 0)
        return dataclasses.replace(method, search_epochs=searching), longer
    if dense:
        return method, dataclasses.replace(recipe, dense_epochs=each + spare)
    of_its_own = method.recipe_in(recipe, 0) != recipe
    return method, dataclasses.replace(recipe, dense_epochs=spare) if of_its_own else recipe


def _ever_shorter(method: CyclicMethod, most: int) -> Iterator[CyclicMethod]:
    """The method itself, then with fewer and fewer cycles."""
    yield method
    if "cycles" in settings_of(type(method)):
        for cycles in range(min(method.prunings - 1, most), 0, -1):
            yield in_cycles(method, cycles)


def in_cycles(method: CyclicMethod, cycles: int) -> CyclicMethod:
    """The method with another number of cycles and, where it removes a share each, the share that gets as far.

    Args:
        method: has a setting ``cycles``.
        cycles: at least 1.

    Returns:
        The method.

    Example:
        >>> from howsparse.methods import LotteryTicket
        >>> in_cycles(LotteryTicket(cycles=4, fraction=0.5), 2).fraction
        0.75
    """
    changes: dict[str, int | float] = {"cycles": cycles}
    if "fraction" in settings_of(type(method)):
        asked = _of(method, "sparsity")
        left = 1 - asked if asked else (1 - _of(method, "fraction")) ** method.prunings
        changes["fraction"] = 1 - left ** (1 / cycles)
    return dataclasses.replace(method, **changes)


def _of(method: CyclicMethod, name: str) -> float:
    return float(getattr(method, name, None) or 0)
