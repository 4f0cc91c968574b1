import math

import pytest

from howsparse import HowsparseError, turning_point

FALL_RISE_FALL = [0.178, 0.12, 0.09, 0.07, 0.08, 0.113, 0.16, 0.32, 0.45, 0.43, 0.18, 0.05]
SPARSITIES = [1 - 0.6**t for t in range(len(FALL_RISE_FALL))]


def test_the_minimum_before_the_rise_and_its_neighbours() -> None:
    found = turning_point(FALL_RISE_FALL[:9], SPARSITIES[:9])
    assert (found.cycle, found.confirmed, found.phase) == (3, True, "compressing")
    assert (found.low, found.sparsity, found.high) == tuple(SPARSITIES[2:5])
    assert found.tested_to == SPARSITIES[8]


def test_a_collapse_below_the_minimum_does_not_move_it() -> None:
    found = turning_point(FALL_RISE_FALL, SPARSITIES)
    assert (found.cycle, found.confirmed, found.phase) == (3, True, "collapsing")
    assert turning_point(FALL_RISE_FALL[:10], SPARSITIES[:10]).phase == "compressing"  # 0.43 is not below 0.7 * 0.45


def test_what_is_confirmed_stays_confirmed_as_cycles_are_added() -> None:
    """A stop rule sees one prefix after the other and must not change its mind."""
    answers = [turning_point(FALL_RISE_FALL[: t + 1], SPARSITIES[: t + 1]) for t in range(len(FALL_RISE_FALL))]
    first = next(t for t, answer in enumerate(answers) if answer.confirmed)
    assert first == 5
    assert {answer.cycle for answer in answers[first:]} == {3}
    assert not any(answer.confirmed for answer in answers[:first])


def test_noise_and_spread_do_not_confirm() -> None:
    flat = [0.3, 0.2, 0.203, 0.204, 0.205]  # within 0.02 * 0.3 of the minimum
    assert not turning_point(flat, SPARSITIES[:5]).confirmed
    assert turning_point([*flat, 0.21, 0.21], SPARSITIES[:7]).confirmed
    assert not turning_point([*flat, 0.21, 0.21], SPARSITIES[:7], spread=0.01).confirmed


def test_patience() -> None:
    values = [0.3, 0.2, 0.25, 0.26, 0.27]
    assert [turning_point(values[:n], SPARSITIES[:n], patience=3).confirmed for n in range(1, 6)] == [False] * 4 + [
        True
    ]


def test_not_reached_says_how_far_it_was_looked_for() -> None:
    found = turning_point([0.3, 0.25, 0.2], [0.0, 0.4, 0.6])
    assert (found.cycle, found.confirmed, found.phase) == (2, False, "regularising")
    assert str(found) == "turning point not reached; tested up to sparsity 0.6000"
    assert found.high == 0.6


def test_undefined_values_are_no_minimum() -> None:
    found = turning_point([0.3, 0.2, math.nan, math.nan], [0.0, 0.4, 0.6, 0.8])
    assert (found.cycle, found.confirmed) == (1, True)


def test_errors() -> None:
    for indices, sparsities, patience in (([], [], 2), ([0.1], [], 2), ([0.1], [0.0], 0)):
        with pytest.raises(HowsparseError, match="as many indices as"):
            turning_point(indices, sparsities, patience=patience)
