"""Spectra by stochastic Lanczos quadrature against dense eigenvalues."""

import io
import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from howsparse.curvature import Dense, GaussNewton, Objective, Rule, Spectrum, rademacher, slq, top_eigenpairs
from howsparse.errors import HowsparseError

from .matrices import BULK, OUTLIERS, Counting, exact_mean, function_of, hadamard, width, with_eigenvalues

BUILT = {
    "identity": [1.0] * 64,
    "low rank": [3.0, 2.0, 1.0] + [0.0] * 61,
    "bulk and outliers": OUTLIERS + BULK + [0.0] * 4,
    "negative tail": [-2.0, -1.0, -0.5, *BULK, *OUTLIERS, 0.0],
    "half exact zeros": [0.0] * 32 + np.linspace(0.1, 4, 32).tolist(),
    "all zero": [0.0] * 64,
}


@pytest.mark.parametrize("name", BUILT)
def test_orthogonal_probes_and_all_steps_give_the_exact_mean(name: str) -> None:
    matrix = with_eigenvalues(BUILT[name])
    psd = min(BUILT[name]) >= 0
    spectrum = slq(Dense(matrix), psd=psd, probes=hadamard(64), steps=64, reorthogonalise="full")
    for c in (0.1, 10.0):
        # a square root of rounding, 1e-8 of the largest eigenvalue, is seen at zero
        close = 1e-9 if psd else 1e-5
        for rule in ("gauss", "radau"):
            assert spectrum.mean_of(width(c), rule).mean() == pytest.approx(exact_mean(matrix, width(c)), abs=close)
    assert spectrum.trace == pytest.approx(float(matrix.trace()), abs=1e-10)
    magnitudes = np.abs(BUILT[name])
    if magnitudes.sum():
        mass = -np.minimum(BUILT[name], 0).sum() / magnitudes.sum()
        assert spectrum.negative_mass == pytest.approx(mass, abs=1e-6)
    assert spectrum.largest == pytest.approx(magnitudes.max(), abs=1e-6)


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("deflate", [0, 3])
@pytest.mark.parametrize("steps", [1, 3, 8, 20])
def test_brackets_hold_for_every_probe(name: str, deflate: int, steps: int) -> None:
    values = BUILT[name]
    matrix, psd = with_eigenvalues(values), min(values) >= 0
    spectrum = slq(Dense(matrix), psd=psd, probes=3, steps=steps, deflate=deflate, seed=4)
    vectors = top_eigenpairs(Dense(matrix), deflate, squared=not psd, seed=4).vectors if deflate else None
    probes = rademacher(3, 64, seed=4, dtype=torch.float64)
    for c in (0.1, 10.0):
        dense = function_of(matrix, width(c))
        taken = torch.tensor(0.0) if vectors is None else (vectors @ dense @ vectors.T).trace()
        rest = probes if vectors is None else probes - probes @ vectors.T @ vectors
        forms = ((rest @ dense) * rest).sum(1) / (rest * rest).sum(1)
        q = 0 if vectors is None else len(vectors)
        exact = ((taken + (64 - q) * forms) / 64).numpy()
        assert (spectrum.mean_of(width(c)) <= exact + 1e-6).all()
        assert (spectrum.mean_of(width(c), "radau") >= exact - 1e-6).all()


@pytest.mark.parametrize("certify", [True, False])
def test_the_number_of_products(certify: bool) -> None:
    counted = Counting(with_eigenvalues(BUILT["negative tail"]))
    slq(counted, psd=False, probes=3, steps=10, certify=certify)
    assert counted.count == (3 * 10 * 2 + 3 if certify else 3 * 10)


