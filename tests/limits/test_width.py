"""The width against closed forms, and the norms against exact sums."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howsparse.errors import HowsparseError
from howsparse.limits import contribution, factors, prefix_norms, trace_width, width, width_curve
from howsparse.limits.norms import BLOCK

QUICK = settings(deadline=None, max_examples=80)

eigenvalues = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)
positive = st.floats(1e-9, 1e9)
magnitudes = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)


@QUICK
@given(eigenvalues, positive, positive)
def test_the_width_is_the_mean_of_the_textbook_formula(values: list[float], eps: float, R: float) -> None:
    axes = [math.inf if value == 0 else 2 * eps / abs(value) for value in values]
    textbook = [1.0 if math.isinf(r2) else r2 / (R * R + r2) for r2 in axes]
    assert width(values, None, eps, R=R) == pytest.approx(math.fsum(textbook) / len(values), rel=1e-9)


@QUICK
@given(eigenvalues, positive)
def test_from_the_weights_themselves_everything_is_seen(values: list[float], eps: float) -> None:
    assert (contribution(0.0, eps)(np.array(values)) == 1).all()
    assert width(values, None, eps, R=0.0) == pytest.approx(1, abs=1e-14)


@QUICK
@given(eigenvalues, positive, positive, st.floats(1, 100))
def test_the_width_falls_with_distance_and_rises_with_eps(
    values: list[float], eps: float, R: float, times: float
) -> None:
    here = width(values, None, eps, R=R)
    assert width(values, None, eps, R=R * times) <= here + 1e-15
    assert width(values, None, eps * times, R=R) >= here - 1e-15
    assert width(values, None, eps * times**2, R=R * times) == pytest.approx(here, rel=1e-9)  # the scaling law


@QUICK
@given(eigenvalues, positive, positive)
def test_the_trace_bounds_the_width_from_below(values: list[float], eps: float, R: float) -> None:
    bound = trace_width(sum(map(abs, values)), eps, R=R, size=len(values))
    assert bound <= width(values, None, eps, R=R) * (1 + 1e-12)


def test_negative_eigenvalues_by_absolute_value_or_as_flat() -> None:
    assert width([-1.0, 1.0], None, 0.5, R=1.0) == 0.5
    assert width([-1.0, 1.0], None, 0.5, R=1.0, negative="clip") == 0.75


def test_weights_of_several_probes_are_averaged() -> None:
    nodes, weights = torch.tensor([[0.0, 1.0], [3.0, 8.0]]), torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    first = 0.25 + 0.75 / 2
    second = 0.5 / 4 + 0.5 / 9
    assert width(nodes, weights, 0.5, R=1.0) == pytest.approx((first + second) / 2, rel=1e-12)


def test_no_overflow_and_no_division_by_zero() -> None:
    assert width([1e308, 0.0], None, 1e-9, R=1e6) == 0.5


@pytest.mark.parametrize(
    ("nodes", "weights", "eps", "R", "message"),
    [
        ([], None, 0.1, 1.0, "no eigenvalues"),
        ([math.nan, 1.0], None, 0.1, 1.0, "1 of 2 eigenvalues are not finite"),
        ([1.0], [1.0, 2.0], 0.1, 1.0, "one weight for each"),
        ([1.0, 2.0], [-1.0, 2.0], 0.1, 1.0, "not negative"),
        ([1.0], None, 0.0, 1.0, "positive number"),
        ([1.0], None, 0.1, -1.0, "finite number >= 0"),
        ([1.0], None, 0.1, 1e200, "finite number >= 0"),
    ],
)
def test_the_width_refuses(nodes: list[float], weights: list[float] | None, eps: float, R: float, message: str) -> None:
    with pytest.raises(HowsparseError, match=message):
        width(nodes, weights, eps, R=R)


def test_options_are_checked_early() -> None:
    with pytest.raises(HowsparseError, match="'abs' or 'clip'"):
        contribution(1.0, 0.1, negative="zero")  # type: ignore[arg-type]
    with pytest.raises(HowsparseError, match="indefinite"):
        trace_width(-1.0, 0.1, R=1.0, size=3)


@QUICK
@given(magnitudes)
def test_norms_are_those_of_the_smallest(values: list[float]) -> None:
    norms, ordered = prefix_norms(np.array(values)), sorted(values)
    for m in range(len(values) + 1):
        assert norms.norm(m) == pytest.approx(math.sqrt(math.fsum(a * a for a in ordered[:m])), rel=1e-14)
    assert norms.total == norms.norm(len(values))
    assert [norms.magnitude(m + 1) for m in range(len(values))] == ordered
    assert [norms.with_ties(m + 1) for m in range(len(values))] == [sum(b <= a for b in ordered) for a in ordered]


@QUICK
@given(magnitudes, st.randoms(use_true_random=False), st.integers(0, 60))
def test_norms_do_not_depend_on_order_signs_or_layers(values: list[float], random: object, cut: int) -> None:
    shuffled = [-v if random.random() < 0.5 else v for v in random.sample(values, len(values))]  # type: ignore[attr-defined]
    flat = torch.tensor(shuffled, dtype=torch.float64)
    whole, split = prefix_norms(np.array(values)), prefix_norms({"a": flat[:cut], "b": flat[cut:].unsqueeze(0)})
    listed = prefix_norms([flat[:cut], flat[cut:]])
    for m in range(len(values) + 1):
        assert whole.norm(m) == split.norm(m) == listed.norm(m)


def test_norms_across_blocks_are_exact_and_never_fall() -> None:
    weights = torch.randn(3 * BLOCK + 17, generator=torch.Generator().manual_seed(0))
    norms = prefix_norms(weights)
    squares = np.sort(np.abs(weights.numpy())).astype(np.float64) ** 2
    edges = [b * BLOCK + shift for b in range(1, 4) for shift in (-1, 0, 1)]
    for m in [*edges, norms.size]:
        assert norms.norm(m) == pytest.approx(math.sqrt(math.fsum(squares[:m])), rel=1e-13)
    found = [norms.norm(m) for m in range(BLOCK - 3, BLOCK + 4)]
    assert found == sorted(found)
    assert norms.magnitudes.dtype == np.float32  # no float64 copy of a large network


def test_float32_weights_give_float64_norms() -> None:
    weights = torch.full((3,), 0.1, dtype=torch.float32)
    assert prefix_norms(weights).total == pytest.approx(math.sqrt(3) * float(np.float32(0.1)), rel=1e-15)
    assert prefix_norms(weights.bfloat16()).total == pytest.approx(math.sqrt(3) * 0.10009765625, rel=1e-15)
    assert prefix_norms([weights, weights.double()]).magnitudes.dtype == np.float64


def test_the_given_weights_stay_as_they_are() -> None:
    array, tensor = np.array([3.0, -1.0, 2.0]), torch.tensor([[3.0, -1.0], [2.0, 0.0]], requires_grad=True)
    prefix_norms(array)
    prefix_norms(tensor.T)
    assert array.tolist() == [3.0, -1.0, 2.0]
    assert tensor.tolist() == [[3.0, -1.0], [2.0, 0.0]]


def test_scaled_norms() -> None:
    norms = prefix_norms(np.array([1.0, 2.0, 2.0])).scaled(2.0).scaled(3.0)
    assert (norms.norm(1), norms.total, norms.magnitude(3), norms.with_ties(2)) == (6.0, 18.0, 12.0, 3)
    with pytest.raises(HowsparseError, match="finite factor"):
        norms.scaled(-1.0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.empty(0), "nothing to prune"),
        ({}, "nothing to prune"),
        (torch.tensor([1, 2]), "floating point"),
        (torch.tensor([1.0, math.nan]), "largest weight is nan; were"),
        (torch.tensor([1.0, -math.inf]), "largest weight is inf; were"),
        (np.array([1e200]), "overflows"),
    ],
)
def test_norms_refuse(weights: object, message: str) -> None:
    with pytest.raises(HowsparseError, match=message):
        prefix_norms(weights)  # type: ignore[arg-type]


def test_norms_refuse_counts_out_of_range() -> None:
    norms = prefix_norms(np.array([1.0, 2.0]))
    for ask in (lambda: norms.norm(3), lambda: norms.norm(-1), lambda: norms.magnitude(0), lambda: norms.with_ties(0)):
        with pytest.raises(HowsparseError, match="there are 2 weights"):
            ask()


@QUICK
@given(magnitudes, st.data())
def test_factors_add_up_to_the_whole(values: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(values)))
    removed = data.draw(st.integers(0, len(values)))
    flat = torch.tensor(values, dtype=torch.float64)
    layers = {"first": flat[:cut], "second": flat[cut:]}
    rows = factors(layers, removed, traces={"first": 1.0, "second": -3.0})
    assert sum(round(row.sparsity * row.size) for row in rows) == removed
    assert [row.sharpness_share for row in rows] == [0.25, 0.75]
    whole = prefix_norms(flat).norm(removed)
    assert sum(row.magnitude_share for row in rows) == pytest.approx(1.0 if whole else 0.0, abs=1e-12)
    taken = sorted(values)[:removed]
    if len(set(values)) == len(values) and whole:
        expected = math.fsum(v * v for v in values[:cut] if v in taken) / whole**2
        assert rows[0].magnitude_share == pytest.approx(expected, abs=1e-12)


def test_factors_take_ties_in_the_order_of_layers() -> None:
    rows = factors({"a": torch.ones(2), "b": torch.ones(2)}, 3)
    assert [(row.sparsity, row.sharpness_share) for row in rows] == [(1.0, None), (0.5, None)]
    with pytest.raises(HowsparseError, match="traces are for"):
        factors({"a": torch.ones(2)}, 1, traces={"b": 1.0})
    with pytest.raises(HowsparseError, match="there are 2 weights"):
        factors({"a": torch.ones(2)}, 3)


def test_a_curve_is_checked_once_and_used_often() -> None:
    curve = width_curve([0.0, 2.0], [1.0, 3.0], 1.0)
    assert [curve(R) for R in (0.0, 1.0, 1e9)] == pytest.approx([1.0, 0.25 + 0.75 / 2, 0.25])
