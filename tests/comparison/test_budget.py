import pytest
from hypothesis import given
from hypothesis import strategies as st

from howsparse import HowsparseError, Recipe
from howsparse.comparison.budget import fit
from howsparse.comparison.cells import at_sparsities, named_methods
from howsparse.methods import LOMP, AutoSparse, CyclicMethod, LotteryTicket, OneShot, RareGems, registered


def trainings(method: CyclicMethod, recipe: Recipe) -> tuple[int, ...]:
    return method.trainings(recipe)


METHODS = named_methods([cls for cls in registered()[0].values() if cls is not AutoSparse])


@given(
    st.sampled_from(list(METHODS)), st.floats(0.5, 0.99), st.integers(3, 60), st.booleans()
)  # fmt: skip
def test_budgets_are_kept_and_spent(name, sparsity, epochs, trained) -> None:
    (asked,) = at_sparsities(METHODS[name], [sparsity]).values()
    method, recipe = fit(asked, Recipe(), epochs, trained=trained)
    spent = trainings(method, recipe)
    assert sum(spent) <= epochs
    assert len(spent) == method.prunings + 1
    assert epochs - sum(spent) < (len(spent) if trained else 1)  # untrained, nothing is left over
    assert method.prunings <= asked.prunings
    assert getattr(method, "sparsity", None) == getattr(asked, "sparsity", None)
    if trained and name != "lomp":
        assert spent[0] == 0


def test_by_hand() -> None:
    def spent(method: CyclicMethod, epochs: int, trained: bool, **more: object) -> tuple[int, ...]:
        return trainings(*fit(method, Recipe(**more), epochs, trained=trained))

    assert spent(OneShot(), 6, False) == (3, 3)
    assert spent(OneShot(), 7, False) == (4, 3)
    assert spent(OneShot(), 6, True) == (0, 6)
    assert spent(LotteryTicket(cycles=2), 11, False) == (5, 3, 3)
    assert spent(LotteryTicket(cycles=2), 11, True) == (0, 5, 5)  # one epoch is not used
    assert spent(LotteryTicket(cycles=2, rewind=5), 11, False) == (3, 3, 3)  # rewound schedules are equally long
    assert spent(LOMP(sparsity=0.5), 6, False) == (6, 0)
    assert spent(LOMP(sparsity=0.5), 6, True) == (6, 0)  # its own dense training, from trained weights too
    assert spent(LOMP(sparsity=0.5, fine_tune=2), 6, True) == (4, 2)


def test_cycles_are_reduced_and_reach_as_far() -> None:
    method, recipe = fit(LotteryTicket(sparsity=0.9), Recipe(), 4, trained=False)
    assert trainings(method, recipe) == (1, 1, 1, 1)
    assert method.fraction == pytest.approx(1 - 0.1 ** (1 / 3))
    method, _ = fit(LotteryTicket(cycles=9, fraction=0.2), Recipe(), 4, trained=True)
    assert (method.cycles, (1 - method.fraction) ** method.cycles) == (4, pytest.approx(0.8**9))


def test_no_training_is_a_small_part_of_the_budget_while_cycles_can_be_spared() -> None:
    assert trainings(*fit(LotteryTicket(sparsity=0.99), Recipe(), 12, trained=False)) == (3, 3, 3, 3)
    assert trainings(*fit(LotteryTicket(sparsity=0.99), Recipe(), 20, trained=True)) == (0, 4, 4, 4, 4, 4)
    assert trainings(*fit(RareGems(), Recipe(), 13, trained=False)) == (0, 6, 7)


def test_a_method_that_starts_untrained_spends_all_on_its_one_training() -> None:
    class AtStart(OneShot):
        needs_trained = False

    assert trainings(*fit(AtStart(), Recipe(), 5, trained=False)) == (0, 5)


def test_what_cannot_fit() -> None:
    with pytest.raises(HowsparseError, match="takes at least 2 epochs"):
        fit(OneShot(), Recipe(), 1, trained=False)
    with pytest.raises(HowsparseError, match="takes at least 8 epochs"):
        fit(LOMP(sparsity=0.5, fine_tune=7), Recipe(), 6, trained=False)
    with pytest.raises(HowsparseError, match="rewind = 3 is a step of the dense training"):
        fit(LotteryTicket(rewind=3), Recipe(), 6, trained=True)
    with pytest.raises(HowsparseError, match="at least one epoch"):
        fit(OneShot(), Recipe(), 0, trained=True)
