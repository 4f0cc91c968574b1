"""Sparse from the first step: the start, static, SET and RigL."""

import math

import pytest
import torch
from torch import nn

from howsparse import HowsparseError, Masks
from howsparse.methods.rigl import RigL
from howsparse.methods.set import SET
from howsparse.methods.static import Static
from howsparse.pruners.sparse_start import sparse_start
from tests.methods.test_stepwise_methods import CONSTANT, attached, counts, flat, method, steps


def test_sparse_start_by_erk_is_what_the_paper_gives() -> None:
    shapes = {"a": (300, 784), "b": (100, 300), "c": (10, 100)}
    masks = Masks({name: torch.ones(shape) for name, shape in shapes.items()})
    scores = {name: torch.rand(shape, generator=torch.Generator().manual_seed(0)) for name, shape in shapes.items()}
    found = sparse_start(masks, scores, sparsity=0.9)
    for name, density in zip("abc", (0.07956777, 0.23018868, 1.0), strict=True):
        assert int(found[name].sum()) == pytest.approx(density * masks[name].numel(), abs=1)
    lowest = min(float(scores["a"][found["a"]].min()), 1.0)
    assert lowest > float(scores["a"][~found["a"]].max())


@pytest.mark.parametrize("distribution", ["erk", "uniform", "global"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_sparse_start_counts_what_is_gone(distribution, share) -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = {"a": (40, 30), "b": (30, 10), "c": (2, 3)}
    given = Masks({name: torch.rand(shape, generator=generator) < share for name, shape in shapes.items()})
    scores = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    found = sparse_start(given, scores, sparsity=0.7, distribution=distribution)
    assert found <= given
    assert found.active == min(round(0.3 * given.total), given.active)


def test_an_unknown_distribution_is_refused() -> None:
    masks = Masks({"a": torch.ones(3, 3)})
    with pytest.raises(HowsparseError, match="erk, uniform, global"):
        sparse_start(masks, {"a": torch.rand(3, 3)}, sparsity=0.5, distribution="even")  # type: ignore[arg-type]


def test_static_by_magnitude_keeps_the_largest(make_task) -> None:
    task = make_task()
    weights = torch.cat([w.detach().abs().view(-1) for n, w in task.model.named_parameters() if w.ndim == 2])
    masks = attached(method(Static, score="magnitude", distribution="global"), task)[0].masks
    assert float(weights[flat(masks)].min()) > float(weights[~flat(masks)].max())
    uniform = attached(method(Static, distribution="uniform"), make_task())[0].masks
    assert [round(float(mask.float().mean()), 1) for mask in uniform.values()] == [0.2, 0.2]


def test_uniform_rigl_leaves_the_first_layer_dense() -> None:
    net = nn.Sequential(nn.Linear(4, 10), nn.Linear(10, 30), nn.Linear(30, 5))
    masks = RigL(sparsity=0.7, distribution="uniform").attach(net, total_steps=1000).masks
    assert bool(masks["0.weight"].all())
    assert masks.active == round(0.3 * masks.total)
    with pytest.raises(HowsparseError, match=r"these tensors stay dense: 0\.weight"):
        RigL(sparsity=0.95, distribution="uniform").attach(net, total_steps=1000)
    alone = RigL(sparsity=0.7, distribution="uniform").attach(nn.Linear(10, 10), total_steps=1000)
    assert alone.masks.active == 30


@pytest.mark.parametrize("cls", CONSTANT)
@pytest.mark.parametrize("distribution", ["erk", "uniform", "global"])
def test_every_layer_keeps_its_number_of_weights(cls, distribution, make_task) -> None:
    task = make_task()
    # with uniform densities RigL's first layer, which is most of this network, stays dense
    sparsity = 0.1 if cls is RigL and distribution == "uniform" else 0.6
    pruner, optimizer = attached(method(cls, distribution=distribution, sparsity=sparsity), task)
    first, seen = pruner.masks, []
    for _ in steps(task, pruner, optimizer):
        assert counts(pruner.masks) == counts(first)
        seen.append(pruner.masks)
    assert seen[-1] != first
    assert all(masks == seen[-1] for masks in seen[20:])  # nothing changes in the last quarter
    fixed, optimizer = attached(method(cls, drop_rate=0.0), task)
    start = fixed.masks
    for _ in steps(task, fixed, optimizer):
        assert fixed.masks == start


def test_rigl_grows_where_the_gradient_of_the_step_was_largest() -> None:
    net = nn.Linear(20, 10, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    pruner = RigL(sparsity=0.5, drop_rate=0.4, every=5, end=0.5).attach(net, optimizer, total_steps=20)
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 11):
        before = pruner.masks["weight"]
        net.weight.grad = torch.randn(10, 20, generator=generator)
        optimizer.step()
        weights = pruner.weights["weight"].clone()
        pruner.step()
        count = math.floor(100 * 0.2 * (1 + math.cos(math.pi * step / 10))) if step == 5 else 0
        dropped = weights.abs().masked_fill(~before, torch.inf).view(-1).argsort()[:count]
        kept = before.clone().view(-1)
        kept[dropped] = False
        expected = kept.clone()
        expected[net.weight.grad.abs().view(-1).masked_fill(kept, -1).topk(count).indices] = True
        assert torch.equal(pruner.masks["weight"].view(-1), expected)
    assert pruner.steps == 10


def test_set_drops_its_constant_share() -> None:
    net = nn.Linear(20, 10, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    pruner = SET(sparsity=0.5, drop_rate=0.3, every=1).attach(net, optimizer, total_steps=100)
    grown = torch.zeros(10, 20, dtype=torch.int64)
    for _ in range(70):
        before, weights = pruner.masks, pruner.weights["weight"].clone()
        net.weight.grad = torch.zeros(10, 20)
        optimizer.step()
        pruner.step()
        left = before["weight"] & ~pruner.masks["weight"]
        ordered = weights.abs()[before["weight"]].sort().values
        assert bool((weights.abs()[left] <= ordered[29]).all())
        assert int(left.sum()) <= 30
        grown += pruner.masks["weight"] & ~before["weight"]
    assert int((grown > 0).sum()) > 100  # all over the layer
