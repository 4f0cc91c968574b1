"""GraSP: against the reference vectors, finite differences and closed forms."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from howsparse import Task
from howsparse.errors import HowsparseError
from howsparse.masks import prunable_parameters
from howsparse.scores import gradient_flow
from tests.scores.vectors import Case, cases, each, fingerprint, flat, task_of


@each("grasp", "scores")
def test_vectors(case: Case) -> None:
    task = task_of(case)
    scores = gradient_flow(task, prunable_parameters(task.model), temperature=case["inputs"]["temperature"])
    by_default = gradient_flow(task, prunable_parameters(task.model))
    assert flat(by_default) == flat(scores)
    for found, expected, whole in zip(
        flat(scores), case["expected"]["scores"], case["expected"]["layer_sums"], strict=True
    ):
        assert found == pytest.approx(expected, abs=case["tol"]["abs"])
        assert sum(found) == pytest.approx(whole, abs=case["tol"]["abs"])


def test_the_vectors_are_all_here(shared) -> None:
    assert [case["id"] for case in cases("grasp", "scores")] == ["grasp/scores0", "grasp/scores1"]


def normalised(raw: dict[str, Tensor]) -> dict[str, Tensor]:
    whole = abs(sum(float(score.sum()) for score in raw.values())) + 1e-10
    return {name: score / whole for name, score in raw.items()}


@pytest.mark.parametrize(("batches", "temperature"), [(1, 1.0), (2, 3.0), (2, None)])
def test_finite_differences_of_the_gradient(batches: int, temperature: float | None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    data = [(torch.randn(6, 4).double(), torch.arange(6) % 3) for _ in range(3)]
    task = Task(model, data, calib=data, val_share=0)
    parameters = prunable_parameters(model)
    found = gradient_flow(task, parameters, batches=batches, temperature=temperature)
    x, y = (torch.cat(part) for part in zip(*data[:batches], strict=True))

    def gradient(shift: dict[str, Tensor]) -> dict[str, Tensor]:
        at = {name: (p.detach() + shift[name]).requires_grad_() for name, p in parameters.items()}
        loss = nn.functional.cross_entropy(torch.func.functional_call(model, at, (x,)) / (temperature or 200), y)
        return dict(zip(at, torch.autograd.grad(loss, list(at.values())), strict=True))

    g = gradient({name: torch.zeros_like(p) for name, p in parameters.items()})
    size = 1e-5 / max(float(part.abs().max()) for part in g.values())
    ahead, behind = (gradient({n: sign * size * part for n, part in g.items()}) for sign in (1, -1))
    expected = normalised({n: p.detach() * (ahead[n] - behind[n]) / (2 * size) for n, p in parameters.items()})
    for name, score in expected.items():
        assert torch.allclose(found[name], score, rtol=1e-5, atol=1e-7)


def test_exact_on_a_quadratic_loss() -> None:
    """L(θ) = mean of (xᵢᵀθ)² / 2 has H = A = XᵀX / n and g = A θ, so the score is θ · A A θ."""
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = nn.Linear(5, 1, bias=False).double()
    data = [(x, torch.zeros(7, 1, dtype=torch.float64))]
    task = Task(model, data, calib=data, val_share=0, loss=lambda output, target: (output - target).square() / 2)
    A, theta = x.T @ x / 7, model.weight.detach()
    expected = normalised({"weight": theta * (A @ A @ theta[0])})["weight"]
    assert torch.allclose(gradient_flow(task, {"weight": model.weight})["weight"], expected, rtol=1e-12)


def test_the_lowest_scores_are_those_whose_removal_makes_the_gradient_grow() -> None:
    """Only the direction of the sign: removing a bit of a weight changes gᵀg against its score."""
    torch.manual_seed(3)
    model = nn.Linear(6, 1, bias=False).double()
    x = torch.randn(20, 6).double() * torch.tensor([3.0, 1, 1, 1, 0.1, 0.1])
    data = [(x, torch.randn(20, 1).double())]
    task = Task(model, data, calib=data, val_share=0, loss=lambda output, target: (output - target).square())
    scores = gradient_flow(task, {"weight": model.weight})["weight"][0]

    def squared_gradient(weight: Tensor) -> float:
        leaf = weight.requires_grad_()
        (g,) = torch.autograd.grad((x @ leaf.T - data[0][1]).square().mean(), leaf)
        return float(g.square().sum())

    changes = []
    for entry in range(6):
        shrunk = model.weight.detach().clone()
        shrunk[0, entry] *= 1 - 1e-6
        changes.append(squared_gradient(shrunk) - squared_gradient(model.weight.detach().clone()))
    assert torch.equal(torch.tensor(changes).argsort(), (-scores).argsort())
    assert torch.equal(torch.tensor(changes) < 0, scores > 0)
    assert bool((scores > 0).any())
    assert bool((scores < 0).any())


def test_the_network_is_left_as_it_was(make_task: Callable[..., Task]) -> None:
    task = make_task()
    task.model.train()
    task.model[2].eval()
    task.model[0].weight.grad = torch.ones_like(task.model[0].weight)
    before = fingerprint(task.model)
    scores = gradient_flow(task, prunable_parameters(task.model), batches=2)
    assert fingerprint(task.model) == before
    assert not any(score.requires_grad for score in scores.values())


def test_what_cannot_work_is_refused(make_task: Callable[..., Task]) -> None:
    task = make_task()
    parameters = prunable_parameters(task.model)
    with pytest.raises(HowsparseError, match="pass task=Task"):
        gradient_flow(None, parameters)
    with pytest.raises(HowsparseError, match="temperature = 0"):
        gradient_flow(task, parameters, temperature=0)
    for parameter in task.model.parameters():
        parameter.data.zero_()
    with pytest.raises(HowsparseError, match="zero everywhere"):
        gradient_flow(task, parameters)
