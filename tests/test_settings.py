import dataclasses
from typing import Literal

import pytest

from howsparse import SAP, HowsparseError, LotteryTicket, OneShot, Recipe
from howsparse.settings import check_settings, function_name, setting, settings_of


@dataclasses.dataclass(frozen=True)
class Knobs:
    share: float = setting(0.5, "a share", at_least=0, below=1)
    count: int | None = setting(None, "a count", above=0)
    word: Literal["a", "b"] = setting("a", "a word")
    many: int | str = setting("x", "a number or a word")

    def __post_init__(self) -> None:
        check_settings(self)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share": 1.0}, "share = 1.0 is not allowed: it must be less than 1"),
        ({"share": float("nan")}, "share = nan is not allowed: it must be a finite number"),
        ({"share": float("-inf")}, "it must be a finite number"),
        ({"share": "0.5"}, "share = '0.5' is not allowed: it must be float"),
        ({"share": True}, "share = True is not allowed"),
        ({"count": 0}, "count = 0 is not allowed: it must be greater than 0"),
        ({"count": 1.5}, "count = 1.5 is not allowed: it must be int"),
        ({"word": "c"}, "word = 'c' is not allowed: it must be one of a, b"),
        ({"many": 2.5}, "many = 2.5 is not allowed: it must be int or str"),
    ],
)
def test_wrong_values(wrong, message) -> None:
    with pytest.raises(HowsparseError, match=message.replace("[", r"\[")):
        Knobs(**wrong)


def test_right_values() -> None:
    assert Knobs(share=0, count=3, word="b", many=7).many == 7
    assert settings_of(Knobs)["word"].choices == ("a", "b")
    assert settings_of(Knobs)["count"].optional


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SAP(p=1.0, q=1.0), "p = 1, q = 1 is not allowed: the PQ Index needs p < q"),
        (lambda: SAP(p=0.0), "p = 0.0 is not allowed"),
        (lambda: SAP(eta=-0.1), "eta = -0.1 is not allowed: it must be at least 0"),
        (lambda: SAP(beta=1.0), "beta = 1.0 is not allowed: it must be less than 1"),
        (lambda: SAP(gamma=0), "gamma = 0 is not allowed"),
        (lambda: SAP(cycles=0), "cycles = 0 is not allowed"),
        (lambda: SAP(scope="rows"), "it must be one of neuron, layer, global"),
        (lambda: SAP(rewind="start"), "rewind = 'start'"),
        (lambda: SAP(rewind=-1), "rewind = -1"),
        (lambda: OneShot(sparsity=1.0), "sparsity = 1.0 is not allowed: it must be less than 1"),
        (lambda: LotteryTicket(fraction=1.0), "fraction = 1.0"),
        (lambda: LotteryTicket(reference_mode=True, scope="layer"), "reference_mode exists for"),
        (lambda: Recipe(lr=0), "lr = 0 is not allowed"),
        (lambda: Recipe(epochs=-1), "epochs = -1"),
        (lambda: Recipe(optimizer="lion"), "optimizer = 'lion' is unknown"),
        (lambda: Recipe(schedule="cubic"), "it must be one of cosine, linear, constant, milestones"),
    ],
)
def test_methods_and_recipes_check_themselves(make, message) -> None:
    with pytest.raises(HowsparseError, match=message):
        make()


def test_functions_are_told_apart() -> None:
    import functools

    names = {
        function_name(f)
        for f in (
            len,
            lambda x: x + 1,
            lambda x: x + 2,
            functools.partial(round, ndigits=1),
            functools.partial(round, ndigits=2),
        )
    }
    assert len(names) == 5
    assert all("0x" not in name for name in names)  # the same in every process
