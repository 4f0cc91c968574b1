"""Deflation: outliers counted exactly, and brackets that hold whatever the residuals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howsparse.curvature import Dense, slq, top_eigenpairs
from howsparse.curvature.deflation import _measured

from .matrices import BULK, OUTLIERS, exact_mean, function_of, hadamard, width, with_eigenvalues


def test_deflation_takes_out_the_outliers_and_narrows_the_bracket() -> None:
    matrix = with_eigenvalues(OUTLIERS + BULK)
    plain = slq(Dense(matrix), psd=True, probes=4, steps=10)
    deflated = slq(Dense(matrix), psd=True, probes=4, steps=10, deflate=4)
    assert np.allclose(deflated.values, OUTLIERS, atol=1e-9)
    f = width(100.0)
    assert deflated.gap(f) < plain.gap(f) / 5
    assert all(rule.nodes.max() < 0.6 for rule in deflated.gauss)
    assert deflated.trace == pytest.approx(float(matrix.trace()), rel=0.05)
    assert np.allclose(deflated.mean_of(np.ones_like), 1, rtol=0, atol=1e-15)


def test_deflation_of_float32_keeps_outliers_from_coming_back() -> None:
    """Without projecting every product, rounding would bring copies of them back within a few steps."""
    matrix = with_eigenvalues([1e4, 7e3, 5e3, *np.linspace(0.1, 1, 61)])
    spectrum = slq(Dense(matrix.float()), psd=True, probes=2, steps=30, deflate=3)
    assert np.allclose(spectrum.values, [1e4, 7e3, 5e3], rtol=1e-6)
    assert max(rule.nodes.max() for rule in spectrum.gauss) < 1.01


def test_the_upper_side_survives_large_residuals() -> None:
    """Residuals of float32 squared are huge beside a steep f; interlacing then bounds the upper side."""
    matrix = with_eigenvalues([120.0, 90.0, -80.0, *np.geomspace(1e-4, 1, 61)])
    spectrum = slq(Dense(matrix.float()), psd=False, probes=hadamard(64), steps=30, deflate=3)
    f = width(1e4)
    assert f(np.zeros(1))[0] / f(np.array([spectrum.slack]))[0] > 2
    upper = spectrum.mean_of(f, "radau")
    assert exact_mean(matrix, f) <= upper.mean()
    assert (upper <= 1).all()


def test_deflation_finds_signs_and_says_magnitudes() -> None:
    values = [-9.0, 5.0, *np.linspace(-1, 1, 30)]
    matrix = with_eigenvalues(values)
    squared = slq(Dense(matrix), psd=False, probes=2, steps=5, deflate=2)
    assert squared.kind == "squared"
    assert np.allclose(squared.values, [-9, 5], atol=1e-9)
    assert np.allclose(squared.low, [9, 5], atol=1e-9)
    assert (squared.high <= squared.low).all()
    plain = slq(Dense(matrix), psd=False, probes=2, steps=25, deflate=2, certify=False)
    assert plain.smallest == pytest.approx(-9)
    assert plain.largest == pytest.approx(5)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.one_of(st.just(0.0), st.floats(0, 1)), min_size=10, max_size=10),
    st.lists(st.floats(1.5, 50), min_size=1, max_size=3),
    st.floats(1e-9, 0.3),
    st.floats(1e-2, 1e4),
    st.booleans(),
)
def test_deflated_pairs_need_not_beexact_mean(
    bulk: list[float], outliers: list[float], off: float, c: float, squared: bool
) -> None:
    """The trace lies between both sides even when the vectors taken out are wrong by ``off``."""
    matrix = with_eigenvalues(outliers + bulk)
    q, size = len(outliers), len(outliers) + len(bulk)
    generator = torch.Generator().manual_seed(1)
    true = torch.linalg.eigh(matrix)[1][:, -q:].T
    wrong = true + off * torch.randn(q, size, generator=generator, dtype=torch.float64)
    deflation = _measured(Dense(matrix), torch.linalg.qr(wrong.T)[0].T.contiguous(), squared)
    away = torch.eye(size, dtype=torch.float64) - deflation.vectors.T @ deflation.vectors
    inner = matrix @ matrix if squared else matrix
    rest = torch.linalg.eigvalsh(away @ inner @ away).clamp(min=0)[q:].numpy()  # q exact zeros come first
    rest, f = np.sqrt(rest) if squared else rest, width(c)
    exact = float(function_of(matrix, f).trace())
    low = f(deflation.low).sum() + f(rest).sum()
    high = f(deflation.high).sum() + f(np.zeros(1))[0] / f(np.array([deflation.slack]))[0] * f(rest).sum()
    slack = 1e-9 + 1e-7 * c * max(outliers) * squared
    assert low - slack <= exact <= high + slack
    assert exact <= q * f(np.zeros(1))[0] + f(rest).sum() + slack


def test_deflation_leaves_out_what_does_not_converge() -> None:
    matrix = torch.diag(torch.linspace(1, 2, 3000, dtype=torch.float64))  # no gaps at all
    assert top_eigenpairs(Dense(matrix), 2).count == 0
