"""SNIP: against the reference vectors, and its invariants."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

import howsparse as hs
from howsparse import Task
from howsparse.errors import HowsparseError
from howsparse.masks import prunable_parameters
from howsparse.scores import gradient_flow, sensitivity
from howsparse.task import cross_entropy
from tests.scores.vectors import Case, cases, each, fingerprint, flat, task_of


@each("snip", "scores")
def test_vectors(case: Case) -> None:
    task = task_of(case)
    scores = sensitivity(task, prunable_parameters(task.model))
    for found, expected, whole in zip(
        flat(scores), case["expected"]["scores"], case["expected"]["layer_sums"], strict=True
    ):
        assert found == pytest.approx(expected, abs=case["tol"]["abs"])
        assert sum(found) == pytest.approx(whole, abs=case["tol"]["abs"])


def test_the_vectors_are_all_here(shared) -> None:
    assert [case["id"] for case in cases("snip", "scores")] == ["snip/scores0", "snip/scores1"]


@pytest.mark.parametrize("batches", [1, 3, 100])
def test_gradients_are_summed_before_the_absolute_value(make_task: Callable[..., Task], batches: int) -> None:
    task = make_task()
    parameters = prunable_parameters(task.model)
    found = sensitivity(task, parameters, batches=batches)
    assert task.calib is not None
    task.model.eval()
    drawn = torch.randperm(180, generator=torch.Generator().manual_seed(0))[: 32 * batches]
    for x, y in task.calib.subset(drawn.tolist()).ordered():
        nn.functional.cross_entropy(task.model(x), y, reduction="sum").backward()
    raw = {name: (p.grad * p).abs().detach() for name, p in parameters.items()}
    whole = sum(float(score.sum()) for score in raw.values())
    for name, score in raw.items():
        assert torch.allclose(found[name], score / whole, rtol=1e-4, atol=1e-8)
        assert not found[name].requires_grad
    assert sum(float(score.sum()) for score in found.values()) == pytest.approx(1, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 100))
def test_invariant_to_the_scale_of_the_loss(scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    data = [(torch.randn(6, 3).double(), torch.arange(6) % 2)]
    found = [
        sensitivity(
            Task(model, data, calib=data, val_share=0, loss=lambda o, t, by=by: by * cross_entropy(o, t)),
            prunable_parameters(model),
        )
        for by in (1.0, scale)
    ]
    for name, score in found[0].items():
        assert torch.allclose(found[1][name], score, rtol=1e-9)


def test_the_network_is_left_as_it_was(make_task: Callable[..., Task]) -> None:
    task = make_task()
    task.model.train()
    task.model[1].eval()
    task.model[0].weight.grad = torch.ones_like(task.model[0].weight)
    before = fingerprint(task.model)
    sensitivity(task, prunable_parameters(task.model))
    assert fingerprint(task.model) == before


def test_an_error_in_the_network_leaves_it_as_it_was(make_task: Callable[..., Task]) -> None:
    def broken(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken")

    task = make_task(loss=broken)
    task.model.train()
    before = fingerprint(task.model)
    with pytest.raises(RuntimeError, match="broken"):
        sensitivity(task, prunable_parameters(task.model))
    assert fingerprint(task.model) == before


def test_without_data_it_says_what_to_pass(make_task: Callable[..., Task]) -> None:
    task = make_task()
    parameters = prunable_parameters(task.model)
    with pytest.raises(HowsparseError, match="pass task=Task"):
        sensitivity(None, parameters)
    x = torch.randn(4, 12)
    blind = Task(task.model, [(x, torch.zeros(4, dtype=torch.int64))], val_share=0)
    with pytest.raises(HowsparseError, match=r"Task\(\.\.\., calib="):
        sensitivity(blind, parameters)
    with pytest.raises(HowsparseError, match="batches = 0"):
        sensitivity(task, parameters, batches=0)


def test_a_dead_network_is_refused(make_task: Callable[..., Task]) -> None:
    task = make_task()
    for parameter in task.model.parameters():
        parameter.data.zero_()
    with pytest.raises(HowsparseError, match="zero everywhere"):
        sensitivity(task, prunable_parameters(task.model))


def sorted_by_class(batch_size: int = 20) -> Task:
    """Two hundred points, all of class 0 before any of class 1."""
    torch.manual_seed(0)
    y = torch.arange(200) // 100
    x = torch.randn(200, 12) + y[:, None]
    return Task(nn.Linear(12, 2), TensorDataset(x, y), val_share=0, batch_size=batch_size)


@pytest.mark.parametrize("score", [sensitivity, gradient_flow])
def test_few_batches_are_drawn_from_all_of_the_data(score) -> None:
    seen = []

    def looking(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(target)
        return cross_entropy(output, target)

    task = sorted_by_class()
    task.loss = looking
    found = {}
    for seed in (None, 1, 1, 2):
        seen.clear()
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        scores = score(task, prunable_parameters(task.model), generator=generator)["weight"]
        classes = torch.cat(seen).bincount(minlength=2)
        assert bool((classes > 0).all())
        assert torch.equal(found.setdefault(seed, scores), scores)
    assert not torch.equal(found[1], found[2])


@pytest.mark.parametrize("method", [hs.SNIP(sparsity=0.5), hs.GraSP(sparsity=0.5)])
def test_the_seed_of_the_pruner_draws_them(method) -> None:
    masks = {}
    for seed in (0, 0, 1, 2, 3):
        task = sorted_by_class(batch_size=4)
        found = method.attach(task.model, task=task, seed=seed).masks
        assert masks.setdefault(seed, found) == found
    assert len({str(found["weight"].tolist()) for found in masks.values()}) > 1
