"""The classical measures against their formulas written out, and at their edges."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.measures import MEASURES, entries, l0_epsilon, neg_lp, neg_tanh

WRITTEN_OUT: dict[str, Callable[[Tensor], Tensor]] = {
    "pqi": lambda x: 1 - (x.sqrt().mean() ** 2) / x.mean(),
    "pqi_1_2": lambda x: 1 - x.mean() / x.square().mean().sqrt(),
    "gini": lambda x: (x[:, None] - x[None, :]).abs().sum() / (2 * len(x) * x.sum()),  # mean absolute difference
    "participation": lambda x: 1 - x.mean() ** 2 / x.square().mean(),
    "hoyer": lambda x: (math.sqrt(len(x)) - x.sum() / x.norm()) / (math.sqrt(len(x)) - 1),
    "l2_over_l1": lambda x: x.norm() / x.sum(),
    "neg_shannon": lambda x: -torch.special.entr(x / x.sum()).sum(),
    "kurtosis": lambda x: x.pow(4).mean() / x.square().mean() ** 2,
    "l0": lambda x: (x == 0).double().mean(),
    "l0_epsilon": lambda x: (x <= 1e-3).double().mean(),
    "neg_l1": lambda x: -x.sum(),
    "neg_lp": lambda x: -(x.sqrt().sum() ** 2),
    "neg_tanh": lambda x: -x.tanh().sum(),
    "neg_log": lambda x: -(1 + x * x).log().sum(),
}
UNDEFINED_AT_ZERO = {"pqi", "pqi_1_2", "gini", "participation", "hoyer", "l2_over_l1", "neg_shannon", "kurtosis"}


def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(12, 9, generator=generator, dtype=torch.float64)
    x[3] = 0
    x[4] *= 1e-4
    return x, torch.rand(12, 9, generator=generator) < 0.7


def test_every_measure_is_written_out() -> None:
    assert set(WRITTEN_OUT) == set(MEASURES)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("chunk", [entries.CHUNK, 5])
def test_formula_mask_and_several_tensors(name: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "CHUNK", chunk)
    measure, (x, mask) = MEASURES[name].function, example()
    expected = WRITTEN_OUT[name](x[mask].abs()).item()
    dirty = torch.where(mask, x, math.nan)
    for value in (measure(dirty, mask), measure([dirty[:5], dirty[5:].clone()], [mask[:5], mask[5:]])):
        assert value.dtype == torch.float64
        assert value.shape == ()
        assert value.item() == pytest.approx(expected, rel=1e-12)
    assert measure(x).item() == pytest.approx(WRITTEN_OUT[name](x.abs().flatten()).item(), rel=1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_all_zero_and_empty_groups(name: str) -> None:
    measure = MEASURES[name].function
    assert math.isnan(measure(torch.zeros(4))) == (name in UNDEFINED_AT_ZERO)
    nothing = measure(torch.ones(4), torch.zeros(4, dtype=torch.bool)).item()
    assert nothing == 0 if name in {"neg_l1", "neg_lp", "neg_tanh", "neg_log"} else math.isnan(nothing)


@pytest.mark.parametrize("name", MEASURES)
def test_non_finite_and_integer_weights_are_refused(name: str) -> None:
    measure = MEASURES[name].function
    with pytest.raises(HowsparseError, match=r"1 of 3 .* first at index \(1,\)"):
        measure(torch.tensor([1.0, math.nan, 2.0]))
    with pytest.raises(HowsparseError, match=r"torch\.int64 cannot be measured"):
        measure(torch.arange(3))


@pytest.mark.parametrize("name", MEASURES)
def test_larger_means_sparser(name: str) -> None:
    measure = MEASURES[name].function
    one_hot, flat = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.full((4,), 0.5)
    assert measure(one_hot) > measure(flat)


def test_parameters_out_of_range() -> None:
    x = torch.ones(3)
    for call, message in (
        (lambda: l0_epsilon(x, eps=-1.0), "eps=-1"),
        (lambda: l0_epsilon(x, eps=math.nan), "eps=nan"),
        (lambda: neg_lp(x, p=1.0), r"p=1\.0"),
        (lambda: neg_lp(x, p=0.0), r"p=0\.0"),
        (lambda: neg_tanh(x, a=0.0), r"a=0\.0"),
        (lambda: neg_tanh(x, b=-1.0), r"b=-1\.0"),
    ):
        with pytest.raises(HowsparseError, match=message):
            call()


def test_parameters_are_used() -> None:
    x = torch.tensor([0.5, -2.0, 0.0], dtype=torch.float64)
    assert l0_epsilon(x, eps=0.5).item() == pytest.approx(2 / 3)
    assert neg_lp(x, p=0.25).item() == pytest.approx(-((0.5**0.25 + 2**0.25) ** 4))
    assert neg_tanh(x, a=2.0, b=3.0).item() == pytest.approx(-math.tanh(1.0) - math.tanh(64.0))
