"""The stored reference vectors: brute force over every number of removed weights, in float64."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.linalg import eigh_tridiagonal

from howsparse.limits import (
    PrefixNorms,
    RefitSolution,
    Solution,
    accuracy_limits,
    batch_std,
    limit_curve,
    loss_limit,
    prefix_norms,
    scaled_limits,
    solve_limit,
    solve_refit,
    trace_bound,
    width,
    width_curve,
)
from howsparse.limits.reference import (
    reference_density,
    reference_limit,
    reference_measured_limit,
    zero_row_fraction,
    zero_row_weights,
)

Case = dict[str, Any]
Array = npt.NDArray[np.float64]

SPECTRA = [
    "spec-identity",
    "spec-logspace-psd",
    "spec-indefinite-with-zeros",
    "spec-mostly-zero",
    "spec-all-zero",
    "spec-stiff",
    "spec-ties-and-zero-weights",
    "spec-small-R",
]
QUADRATICS = ["quad-psd", "quad-indefinite", "quad-rank-deficient"]
NETWORKS = ["mlp-tanh-init", "mlp-tanh-trained", "mlp-relu-l1-trained", "conv-bn-init"]


@pytest.fixture(scope="module")
def cases(shared: Path) -> dict[str, Case]:
    text = (shared / "data" / "reference" / "limit_vectors.json").read_text()
    return {case["id"]: case for case in json.loads(text)["cases"]}


def hessian(case: Case) -> Array:
    return np.array(case["H"]).reshape(case["D"], case["D"])


def eigenvalues(case: Case) -> Array:
    if case["kind"] == "spectrum":
        return np.array(case["eigenvalues"])
    return np.linalg.eigvalsh(hessian(case))


def weights(case: Case) -> Array:
    if case["kind"] != "network":
        return np.array(case["weights"])
    matrices = [p["values"] for p in case["parameters"] if len(p["shape"]) > 1]
    return np.concatenate([np.array(values) for values in matrices])


def check_limit(found: Solution, expected: Case) -> None:
    assert found.removed == expected["removed"]
    assert found.sparsity == expected["sparsity"]
    assert found.density == pytest.approx(expected["density"], abs=1e-15)
    check(found.R, expected["R"])
    assert found.width == pytest.approx(expected["normalized_width"], rel=1e-9)
    check(found.next_R, expected["next_R"])
    check(found.next_width, expected["next_normalized_width"])


def check(found: float | None, expected: float | None) -> None:
    """Equal to nine digits, or both missing."""
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-9))


def check_refit(found: RefitSolution, expected: Case) -> None:
    assert found.removed == expected["removed"]  # the tolerance of one weight was never needed
    assert found.sparsity == expected["sparsity"]
    assert found.loss == pytest.approx(expected["predicted_loss"], rel=1e-9)
    check(found.next_loss, expected["next_predicted_loss"])
    assert found.tau == pytest.approx(expected["tau"], rel=1e-9)
    assert found.kappa == pytest.approx(math.inf if expected["kappa"] is None else expected["kappa"], rel=1e-9)


def check_official(curve: Callable[[float], float], norms: PrefixNorms, expected: Case) -> None:
    assert reference_limit(curve, norms) == expected["rounded_R"]
    assert reference_limit(curve, norms, exact_R=True) == expected["exact_R"]


@pytest.mark.parametrize("name", SPECTRA + QUADRATICS)
def test_limits_of_a_spectrum(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    expected, eps, values = case["expected"], case["eps"], eigenvalues(case)
    norms, curve = prefix_norms(weights(case)), width_curve(values, None, eps)
    assert norms.size == case["N"]
    for R, delta in expected["width"]:
        assert case["D"] * width(values, None, eps, R=R) == pytest.approx(delta, rel=1e-9)
    check_limit(solve_limit(curve, norms), expected["limit"])
    check_refit(solve_refit(values, None, eps, norms=norms), expected["refit_equivalent"])
    check_official(curve, norms, expected["official"])


@pytest.mark.parametrize("name", SPECTRA)
def test_norms_and_scaling_of_a_spectrum(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    expected, eps, values = case["expected"], case["eps"], eigenvalues(case)
    norms, curve = prefix_norms(weights(case)), width_curve(values, None, eps)
    assert norms.total == pytest.approx(expected["R_full"], rel=1e-12)
    for m, R in expected["R_of_m"]:
        assert norms.norm(m) == pytest.approx(R, rel=1e-12)
    found = {str(int(factor)): solution.sparsity for factor, solution in scaled_limits(curve, norms).items()}
    assert found == expected["scaled_weights"]
    grid = [float(factor) * eps for factor in expected["scaled_eps"]]
    assert [s for _, s in limit_curve(curve, norms, eps, grid=grid)] == list(expected["scaled_eps"].values())
    for value, sparsity in zip(grid, expected["scaled_eps"].values(), strict=True):
        assert solve_limit(width_curve(values, None, value), norms).sparsity == sparsity
    assert np.abs(values).sum() == pytest.approx(expected["trace_abs"], rel=1e-9)
    assert trace_bound(expected["trace_abs"], eps, norms).removed <= expected["limit"]["removed"]


@pytest.mark.parametrize("name", QUADRATICS)
def test_the_quadratic_model_itself(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    H, w, N = hessian(case), weights(case), case["N"]
    order = np.argsort(np.abs(w), kind="stable")
    one_shot = [0.5 * w[p] @ H[np.ix_(p, p)] @ w[p] for p in (order[:m] for m in range(N + 1))]
    expected = case["expected"]["quadratic_model"]
    check_increases(one_shot, expected, case["eps"])
    if "refit_limit" in expected:
        refit = [schur_increase(H, w, order[:m]) for m in range(N + 1)]
        for m, increase in expected["loss_increase_refit"].items():
            assert refit[int(m)] == pytest.approx(increase, rel=1e-9)
        assert round(N * loss_limit(np.arange(N + 1) / N, refit, case["eps"]).low) == expected["refit_limit"]


def check_increases(increases: list[float], expected: Case, eps: float) -> None:
    N = len(increases) - 1
    for m, increase in expected["loss_increase_oneshot"].items():
        assert increases[int(m)] == pytest.approx(increase, rel=1e-9)
    found = loss_limit(np.arange(N + 1) / N, increases, eps)
    assert round(N * found.low) == expected["oneshot_first_failure_minus_1"]
    assert round(N * found.last_within) == expected["oneshot_last_ok"]


def schur_increase(H: Array, w: Array, removed: Array) -> float:
    """½ wᵀ(H_PP - H_PK H_KK⁺ H_KP)w, the exact cost of removing P once the rest has been re-optimised."""
    kept = np.setdiff1d(np.arange(w.size), removed)
    push = H[np.ix_(kept, removed)] @ w[removed]
    move = np.linalg.lstsq(H[np.ix_(kept, kept)], push, rcond=1e-11)[0] if kept.size else push
    return float(0.5 * (w[removed] @ H[np.ix_(removed, removed)] @ w[removed] - push @ move))


@pytest.mark.parametrize("name", QUADRATICS)
def test_the_released_density_on_given_nodes(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    lanczos, expected = case["expected"]["lanczos"], case["expected"]["binned_density_width_m8"]
    nodes, vectors = eigh_tridiagonal(lanczos["alpha"][:8], lanczos["beta"][:7])
    shares = vectors[0] ** 2
    density = reference_density(nodes, shares)
    for R, binned, direct in zip(
        expected["R"], expected["bins_1e5_sigma2_1e_10"], expected["direct_quadrature"], strict=True
    ):
        assert width(nodes, shares, case["eps"], R=R) == pytest.approx(direct, rel=1e-8)
        assert density.width(case["eps"], R=R) == pytest.approx(binned, rel=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_limits_of_a_network(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    expected, eps = case["expected"], case["eps"]
    norms, values = prefix_norms(weights(case)), expected["eigenvalues_prunable"]
    gauss_newton, without_norms = expected["ggn_eigenvalues_prunable"], expected["eigenvalues_no_bn"]
    assert norms.size == case["N_prunable"]
    assert len(without_norms) == case["D_no_bn"] > norms.size
    for R, delta in expected["width_prunable"]:
        assert norms.size * width(values, None, eps, R=R) == pytest.approx(delta, rel=1e-9)
    curve = width_curve(values, None, eps)
    check_limit(solve_limit(curve, norms), expected["limit"])
    check_limit(solve_limit(width_curve(gauss_newton, None, eps), norms), expected["limit_ggn"])
    check_limit(solve_limit(width_curve(without_norms, None, eps), norms), expected["limit_spectrum_no_bn"])
    check_refit(solve_refit(values, None, eps, norms=norms), expected["refit_equivalent"])
    check_refit(solve_refit(gauss_newton, None, eps, norms=norms), expected["refit_equivalent_ggn"])
    grid = [value for value, _ in expected["limit_eps"]]
    removed = [round(s * norms.size) for _, s in limit_curve(curve, norms, eps, grid=grid)]
    assert removed == [m for _, m in expected["limit_eps"]]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_released_procedure_on_a_network(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    expected, pool = case["expected"]["official"], weights(case)
    norms, curve = prefix_norms(pool), width_curve(case["expected"]["eigenvalues_prunable"], None, case["eps"])
    check_official(curve, norms, expected)
    rows = np.array(case["expected"]["row_l1_prunable"])[zero_row_weights(pool)]
    fraction = zero_row_fraction(rows)
    assert fraction == pytest.approx(expected["zero_row_fraction"], abs=1e-12)
    corrected = reference_limit(curve, norms, exact_R=True, zero_rows=fraction)
    assert corrected == expected["exact_R_with_zero_row_correction"]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_spread_of_batch_losses(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    found = batch_std(case["expected"]["batch_losses"]).value
    assert found == pytest.approx(case["expected"]["batch_loss_std"], rel=1e-9)
    if case["eps_rule"] != "given":
        assert found == pytest.approx(case["eps"], rel=1e-9)


def test_definitions_of_the_measured_limit(cases: dict[str, Case]) -> None:
    case = cases["accuracy-curve"]
    found = accuracy_limits(np.arange(case["levels"]) / case["levels"], case["accuracy"])
    assert {
        "last_strictly_above_dense": found.last_above_dense,
        "last_at_least_dense": found.last_at_least_dense,
        "first_drop_beyond_0_1": found.first_drop,
        "last_before_first_drop_beyond_0_1": found.last_before_first_drop,
        "last_within_0_1": found.last_within,
    } == case["expected"]
    assert reference_measured_limit(case["accuracy"]) == case["expected"]["last_strictly_above_dense"]


def test_no_case_is_left_out(cases: dict[str, Case]) -> None:
    assert set(cases) == {*SPECTRA, *QUADRATICS, *NETWORKS, "accuracy-curve"}
