"""The limits against brute force, closed forms and the laws they must obey."""

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from howsparse.errors import HowsparseError
from howsparse.limits import (
    eps_grid,
    kept_bounds,
    limit_curve,
    prefix_norms,
    sensitivity,
    solve_interval,
    solve_limit,
    solve_refit,
    trace_bound,
    width,
    width_curve,
)
from howsparse.limits.refit import stiffness

QUICK = settings(deadline=None, max_examples=80)

spectra = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=30)
pools = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e3)), min_size=1, max_size=40).map(np.array)
positive = st.floats(1e-9, 1e9)
Array = npt.NDArray[np.float64]


def brute_force(values: list[float], weights: Array, eps: float) -> list[bool]:
    """Whether each m from 0 to N satisfies the paper's condition, by the formula as printed."""
    squares = np.concatenate([[0.0], np.cumsum(np.sort(np.abs(weights)) ** 2)])
    shares = [np.mean([1.0 if v == 0 else (2 * eps / v) / (R2 + 2 * eps / v) for v in values]) for R2 in squares]
    return [m / weights.size <= share + 1e-12 for m, share in enumerate(shares)]


def clear(values: list[float], weights: Array, eps: float) -> bool:
    """Whether no m meets the condition so narrowly that rounding or the slack decides."""
    norms = prefix_norms(weights)
    h = [width(values, None, eps, R=norms.norm(m)) - m / norms.size for m in range(norms.size + 1)]
    return not any(1e-14 < abs(gap) < 1e-9 for gap in h)


@QUICK
@given(spectra, pools, positive)
def test_the_limit_agrees_with_brute_force(values: list[float], weights: Array, eps: float) -> None:
    assume(clear(values, weights, eps))
    feasible = brute_force(values, weights, eps)
    found = solve_limit(width_curve(values, None, eps), prefix_norms(weights))
    assert feasible == sorted(feasible, reverse=True)  # an initial segment
    assert found.removed == sum(feasible) - 1
    assert found.sparsity == found.removed / weights.size
    assert found.sparsity + found.density == 1
    assert found.width >= found.sparsity - 1e-12
    if found.next_width is None:
        assert found.removed == weights.size
    else:
        assert found.next_width < (found.removed + 1) / weights.size


@QUICK
@given(spectra, pools, positive)
def test_h_falls_strictly(values: list[float], weights: Array, eps: float) -> None:
    norms, curve = prefix_norms(weights), width_curve(values, None, eps)
    h = [curve(norms.norm(m)) - m / norms.size for m in range(norms.size + 1)]
    assert all(after < before for before, after in pairwise(h))
    assert h[0] == pytest.approx(1)
    assert h[-1] <= 1e-12


@QUICK
@given(spectra, pools, positive, st.floats(0.125, 8))
def test_the_scaling_law(values: list[float], weights: Array, eps: float, c: float) -> None:
    norms, sharper = prefix_norms(weights), [value * c * c for value in values]
    scaled = solve_limit(width_curve(values, None, eps), norms.scaled(c)).removed
    stricter = solve_limit(width_curve(values, None, eps / c**2), norms).removed
    steeper = solve_limit(width_curve(sharper, None, eps), norms).removed
    assert max(scaled, stricter, steeper) - min(scaled, stricter, steeper) <= 1  # rounding at an exact crossing
    exact = solve_limit(width_curve(values, None, eps), norms.scaled(2.0)).removed
    assert exact == solve_limit(width_curve(values, None, eps / 4), norms).removed  # powers of two do not round


@QUICK
@given(spectra, pools, positive, st.integers(0, 40), st.randoms(use_true_random=False))
def test_order_and_layers_do_not_matter(
    values: list[float], weights: Array, eps: float, cut: int, random: object
) -> None:
    shuffled = np.array(random.sample(list(weights), weights.size))  # type: ignore[attr-defined]
    layers = {"a": torch.from_numpy(shuffled[:cut]), "b": torch.from_numpy(shuffled[cut:])}
    curve = width_curve(values, None, eps)
    assert solve_limit(curve, prefix_norms(layers)) == solve_limit(curve, prefix_norms(weights))


