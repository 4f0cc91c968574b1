"""The paper's limit as an interval: against the exact fixed point, and on a small network against dense matrices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import howsparse as hs
from howsparse.curvature import GaussNewton, Objective, Spectrum, slq
from howsparse.curvature.operators import Dense
from howsparse.limits import prefix_norms, solve_limit, trace_bound, width_curve
from howsparse.limits.dense import DenseNetwork
from howsparse.limits.limit import limit
from howsparse.limits.paper import Remainder, middle, paper_limit, width_bounds
from howsparse.limits.plan import Plan
from howsparse.limits.settings import LimitSettings
from howsparse.limits.sharpness import Sharpness, resolved_negative_mass
from howsparse.task import squared_error
from tests.limits.small_limit import make, points

QUICK = settings(deadline=None, max_examples=20)
eigenvalues = st.lists(st.one_of(st.just(0.0), st.floats(1e-4, 1e4)), min_size=1, max_size=30)
pools = st.lists(st.one_of(st.just(0.0), st.floats(1e-4, 1e2)), min_size=1, max_size=40).map(np.array)
positive = st.floats(1e-6, 1e6)


@QUICK
@given(eigenvalues, pools, positive)
def test_known_eigenvalues_give_the_exact_fixed_point(values, weights, eps) -> None:
    norms = prefix_norms(weights)
    found = paper_limit(Spectrum.of_eigenvalues(values), eps, norms, Remainder())
    exact = solve_limit(width_curve(values, None, eps), norms)
    assert found["value"] == pytest.approx(exact.sparsity, abs=1 / norms.size if near_a_tie(exact) else 1e-12)
    assert found["low"] <= found["value"] <= found["high"] <= found["low"] + 1.001 / norms.size
    assert found["trace"] == pytest.approx(sum(values))
    assert found["trace_bound"] == trace_bound(max(found["trace"], 0.0), eps, norms).sparsity


def near_a_tie(exact) -> bool:
    """Whether rounding decides about one weight."""
    here = abs(exact.width - exact.sparsity)
    return here < 1e-9 or (exact.next_width is not None and abs(exact.next_width - exact.sparsity) < 2e-2)


@QUICK
@given(eigenvalues, pools, positive, st.floats(0, 1e3), st.floats(1, 10), st.integers(1, 4), st.integers(0, 9))
def test_the_value_lies_in_its_interval(values, weights, eps, trace, more, probes, seed) -> None:
    matrix = Dense(torch.diag(torch.tensor(values, dtype=torch.float64)))
    spectrum = slq(matrix, psd=True, probes=probes, steps=3, seed=seed)
    rest = Remainder(trace, trace * more)
    norms = prefix_norms(weights)
    found = paper_limit(spectrum, eps, norms, rest)
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    low, high = width_bounds(spectrum, eps, rest)
    between = middle(spectrum, eps, rest)
    for R in (0.0, 1e-3, 1.0, 1e3):
        assert 0 <= low(R) <= high(R) <= 1 + 1e-12
        assert 0 <= between(R) <= 1 + 1e-12
    for R, sparsity, g_low, g, g_high in found["crossing"]:
        assert 0 <= sparsity <= 1
        assert g_low <= g_high + 1e-12
        assert 0 <= g <= 1 + 1e-12
        assert norms.total * (1 + 1e-12) >= R


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(1e-3, 10))
def test_a_part_and_the_trace_of_the_rest_enclose_the_whole(seed, eps) -> None:
    """G = A + B with both positive semidefinite: the interval from A and tr B holds the limit of G."""
    generator = np.random.default_rng(seed)
    a, b = (generator.standard_normal((20, k)) * generator.exponential(1, k) for k in (3, 12))
    top, rest = a @ a.T, 0.1 * b @ b.T
    norms = prefix_norms(generator.laplace(size=20) * 0.1)
    whole = solve_limit(width_curve(np.linalg.eigvalsh(top + rest).clip(0), None, eps), norms).sparsity
    spectrum = Spectrum.of_eigenvalues(np.linalg.eigvalsh(top).clip(0))
    found = paper_limit(spectrum, eps, norms, Remainder(float(np.trace(rest)), float(np.trace(rest))))
    assert found["low"] - 1e-9 <= whole <= found["high"] + 1e-9


def test_an_indefinite_spectrum_has_one_estimate_and_takes_magnitudes() -> None:
    values = [-2.0, -0.1, 0.0, 0.5, 3.0]
    norms = prefix_norms(np.arange(1, 11) / 10)
    found = paper_limit(Spectrum.of_eigenvalues(values, kind="indefinite"), 0.3, norms, Remainder())
    exact = solve_limit(width_curve(np.abs(values), None, 0.3), norms).sparsity
    assert found["low"] <= found["value"] == exact <= found["high"]
    assert found["trace"] == pytest.approx(sum(map(abs, values)))


def test_an_exact_indefinite_spectrum_has_no_error_of_sampling() -> None:
    """All eigenvalues are counted, none is sampled: both ends of the width are its value."""
    spectrum = Spectrum.of_eigenvalues([-2.0, -0.1, 0.0, 0.5, 3.0], kind="indefinite")
    low, high = width_bounds(spectrum, 0.3, Remainder())
    for R in (0.1, 1.0, 5.0):
        assert low(R) == pytest.approx(high(R), abs=1e-12)
        assert low(R) == pytest.approx(width_curve([-2.0, -0.1, 0.0, 0.5, 3.0], None, 0.3)(R))


# --- on networks ------------------------------------------------------------------------------------------------------
def dense_limit(task: hs.Task, eps: float) -> tuple[float, np.ndarray]:
    """The fixed point with all eigenvalues of the Gauss-Newton matrix over all samples."""
    dense = DenseNetwork(task.model)
    operator = GaussNewton(Objective.of(task, dense.parameters))
    matrix = operator @ torch.eye(operator.size, dtype=operator.dtype)
    found = np.linalg.eigvalsh(matrix.double().numpy()).clip(0)
    return solve_limit(width_curve(found, None, eps), prefix_norms(dense.weights)).sparsity, found


def curvature_only(task: hs.Task, epochs: float, **changes):
    return limit(task, race_epochs=0, curvature_epochs=epochs, **changes)


@pytest.fixture(scope="module")
def exact() -> tuple[float, np.ndarray]:
    torch.set_num_threads(1)
    task = make(width=6)
    return dense_limit(task, curvature_only(task, 0).eps)


def test_all_samples_give_the_limit_of_all_eigenvalues(exact) -> None:
    sparsity, values = exact
    found = curvature_only(make(width=6), 460.0, steps=30, probes=6)
    paper = found.details["paper"]
    assert paper["samples"] == 216
    assert found.paper.low <= sparsity <= found.paper.high
    assert abs(found.paper.value - sparsity) < 0.04  # six probes in 126 directions
    assert paper["trace"] == pytest.approx(values.sum(), rel=0.2)
    shares = [row["sharpness_share"] for row in paper["layers"]]
    assert sum(shares) == pytest.approx(1)
    assert [row["size"] for row in paper["layers"]] == [96, 30]


@pytest.mark.parametrize("deflate", [0, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_coreset_encloses_the_answer_of_all_samples(exact, seed, deflate) -> None:
    found = curvature_only(make(width=6), 4.0, seed=seed, deflate=deflate)
    assert found.details["paper"]["samples"] < 216
    assert found.details["paper"]["certified"]
    assert found.paper.low <= exact[0] <= found.paper.high
    assert found.details["paper"]["share"] > 0.5


def test_a_part_of_a_regression_does_not_claim_more_than_it_knows() -> None:
    """A uniform draw of samples has a lower rank than all of them: everything beyond looks free."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 40, generator=generator, dtype=torch.float64)
    target = x[:, :3] + 0.3 * torch.randn(400, 3, generator=generator, dtype=torch.float64)
    model = torch.nn.Linear(40, 3).double()
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, target).solution.T)
    task = hs.Task(model, torch.utils.data.TensorDataset(x, target), loss=squared_error, val_share=0)
    sparsity, _ = dense_limit(task, 0.01)
    found = curvature_only(task, 3.0, eps=0.01)
    assert found.details["paper"]["samples"] == 64
    inside = found.paper.low <= sparsity <= found.paper.high
    assert inside or any("64" in warning and "sample" in warning for warning in found.warnings)


