"""Products against dense derivatives, in every mode of memory, and the algebra of operators."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from howsparse.curvature import Dense, GaussNewton, Hessian, Objective
from howsparse.errors import HowsparseError
from howsparse.task import squared_error

from .networks import PROBLEMS, Problem, labels, least_memory, normal, problem

KINDS = [Hessian, GaussNewton]


def dense(operator) -> torch.Tensor:
    return operator @ torch.eye(operator.size, dtype=operator.dtype)


# --- truth ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("everything", [False, True], ids=["prunable", "all"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_products_are_those_of_the_dense_matrices(name, everything) -> None:
    made = problem(name)
    objective = made.objective(batch_size=4, everything=everything)
    for kind, expected in ((Hessian, made.hessian(objective)), (GaussNewton, made.gauss_newton(objective))):
        found = dense(kind(objective))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        assert float(expected.abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["mlp", "convolutions", "attention"])
def test_the_submatrix_of_a_choice_of_parameters_is_that_of_all(name) -> None:
    made = problem(name)
    whole, part = made.objective(everything=True), made.objective()
    starts = dict(zip(whole.parameters, _starts(whole), strict=True))
    rows = torch.cat([starts[n] + torch.arange(p.numel()) for n, p in part.parameters.items()])
    for kind in KINDS:
        torch.testing.assert_close(dense(kind(whole))[rows][:, rows], dense(kind(part)), rtol=1e-10, atol=1e-13)


def _starts(objective: Objective) -> list[int]:
    ends = torch.tensor([p.numel() for p in objective.parameters.values()]).cumsum(0)
    return [0, *ends.tolist()][:-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mlp", "regression", "convolutions", "attention"])
def test_the_batch_size_does_not_matter(name, kind) -> None:
    made = problem(name)
    results = [dense(kind(made.objective(batch_size=size))) for size in (2, 4, 100)]
    torch.testing.assert_close(results[0], results[2], rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(results[1], results[2], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", ["mlp", "regression", "convolutions", "attention"])
def test_gauss_newton_is_positive_semidefinite(name) -> None:
    made = problem(name)
    values = torch.linalg.eigvalsh(dense(GaussNewton(made.objective())))
    assert float(values[0]) > -1e-14 * float(values[-1]) * len(values)


def test_the_rank_of_gauss_newton_is_bounded_by_the_samples() -> None:
    made = problem("mlp")
    few = Problem(made.model, tuple(part[:4] for part in made.data))
    values = torch.linalg.eigvalsh(dense(GaussNewton(few.objective())))
    assert int((values > 1e-12 * values[-1]).sum()) <= 4 * (3 - 1) < len(values)


def test_an_l1_penalty_adds_nothing() -> None:
    made = problem("mlp")
    objective = made.objective()

    def penalised(flat):
        output, target = made.output(objective, flat)
        return made.loss(output, target).mean() + 0.01 * flat.abs().sum()

    with_penalty = torch.autograd.functional.hessian(penalised, objective.weights())
    torch.testing.assert_close(dense(Hessian(objective)), with_penalty, rtol=1e-9, atol=1e-12)


def test_dead_units_and_unused_parameters_give_zero_rows() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.unused = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.b(torch.relu(self.a(x)))

    torch.manual_seed(0)
    net = Net().double()
    net.a.bias.data[1] = -100
    made = Problem(net, (normal(9, 3), labels(9, 2)))
    for kind in KINDS:
        found = dense(kind(made.objective()))
        assert not found[3:6].any()  # the dead unit's weights
        assert not found[12 + 8 :].any()  # the layer that is not used
        assert found[:3].any()


def test_a_network_that_is_linear_in_its_parameters_has_one_curvature() -> None:
    """H = G = (1/n) X'X for ½ squares of a linear layer; also where a loss does not bend with the parameters at all."""
    x, y = normal(6, 3), normal(6, 1)
    made = Problem(nn.Linear(3, 1, bias=False).double(), (x, y), loss=lambda output, y: (output - y).square() / 2)
    for kind in KINDS:
        torch.testing.assert_close(dense(kind(made.objective())), x.T @ x / 6)
    constant = Problem(made.model, (x, y), loss=lambda output, y: (output - output.detach() - y).square())
    torch.testing.assert_close(dense(GaussNewton(constant.objective())), 2 * x.T @ x / 6)


def test_a_mean_over_something_else_than_samples() -> None:
    made = problem("mlp")
    whole, scaled = (Hessian(made.objective(divide_by=n)) for n in (None, 60.0))
    torch.testing.assert_close(dense(whole), 4 * dense(scaled))


