"""Norms of rows and the lower bound that they prove."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howsparse.curvature import Dense, RowNorms, row_norms, sample_rows
from howsparse.errors import HowsparseError

from .matrices import QUADRATICS, Counting, function_of, quadratic, width, with_eigenvalues


@pytest.mark.parametrize("name", QUADRATICS)
def test_norms_and_bounds_of_the_reference(shared: Path, name: str) -> None:
    matrix, expected, case = quadratic(shared, name)
    norms = row_norms(Dense(matrix), range(case["D"]), chunk=5)
    assert np.allclose(norms.l1, expected["row_l1"], rtol=1e-12)
    assert np.allclose(norms.l2, expected["row_l2"], rtol=1e-12)
    assert np.array_equal(norms.diagonal, matrix.diagonal().numpy())
    for radius, l2, l1 in expected["jensen_lower_bound"]:
        f = width(radius**2 / (2 * case["eps"]))
        assert norms.bound(f)[0] * case["D"] == pytest.approx(l2, rel=1e-9)
        assert norms.bound(f, "l1")[0] * case["D"] == pytest.approx(l1, rel=1e-9)
        assert norms.bound(f)[1] == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=10), st.floats(1e-3, 1e3), st.booleans())
def test_the_bound_lies_below_the_mean(values: list[float], c: float, psd: bool) -> None:
    matrix = with_eigenvalues(np.abs(values) if psd else values)
    norms = row_norms(Dense(matrix), range(len(values)))
    exact = float(function_of(matrix, width(c)).trace()) / len(values)
    assert norms.bound(width(c), "l1")[0] <= norms.bound(width(c))[0] + 1e-12
    assert norms.bound(width(c))[0] <= exact + 1e-9
    if psd and norms.diagonal.min() >= 0:
        assert norms.bound(width(c))[0] - 1e-12 <= norms.bound(width(c), "diagonal")[0] <= exact + 1e-9


def test_sampled_rows_estimate_the_bound_without_bias() -> None:
    """Over all choices of 3 rows of 7: the mean is the bound, and the mean squared error is the one stated."""
    whole = row_norms(Dense(with_eigenvalues(np.linspace(-1, 5, 7))), range(7))
    f, truth = width(0.7), whole.bound(width(0.7))[0]
    found = []
    for chosen in map(list, itertools.combinations(range(7), 3)):
        found.append(
            RowNorms(7, torch.tensor(chosen), whole.l1[chosen], whole.l2[chosen], whole.diagonal[chosen]).bound(f)
        )
    means, errors = np.array(found).T
    assert means.mean() == pytest.approx(truth, rel=1e-12)
    assert ((means - truth) ** 2).mean() == pytest.approx((errors**2).mean(), rel=1e-12)


def test_the_bound_is_sharp_when_other_rows_vanish() -> None:
    matrix = torch.zeros(20, 20)
    matrix[0, 0] = 3.0
    norms = row_norms(Dense(matrix), range(20))
    assert norms.bound(width(1.0))[0] == pytest.approx((19 + 1 / 4) / 20, rel=1e-12)


def test_rows_are_drawn_uniformly_without_replacement() -> None:
    counts = np.zeros(6)
    for seed in range(600):
        rows = sample_rows(6, 2, seed=seed).tolist()
        assert rows[0] < rows[1]
        counts[rows] += 1
    assert (abs(counts - 200) < 4 * math.sqrt(600 / 3 * 2 / 3)).all()
    assert torch.equal(sample_rows(1000, 9, seed=3), sample_rows(1000, 9, seed=3))


def test_one_product_a_row() -> None:
    counted = Counting(with_eigenvalues(np.linspace(0, 1, 30)))
    norms = row_norms(counted, sample_rows(30, 11), chunk=4)
    assert counted.count == 11
    assert np.allclose(norms.l2, counted._dense.matrix.norm(dim=1)[norms.rows])
    assert math.isnan(row_norms(counted, [3]).bound(width(1.0))[1])


def test_bad_requests_are_refused() -> None:
    operator = Dense(torch.diag(torch.tensor([1.0, -1.0])))
    for rows, words in (([], "0 rows"), ([2], "from 2 to 2"), ([-1], "from -1"), ([0, 0], "repeated")):
        with pytest.raises(HowsparseError, match=words):
            row_norms(operator, rows)
    with pytest.raises(HowsparseError, match="at a time"):
        row_norms(operator, [0], chunk=0)
    with pytest.raises(HowsparseError, match="3 rows of 2"):
        sample_rows(2, 3)
    norms = row_norms(operator, [0, 1])
    with pytest.raises(HowsparseError, match="diagonal entry"):
        norms.bound(width(1.0), "diagonal")
    with pytest.raises(HowsparseError, match="unknown"):
        norms.bound(width(1.0), "l3")  # type: ignore[arg-type]
    operator.matrix[1, 1] = torch.nan
    with pytest.raises(HowsparseError, match="row 1 holds NaN"):
        row_norms(operator, [1])
