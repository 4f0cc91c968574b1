"""Gauss and Radau rules against the reference, polynomials and exact fractions."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howsparse.curvature import Rule, gauss, radau
from howsparse.errors import HowsparseError

from .matrices import QUADRATICS, quadratic, width


@pytest.mark.parametrize("name", QUADRATICS)
def test_rules_of_the_reference_coefficients(shared: Path, name: str) -> None:
    _, expected, case = quadratic(shared, name)
    lanczos = expected["lanczos"]
    for row in lanczos["rows"]:
        alpha, beta = lanczos["alpha"][: row["m"]], lanczos["beta"][: row["m"]]
        rule = gauss(alpha, beta)
        if "nodes" in row:
            assert np.allclose(rule.nodes, row["nodes"], rtol=0, atol=1e-10)
            assert np.allclose(rule.weights, row["weights"], rtol=0, atol=1e-10)
        for index, radius in enumerate(lanczos["R"]):
            f = width(radius**2 / (2 * case["eps"]))
            assert rule.integral(f) == pytest.approx(row["gauss"][index], rel=1e-9)
            if "upper_H_psd" in row:
                assert radau(alpha, beta).integral(f) == pytest.approx(row["upper_H_psd"][index], rel=1e-9)


def _coefficients() -> st.SearchStrategy[tuple[list[float], list[float]]]:
    """Coefficients of a positive definite matrix, through positive pivots."""

    def build(pivots: list[float], factors: list[float]) -> tuple[list[float], list[float]]:
        alpha = [d + f * f * p for d, f, p in zip(pivots, [0.0, *factors], [0.0, *pivots], strict=False)]
        return alpha, [f * p for f, p in zip(factors, pivots, strict=True)]

    sizes = st.integers(1, 8)
    numbers = st.floats(0.1, 3)
    return sizes.flatmap(
        lambda m: st.builds(build, st.lists(numbers, min_size=m, max_size=m), st.lists(numbers, min_size=m, max_size=m))
    )


@settings(max_examples=60, deadline=None)
@given(_coefficients())
def test_rules_integrate_polynomials_exactly(coefficients: tuple[list[float], list[float]]) -> None:
    alpha, beta = coefficients
    m = len(alpha)
    # one step further on, both rules must agree with the larger Gauss rule in all moments they promise
    larger = np.diag([*alpha, 7.0]) + np.diag(beta, 1) + np.diag(beta, -1)
    vector = np.zeros(m + 1)
    vector[0] = 1
    scale = float(np.abs(larger).sum(axis=1).max())
    low, high = gauss(alpha, beta), radau(alpha, beta)
    moment = vector
    for degree in range(2 * m + 1):
        exact = float(vector @ moment)
        if degree < 2 * m:
            assert low.weights @ (low.nodes / scale) ** degree == pytest.approx(exact, abs=1e-12)
        assert high.weights @ (high.nodes / scale) ** degree == pytest.approx(exact, abs=1e-12)
        moment = larger @ moment / scale
    assert high.nodes[0] == 0.0
    assert high.nodes.size == m + 1
    assert low.weights.min() >= 0
    assert low.weights.sum() == pytest.approx(1, abs=1e-15)


def test_a_radau_node_at_another_place() -> None:
    alpha, beta = [2.0, 3.0], [1.0, 0.5]
    shifted = radau([value + 5 for value in alpha], beta, at=5.0)
    rule = radau(alpha, beta)
    assert np.allclose(shifted.nodes, rule.nodes + 5, atol=1e-13)
    assert np.allclose(shifted.weights, rule.weights, atol=1e-13)
    assert shifted.nodes[0] == 5.0


def test_after_breakdown_both_rules_are_the_same() -> None:
    alpha, beta = [1.0, 2.0, 0.5], [0.3, 0.2, 0.0]
    for c in (0.1, 1.0, 100.0):
        assert radau(alpha, beta).integral(width(c)) == pytest.approx(gauss(alpha, beta).integral(width(c)), rel=1e-13)


@pytest.mark.parametrize(("alpha", "beta"), [([0.0], [0.0]), ([1.0, 1.0], [1.0, 0.0]), ([1.0, 1.0], [1.0, 1e-9])])
def test_a_singular_matrix_already_has_the_node(alpha: list[float], beta: list[float]) -> None:
    rule = radau(alpha, beta)
    assert rule.nodes[0] == 0.0
    assert rule.integral(width(1e3)) == pytest.approx(gauss(alpha, beta).integral(width(1e3)), rel=1e-9)


@pytest.mark.parametrize("tiny", [1e-6, 1e-9, 1e-12, 1e-14])
@pytest.mark.parametrize("norm", [0.01, 1.0, 100.0])
def test_nearly_singular_matrices_keep_their_small_nodes(tiny: float, norm: float) -> None:
    """The appended entry grows like 1 / tiny; compared with exact fractions."""
    alpha, beta = [1.0, 0.25 + tiny], [0.5, norm]
    diagonal, squares = [Fraction(a) for a in alpha], [Fraction(b) ** 2 for b in beta]
    diagonal.append(squares[1] / (diagonal[1] - squares[0] / diagonal[0]))
    for c in (Fraction(1), Fraction(10**4), Fraction(10**8)):
        # first entry of (1 + c T)^-1 as a continued fraction from the last row up
        tail = 1 + c * diagonal[2]
        for index in (1, 0):
            tail = 1 + c * diagonal[index] - c**2 * squares[index] / tail
        assert radau(alpha, beta).integral(width(float(c))) == pytest.approx(float(1 / tail), rel=1e-7)


def test_an_appended_entry_that_is_large_does_not_drown_small_nodes() -> None:
    """Ten steps whose last pivot is 1e-11: the entry appended is 1e11, the nodes go down to 1e-5."""
    pivots = np.append(np.geomspace(1, 1e-4, 9), 1e-11)
    factors = np.full(9, 0.7)
    alpha, beta = pivots.copy(), np.append(factors * pivots[:-1], 1.0)
    alpha[1:] += factors**2 * pivots[:-1]
    diagonal, squares = [Fraction(a) for a in alpha], [Fraction(b) ** 2 for b in beta]
    pivot = diagonal[0]
    for index in range(1, 10):
        pivot = diagonal[index] - squares[index - 1] / pivot
    diagonal.append(squares[-1] / pivot)
    for c in (1, 10**3, 10**6):
        tail = 1 + c * diagonal[-1]
        for index in range(9, -1, -1):
            tail = 1 + c * diagonal[index] - c**2 * squares[index] / tail
        assert radau(alpha, beta).integral(width(c)) == pytest.approx(float(1 / tail), rel=1e-8)


def test_nodes_within_rounding_of_the_end_are_put_there() -> None:
    """Two nodes stand for one eigenvalue at zero; a square root would make 5e-8 of the second."""
    rule = radau([1.0, 1.0 + 2e-15], [1.0, 1e-15])
    assert rule.nodes.tolist() == [0.0, 0.0, pytest.approx(2)]
    assert rule.integral(lambda x: width(1e6)(np.sqrt(x))) == pytest.approx(0.5, rel=1e-5)


def test_integral_of_a_rule() -> None:
    assert Rule(np.array([1.0, 2.0]), np.array([0.5, 0.5])).integral(np.square) == 2.5


@pytest.mark.parametrize(
    ("alpha", "beta", "words"),
    [([], [], "not empty"), ([1.0, 2.0], [], "as many or one less"), ([np.nan], [0.0], "NaN"), ([[1.0]], [1.0], "vec")],
)
def test_bad_coefficients_are_refused(alpha: list[float], beta: list[float], words: str) -> None:
    with pytest.raises(HowsparseError, match=words):
        gauss(alpha, beta)


def test_radau_needs_the_last_norm() -> None:
    with pytest.raises(HowsparseError, match="norm after the last step"):
        radau([1.0, 2.0], [1.0])
