"""The points behind the plots of a limit's page."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from howsparse.limits.extrapolation import T_EFF
from howsparse.measures.histogram import histograms
from howsparse.report.limit_curves import course, cut, density, kept_metric, rise, thresholds, width
from tests.report import limits_by_hand as by_hand


def test_rises_are_in_units_of_eps_and_leave_the_empty_network_out():
    found = rise(by_hand.limit())
    expected = [(0.25, -0.1, 0.01), (0.5, 1.0, 0.1), (0.75, 4.0, 0.2)]
    assert list(found.one_shot) == [pytest.approx(point) for point in expected]
    assert found.quadratic == ((0.4, pytest.approx(0.4)),)
    assert found.retrained == ()
    assert found.smallest_density == 0.001


def test_a_racers_power_law_is_followed_to_the_end_of_the_recipe():
    sparse = rise(by_hand.limit()).racers[1]
    assert sparse.sparsity == 0.9
    assert sparse.marks == tuple((s, pytest.approx((200 / s - 0.2) / 0.1)) for s in (50.0, 71.0, 100.0))
    best, low, high = sparse.end
    assert high == pytest.approx((200 / (T_EFF * 1000) - 0.2) / 0.1)  # the power law lies above the straight line
    assert low <= best <= high


def test_retrained_networks_are_compared_with_the_dense_one_on_the_same_samples():
    found = rise(by_hand.limit(verified=by_hand.verified((0.2, 0.25), (0.1, 0.6))))
    assert found.retrained == ((pytest.approx(0.8), pytest.approx(0.5)), (0.9, pytest.approx(4.0)))


def test_there_is_no_plot_of_a_single_sparsity():
    everything = {**by_hand.one_shot(), "points": [[0.5, 0.1, 0.01], [1.0, 0.01, 0.0]], "checked": []}
    assert rise(by_hand.limit(**by_hand.ALONE | {"one_shot": everything})) is None
    assert rise(by_hand.unfinished()) is None
    assert rise(by_hand.unfinished(eps={"value": 0.1})) is None


def test_an_unfinished_limit_shows_what_its_notes_hold():
    notes = {
        "eps": {"value": 0.1},
        "one-shot 1000": [None, 0.0],
        "one-shot 500": [0.2, 0.01],
        "one-shot 250": [0.05, 0],
    }
    found = rise(by_hand.unfinished(**notes))
    assert list(found.one_shot) == [pytest.approx((0.25, 0.5, 0.0)), pytest.approx((0.5, 2.0, 0.1))]
    assert found.racers == ()


def test_the_metric_is_the_races_on_held_out_data():
    found = kept_metric(by_hand.limit(verified=by_hand.verified((0.2, 0.25))))
    assert (found.label, found.dense, found.limit) == ("held-out accuracy", 0.92, None)
    assert found.averages == ((0.75, 0.9), (0.9, 0.8))
    assert found.retrained == ((0.8, 0.85),)


def test_without_held_out_data_the_metric_is_that_of_retrained_networks():
    assert kept_metric(by_hand.limit(accuracy=None)) is None
    points = by_hand.verified((0.2, 0.25))
    points["points"][0] |= {"val": None, "test": 0.7}
    found = kept_metric(by_hand.limit(accuracy=None, verified=points))
    assert (found.label, found.averages, found.retrained, found.dense) == ("test accuracy", (), ((0.8, 0.7),), None)


def test_the_width_comes_with_what_is_removed():
    found = width(by_hand.limit())
    assert found.R == (0.0, 2.0, 4.0)
    assert (found.low[1], found.best[1], found.high[1], found.removed[1]) == (0.4, 0.6, 0.8, 0.6)
    assert found.crossing == (2.0, 0.6)
    assert width(by_hand.limit(paper=None)) is None


def test_the_density_counts_eigenvalues():
    found = density(by_hand.limit(), points=2201)
    near = dict(zip(np.round(found.at, 6), found.heights, strict=True))
    assert near[0.0] == pytest.approx(990)
    assert near[1.0] == pytest.approx(9)
    assert near[2.0] == pytest.approx(1)
    assert near[0.5] == pytest.approx(0, abs=1e-9)
    assert all(map(math.isnan, found.errors))  # exact: a single rule


def test_a_flat_curvature_has_no_density():
    from howsparse.curvature import Spectrum

    flat = {**by_hand.paper(), "spectrum": Spectrum.of_eigenvalues([0.0, 0.0]).to_plain()}
    assert density(by_hand.limit(paper=flat)) is None
    assert density(by_hand.limit(paper=None)) is None


def test_each_limit_with_a_value_has_a_threshold():
    found = thresholds(by_hand.limit())
    assert found.edges == pytest.approx((-0.5, -0.3, -0.1, 0.1, 0.3, 0.5))
    assert {interval.kind: magnitude for interval, magnitude in found.cuts} == {
        "one-shot": pytest.approx(0.1),  # the middle bin holds half of the weights
        "re-tuned": pytest.approx(0.1 + 0.2 * 0.3 / 0.4),
        "paper": pytest.approx(0.1 + 0.2 * 0.1 / 0.4),
    }
    unknown = {**by_hand.retuned(), "value": None}
    assert [i.kind for i, _ in thresholds(by_hand.limit(retuned=unknown)).cuts] == ["one-shot", "paper"]
    assert thresholds(by_hand.unfinished()) is None


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0.1, 4))
def test_the_threshold_lies_within_a_bin_of_the_true_quantile(seed, sparsity, power):
    draw = torch.randn(999, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = (draw.sign() * draw.abs() ** power).float()
    found = histograms({"w": weights}, {"w": torch.ones(999, dtype=torch.bool)})
    magnitudes = weights.abs().sort().values
    threshold = cut(found["counts"], found["limit"], sparsity)
    bin_width = 2 * found["limit"] / 61
    assert float((magnitudes <= threshold + bin_width).float().mean()) >= sparsity - 1e-6
    assert float((magnitudes < threshold - bin_width).float().mean()) <= sparsity + 1e-6


def test_the_limits_of_a_pruning_run_are_lined_up_by_cycle(make_run):
    run = make_run([0, 0.5, 0.8], [0.9] * 3, chosen=2)
    assert course(run) is None
    later = by_hand.result(paper=None, retuned={**by_hand.retuned(), "value": None})
    found = course(dataclasses.replace(run, limits={2: later, 0: by_hand.result()}))
    assert dict(found.limits) == {
        "one-shot": ((0, 0.5, 0.45, 0.55), (2, 0.5, 0.45, 0.55)),
        "re-tuned": ((0, 0.8, 0.7, 0.85),),
        "paper": ((0, 0.6, 0.4, 0.75),),
    }
    assert found.sparsities == ((0, 0), (2, 0.8))
