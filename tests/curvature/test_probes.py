"""Random signs and the intervals that follow from them."""

import numpy as np
import pytest
import torch

from howsparse.curvature import interval, rademacher
from howsparse.errors import HowsparseError

from .matrices import with_eigenvalues


def test_half_widths_by_hand() -> None:
    half = interval([0.5, 0.7], 200).high - 0.6
    assert half**2 == pytest.approx(1.959963985**2 * 2 * (0.4 + half) / (2 * 200))  # the trace of I - F is the smaller
    assert interval([0.99], 10**6).high - 0.99 < 1.05 * 1.96 * (2 * 0.01 / 10**6) ** 0.5
    assert interval([0.5], 200, sampled=50).high - 0.5 == pytest.approx(1.959963985 * (2 * 50) ** 0.5 / 200)
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0], 200, confidence=0.9)
    assert found.high - found.mean == found.mean - found.low == pytest.approx(2.131846786 * (2.5 / 5) ** 0.5)


def test_intervals_cover_the_truth() -> None:
    """Both methods, 300 runs each on a matrix with large spread; nominal 95 %."""
    matrix = with_eigenvalues(np.r_[np.ones(32), np.zeros(32)])
    truth = 0.5
    for p, method in ((2, "a-priori"), (6, "t")):
        probes = rademacher(300 * p, 64, seed=9, dtype=torch.float64)
        forms = (((probes @ matrix) * probes).sum(1) / 64).view(300, p).numpy()
        found = [interval(values, 64) for values in forms]
        assert {each.method for each in found} == {method}
        covered = np.mean([each.low <= truth <= each.high for each in found])
        assert 0.92 <= covered <= (1.0 if method == "a-priori" else 0.98)


@pytest.mark.parametrize(("values", "D", "confidence"), [([], 5, 0.95), ([0.1], 0, 0.95), ([0.1], 5, 1.0)])
def test_intervals_need_something_to_go_by(values: list[float], D: int, confidence: float) -> None:
    with pytest.raises(HowsparseError, match="interval"):
        interval(values, D, confidence)


def test_probes_are_fair_signs_from_separate_streams() -> None:
    signs = rademacher(50, 400, seed=1)
    assert signs.abs().eq(1).all()
    assert abs(float(signs.mean())) < 4 / (50 * 400) ** 0.5
    overlap = (signs @ signs.T / 400).fill_diagonal_(0)
    assert float(overlap.abs().max()) < 5 / 20
    assert torch.equal(rademacher(2, 400, seed=1, first=7), signs[7:9])
    with pytest.raises(HowsparseError, match="seed -1"):
        rademacher(1, 4, seed=-1)