def test_indefinite_without_certificate_says_so() -> None:
    matrix = with_eigenvalues(BUILT["negative tail"])
    spectrum = slq(Dense(matrix), psd=False, certify=False, probes=hadamard(64), steps=64, reorthogonalise="full")
    assert not spectrum.certified
    assert spectrum.kind == "indefinite"
    assert spectrum.mean_of(width(3.0)).mean() == pytest.approx(exact_mean(matrix, width(3.0)), rel=1e-9)
    assert spectrum.smallest == pytest.approx(-2)
    assert spectrum.largest == pytest.approx(40)
    negative = 3.5 / np.abs(BUILT["negative tail"]).sum()
    assert spectrum.negative_mass == pytest.approx(negative, rel=1e-9)
    for use in (lambda: spectrum.bounds(width(1.0)), lambda: spectrum.mean_of(width(1.0), "radau")):
        with pytest.raises(HowsparseError, match="certify=True"):
            use()


def test_negative_eigenvalues_under_psd_are_refused() -> None:
    with pytest.raises(HowsparseError, match="not positive semidefinite"):
        slq(Dense(with_eigenvalues(BUILT["negative tail"])), psd=True, steps=30)


@pytest.mark.parametrize("deflate", [0, 4])
def test_float32_agrees_with_float64(deflate: int) -> None:
    matrix = with_eigenvalues(BUILT["bulk and outliers"])
    single, double = (slq(Dense(m), psd=True, probes=3, steps=15, deflate=deflate) for m in (matrix.float(), matrix))
    for c in (0.1, 1.0, 10.0):
        for rule in ("gauss", "radau"):
            assert np.allclose(single.mean_of(width(c), rule), double.mean_of(width(c), rule), atol=1e-3)
    assert single.trace == pytest.approx(double.trace, rel=1e-5)


def test_order_of_coordinates_does_not_matter() -> None:
    matrix = with_eigenvalues(BUILT["bulk and outliers"])
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    probes = rademacher(2, 64, dtype=torch.float64)
    one = slq(Dense(matrix), psd=True, probes=probes, steps=8)
    other = slq(Dense(matrix[order][:, order]), psd=True, probes=probes[:, order], steps=8)
    for rule, same in zip(one.gauss + one.radau, other.gauss + other.radau, strict=True):
        assert np.allclose(rule.nodes, same.nodes, atol=1e-10)
        assert np.allclose(rule.weights, same.weights, atol=1e-10)


def test_one_dimension_and_zero() -> None:
    one = slq(Dense(torch.tensor([[2.0]], dtype=torch.float64)), psd=True)
    assert one.bounds(width(1.0))[0] <= 1 / 3 <= one.bounds(width(1.0))[1]
    assert one.mean_of(width(1.0)).tolist() == one.mean_of(width(1.0), "radau").tolist() == [pytest.approx(1 / 3)] * 4
    for psd in (True, False):
        zero = slq(Dense(torch.zeros(5, 5)), psd=psd, deflate=2)
        assert zero.mean_of(width(1e9)).tolist() == zero.mean_of(width(1e9), "radau").tolist() == [1.0] * 4
        assert zero.exact.all()
        assert (zero.trace, zero.negative_mass, zero.largest, zero.smallest) == (0, 0, 0, 0)
        assert zero.null_share(0.0)[1] == 1.0


@pytest.mark.parametrize("steps", [4, 8, 16])
@pytest.mark.parametrize("kind", ["psd", "squared", "indefinite"])
def test_null_share_is_bracketed(steps: int, kind: str) -> None:
    values = np.array(BUILT["half exact zeros"]) * (1 if kind == "psd" else np.tile([1, -1], 32))
    matrix = with_eigenvalues(values)
    spectrum = slq(
        Dense(matrix), psd=kind == "psd", certify=kind == "squared", probes=hadamard(64), steps=steps,
        reorthogonalise="full",
    )  # fmt: skip
    for threshold in (1e-3, 0.05, 0.5, 2.0, 5.0):
        low, high = spectrum.null_share(threshold)
        assert low <= (np.abs(values) <= threshold).mean() <= high
    assert spectrum.null_share(5.0)[1] == 1.0