# --- losses -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: F.smooth_l1_loss(z, y, reduction="none"),
        lambda z, y: F.softplus(-z * y.sign()).sum(dim=1),
        lambda z, y: (z - y).square().square() + z.square(),
        squared_error,
    ],
    ids=["huber", "logistic", "quartic", "squared"],
)
def test_any_loss_that_bends(loss) -> None:
    made = problem("regression")
    made.loss = loss
    objective = made.objective()
    torch.testing.assert_close(dense(GaussNewton(objective)), made.gauss_newton(objective), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(dense(Hessian(objective)), made.hessian(objective), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beta", [1.0, 1e-3])
def test_a_loss_that_bends_only_near_its_target(beta) -> None:
    """Smooth L1 far from every target is straight there, yet it bends: its Gauss-Newton matrix is known, zero."""
    made = problem("regression")
    objective = made.objective(loss=lambda z, y: F.smooth_l1_loss(z, y + 50, reduction="none", beta=beta))
    assert dense(GaussNewton(objective)).count_nonzero() == 0
    near = made.objective(loss=lambda z, y: F.smooth_l1_loss(z, z.detach() + 0 * y, reduction="none", beta=beta))
    assert dense(GaussNewton(near)).count_nonzero() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: F.l1_loss(z, y, reduction="none"),
        lambda z, y: F.relu(1 - z * y.sign()),
        lambda z, y: (z - y).abs().amax(dim=1),
    ],
    ids=["l1", "hinge", "largest"],
)
def test_losses_of_straight_pieces_are_refused(kind, loss) -> None:
    made = problem("regression")
    with pytest.raises(HowsparseError, match="piecewise linear in the network's output.*squared_error"):
        dense(kind(made.objective(loss=loss)))


def test_a_linear_loss_has_a_hessian_but_no_gauss_newton_matrix() -> None:
    made = problem("mlp")
    made.model.append(nn.LogSoftmax(dim=1))
    made.loss = lambda z, y: F.nll_loss(z, y, reduction="none")
    objective = made.objective()
    torch.testing.assert_close(dense(Hessian(objective)), made.hessian(objective), rtol=1e-9, atol=1e-12)
    with pytest.raises(HowsparseError, match="linear in the network's output.*cross_entropy"):
        dense(GaussNewton(objective))


def test_a_loss_that_does_not_depend_on_the_output_is_refused() -> None:
    made = problem("regression")
    with pytest.raises(HowsparseError, match="does not depend on the network's output"):
        dense(Hessian(made.objective(loss=lambda z, y: (z.detach() - y).square())))


@pytest.mark.parametrize("kind", KINDS)
def test_saturated_samples_are_flat_but_no_error(kind) -> None:
    """In float32 a softmax of a wide gap is exactly 0 and 1, right or wrong."""
    model = nn.Linear(1, 2, bias=False)
    model.weight.data = torch.tensor([[1e4], [-1e4]])
    batch = (torch.ones(3, 1), torch.tensor([0, 1, 0]))
    assert not dense(kind(Objective(model, [batch]))).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_not_finite_is_refused(kind) -> None:
    x = normal(8, 4)
    x[5, 2] = torch.nan
    made = Problem(problem("mlp").model, (x, labels(8, 3)))
    with pytest.raises(HowsparseError, match="loss over data is nan, not a finite number"):
        dense(kind(made.objective()))


# --- memory -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mlp", "convolutions", "attention", "lstm"])
def test_results_do_not_depend_on_the_memory(name, kind) -> None:
    """Everything kept, some kept, nothing kept, batches in chunks down to single samples."""
    objective = problem(name).objective(batch_size=4)
    vectors = normal(3, objective.size)
    expected = kind(objective) @ vectors
    least = least_memory(kind, objective)
    recorded = set()
    for factor in (1.0, 1.5, 3.0, 6.0, 40.0):
        operator = kind(objective, memory=int(least * factor))
        calls = _counted(operator)
        for _ in range(2):  # what was kept and what is recorded anew
            torch.testing.assert_close(operator @ vectors, expected, rtol=1e-10, atol=1e-13)
        recorded.add(len(calls))
        _stays_within(operator._pieces, int(least * factor), largest=max(calls[2:]))  # two were for measuring
    assert len(recorded) > 2  # the budgets did make a difference