@QUICK
@given(spectra, pools, positive)
def test_the_trace_bound_lies_below(values: list[float], weights: Array, eps: float) -> None:
    assume(clear(values, weights, eps))
    norms = prefix_norms(weights)
    bound = trace_bound(sum(values), eps, norms, size=len(values))
    assert bound.removed <= solve_limit(width_curve(values, None, eps), norms).removed


@QUICK
@given(spectra, pools, positive, st.floats(0, 0.5), st.floats(0, 0.5))
def test_brackets_are_nested(values: list[float], weights: Array, eps: float, below: float, above: float) -> None:
    norms, curve = prefix_norms(weights), width_curve(values, None, eps)
    outer = solve_interval(lambda R: curve(R) * (1 - below), lambda R: min(1, curve(R) + above), norms)
    inner = solve_interval(lambda R: curve(R) * (1 - below / 2), lambda R: min(1, curve(R) + above / 2), norms)
    exact = solve_limit(curve, norms)
    order = [outer.low, inner.low, exact, inner.high, outer.high]
    assert [found.removed for found in order] == sorted(found.removed for found in order)
    assert exact.sparsity - outer.low.sparsity <= below + 1 / norms.size + 1e-9  # an error of the width moves s no more
    assert outer.high.sparsity - exact.sparsity <= above + 1 / norms.size + 1e-9


def test_curves_that_cross_by_rounding_still_give_an_interval() -> None:
    norms = prefix_norms(np.arange(1.0, 11.0))
    found = solve_interval(width_curve([0.01], None, 0.5), width_curve([0.1], None, 0.5), norms)
    assert found.low.removed < found.high.removed


@QUICK
@given(pools, positive)
def test_a_flat_loss_and_zero_weights_allow_everything(weights: Array, eps: float) -> None:
    assert solve_limit(width_curve([0.0], None, eps), prefix_norms(weights)).sparsity == 1
    assert solve_limit(width_curve([1.0], None, eps), prefix_norms(weights * 0)).sparsity == 1
    assert solve_refit([0.0], None, eps, norms=prefix_norms(weights)).sparsity == 1
    assert solve_refit([1.0], None, eps, norms=prefix_norms(weights * 0)).sparsity == 1
    assert sensitivity([0.0], None, eps, norms=prefix_norms(weights)) == 0


def test_a_stiff_loss_allows_only_zero_weights() -> None:
    norms = prefix_norms(np.array([0.0, 1.0, 2.0, 3.0]))
    assert solve_limit(width_curve([1e12], None, 1e-6), norms).removed == 1
    assert solve_refit([1e12], None, 1e-6, norms=norms).removed == 1


def test_one_weight() -> None:
    norms = prefix_norms(np.array([1.0]))
    assert solve_limit(width_curve([1.0], None, 1e9), norms).removed == 0  # g(1) < 1 however large eps is
    assert solve_refit([1.0], None, 0.5, norms=norms).removed == 1
    assert solve_refit([1.0], None, 0.49, norms=norms).removed == 0


@QUICK
@given(pools, positive, positive)
def test_a_ball_after_refit_is_exact(weights: Array, value: float, eps: float) -> None:
    squares = np.concatenate([[0.0], np.cumsum(np.sort(weights) ** 2)])
    costs = 0.5 * value * squares
    assume(np.abs(costs - eps).min() > 1e-9 * eps)
    assert solve_refit([value, value], None, eps, norms=prefix_norms(weights)).removed == (costs <= eps).sum() - 1


@QUICK
@given(spectra, st.floats(1e-6, 1 - 1e-6))
def test_kappa_solves_its_equation(values: list[float], sparsity: float) -> None:
    spectrum, shares = np.array(values), np.full(len(values), 1 / len(values))
    kappa, tau = stiffness(spectrum, shares, sparsity)
    flat = np.mean(spectrum == 0)
    if math.isinf(kappa):
        assert sparsity <= flat + 1e-12 < 1 + 1e-11
        assert tau == 0
    else:
        assert np.mean(1 / (1 + kappa * spectrum)) == pytest.approx(sparsity, rel=1e-9)
        assert tau == pytest.approx((1 - sparsity) / (sparsity * kappa), rel=1e-6)
        assert tau <= spectrum.mean() * (1 + 1e-6)


