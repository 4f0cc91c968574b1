"""Lanczos against the reference and dense eigenvalues: breakdown, lockstep, memory and going on."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from howsparse.curvature import Dense, Lanczos, Operator, Squared, gauss, lanczos_memory, radau, rademacher
from howsparse.errors import HowsparseError

from .matrices import QUADRATICS, Counting, function_of, hadamard, quadratic, width, with_eigenvalues


def _run(matrix: Tensor | Operator, starts: Tensor, steps: int, **options: Any) -> Lanczos:
    lanczos = Lanczos(matrix if isinstance(matrix, Operator) else Dense(matrix), starts, **options)
    for _ in range(steps):
        lanczos.step()
    return lanczos


def _start(expected: dict[str, Any]) -> Tensor:
    return torch.tensor([expected["lanczos"]["probe"]], dtype=torch.float64)


@pytest.mark.parametrize("name", QUADRATICS)
def test_coefficients_of_the_reference(shared: Path, name: str) -> None:
    matrix, expected, _ = quadratic(shared, name)
    alpha, beta = (torch.tensor(expected["lanczos"][key], dtype=torch.float64) for key in ("alpha", "beta"))
    lanczos = _run(matrix, _start(expected), len(alpha), reorthogonalise="full")
    assert torch.allclose(lanczos.alpha[0], alpha, rtol=0, atol=1e-8)
    assert torch.allclose(lanczos.beta[0], beta, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", QUADRATICS)
def test_brackets_of_the_reference_from_the_squared_operator(shared: Path, name: str) -> None:
    matrix, expected, case = quadratic(shared, name)
    lanczos = _run(Squared(Dense(matrix)), _start(expected), 16, reorthogonalise="full")
    for row in expected["lanczos"]["rows"]:
        alpha, beta = (part[: row["m"]] for part in lanczos.coefficients(0))
        for index, radius in enumerate(expected["lanczos"]["R"]):
            f = width(radius**2 / (2 * case["eps"]))

            def of_square(x: np.ndarray, f: Callable[[np.ndarray], np.ndarray] = f) -> np.ndarray:
                return f(np.sqrt(np.maximum(x, 0)))

            lower, upper = gauss(alpha, beta).integral(of_square), radau(alpha, beta).integral(of_square)
            assert lower == pytest.approx(row["lower_H2"][index], abs=1e-7)
            assert upper == pytest.approx(row["upper_H2"][index], abs=1e-7)
            exact = expected["lanczos"]["exact_quadratic_form"][index]
            assert lower - 1e-9 <= exact <= upper + 1e-9


def test_vectors_stay_orthonormal_over_twelve_decades() -> None:
    matrix = with_eigenvalues(np.geomspace(1e-12, 1, 60))
    basis = torch.cat(_run(matrix, rademacher(1, 60, dtype=torch.float64), 30, reorthogonalise="full").basis)
    assert torch.allclose(basis @ basis.T, torch.eye(len(basis), dtype=torch.float64), atol=1e-14)


def test_the_recurrence_holds_and_vectors_are_orthonormal() -> None:
    matrix = with_eigenvalues(np.linspace(-1, 3, 30))
    lanczos = _run(matrix, rademacher(1, 30, dtype=torch.float64), 12, reorthogonalise="full")
    basis = torch.cat(lanczos.basis)  # (13, 30)
    assert torch.allclose(basis @ basis.T, torch.eye(13, dtype=torch.float64), atol=1e-14)
    alpha, beta = lanczos.coefficients(0)
    tridiagonal = torch.diag(alpha) + torch.diag(beta[:-1], 1) + torch.diag(beta[:-1], -1)
    assert torch.allclose(basis[:12] @ matrix @ basis[:12].T, tridiagonal, atol=1e-13)
    assert beta[-1].item() == pytest.approx(float(basis[12] @ matrix @ basis[11]), abs=1e-13)


@pytest.mark.parametrize("how", ["none", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_identity_breaks_down_after_one_step(how: str, dtype: torch.dtype) -> None:
    lanczos = _run(3 * torch.eye(40, dtype=dtype), torch.randn(3, 40, dtype=dtype), 5, reorthogonalise=how)
    assert lanczos.finished.all()
    assert lanczos.steps == 1
    assert lanczos.lengths.tolist() == [1, 1, 1]
    assert torch.allclose(lanczos.alpha, torch.full((3, 1), 3.0, dtype=torch.float64), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_low_rank_breaks_down_at_any_scale(dtype: torch.dtype, scale: float) -> None:
    matrix = with_eigenvalues([1.0, 2.0, 3.0] + [0.0] * 47)
    probes, vectors = rademacher(4, 50, dtype=torch.float64), torch.linalg.eigh(matrix)[1]
    masses = (probes @ vectors) ** 2 / 50  # of each eigenvector in each probe
    lanczos = _run((matrix * scale).to(dtype), probes.to(dtype), 20, reorthogonalise="full")
    assert lanczos.finished.all()
    assert set(lanczos.lengths.tolist()) <= {4, 5}  # three eigenvalues and zero; rounding may allow one step more
    for index in range(4):
        nodes, weights = gauss(*lanczos.coefficients(index))
        near = np.round(nodes / scale)
        assert np.allclose(nodes / scale, near, atol=2e-6 if dtype == torch.float32 else 1e-13)
        found = [weights[near == value].sum() for value in range(4)]
        truth = [float(masses[index, :47].sum()), *masses[index, 47:].tolist()]
        assert np.allclose(found, truth, atol=1e-6 if dtype == torch.float32 else 1e-13)


class Diagonal(Operator):
    """A diagonal matrix too large to be written out."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self.size, self.dtype, self.device = len(values), values.dtype, values.device

    def products(self, vectors: Tensor) -> Tensor:
        return vectors * self._values