def _stays_within(pieces, budget: int, *, largest: int) -> None:
    """What is kept, and the largest chunk that was ever recorded beside it."""
    (need,) = pieces._needs.values()
    kept = sum(need.held(len(piece.losses)) for piece in pieces._kept.values())
    assert kept + (need.at_work(largest) if kept else 0) <= budget
    assert need.at_work(largest) <= budget + 1


def _counted(operator) -> list[int]:
    """Notes the size of every chunk that is recorded."""
    calls, record = [], operator._pieces._record

    def counting(batch):
        calls.append(len(batch[0]))
        return record(batch)

    operator._pieces._record = counting
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_what_fits_is_recorded_once(kind) -> None:
    operator = kind(problem("mlp").objective(batch_size=4))
    operator @ torch.zeros(operator.size)
    calls = _counted(operator)
    operator @ torch.zeros(operator.size)
    assert not calls


def test_kept_memory_is_given_back_at_once() -> None:
    gc.collect()
    gc.disable()
    try:
        operator = Hessian(problem("convolutions").objective())
        operator @ torch.zeros(operator.size)
        pieces = weakref.ref(operator._pieces)
        product = weakref.ref(next(iter(operator._pieces._kept.values())).product)
        del operator
        assert pieces() is None
        assert product() is None
    finally:
        gc.enable()


def test_a_batch_that_cannot_be_cut_says_so() -> None:
    """Sequences first, samples second: half of the first dimension is something else."""
    torch.manual_seed(0)
    model = nn.Linear(30, 2).double()
    x, y = normal(20, 4, 30), labels(4, 2)

    def forward(model, batch):
        x, y = batch
        return model(x).mean(dim=0), y

    objective = Objective(model, [(x, y)], forward=forward)
    expected = dense(Hessian(objective))
    assert expected.any()
    with pytest.raises(HowsparseError, match="a batch of 20 samples, which forward does not take in parts"):
        Hessian(objective, memory=least_memory(Hessian, objective)) @ torch.zeros(objective.size)


def test_a_network_that_takes_no_single_samples() -> None:
    """Its squeeze takes away the dimension of the samples too."""
    torch.manual_seed(0)
    model = nn.Linear(30, 2).double()

    def forward(model, batch):
        output = model(batch[0]).squeeze()
        assert output.dim() == 2
        return output, batch[1]

    x, y = normal(12, 30), labels(12, 2)
    objective = Objective(model, [(x, y)], forward=forward)
    assert torch.equal(dense(Hessian(objective)), dense(Hessian(Objective(model, [(x, y)]))))
    with pytest.raises(HowsparseError, match="a batch of 12 samples, which forward does not take in parts"):
        Hessian(objective, memory=5_000) @ torch.zeros(objective.size)


@pytest.mark.parametrize("memory", [0, -5])
def test_memory_must_be_positive(memory) -> None:
    with pytest.raises(HowsparseError, match=f"memory = {memory} is not allowed"):
        Hessian(problem("mlp").objective(), memory=memory)


# --- what is left behind ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_left_as_it_was(kind) -> None:
    made = problem("convolutions")
    made.model.train()
    made.model[1].eval()
    modes = [module.training for module in made.model.modules()]
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    objective = made.objective()
    with torch.no_grad():
        operator = kind(objective)
        operator @ torch.ones(operator.size)
    assert [module.training for module in made.model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in made.model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.model.state_dict().items())


@pytest.mark.parametrize("memory", [None, 40_000])
def test_an_operator_stays_at_the_weights_it_was_made_at(memory) -> None:
    made = problem("convolutions")
    objective = made.objective(batch_size=4)
    operator, v = Hessian(objective, memory), normal(objective.size)
    before = operator @ v
    with torch.no_grad():
        for tensor in (*made.model.parameters(), made.model[1].running_mean):
            tensor.mul_(0.5)
    assert torch.equal(operator @ v, before)
    assert not torch.allclose(Hessian(objective) @ v, before)


def test_frozen_parameters_may_be_coordinates() -> None:
    made = problem("mlp")
    expected = dense(Hessian(made.objective()))
    made.model.requires_grad_(False)
    torch.testing.assert_close(dense(Hessian(made.objective())), expected)
    assert not any(p.requires_grad for p in made.model.parameters())