@QUICK
@given(spectra, pools, positive)
def test_refit_agrees_with_the_paper_at_one_half(values: list[float], weights: Array, eps: float) -> None:
    even = np.concatenate([weights, weights])
    m, norms = weights.size, prefix_norms(even)
    cost = 0.5 * norms.norm(m) ** 2 * stiffness(np.array(values), np.full(len(values), 1 / len(values)), 0.5)[1]
    gap = width(values, None, eps, R=norms.norm(m)) - 0.5
    assume(abs(gap) > 1e-6)
    assert (cost <= eps) == (gap > 0)


@QUICK
@given(spectra, pools, positive)
def test_refit_costs_never_fall(values: list[float], weights: Array, eps: float) -> None:
    norms, shares = prefix_norms(weights), np.full(len(values), 1 / len(values))
    sparsities = [m / norms.size for m in range(norms.size + 1)]
    costs = [0.5 * norms.norm(m) ** 2 * stiffness(np.array(values), shares, s)[1] for m, s in enumerate(sparsities)]
    assert all(after >= before * (1 - 1e-9) for before, after in pairwise(costs))
    found = solve_refit(values, None, eps, norms=norms)
    assert found.loss <= eps * (1 + 1e-9)
    assert found.next_loss is None or found.next_loss > eps


def test_refit_survives_eigenvalues_that_are_zero_in_all_but_name() -> None:
    values, norms = [1e-300, 1e-17, 1.0, 1e3], prefix_norms(np.ones(4))
    found = solve_refit(values, None, 0.1, norms=norms)
    assert found.removed == 2
    assert found.kappa == pytest.approx(10**8.5, rel=1e-3)  # κ·1e-17 = 1/κ: between the two groups
    assert found.loss == pytest.approx(1 / found.kappa, rel=1e-3)
    assert stiffness(np.array([1e-310, 1.0]), np.array([0.5, 0.5]), 0.25) == (math.inf, 0.0)


@pytest.mark.parametrize("law", [np.linspace(1e-4, 1, 4000), np.geomspace(1e-4, 1, 4000)])
def test_sensitivity_is_the_slope_of_the_curve(law: Array) -> None:
    values, norms, eps = np.geomspace(1e-4, 10, 300), prefix_norms(law), 0.5
    curve = dict(limit_curve(width_curve(values, None, eps), norms, eps, grid=[eps / 1.2, eps * 1.2]))
    slope = (curve[eps * 1.2] - curve[eps / 1.2]) / (2 * math.log(1.2))
    assert sensitivity(values, None, eps, norms=norms) == pytest.approx(slope, rel=0.02)


@QUICK
@given(spectra, pools, positive)
def test_the_curve_rises_with_eps(values: list[float], weights: Array, eps: float) -> None:
    norms = prefix_norms(weights)
    curve = limit_curve(width_curve(values, None, eps), norms, eps)
    assert len(curve) == 41
    sparsities = [sparsity for _, sparsity in curve]
    assert sparsities == sorted(sparsities)
    assert curve[20] == (eps, solve_limit(width_curve(values, None, eps), norms).sparsity)


def test_kept_bounds_are_densities() -> None:
    norms = prefix_norms(np.arange(1, 101) / 100)
    flat, sharp = width_curve([0.1], None, 0.5), width_curve([1.0], None, 0.5)
    found = kept_bounds(flat, sharp, norms)
    assert found.lower == solve_limit(flat, norms).density < found.upper == solve_limit(sharp, norms).density
    assert found.gap == found.upper - found.lower


def test_what_cannot_be_solved_is_refused() -> None:
    norms = prefix_norms(np.ones(3))
    with pytest.raises(HowsparseError, match="not a number"):
        solve_limit(lambda R: math.nan, norms)
    with pytest.raises(HowsparseError, match="positive number"):
        limit_curve(lambda R: 1.0, norms, 0.1, grid=[0.1, -0.1])
    with pytest.raises(HowsparseError, match="two points"):
        eps_grid(0.1, points=1)
    with pytest.raises(HowsparseError, match="positive number"):
        solve_refit([1.0], None, math.nan, norms=norms)