def test_the_hessian_may_be_used_instead() -> None:
    task = make(width=6)
    found = curvature_only(task, 200.0, curvature="hessian")
    paper = found.details["paper"]
    assert paper["curvature"] == "hessian"
    assert paper["spectrum"]["kind"] == "indefinite"
    assert paper["low"] <= paper["value"] <= paper["high"]
    assert found.details["hessian"]["smallest"] < 0 < found.details["hessian"]["largest"]


def test_no_more_lanczos_steps_than_asked_for() -> None:
    found = curvature_only(make(width=6), 400.0, steps=20)
    assert found.details["paper"]["spectrum"]["steps"] <= 20


@QUICK
@given(st.lists(st.floats(-10, 10).filter(lambda x: abs(x) > 1e-3), min_size=1, max_size=20))
def test_negative_mass_of_known_eigenvalues(values) -> None:
    found = resolved_negative_mass(Spectrum.of_eigenvalues(values, kind="indefinite"))
    spread = max(values) - min(values)
    clear = [v for v in values if abs(v) > spread]  # all nodes of zero steps nearer to zero than that are left out
    expected = sum(-v for v in clear if v < 0) / sum(map(abs, clear)) if clear else 0.0
    assert found == pytest.approx(expected)


# --- the local quadratic model ----------------------------------------------------------------------------------------
def linear_task(model: torch.nn.Module, shape: tuple[int, ...]) -> hs.Task:
    """Squared error of a network that is linear in its weights: the quadratic model is exact. 32 samples, all used."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(32, *shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        target = model.double()(x)
        target = target + torch.randn(target.shape, generator=generator, dtype=torch.float64)
    data = torch.utils.data.TensorDataset(x, target)
    return hs.Task(model, data, loss=squared_error, val_share=0, batch_size=10)


def two_of_four(weight: torch.Tensor) -> torch.Tensor:
    groups = weight.abs().reshape(-1, 4)
    return (groups.argsort(dim=1).argsort(dim=1) >= 2).reshape(weight.shape)


def kinds_of_masks(weights) -> list[hs.Masks]:
    generator = torch.Generator().manual_seed(2)
    random = [
        hs.Masks({n: torch.rand(w.shape, generator=generator) < share for n, w in weights.items()})
        for share in (0.1, 0.5, 0.95)
    ]
    channel = {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()}
    for mask in channel.values():
        mask[1] = False
    return [*random, hs.Masks(channel), hs.Masks({n: two_of_four(w) for n, w in weights.items()})]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (torch.nn.Linear(8, 4), (8,)),
        (torch.nn.Sequential(torch.nn.Conv2d(4, 3, 2), torch.nn.Flatten()), (4, 4, 4)),
    ],
    ids=["linear", "convolution"],
)
def test_gradient_and_hessian_say_the_increase_where_the_loss_is_quadratic(model, shape) -> None:
    torch.manual_seed(0)
    for p in model.parameters():
        torch.nn.init.normal_(p)
    task = linear_task(model, shape)
    found = limit(task, race_epochs=0, curvature_epochs=0, eps=0.5)
    for s, first, second in found.details["one_shot"]["checked"]:
        close = {point[0]: point[1] for point in found.details["one_shot"]["points"]}.get(s)
        assert close is None or first + second == pytest.approx(close, rel=1e-9)
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    for masks in kinds_of_masks(DenseNetwork(task.model).weights):
        survival = found.predict(masks)
        assert survival.sparsity == masks.sparsity
        assert survival.predicted == pytest.approx(survival.measured, rel=1e-9, abs=1e-12)
        assert survival.survives == (survival.measured <= 0.5)
    assert all(torch.equal(before[n], t) for n, t in task.model.state_dict().items())


def test_a_prediction_finds_the_magnitude_pruning_that_is_like_it() -> None:
    task = make()
    found = limit(task, race_epochs=0, curvature_epochs=0)
    dense = DenseNetwork(task.model)
    points_of = found.details["one_shot"]["points"]
    rising = [(s, rise) for s, rise, _ in points_of if rise > 0]
    assert rising == sorted(rising, key=lambda pair: pair[1])  # else several would be alike
    for s, rise in rising:
        survival = found.predict(dense.masks(round(s * dense.total)))
        assert survival.measured == pytest.approx(rise)
        assert survival.like == pytest.approx(s)
        assert f"{s:.4f}" in str(survival)
    whole = found.predict(hs.Masks.dense(dense.weights))
    assert (whole.sparsity, whole.predicted, whole.measured, whole.like) == (0, 0, 0, None)
    assert whole.survives


def test_at_a_minimum_nothing_is_said_of_a_slope() -> None:
    """Least squares at its minimum: the gradient over all samples is zero, that over a part of them is not."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(640, 30, generator=generator, dtype=torch.float64)
    spread = torch.rand(30, 10, generator=generator, dtype=torch.float64) ** 3
    weight = 0.5 * spread * torch.randn(30, 10, generator=generator, dtype=torch.float64)
    target = x @ weight + torch.randn(640, 10, generator=generator, dtype=torch.float64)
    model = torch.nn.Linear(30, 10, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, target).solution.T)
    task = hs.Task(model, torch.utils.data.TensorDataset(x, target), loss=squared_error, val_share=0)
    found = limit(task, race_epochs=0, curvature_epochs=0, eps=0.001)
    assert not any("slope" in warning for warning in found.warnings)
    assert not any("quadratic" in warning for warning in found.warnings)
    assert found.details["one_shot"]["quadratic"] == pytest.approx(found.one_shot.value, rel=0.3)


