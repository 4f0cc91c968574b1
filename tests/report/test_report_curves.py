"""The points behind the plots."""

import dataclasses
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howsparse.measures import turning_point
from howsparse.report.curves import Spread, Turn, index_course, phases, spreads, tradeoff, training_course


def test_tradeoff_puts_the_merely_pruned_at_the_sparsity_they_have(make_run):
    run = make_run([0.0, 0.5, 0.8], [0.9, 0.88, 0.7], merely=[0.6, 0.4], chosen=1)
    found = tradeoff(run)
    assert found.label == "test accuracy"
    assert found.retrained == ((0.0, 0.9), (0.5, 0.88), (0.8, 0.7))
    assert found.merely_pruned == ((0.5, 0.6), (0.8, 0.4))
    assert (found.dense, found.answer, found.smallest_density) == (0.9, ((0.5, 0.88),), 0.001)


def test_tradeoff_of_an_unfinished_run_has_no_answer(make_run):
    found = tradeoff(make_run([0.0], [0.9], merely=[0.6]))
    assert (found.retrained, found.merely_pruned, found.answer) == (((0.0, 0.9),), ((0.99, 0.6),), ())


@pytest.mark.parametrize(("sparsities", "metrics"), [([], []), ([0.0], [0.9]), ([0.0, 0.5], [None, 0.8])])
def test_tradeoff_needs_two_sparsities_and_a_dense_level(make_run, sparsities, metrics):
    assert tradeoff(make_run(sparsities, metrics)) is None


def test_tradeoff_leaves_undefined_metrics_out(make_run):
    found = tradeoff(make_run([0.0, 0.5, 0.8], [0.9, None, 0.7], chosen=1))
    assert found.retrained == ((0.0, 0.9), (0.8, 0.7))
    assert found.answer == ()


def test_index_course_of_a_confirmed_turn(make_run):
    run = make_run([0, 0.5, 0.7, 0.8, 0.9], [0.9] * 5, pqi=[0.31, 0.24, 0.20, 0.23, 0.27], chosen=2)
    found = index_course(run)
    assert found.cycles == (0, 1, 2, 3, 4)
    assert found.pqi == found.gini == (0.31, 0.24, 0.20, 0.23, 0.27)
    assert (found.turn.cycle, found.turn.low, found.turn.high) == (2, 1, 3)
    assert found.turn.confirmed
    assert found.turn.text == run.result["turning_point"]["text"]
    assert found.spans == (("regularising", 0, 2), ("compressing", 2, 4))


def test_index_course_while_the_run_goes_on_says_where_it_stands(make_run):
    found = index_course(make_run([0, 0.5, 0.7], [0.9] * 3, pqi=[0.3, 0.2, 0.1]))
    assert found.turn.text == str(turning_point([0.3, 0.2, 0.1], [0, 0.5, 0.7]))
    assert (found.turn.confirmed, found.turn.cycle, found.turn.high) == (False, 2, 2)
    assert found.spans == (("regularising", 0, 2),)


def test_an_undefined_index_is_a_gap(make_run):
    found = index_course(make_run([0, 0.5, 1.0], [0.9] * 3, pqi=[0.3, 0.2, None], chosen=1))
    assert found.pqi[:2] == (0.3, 0.2)
    assert math.isnan(found.pqi[2])


@pytest.mark.parametrize("pqi", [[0.3], [None, None]])
def test_no_index_course_without_two_cycles_and_an_index(make_run, pqi):
    assert index_course(make_run([0.5] * len(pqi), [0.9] * len(pqi), pqi=pqi)) is None


@given(st.lists(st.floats(0.01, 0.9), min_size=2, max_size=30))
def test_phases_cover_every_cycle_once_and_in_order(indices):
    seen = turning_point(indices, [i / len(indices) for i in range(len(indices))])
    turn = Turn(seen.cycle, 0, 0, confirmed=seen.confirmed, phase=seen.phase, text="")
    spans = phases(indices, turn)
    assert (spans[0][1], spans[-1][2]) == (0, len(indices) - 1)
    assert all(before[2] == after[1] for before, after in pairwise(spans))
    assert spans[-1][0] == seen.phase
    assert all(first < last for _, first, last in spans)


@given(st.floats(1e-4, 100), st.lists(st.integers(0, 10**6), min_size=1, max_size=61), st.floats(1e-5, 10))
def test_a_spread_in_other_units_holds_the_same_weights(limit, counts, unit):
    spread = Spread(limit, tuple(counts))
    assert sum(spread.per(unit)) * spread.width / unit == pytest.approx(sum(counts))
    assert (spread.edges[0], spread.edges[-1]) == pytest.approx((-limit, limit))
    assert len(spread.edges) == len(counts) + 1


def test_spreads_compare_the_answer_with_the_dense_network(make_run):
    found = spreads(make_run([0, 0.5, 0.8], [0.9] * 3, chosen=1))
    assert found.dense == Spread(0.5, (1, 2, 4, 2, 1))
    assert (found.unit, found.label) == (0.1, "answer (cycle 1)")  # bins are 0.2 wide
    assert spreads(make_run([0.0], [0.9])).shown is None
    assert spreads(make_run([], [])) is None


def test_training_course_shades_the_cycle_shown(make_run):
    found = training_course(make_run([0, 0.5, 0.8], [0.9] * 3, chosen=1))
    assert found.losses == (1.0, 0.5, pytest.approx(1 / 3), 0.25) * 3
    assert found.held_out == (0.8,) * 12
    assert found.held_out_label == "held-out accuracy"
    assert (found.starts, found.shown) == ((0, 4, 8), (4, 8))


def test_training_course_without_held_out_data_has_losses_only(make_run):
    run = make_run([0, 0.5], [0.9] * 2, chosen=1)
    bare = tuple({**record, "val_metric": None, "val_loss": None} for record in run.epochs)
    found = training_course(dataclasses.replace(run, epochs=bare))
    assert found.held_out == ()
    assert len(found.losses) == 8
    assert training_course(dataclasses.replace(run, epochs=())) is None