# --- types ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mlp", "convolutions", "attention"])
def test_float32_is_close_to_float64(name, kind) -> None:
    made = problem(name)
    expected = dense(kind(made.objective()))
    made.model.float()
    made.data = tuple(part.float() if part.is_floating_point() else part for part in made.data)
    found = dense(kind(made.objective()))
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_sums_over_bfloat16_are_kept_in_float32(kind) -> None:
    made = problem("mlp")
    expected = dense(kind(made.objective()))
    made.model.bfloat16()
    made.data = (made.data[0].bfloat16(), made.data[1])
    found = dense(kind(made.objective(batch_size=1)))
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < 0.1 * float(expected.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_computes_in_mixed_precision(kind) -> None:
    class Mixed(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.inner(x)

    made = problem("residual")
    made.model.float()
    made.data = (made.data[0].float(), made.data[1])
    expected = dense(kind(made.objective()))
    found = dense(kind(Problem(Mixed(made.model), made.data).objective()))
    assert float((found - expected).abs().max()) < 0.1 * float(expected.abs().max())


# --- algebra ----------------------------------------------------------------------------------------------------------
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), a=st.floats(-3, 3), b=st.floats(-3, 3), kind=st.sampled_from(KINDS))
def test_operators_are_linear_and_symmetric(seed, a, b, kind) -> None:
    operator = kind(problem("convolutions", seed % 5).objective())
    u, v = normal(2, operator.size, seed=seed)
    both = operator @ torch.stack([u, v])
    torch.testing.assert_close(operator @ (a * u + b * v), a * both[0] + b * both[1], rtol=1e-9, atol=1e-11)
    assert float(u @ both[1]) == pytest.approx(float(v @ both[0]), rel=1e-9, abs=1e-11)
    torch.testing.assert_close(both[0], operator @ u, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_quadratic_forms(kind) -> None:
    operator = kind(problem("convolutions").objective(batch_size=4))
    vectors = normal(3, operator.size)
    expected = ((operator @ vectors) * vectors).sum(dim=1)
    torch.testing.assert_close(operator.forms(vectors), expected, rtol=1e-10, atol=1e-12)
    apart = operator.forms_apart(lambda chunk: vectors)
    assert apart.shape == (3, 3)  # nine samples in batches of four
    torch.testing.assert_close(apart.sum(dim=0), expected, rtol=1e-10, atol=1e-12)


def test_sums_multiples_shifts_and_submatrices() -> None:
    a, b = (normal(5, 5, seed=seed) for seed in (1, 2))
    a, b = a + a.T, b + b.T
    A, B = Dense(a), Dense(b)
    keep = torch.tensor([True, False, True, True, False])
    p = torch.diag(keep.double())
    for operator, matrix in (
        (A + B, a + b),
        (A - B, a - b),
        (2.5 * A, 2.5 * a),
        (A * -1, -a),
        (A.shifted(0.5), a + 0.5 * torch.eye(5)),
        (A.restricted(keep), p @ a @ p),
        ((A + 2 * B).restricted(keep).shifted(1.0), p @ (a + 2 * b) @ p + torch.eye(5)),
    ):
        torch.testing.assert_close(dense(operator), matrix)
        v = normal(5)
        torch.testing.assert_close(operator @ v, matrix @ v)
        torch.testing.assert_close(operator.forms(v[None]), (v @ matrix @ v)[None])
    assert (Dense(a.float()) + B).dtype == torch.float64


def test_operands_are_not_changed() -> None:
    matrix, v = torch.eye(3), torch.ones(2, 3)
    operator = 2 * Dense(matrix).shifted(1.0).restricted(torch.tensor([True, True, False]))
    operator @ v
    assert torch.equal(matrix, torch.eye(3))
    assert torch.equal(v, torch.ones(2, 3))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.ones(2, 3), "square"),
        (torch.ones(3), "square"),
        (torch.tensor([[1.0, 2.0], [0.0, 1.0]]), "not symmetric: A and its transpose differ by up to 2"),
        (torch.tensor([[torch.inf]]), "NaN or infinite"),
    ],
)
def test_matrices_that_are_no_operators(matrix, message) -> None:
    with pytest.raises(HowsparseError, match=message):
        Dense(matrix)


def test_shapes_that_do_not_fit_are_named() -> None:
    A = Dense(torch.eye(3))
    with pytest.raises(HowsparseError, match=r"shape \(3,\) or \(p, 3\), got \(4,\)"):
        A @ torch.ones(4)
    with pytest.raises(HowsparseError, match=r"got \(3, 1, 3\)"):
        A @ torch.ones(3, 1, 3)
    with pytest.raises(HowsparseError, match="different sizes cannot be added: 3 and 2"):
        A + Dense(torch.eye(2))
    with pytest.raises(HowsparseError, match="keep must be a boolean tensor of shape"):
        A.restricted(torch.ones(3))