def test_first_and_second_order_are_those_of_dense_matrices() -> None:
    task = make(width=6, dtype=torch.float64, batch_size=300, val_share=0)
    dense = DenseNetwork(task.model)
    plan = Plan(240, 240, 1, 0, 0, 0, 0.0, 0.0, 0)
    sharpness = Sharpness(task, dense, plan, LimitSettings(), seed=0, folder=None)
    sharpness._draw = lambda count: Sharpness._draw(sharpness, 10**9)  # all samples
    masks = [dense.masks(30), dense.masks(100)]
    flat = torch.cat([w.flatten() for w in dense.weights.values()]).detach()
    x, y = points().tensors
    task.model.requires_grad_(False)

    def loss(vector: torch.Tensor) -> torch.Tensor:
        pieces = vector.split([w.numel() for w in dense.weights.values()])
        state = {n: p.view_as(w) for (n, w), p in zip(dense.weights.items(), pieces, strict=True)}
        return torch.nn.functional.cross_entropy(torch.func.functional_call(task.model, state, (x.double(),)), y)

    gradient = torch.func.grad(loss)(flat)
    hessian = torch.autograd.functional.hessian(loss, flat)
    for mask, (first, second) in zip(masks, sharpness.increases(masks), strict=True):
        step = -flat * (~torch.cat([m.flatten() for m in mask.values()]))
        assert first == pytest.approx((gradient @ step).item(), rel=1e-8)
        assert second == pytest.approx((0.5 * step @ hessian @ step).item(), rel=1e-8)