def test_small_norms_of_a_small_bulk_are_not_a_breakdown() -> None:
    """One eigenvalue far above the others: norms are 1e-5 of it and yet real; eps sqrt(D) is 2.4e-5."""
    values = torch.cat([torch.ones(1), torch.linspace(0, 5e-5, 39_999)])
    lanczos = _run(Diagonal(values), rademacher(1, 40_000), 8, reorthogonalise="full")
    assert lanczos.beta[0, 3:].max() < 2e-5
    assert not lanczos.finished.any()
    assert gauss(*lanczos.coefficients(0)).nodes[-1] == pytest.approx(1, rel=1e-5)


def test_one_finished_vector_does_not_hold_up_the_others() -> None:
    matrix = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64))
    starts = torch.ones(3, 8, dtype=torch.float64)
    starts[1] = 0
    starts[1, 2:4] = 1  # lives in a plane
    counted = Counting(matrix)
    lanczos = _run(counted, starts, 6)
    assert lanczos.finished.tolist() == [False, True, False]
    assert lanczos.lengths.tolist() == [6, 2, 6]
    assert counted.count == 6 + 2 + 6
    alone = _run(matrix, starts[:1], 6)
    assert torch.allclose(lanczos.alpha[0], alone.alpha[0], rtol=1e-12)
    assert torch.allclose(lanczos.alpha[2], alone.alpha[0], rtol=1e-12)
    assert lanczos.alpha[1, 2:].tolist() == [0] * 4
    assert [len(part) for part in lanczos.coefficients(1)] == [2, 2]


def test_a_finished_vector_with_full_reorthogonalisation() -> None:
    matrix = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64))
    starts = torch.ones(2, 8, dtype=torch.float64)
    starts[0, 3:] = 0
    lanczos = _run(matrix, starts, 8, reorthogonalise="full")
    assert lanczos.lengths.tolist() == [3, 8]
    assert np.allclose(gauss(*lanczos.coefficients(1)).nodes, np.arange(1, 9), atol=1e-10)


@pytest.mark.parametrize("how", ["none", "full"])
def test_zero_and_one_dimensional_operators(how: str) -> None:
    zero = _run(torch.zeros(6, 6), torch.ones(2, 6), 3, reorthogonalise=how)
    assert zero.finished.all()
    assert zero.alpha.tolist() == zero.beta.tolist() == [[0.0], [0.0]]
    single = _run(torch.tensor([[-2.5]]), torch.tensor([[7.0]]), 3, reorthogonalise=how)
    assert (single.alpha.tolist(), single.beta.tolist()) == ([[-2.5]], [[0.0]])


