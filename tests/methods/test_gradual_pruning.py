"""Methods that prune little by little, or in turns: GMP, GraNet and AC/DC."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from howsparse import HowsparseError, Masks
from howsparse.methods.acdc import ACDC
from howsparse.methods.gmp import GMP
from howsparse.methods.granet import GraNet
from howsparse.methods.granet_st import GraNetST
from tests.methods.test_stepwise_methods import STEPS, attached, counts, flat, method, steps
from tests.scores.vectors import Case, each


@each("granet", "cubic_schedule")
def test_the_cuts_of_the_authors_code(case: Case) -> None:
    inputs = case["inputs"]
    total = case["expected"]["rows"][-1]["step"]
    per_epoch = inputs["steps_per_epoch"]
    settings = {
        "sparsity": 1 - inputs["final_density"],
        "initial_sparsity": 1 - inputs["init_density"],
        "begin": inputs["init_prune_epoch"] * per_epoch / total,
        "end": inputs["final_prune_epoch"] * per_epoch / total,
        "every": inputs["freq"],
    }
    net = nn.Linear(50, 40, bias=False)
    net.weight.data = torch.randperm(2000, generator=torch.Generator().manual_seed(0)).reshape(40, 50) + 1.0
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    reference = GraNet(**settings, reference_mode=True)
    pruner = reference.attach(net, optimizer, total_steps=total)
    rows = {row["step"]: row for row in case["expected"]["rows"]}
    for step in range(1, total + 1):
        net.weight.grad = torch.zeros(40, 50)
        optimizer.step()
        pruner.step()
        if step in rows:
            assert pruner.masks.active == rows[step]["nnz_official"]
            expected = rows[step]["target_sparsity"]
            found = reference.target(step, total)
            assert found is None if expected is None else found == pytest.approx(expected, abs=1e-7)
    exact = GraNet(**settings)
    targets = [t for step in range(total + 1) if (t := exact.target(step, total)) is not None]
    assert targets[-1] == settings["sparsity"]
    assert len(targets) == sum(row["target_sparsity"] is not None for row in rows.values())


@pytest.mark.parametrize("scope", ["neuron", "layer", "global"])
def test_gmp_is_nested_and_follows_the_cubic_schedule(scope, make_task) -> None:
    task = make_task()
    pruner, optimizer = attached(method(GMP, scope=scope, begin=0.1, end=0.65), task)
    before = pruner.masks
    for step in steps(task, pruner, optimizer):
        assert pruner.masks <= before
        events = list(range(3, 19, 3))  # the multiples of 3 from 3 to 19.5
        done = [event for event in events if event <= step]
        progress = (done[-1] - 3) / (events[-1] - 3) if done else 0.0
        removed = math.floor(0.8 * (1 - (1 - progress) ** 3) * pruner.masks.total + 0.5)
        assert pruner.masks.total - pruner.masks.active == removed
        before = pruner.masks
    if scope != "global":
        total = [mask.numel() for mask in pruner.masks.values()]
        assert counts(pruner.masks) == pytest.approx([0.2 * n for n in total], abs=2)


@pytest.mark.parametrize("cls", [GraNet, GraNetST])
def test_regeneration_leaves_every_layer_its_number_of_weights(cls, make_task) -> None:
    task = make_task()
    chosen = method(cls)
    pruner, optimizer = attached(chosen, task)
    assert pruner.sparsity == (0.5 if cls is GraNetST else 0.0)
    before, moved = pruner.masks, 0
    for step in steps(task, pruner, optimizer):
        if step not in chosen.cuts(STEPS):
            assert counts(pruner.masks) == counts(before)
            moved += pruner.masks != before
        assert pruner.masks.active <= before.active
        before = pruner.masks
    assert moved  # regeneration goes on after the last cut
    assert list(chosen.cuts(STEPS)) == [3, 6, 9, 12]
    assert list(chosen.events(STEPS)) == list(range(3, 30, 3))


def test_granet_refuses_what_cannot_be() -> None:
    with pytest.raises(HowsparseError, match=r"initial_sparsity = 0\.5 .* at most"):
        GraNetST(sparsity=0.3)
    with pytest.raises(HowsparseError, match=r"begin = 0\.6, end = 0\.5"):
        GraNet(begin=0.6)
    with pytest.raises(HowsparseError, match="reference_mode"):
        GraNet(every=30, end=0.5, reference_mode=True).attach(nn.Linear(3, 3), total_steps=100)


def test_granet_exchanges_the_share_that_the_cosine_says() -> None:
    net = nn.Linear(20, 10, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    pruner = GraNetST(sparsity=0.5, drop_rate=0.4, every=7).attach(net, optimizer, total_steps=100)
    for step in range(1, 101):
        before = pruner.masks
        net.weight.grad = (~before["weight"]).float()  # whatever is dropped stays away
        optimizer.step()
        pruner.step()
        rate = 0.005 + 0.395 * (1 + math.cos(math.pi * step / 100)) / 2
        assert (before - pruner.masks).active == (0 if step % 7 else math.ceil(100 * rate))
        assert pruner.masks.active == 100


def test_acdc_phases_are_the_papers() -> None:
    phases = ACDC().events(100)
    assert [step for step, compressed in phases.items() if compressed] == [*range(10, 75, 10), 85]
    assert [step for step, compressed in phases.items() if not compressed] == list(range(15, 76, 10))


@pytest.mark.parametrize("begin", [0.0, 0.1])
def test_acdc_is_dense_or_as_sparse_as_asked_for(begin, make_task) -> None:
    task = make_task()
    chosen = method(ACDC, begin=begin)
    pruner, optimizer = attached(chosen, task)
    assert pruner.sparsity == pytest.approx(0.8 if begin == 0 else 0.0, abs=0.005)
    weights, masks, seen = pruner.weights, pruner.masks, []
    for step in steps(task, pruner, optimizer):
        entered = chosen.events(STEPS).get(step)
        if entered is not None:
            masks = Masks.dense(weights)
            if entered:
                values = torch.cat([w.abs().view(-1) for w in pruner.weights.values()])
                assert float(values[flat(pruner.masks)].min()) > 0  # survivors kept their values
                masks = pruner.masks
            seen.append(entered)
        assert pruner.masks == masks
        assert pruner.masks.active in (pruner.masks.total, pruner.masks.total - round(0.8 * pruner.masks.total))
    assert seen[-2:] == [False, True]
    assert all(a != b for a, b in pairwise(seen))
    assert pruner.finish() == masks


def test_acdc_keeps_the_largest_weights_of_the_network() -> None:
    net = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    pruner = ACDC(sparsity=0.75).attach(net, optimizer, total_steps=20)
    values = torch.cat([w.abs().view(-1) for w in pruner.weights.values()])
    for _ in range(2):
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        pruner.step()
    assert set(flat(pruner.masks).nonzero().flatten().tolist()) == set(values.topk(50).indices.tolist())


def test_acdc_refuses_phases_that_do_not_fit() -> None:
    with pytest.raises(HowsparseError, match="do not fit"):
        ACDC(begin=0.5, phase=0.2, final=0.2)
    ACDC(begin=0.5, phase=0.15, final=0.2)
    with pytest.raises(HowsparseError, match="too short for a pair of phases"):
        ACDC().attach(nn.Linear(3, 3), total_steps=2)