def test_null_share_of_closed_krylov_spaces_is_exact() -> None:
    spectrum = slq(Dense(torch.eye(64)), psd=True, probes=8)
    assert spectrum.exact.all()
    assert spectrum.null_share(0.5) == (0.0, 0.0)
    assert spectrum.null_share(1.5) == (1.0, 1.0)


def test_null_share_sharpens_and_counts_deflated_values() -> None:
    matrix = with_eigenvalues([100.0, 90.0] + [1.0] * 30 + [0.0] * 32)
    spectrum = slq(Dense(matrix), psd=True, probes=hadamard(64), steps=40, deflate=2, reorthogonalise="full")
    low, high = spectrum.null_share(1e-6)
    assert low <= 0.5 <= high
    assert high - low < 0.1
    with pytest.raises(HowsparseError, match="negative"):
        spectrum.null_share(-1.0)


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    "options",
    [
        {"psd": True},
        {"psd": False},
        {"psd": False, "certify": False, "reorthogonalise": "full"},
        {"psd": True, "deflate": 3},
        {"psd": False, "deflate": 2},
        {"psd": True, "stop": lambda spectrum: spectrum.gap(width(1.0)) < 0.05},
    ],
)
def test_a_run_killed_anywhere_goes_on_to_the_same_bits(options: dict[str, Any]) -> None:
    operator = Dense(with_eigenvalues(BUILT["bulk and outliers" if options["psd"] else "negative tail"]).float())
    saved: list[Any] = []
    whole = slq(operator, probes=2, steps=12, save=saved.append, **options)
    for killed_at in range(1, len(saved) + 1, 3):
        files: list[bytes] = []

        def save(state: Any, files: list[bytes] = files, killed_at: int = killed_at) -> None:
            file = io.BytesIO()
            torch.save(state, file)
            files.append(file.getvalue())
            if len(files) == killed_at:
                raise KilledError

        def load(files: list[bytes] = files) -> Any:
            return torch.load(io.BytesIO(files[-1]), weights_only=True) if files else None

        with pytest.raises(KilledError):
            slq(operator, probes=2, steps=12, load=load, save=save, **options)
        again = slq(operator, probes=2, steps=12, load=load, save=save, **options)
        assert len(files) == len(saved)
        assert again.to_plain() == whole.to_plain()
        assert slq(operator, probes=2, steps=12, load=load, **options).to_plain() == whole.to_plain()


def test_more_steps_go_on_from_a_finished_run() -> None:
    operator, states = Counting(with_eigenvalues(BUILT["bulk and outliers"])), []
    slq(operator, psd=True, probes=2, steps=6, save=states.append)
    operator.count = 0
    longer = slq(operator, psd=True, probes=2, steps=10, load=lambda: states[-1])
    assert operator.count == 2 * 4
    assert longer.to_plain() == slq(operator, psd=True, probes=2, steps=10).to_plain()


def test_a_state_of_other_settings_is_refused() -> None:
    operator, states = Dense(torch.diag(torch.arange(20.0))), []
    slq(operator, psd=True, probes=2, steps=2, save=states.append)
    with pytest.raises(HowsparseError, match="seed 0, now 1"):
        slq(operator, psd=True, probes=2, steps=2, seed=1, load=lambda: states[-1])
    with pytest.raises(HowsparseError, match="probes 2, now 3"):
        slq(operator, psd=True, probes=3, steps=2, load=lambda: states[-1])


def test_stopping_and_progress() -> None:
    operator = Dense(with_eigenvalues(BUILT["bulk and outliers"]))
    seen: list[tuple[str, int, int]] = []
    spectrum = slq(
        operator, psd=True, probes=2, steps=60, deflate=2,
        stop=lambda s: s.gap(width(1.0)) < 1e-2, on_step=lambda *told: seen.append(told),
    )  # fmt: skip
    assert spectrum.gap(width(1.0)) < 1e-2
    assert 2 <= spectrum.steps < 60
    before = slq(operator, psd=True, probes=2, steps=spectrum.steps - 1, deflate=2)
    assert before.gap(width(1.0)) >= 1e-2
    stages = [stage for stage, _ in itertools.groupby(seen, key=lambda told: told[0])]
    assert stages == ["deflation", "lanczos"]
    assert seen[-1] == ("lanczos", spectrum.steps, 60)


