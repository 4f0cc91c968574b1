"""Traces by random signs against exact ones."""

import math

import numpy as np
import pytest
import torch

from howsparse.curvature import Dense, hutch_plus_plus, hutchinson
from howsparse.errors import HowsparseError

from .matrices import Counting, with_eigenvalues


def test_hutchinson_is_unbiased_and_knows_its_error() -> None:
    matrix = with_eigenvalues(np.linspace(-1, 3, 20))
    estimates = [hutchinson(Dense(matrix), probes=8, seed=seed) for seed in range(300)]
    spread = math.sqrt(2 * float((matrix**2).sum() - (matrix.diagonal() ** 2).sum()) / 8)
    values = np.array([found.value for found in estimates])
    assert abs(values.mean() - float(matrix.trace())) < 4 * spread / math.sqrt(300)
    assert values.std() == pytest.approx(spread, rel=0.15)
    assert np.sqrt(np.mean([found.error**2 for found in estimates])) == pytest.approx(spread, rel=0.15)


def test_hutch_plus_plus_is_unbiased_and_knows_its_error() -> None:
    matrix = with_eigenvalues([20.0, 10.0, *np.linspace(-1, 1, 30)])
    estimates = [hutch_plus_plus(Dense(matrix), products=18, seed=seed) for seed in range(200)]
    values = np.array([found.value for found in estimates])
    errors = np.array([found.error for found in estimates])
    assert abs(values.mean() - float(matrix.trace())) < 4 * values.std() / math.sqrt(200)
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.2)


def test_hutch_plus_plus_beats_hutchinson_where_eigenvalues_decay() -> None:
    matrix = with_eigenvalues(1 / np.arange(1, 101) ** 2)
    truth = float(matrix.trace())

    def error(estimate: object) -> float:
        return math.sqrt(np.mean([(estimate(seed).value - truth) ** 2 for seed in range(30)]))  # type: ignore[operator]

    better = error(lambda seed: hutch_plus_plus(Dense(matrix), products=30, seed=seed))
    assert better < error(lambda seed: hutchinson(Dense(matrix), probes=30, seed=seed)) / 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hutch_plus_plus_is_exact_for_low_rank(dtype: torch.dtype) -> None:
    matrix = with_eigenvalues([5.0, -3.0, 1.0] + [0.0] * 37).to(dtype)
    found = hutch_plus_plus(Dense(matrix), products=12)
    close = 1e-5 if dtype == torch.float32 else 1e-12
    assert found.value == pytest.approx(3, abs=close)
    assert found.error < close


def test_more_products_than_dimensions_are_not_spent() -> None:
    counted = Counting(with_eigenvalues([1.0, 2.0, 3.0, 4.0]))
    found = hutch_plus_plus(counted, products=60)
    assert (found.value, found.error) == (pytest.approx(10), 0.0)
    assert found.products == counted.count == 8


def test_products_and_chunks() -> None:
    matrix = with_eigenvalues(np.linspace(0, 1, 30))
    counted = Counting(matrix)
    whole, parts = (hutchinson(counted, probes=7, seed=3, chunk=chunk) for chunk in (7, 2))
    assert counted.count == whole.products + parts.products == 14
    assert parts.value == pytest.approx(whole.value, rel=1e-12)
    assert parts.error == pytest.approx(whole.error, rel=1e-12)
    counted.count = 0
    assert hutch_plus_plus(counted, products=11).products == counted.count == 11


def test_one_probe_knows_no_error() -> None:
    assert math.isnan(hutchinson(Dense(torch.eye(4)), probes=1).error)


def test_bad_requests_are_refused() -> None:
    operator = Dense(torch.eye(4))
    with pytest.raises(HowsparseError, match="at least 3"):
        hutch_plus_plus(operator, products=2)
    with pytest.raises(HowsparseError, match="0 vectors"):
        hutchinson(operator, probes=0)
    with pytest.raises(HowsparseError, match="0 at a time"):
        hutchinson(operator, chunk=0)
    operator.matrix[0, 0] = torch.nan
    for estimate in (hutchinson, hutch_plus_plus):
        with pytest.raises(HowsparseError, match="NaN"):
            estimate(operator)