def test_starting_vectors_are_normalised_exactly() -> None:
    matrix = with_eigenvalues(np.linspace(0, 1, 20))
    start = rademacher(1, 20, dtype=torch.float64)
    tiny, plain = _run(matrix, start * 1e-12, 5), _run(matrix, start, 5)
    assert torch.allclose(tiny.alpha, plain.alpha, rtol=1e-12)


def test_sums_are_float64_for_float32_vectors() -> None:
    """In float32 a sum of 3 million squares would be off by far more than this."""
    size = 3_000_000
    values = torch.linspace(0, 1, size)

    lanczos = _run(Diagonal(values), rademacher(1, size), 1)
    mean, square = float(values.double().mean()), float((values.double() ** 2).mean())
    assert lanczos.alpha.item() == pytest.approx(mean, rel=1e-7)
    assert lanczos.beta.item() == pytest.approx((square - mean**2) ** 0.5, rel=1e-7)


def test_an_operator_that_hands_its_argument_back() -> None:
    class Same(Operator):
        size, dtype, device = 4, torch.float64, torch.device("cpu")

        def products(self, vectors: Tensor) -> Tensor:
            return vectors

    start = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    lanczos = _run(Same(), start, 2, reorthogonalise="full")
    assert lanczos.alpha.item() == pytest.approx(1)
    assert torch.allclose(lanczos.basis[0], start / 30**0.5)
    assert start.tolist() == [[1.0, 2.0, 3.0, 4.0]]


@pytest.mark.parametrize("how", ["none", "full"])
def test_going_on_from_a_saved_state_gives_the_same_bits(how: str) -> None:
    matrix = torch.diag(torch.logspace(-3, 0, 60))
    starts = rademacher(3, 60)
    starts[1, 2:] = 0  # finishes before the state is saved
    whole = _run(matrix, starts, 12, reorthogonalise=how)
    half = _run(matrix, starts, 5, reorthogonalise=how)
    assert half.finished.tolist() == [False, True, False]
    file = io.BytesIO()
    torch.save(half.state_dict(), file)
    file.seek(0)
    rest = Lanczos(Dense(matrix), starts, reorthogonalise=how)
    rest.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(7):
        rest.step()
        half.step()
    for other in (rest, half):
        assert torch.equal(other.alpha, whole.alpha)
        assert torch.equal(other.beta, whole.beta)
        assert torch.equal(other.lengths, whole.lengths)


def test_later_steps_leave_a_saved_state_alone() -> None:
    lanczos = _run(with_eigenvalues(np.linspace(0, 1, 20)), rademacher(2, 20, dtype=torch.float64), 3)
    state = lanczos.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    lanczos.step()
    lanczos.step()
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_a_state_of_another_run_is_refused() -> None:
    state = _run(torch.eye(4), torch.ones(2, 4), 1).state_dict()
    for starts, how in ((torch.ones(1, 4), "none"), (torch.ones(2, 4), "full")):
        with pytest.raises(HowsparseError, match="saved Lanczos state"):
            Lanczos(Dense(torch.eye(4)), starts, reorthogonalise=how).load_state_dict(state)


def test_memory_is_what_is_held() -> None:
    starts, steps = rademacher(2, 100), 10
    matrix = with_eigenvalues(np.linspace(0, 1, 100)).float()
    assert _run(matrix, starts, steps).memory == 3 * 2 * 100 * 4 == lanczos_memory(100, 2, steps)
    full = _run(matrix, starts, steps, reorthogonalise="full")
    assert full.memory == 12 * 2 * 100 * 4 == lanczos_memory(100, 2, steps, reorthogonalise="full")
    assert sum(vectors.numel() * 4 for vectors in full.basis) + 2 * 100 * 4 == full.memory  # and the product