def test_a_larger_number_of_probes_keeps_the_first_ones() -> None:
    operator = Dense(with_eigenvalues(BUILT["bulk and outliers"]))
    few, many = (slq(operator, psd=True, probes=p, steps=5) for p in (2, 4))
    assert np.allclose(few.mean_of(width(1.0)), many.mean_of(width(1.0))[:2], rtol=1e-10)
    assert not np.allclose(
        few.mean_of(width(1.0)), slq(operator, psd=True, probes=2, steps=5, seed=1).mean_of(width(1))
    )


def test_memory_budgets() -> None:
    operator = Dense(torch.diag(torch.arange(1.0, 65)))
    vector = 64 * 4
    assert slq(operator, psd=True, probes=2, steps=5, memory=6 * vector).steps == 5
    with pytest.raises(HowsparseError, match=f"{6 * vector:,} bytes"):
        slq(operator, psd=True, probes=2, steps=5, memory=6 * vector - 1)
    with pytest.raises(HowsparseError, match=f"{14 * vector:,} bytes"):
        slq(operator, psd=True, probes=2, steps=5, memory=8 * vector, reorthogonalise="full")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps"),
        ({"probes": 0}, "probes"),
        ({"deflate": 4}, "from 0 to 3"),
        ({"seed": -1}, "seed"),
        ({"probes": torch.tensor([[1.0, 0, 0, 0]]), "deflate": 1}, "nothing left"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(HowsparseError, match=words):
        slq(Dense(torch.diag(torch.tensor([9.0, 0, 0, 0]))), psd=True, **options)


def test_plain_form_is_exact_and_the_spectrum_cannot_be_changed() -> None:
    spectrum = slq(Dense(with_eigenvalues(BUILT["negative tail"])), psd=False, deflate=2, steps=7, samples=123)
    back = Spectrum.from_plain(json.loads(json.dumps(spectrum.to_plain(), allow_nan=False)))
    assert back.to_plain() == spectrum.to_plain()
    assert back.samples == 123
    for c in (0.1, 7.0):
        assert np.array_equal(back.mean_of(width(c), "radau"), spectrum.mean_of(width(c), "radau"))
    for array in (spectrum.values, spectrum.gauss[0].nodes, back.radau[1].weights, back.forms):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    with pytest.raises(AttributeError):
        spectrum.D = 3  # type: ignore[misc]
    with pytest.raises(HowsparseError, match="not a spectrum"):
        Spectrum.from_plain({"format": "something"})


def test_spectra_that_do_not_fit_together_are_refused() -> None:
    known = Spectrum.of_eigenvalues([1.0, 2.0])
    with pytest.raises(HowsparseError, match="Radau"):
        Spectrum(**{**vars(known), "radau": ()})
    with pytest.raises(HowsparseError, match="kind"):
        Spectrum(**{**vars(known), "kind": "other"})
    with pytest.raises(HowsparseError, match="negative"):
        Spectrum.of_eigenvalues([-1.0, 2.0])
    with pytest.raises(HowsparseError, match="gauss or radau"):
        known.mean_of(width(1.0), "lobatto")  # type: ignore[arg-type]


def test_both_sides_by_hand() -> None:
    """Two of ten eigenvalues deflated, with residuals that allow 3 and 2 to be 2 and 1, and the rest 0.1 less."""
    low, high = Rule(np.array([1.0]), np.array([1.0])), Rule(np.array([0.0, 2.0]), np.array([0.5, 0.5]))
    spectrum = Spectrum(
        D=10, kind="psd", gauss=(low,), radau=(high,), forms=np.array([1.0]), exact=np.array([False]),
        values=np.array([3.0, 2.0]), low=np.array([3.0, 2.0]), high=np.array([2.0, 1.0]), slack=0.1, steps=1,
    )  # fmt: skip
    f = width(1.0)
    assert spectrum.mean_of(f)[0] == pytest.approx((1 / 4 + 1 / 3 + 8 / 2) / 10)
    assert spectrum.mean_of(f, "radau")[0] == pytest.approx((1 / 3 + 1 / 2 + 8 * 1.1 * (1 + 1 / 3) / 2) / 10)
    steep = replace(spectrum, slack=5.0)
    assert steep.mean_of(f, "radau")[0] == pytest.approx((2 + 8 * (1 + 1 / 3) / 2) / 10)
    assert spectrum.trace == 5 + 8
    assert spectrum.gap(f) == pytest.approx(spectrum.mean_of(f, "radau")[0] - spectrum.mean_of(f)[0])
    assert (spectrum.largest, spectrum.smallest) == (3, 1)


def test_known_eigenvalues_have_no_error() -> None:
    values = BUILT["negative tail"]
    for kind in ("squared", "indefinite"):
        spectrum = Spectrum.of_eigenvalues(values, kind)
        assert spectrum.trace == pytest.approx(sum(values))
        assert spectrum.mean_of(width(2.0))[0] == pytest.approx(width(2.0)(np.array(values)).mean())
        assert spectrum.negative_mass == pytest.approx(3.5 / np.abs(values).sum())
    assert Spectrum.of_eigenvalues(values, "squared").bounds(width(2.0)) == (
        pytest.approx(width(2.0)(np.array(values)).mean()),
    ) * 2  # fmt: skip


def test_density_integrates_to_one_and_shows_its_error() -> None:
    spectrum = slq(Dense(with_eigenvalues(BUILT["bulk and outliers"])), psd=True, probes=6, steps=12, deflate=4)
    grid = np.linspace(-5, 45, 4001)
    density, error = spectrum.density(grid, width=0.3)
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-6)
    assert density[np.argmin(np.abs(grid - 40))] == pytest.approx(1 / 64 / (0.3 * np.sqrt(2 * np.pi)), rel=1e-6)
    assert error.max() > 0
    assert error[np.argmin(np.abs(grid - 40))] < 1e-9  # the deflated ones are exact
    assert np.isnan(slq(Dense(torch.eye(4)), psd=True, probes=1).density(grid)[1]).all()
    with pytest.raises(HowsparseError, match="positive"):
        spectrum.density(grid, width=0.0)


