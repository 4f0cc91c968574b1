"""Limits read off measurements, against hand-made curves, enumeration and coverage."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howsparse.errors import HowsparseError
from howsparse.limits import accuracy_limits, loss_limit, mcnemar_p_value, paired_drop, paired_limit

QUICK = settings(deadline=None, max_examples=80)

curves = st.lists(st.floats(0, 100), min_size=1, max_size=30)


@QUICK
@given(curves, st.floats(0, 5))
def test_the_five_definitions_keep_their_order(accuracies: list[float], drop: float) -> None:
    levels = np.arange(len(accuracies)) / len(accuracies)
    found = accuracy_limits(levels, accuracies, drop=drop)
    dense = accuracies[0]
    assert (found.last_above_dense is None) == (max(accuracies) <= dense)
    assert (found.last_above_dense or 0) <= found.last_at_least_dense <= found.last_within
    assert found.last_before_first_drop <= found.last_within
    if found.first_drop is None:
        assert found.last_before_first_drop == levels[-1] == found.last_within
    else:
        assert found.last_before_first_drop < found.first_drop
        assert accuracies[list(levels).index(found.first_drop)] < dense - drop


def test_a_drop_of_exactly_the_tolerance_is_within_it() -> None:
    assert accuracy_limits([0.0, 0.5, 0.9], [92.34, 92.24, 92.2], drop=0.1).last_within == 0.5


def test_accuracy_limits_of_the_dense_network_alone() -> None:
    found = accuracy_limits([0.0], [90.0])
    assert (found.last_above_dense, found.last_at_least_dense, found.first_drop) == (None, 0.0, None)


def test_loss_limit_brackets_the_first_failure_and_reports_a_return() -> None:
    found = loss_limit([0.0, 0.2, 0.4, 0.6, 0.8], torch.tensor([1.0, 0.9, 1.4, 1.1, 2.0]), 0.2)
    assert (found.low, found.high, found.last_within) == (0.2, 0.4, 0.6)
    assert found.value == pytest.approx(0.2 + 0.2 * 0.3 / 0.5)


def test_loss_limit_when_nothing_fails() -> None:
    found = loss_limit([0.0, 0.5], [1.0, 1.1], 0.2)
    assert (found.value, found.low, found.high, found.last_within) == (0.5, 0.5, None, 0.5)


@QUICK
@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(1e-3, 1))
def test_the_interpolated_loss_limit_lies_in_its_bracket(losses: list[float], eps: float) -> None:
    levels = np.arange(len(losses)) / len(losses)
    found = loss_limit(levels, losses, eps)
    assert found.low <= found.value <= (levels[-1] if found.high is None else found.high)
    assert found.low <= found.last_within
    assert np.interp(found.value, levels, losses) - losses[0] <= eps + 1e-9


@pytest.mark.parametrize(
    ("levels", "values", "message"),
    [
        ([0.1, 0.5], [1.0, 2.0], "rise from 0"),
        ([0.0, 0.5, 0.5], [1.0, 2.0, 3.0], "rise from 0"),
        ([0.0, 1.5], [1.0, 2.0], "at most 1"),
        ([0.0], [1.0, 2.0], "one for each"),
        ([0.0, 0.5], [1.0, math.nan], "not finite"),
    ],
)
def test_curves_are_checked(levels: list[float], values: list[float], message: str) -> None:
    with pytest.raises(HowsparseError, match=message):
        loss_limit(levels, values, 0.1)
    with pytest.raises(HowsparseError, match=message):
        accuracy_limits(levels, values)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (3, 5), (7, 2), (6, 6)])
def test_mcnemar_by_enumeration(lost: int, gained: int) -> None:
    throws = list(itertools.product((0, 1), repeat=lost + gained))
    as_uneven = sum(abs(2 * sum(throw) - lost - gained) >= abs(lost - gained) for throw in throws)
    assert mcnemar_p_value(lost, gained) == pytest.approx(as_uneven / len(throws))


def test_the_bootstrap_resamples_samples() -> None:
    rng = np.random.default_rng(0)
    dense, pruned = rng.random(400) < 0.9, rng.random(400) < 0.85
    found = paired_drop(dense, pruned, method="bootstrap", confidence=0.9)
    picks = rng.integers(0, 400, size=(4000, 400))
    drops = 100 * (dense[picks].mean(axis=1) - pruned[picks].mean(axis=1))
    assert [found.low, found.high] == pytest.approx(np.quantile(drops, [0.05, 0.95]), abs=0.4)
    assert found == paired_drop(dense, pruned, method="bootstrap", confidence=0.9)  # the same seed, the same interval
    assert found.drop == pytest.approx(100 * (dense.mean() - pruned.mean()))


def test_the_adjusted_interval_covers_the_true_drop() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        lost, gained, _ = rng.multinomial(60, [0.10, 0.04, 0.86])
        dense = np.arange(60) < 30 + lost - gained
        pruned = dense.copy()
        pruned[:lost] = False
        pruned[60 - gained :] = True
        found = paired_drop(dense, pruned)
        assert (found.lost, found.gained) == (lost, gained)
        hits += found.low <= 6.0 <= found.high
    assert 930 <= hits <= 985


@QUICK
@given(st.lists(st.booleans(), min_size=1, max_size=50), st.randoms(use_true_random=False), st.floats(0.01, 0.99))
def test_intervals_hold_the_drop(dense: list[bool], random: object, confidence: float) -> None:
    pruned = random.sample(dense, len(dense))  # type: ignore[attr-defined]
    found = paired_drop(dense, pruned, confidence=confidence)
    assert -100 <= found.low <= found.drop <= found.high <= 100
    assert found.drop == pytest.approx(100 * (np.mean(dense) - np.mean(pruned)), abs=1e-9)


@QUICK
@given(st.integers(1, 40), st.integers(1, 8), st.floats(0, 20), st.integers(0, 1000))
def test_the_paired_limit_is_an_interval(samples: int, levels: int, tolerance: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    right = rng.random((levels, samples)) < np.linspace(0.95, 0.5, levels)[:, None]
    sparsities = np.arange(levels) / levels
    found = paired_limit(sparsities, right, tolerance=tolerance)
    assert found.low <= found.value <= found.high
    plain = accuracy_limits(sparsities, 100 * right.mean(axis=1), drop=tolerance)
    assert found.value == plain.last_before_first_drop


def test_more_samples_narrow_the_paired_limit() -> None:
    levels = np.linspace(0, 0.95, 20)

    def found(samples: int) -> float:
        hardness = (np.arange(samples) + 0.5) / samples
        right = hardness[None] < 1 - 0.1 * levels[:, None] ** 2
        limit = paired_limit(levels, torch.from_numpy(right), tolerance=2.0)
        return limit.high - limit.low

    assert found(100_000) < found(1000) < found(100)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_drop([True], [True, False]), "1 samples for the dense network, 2"),
        (lambda: paired_drop([1, 0], [0, 1]), "give booleans"),
        (lambda: paired_drop([], []), "give booleans"),
        (lambda: paired_drop([True], [True], confidence=95), "between 0 and 1"),
        (lambda: paired_drop([True], [True], method="wald"), "adjusted or bootstrap"),  # type: ignore[arg-type]
        (lambda: paired_limit([0.0], [[True]], tolerance=-1), "tolerance >= 0"),
        (lambda: paired_limit([0.0, 0.5], [True, False]), r"\(levels, samples\)"),
        (lambda: accuracy_limits([0.0], [1.0], drop=-0.1), "tolerated drop"),
        (lambda: loss_limit([0.0], [1.0], 0.0), "positive number"),
    ],
)
def test_measurements_refuse(call: object, message: str) -> None:
    with pytest.raises(HowsparseError, match=message):
        call()  # type: ignore[operator]
