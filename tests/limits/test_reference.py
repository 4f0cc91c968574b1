"""The released procedure: its rules, and that its quirks are the ones documented."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howsparse.errors import HowsparseError
from howsparse.limits import prefix_norms, solve_limit, width, width_curve
from howsparse.limits.reference import (
    add_zero_rows,
    reference_density,
    reference_limit,
    reference_measured_limit,
    reference_removed,
    reference_row_sums,
    zero_row_fraction,
    zero_row_weights,
)

QUICK = settings(deadline=None, max_examples=80)


def test_levels_round_up_remove_at_least_one_and_take_ties_along() -> None:
    norms = prefix_norms(np.array([1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    assert reference_removed(norms, levels=7) == [1, 1, 3, 3, 4, 5, 6]
    assert reference_removed(norms, levels=2) == [1, 4]
    assert len(reference_removed(norms)) == 1000


def test_level_counts_are_exact_where_floating_point_is_not() -> None:
    norms = prefix_norms(np.arange(1.0, 1001.0))
    assert reference_removed(norms)[7] == 7  # 0.007 * 1000 rounds up to 8 in floating point


def test_exact_radii_come_within_a_level_of_the_limit() -> None:
    rng = np.random.default_rng(0)
    norms, curve = prefix_norms(rng.laplace(size=5000)), width_curve(np.geomspace(1e-4, 10, 500), None, 0.1)
    assert reference_limit(curve, norms, exact_R=True) == pytest.approx(solve_limit(curve, norms).sparsity, abs=1e-3)


def test_rounded_radii_fail_for_small_norms() -> None:
    norms, curve = prefix_norms(np.full(1000, 0.01)), width_curve([10.0], None, 0.01)
    assert norms.total < 0.5
    assert reference_limit(curve, norms) == 0.999
    assert solve_limit(curve, norms).sparsity < 0.4


def test_only_integer_radii_are_asked_for() -> None:
    asked: list[float] = []

    def curve(R: float) -> float:
        asked.append(R)
        return 1 / (1 + R)

    reference_limit(curve, prefix_norms(np.arange(1.0, 101.0)))
    assert all(R.is_integer() for R in asked)
    assert len(asked) == len(set(asked))


@QUICK
@given(st.floats(0, 1), st.floats(0, 1))
def test_zero_rows_multiply_the_density(width_found: float, fraction: float) -> None:
    assert 1 - add_zero_rows(width_found, fraction) == pytest.approx((1 - fraction) * (1 - width_found), abs=1e-15)


def test_rows_are_taken_once_a_level_in_the_order_of_magnitudes() -> None:
    weights = {"a": torch.tensor([[5.0, -1.0]]), "b": torch.tensor([1.0, 0.5])}
    assert zero_row_weights(weights, levels=4) == [3, 3, 1, 2]
    assert len(zero_row_weights(weights)) == 100


def test_row_sums_are_too_small_by_the_batch_size() -> None:
    batch_norms = np.array([[2.0, 0.0, 1e-6], [4.0, 0.0, 1e-6]])  # two batches of 128, three rows
    sums = reference_row_sums(batch_norms, samples=256)
    assert sums * 128 == pytest.approx(batch_norms.mean(axis=0))
    assert zero_row_fraction(sums) == pytest.approx(2 / 3)
    assert zero_row_fraction(batch_norms.mean(axis=0)) == pytest.approx(1 / 3)


def test_a_fine_grid_finds_the_width_of_the_nodes() -> None:
    nodes, shares = [0.3, 0.5, 0.9], [0.2, 0.5, 0.3]
    density = reference_density(nodes, shares)
    assert density.grid.size == 100_000
    assert (density.grid[0], density.grid[-1]) == pytest.approx((0.29, 0.91))
    assert density.mass.sum() == pytest.approx(1)
    assert density.width(0.1, R=1.0) == pytest.approx(width(nodes, shares, 0.1, R=1.0), rel=1e-4)
    assert density.width(0.1, R=0.0) == pytest.approx(1)


def test_a_wide_spectrum_loses_or_gains_mass_between_grid_points() -> None:
    """A null space of nine tenths is found as more or less, by where zero falls between two points."""
    found = []
    for largest in np.linspace(30, 300, 40):
        density = reference_density([0.0, largest / 3, largest], [0.9, 0.05, 0.05])
        found.append(density.mass[np.abs(density.grid) < 1].sum())
    assert min(found) < 0.89
    assert max(found) > 0.91


def test_nodes_that_all_fall_between_points() -> None:
    with pytest.raises(HowsparseError, match="all 2 nodes fall between"):
        reference_density([0.0, 100.0], [0.5, 0.5], bins=100)


def test_the_measured_limit_is_undefined_when_nothing_beats_the_dense_network() -> None:
    assert reference_measured_limit([90.0, 90.0, 89.0]) is None
    assert reference_measured_limit([90.0, 85.0, 91.0, 90.0]) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reference_removed(prefix_norms(np.ones(3)), levels=0), "at least one"),
        (lambda: zero_row_weights(np.ones(3), levels=0), "at least one"),
        (lambda: reference_limit(lambda R: math.nan, prefix_norms(np.ones(3))), "not a number"),
        (lambda: add_zero_rows(0.5, 1.5), r"\[0, 1\]"),
        (lambda: reference_density([1.0], [1.0], bins=1), "two points"),
        (lambda: reference_row_sums([1.0], samples=3), r"\(batches, rows\)"),
        (lambda: zero_row_fraction([]), "no row sums"),
    ],
)
def test_the_reference_refuses(call: object, message: str) -> None:
    with pytest.raises(HowsparseError, match=message):
        call()  # type: ignore[operator]