def test_the_bounds_hold_quadrature_and_probes() -> None:
    matrix = with_eigenvalues(BUILT["bulk and outliers"])
    truth = exact_mean(matrix, width(5.0))
    for probes, steps in ((1, 3), (3, 6), (8, 6)):
        spectrum = slq(Dense(matrix), psd=True, probes=probes, steps=steps, deflate=2, seed=2)
        low, high = spectrum.bounds(width(5.0))
        assert 0 <= low < truth < high <= 1
        assert low < spectrum.mean_of(width(5.0)).mean() <= spectrum.mean_of(width(5.0), "radau").mean() < high


@pytest.mark.parametrize("deflate", [0, 3])
def test_the_gauss_newton_matrix_of_a_network(deflate: int) -> None:
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    for parameter in model.parameters():
        parameter.data.normal_(generator=generator)
    x = torch.randn(30, 6, generator=generator)
    operator = GaussNewton(Objective(model, [(x, (x[:, 0] > 0).long())]))
    matrix = operator @ torch.eye(operator.size)
    spectrum = slq(operator, psd=True, probes=6, steps=25, deflate=deflate)
    values = torch.linalg.eigvalsh(matrix.double()).clamp(min=0).numpy()
    assert spectrum.trace == pytest.approx(values.sum(), rel=0.3)
    for c in (0.1, 10.0, 1000.0):
        low, high = spectrum.bounds(width(c), confidence=0.999)
        assert low <= width(c)(values).mean() <= high
    assert np.allclose(spectrum.values, values[::-1][:deflate], rtol=1e-5)