def test_a_budget_that_is_too_small_names_the_least_that_works() -> None:
    operator, starts = Dense(torch.diag(torch.arange(100.0))), torch.ones(2, 100)
    least = lanczos_memory(100, 2, 10, reorthogonalise="full")
    with pytest.raises(HowsparseError, match=rf"{least:,} bytes.*without reorthogonalisation 2,400 would do"):
        Lanczos(operator, starts, reorthogonalise="full", memory=least - 1, steps=10)
    lanczos = Lanczos(operator, rademacher(2, 100), reorthogonalise="full", memory=least, steps=10)
    for _ in range(10):
        lanczos.step()
    with pytest.raises(HowsparseError, match="11 Lanczos steps"):
        lanczos.step()
    with pytest.raises(HowsparseError, match="2,400 bytes"):
        Lanczos(operator, starts, memory=2399)


def test_products_that_are_not_finite_are_named() -> None:
    class Broken(Operator):
        size, dtype, device = 4, torch.float32, torch.device("cpu")

        def products(self, vectors: Tensor) -> Tensor:
            return torch.where(vectors < 0, torch.nan, vectors)

    with pytest.raises(HowsparseError, match="vector 1 holds NaN"):
        _run(Broken(), torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, 1]]), 1)


@pytest.mark.parametrize(
    ("starts", "how", "words"),
    [
        (torch.ones(2, 3), "none", "shape"),
        (torch.ones(4), "none", "shape"),
        (torch.zeros(1, 4), "none", "norm 0"),
        (torch.full((1, 4), torch.inf), "none", "finite"),
        (torch.ones(1, 4), "partial", "none or full"),
    ],
)
def test_bad_arguments_are_refused(starts: Tensor, how: str, words: str) -> None:
    with pytest.raises(HowsparseError, match=words):
        Lanczos(Dense(torch.eye(4)), starts, reorthogonalise=how)  # type: ignore[arg-type]


def test_half_precision_is_refused() -> None:
    with pytest.raises(HowsparseError, match="bfloat16"):
        Lanczos(Dense(torch.eye(4, dtype=torch.bfloat16)), torch.ones(1, 4))


def test_hadamard_probes_average_to_the_exact_trace(shared: Path) -> None:
    matrix, expected, case = quadratic(shared, "quad-psd")
    lanczos = _run(matrix, hadamard(32), 32, reorthogonalise="full")
    for radius, total in expected["width"]:
        f = width(radius**2 / (2 * case["eps"]))
        mean = np.mean([gauss(*lanczos.coefficients(index)).integral(f) for index in range(32)])
        assert mean * 32 == pytest.approx(total, rel=1e-9)


spectra = st.lists(st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-6, 20)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(spectra, st.lists(st.sampled_from([-1.0, 1.0]), min_size=12, max_size=12), st.floats(1e-2, 1e2), st.booleans())
def test_brackets_hold_and_are_nested(values: list[float], signs: list[float], c: float, squared: bool) -> None:
    """Gauss below and rising, Radau above and falling, on A that is psd and on the square of any A."""
    matrix = with_eigenvalues([v * (s if squared else 1) for v, s in zip(values, signs, strict=False)])
    size, f = len(values), width(c)
    start = torch.randn(1, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    exact = float((start @ function_of(matrix, f) @ start.T) / (start @ start.T))
    lanczos = _run(Squared(Dense(matrix)) if squared else matrix, start, size, reorthogonalise="full")
    alpha, beta = lanczos.coefficients(0)
    slack = 1e-9 + (1e-7 * c * max(values) if squared else 0)  # a square root amplifies rounding at zero
    low, high = -np.inf, np.inf
    for m in range(1, len(alpha) + 1):

        def taken(x: np.ndarray) -> np.ndarray:
            return f(np.sqrt(np.maximum(x, 0)) if squared else np.maximum(x, 0))

        below, above = gauss(alpha[:m], beta[:m]).integral(taken), radau(alpha[:m], beta[:m]).integral(taken)
        assert low - slack <= below <= exact + slack
        assert exact - slack <= above <= high + slack
        low, high = below, above
    assert high - low <= 1e-6 + slack  # as many steps as dimensions
