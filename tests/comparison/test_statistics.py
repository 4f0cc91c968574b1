import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from howsparse.comparison.statistics import holm, paired, spread

NUMBERS = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=8)


@given(NUMBERS)
def test_spread_is_numpys(values) -> None:
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert found.n == len(values)


@given(NUMBERS, st.integers(0, 10**6))
def test_paired_is_scipys(values, seed) -> None:
    chance = random.Random(seed)
    other = [value + chance.gauss(0.3, 1) for value in values]
    found = paired(dict(enumerate(values)), dict(enumerate(other)))
    expected = stats.ttest_rel(values, other)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.difference == pytest.approx(np.mean(values) - np.mean(other), abs=1e-9)


def test_paired_in_closed_form() -> None:
    # one degree of freedom: Student's t is Cauchy's distribution, p = 1 - 2 atan(t) / pi
    found = paired({0: 1.0, 1: 3.0, 9: 5.0}, {0: 0.0, 1: 0.0, 8: 7.0})
    assert (found.difference, found.pairs) == (2.0, 2)
    assert found.p == pytest.approx(1 - 2 * math.atan(2.0) / math.pi)


def test_paired_without_a_test() -> None:
    assert paired({0: 1.0}, {0: 2.0}).p is None
    assert paired({0: 1.0}, {1: 2.0}).difference is None
    assert paired({0: 0.3, 1: 0.4}, {0: 0.1, 1: 0.2}).p is None  # the same difference twice says nothing of chance
    assert paired({0: 0.3, 1: 0.4}, {0: 0.3, 1: 0.4}).p == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_rule_rejects(values) -> None:
    """Reject in ascending order while p_(i) <= alpha / (m - i + 1)."""
    corrected = holm(values)
    for alpha in (0.01, 0.05, 0.2):
        rejected, m = set(), len(values)
        for i, place in enumerate(sorted(range(m), key=values.__getitem__)):
            if values[place] * (m - i) > alpha:
                break
            rejected.add(place)
        assert {place for place, p in enumerate(corrected) if p <= alpha} == rejected
