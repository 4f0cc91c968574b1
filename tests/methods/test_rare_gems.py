"""Rare Gems: scores, flags, rounds, and what the gem is worth."""

import dataclasses
import json
import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import howsparse as hs
from howsparse.allocation import share_of
from howsparse.masks import Masks
from howsparse.methods.rare_gems import RareGems, lose_flags, removal_rate
from howsparse.training import evaluate


@pytest.fixture(scope="module")
def vectors(shared):
    cases = json.loads((shared / "data/reference/methods_vectors.json").read_text())["cases"]
    return {case["id"]: case for case in cases if case["method"] == "rare_gems"}


def begin(net: nn.Module, *, steps: int, lr: float = 0.1, **settings):
    """In the first step of the search."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-3)
    pruner = RareGems(**settings).attach(net, optimizer, total_steps=steps)
    pruner.observe()
    pruner.prune()
    pruner.treat()
    return optimizer, pruner


def conclude(pruner) -> None:
    pruner.observe()
    pruner.prune()
    pruner.treat()


def test_rounds_and_rates_are_the_authors(vectors) -> None:
    case = vectors["rare_gems/rate"]
    for asked, found in zip(case["inputs"], case["expected"], strict=True):
        rounds = RareGems(period=asked["period"] / asked["epochs"]).rounds(asked["epochs"] * 100)
        assert len(rounds) == found["prunes"]
        assert rounds == tuple(100 * asked["period"] * nth for nth in range(1, found["prunes"] + 1))
        rate = removal_rate(asked["target_percent"] / 100, len(rounds))
        assert rate == pytest.approx(found["prune_rate"], abs=1e-9)


def test_short_searches_have_fewer_rounds() -> None:
    assert [len(RareGems().rounds(steps)) for steps in (0, 1, 2, 10, 30, 31, 1000)] == [0, 0, 1, 9, 29, 29, 29]
    for steps in (2, 3, 29, 30, 31, 59, 100):
        rounds = RareGems().rounds(steps)
        assert list(rounds) == sorted(set(rounds))
        assert 1 <= rounds[0] <= rounds[-1] <= steps


@pytest.mark.parametrize("nth", [0, 1, 2])
def test_flags_after_a_round(vectors, nth) -> None:
    case = vectors[f"rare_gems/bottomk{nth}"]
    layers = case["inputs"]["layers"]
    scores = {str(i): torch.tensor(layer["score"]).view(layer["shape"]) for i, layer in enumerate(layers)}
    flags = Masks({str(i): torch.tensor(layer["flag"]).view(layer["shape"]) for i, layer in enumerate(layers)})
    expected = case["expected"]
    count = share_of(flags.active, case["inputs"]["rate"])
    assert (flags.active, count) == (expected["active_before"], expected["requested"])
    found = lose_flags(flags, scores, count, ties_too=True)
    assert [found[name].flatten().int().tolist() for name in found] == expected["flags"]
    exact = lose_flags(flags, scores, count)
    assert found <= exact <= flags
    assert exact.active == flags.active - count


def test_forward_and_score_gradient(vectors) -> None:
    case = vectors["rare_gems/forward"]
    given, expected = case["inputs"], case["expected"]
    shape = given["weight_shape"]
    net = nn.Conv2d(2, 3, 2, bias=False)
    net.weight.data.copy_(torch.tensor(given["weight"]).view(shape))
    flags = Masks({"weight": torch.tensor(given["flag"]).view(shape)})
    frozen = net.weight.detach().clone()
    optimizer, pruner = begin(net, steps=1, sparsity=0.1, penalty="none")
    pruner.adopt(flags)
    pruner.hide({"weight": torch.tensor(given["score"]).view(shape)}, weights={"weight": frozen})
    output = net(torch.tensor(given["x"]).view(given["x_shape"]))
    assert torch.allclose(output.flatten(), torch.tensor(expected["y"]), atol=1e-4)
    output.sum().backward()
    optimizer.step()
    assert torch.allclose(net.weight.grad.flatten(), torch.tensor(expected["score_grad"]), atol=1e-4)
    moved = torch.tensor(given["score"]) - 0.1 * torch.tensor(expected["score_grad"])
    pruner.step()
    assert torch.allclose(pruner.latent["weight"].flatten(), moved.clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize(("penalty", "slope"), [("none", 0.0), ("l1", 1.0), ("l2", 2 * 0.25)])
def test_penalties_act_on_all_scores_and_weight_decay_on_none(penalty, slope) -> None:
    net = nn.Linear(4, 3, bias=False)
    optimizer, pruner = begin(net, steps=9, sparsity=0.3, penalty=penalty, strength=0.1)
    flags = Masks({"weight": torch.arange(12).view(3, 4) % 2})
    pruner.adopt(flags)
    pruner.hide({"weight": torch.full((3, 4), 0.25)}, weights=pruner.hidden["weights"])
    net(torch.zeros(1, 4)).sum().backward()
    optimizer.step()
    pruner.step()
    assert torch.allclose(pruner.latent["weight"], torch.full((3, 4), 0.25 - 0.1 * 0.1 * slope))


def test_scores_stay_between_zero_and_one_and_all_else_rests() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    others = {n: p.detach().clone() for n, p in net.named_parameters() if n not in ("0.weight", "3.weight")}
    weights = {n: net.get_parameter(n).detach().clone() for n in ("0.weight", "3.weight")}
    optimizer, pruner = begin(net, steps=20, lr=5.0, sparsity=0.8)
    x = torch.randn(32, 6)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(net(x), (x[:, 0] > 0).long()).backward()
        optimizer.step()
        pruner.step()
        for name, scores in pruner.latent.items():
            assert 0 <= float(scores.min()) <= float(scores.max()) <= 1
            shown = (scores > 0.5) & pruner.masks[name]
            assert torch.equal(net.get_parameter(name), weights[name] * shown)
    assert all(torch.equal(net.get_parameter(n), value) for n, value in others.items())
    conclude(pruner)
    for name, weight in weights.items():  # the flags alone decide, whatever the scores
        assert torch.equal(net.get_parameter(name), weight * pruner.masks[name])
    optimizer.zero_grad()
    F.cross_entropy(net(x), (x[:, 0] > 0).long()).backward()
    optimizer.step()
    pruner.step()
    assert not torch.equal(net.get_parameter("1.bias"), others["1.bias"])
    assert all(bool((net.get_parameter(n)[~m] == 0).all()) for n, m in pruner.masks.items())


@pytest.mark.parametrize("sparsity", [0.0, 0.37, 0.9856])
def test_active_weights_over_the_rounds(sparsity) -> None:
    torch.manual_seed(0)
    net = nn.Linear(40, 30)
    optimizer, pruner = begin(net, steps=60, sparsity=sparsity)
    wanted, before = 1200 - math.floor(1200 * sparsity + 0.5), pruner.masks
    rounds = pruner.method.rounds(60)
    rate = removal_rate(wanted / 1200, len(rounds))
    for step in range(1, 61):
        optimizer.zero_grad()
        net(torch.randn(8, 40)).square().mean().backward()
        optimizer.step()
        pruner.step()
        assert pruner.masks <= before
        gone = math.ceil(rate * before.active - 1e-9) if step in rounds else 0
        assert pruner.masks.active == max(before.active - gone, wanted)
        before = pruner.masks
    conclude(pruner)
    assert pruner.masks.active == wanted


def test_a_search_cut_short_still_ends_exactly() -> None:
    net = nn.Linear(40, 30)
    optimizer, pruner = begin(net, steps=60, sparsity=0.9)
    for _ in range(7):
        net(torch.randn(8, 40)).square().mean().backward()
        optimizer.step()
        pruner.step()
    conclude(pruner)
    assert pruner.masks.active == 120


def one_round(scores: list[float], *, reference_mode: bool):
    """Half of 16 weights are to go in one round; returns the pruner right after it."""
    settings = {"sparsity": 0.5, "period": 0.5, "penalty": "none", "reference_mode": reference_mode}
    net = nn.Linear(4, 4, bias=False)
    optimizer, pruner = begin(net, steps=2, **settings)
    pruner.hide({"weight": torch.tensor(scores).view(4, 4)}, weights=pruner.hidden["weights"])
    net(torch.zeros(1, 4)).sum().backward()
    optimizer.step()
    pruner.step()
    return pruner


def test_reference_mode_removes_ties() -> None:
    scores = [0.0] * 10 + [0.9] * 6
    exact = one_round(scores, reference_mode=False)
    assert exact.masks["weight"].flatten().tolist() == [False] * 8 + [True] * 8
    authors = one_round(scores, reference_mode=True)
    conclude(authors)
    assert authors.masks["weight"].flatten().tolist() == [False] * 10 + [True] * 6


def test_reference_mode_says_when_nothing_is_left() -> None:
    with pytest.raises(hs.HowsparseError, match="leave reference_mode off"):
        one_round([0.0] * 7 + [0.9] * 9, reference_mode=True)  # the eighth ties with all the others


def test_signed_constants() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)),
        *(nn.ConvTranspose2d(6, 10, 3), nn.ConvTranspose1d(6, 4, 5, groups=2)),
    )
    fans = {"0.weight": 27, "2.weight": 4, "3.weight": 54, "4.weight": 15}
    signs = {n: net.get_parameter(n).detach().sign() for n in fans}
    _, pruner = begin(net, steps=0, sparsity=0.0, init="signed")
    conclude(pruner)
    for name, fan_in in fans.items():
        assert torch.allclose(net.get_parameter(name), signs[name] * math.sqrt(2 / fan_in))


def test_it_needs_the_length_of_the_search() -> None:
    with pytest.raises(hs.HowsparseError, match="total_steps=search_epochs"):
        RareGems().attach(nn.Linear(4, 4))


def digits_task() -> hs.Task:
    data = load_digits()
    x, y = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
    return hs.Task(model, TensorDataset(x[:1300], y[:1300]), test=TensorDataset(x[1300:], y[1300:]), batch_size=64)


def test_the_gem_beats_a_random_mask_of_the_same_layer_densities(tmp_path) -> None:
    """On real digits, before any weight is trained and after."""
    recipe = hs.Recipe(epochs=4, lr=0.05, clip=None)
    method = RareGems(sparsity=0.9, search_epochs=10, search_lr=0.5, init="signed")
    gem = hs.prune(digits_task(), method, recipe, tmp_path / "run")
    searched = next(r for r in gem.history if r["kind"] == "cycle" and r["cycle"] == 1)
    untrained = searched["pruned"]["test"]["metric"]
    task = digits_task()
    generator = torch.Generator().manual_seed(1)
    shuffled = Masks(
        {
            name: mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view_as(mask)
            for name, mask in gem.masks.items()
        }
    )
    assert [int(m.sum()) for m in shuffled.values()] == [int(m.sum()) for m in gem.masks.values()]
    for name, mask in shuffled.items():
        weight = task.model.get_parameter(name).data
        weight.copy_(weight.sign() * math.sqrt(2 / weight[0].numel()) * mask)
    chance = evaluate(task, task.test).metric
    recipe = dataclasses.replace(recipe, dense_epochs=0)  # what is zero already goes first
    found = hs.prune(task, hs.OneShot(sparsity=gem.masks.sparsity), recipe)
    assert found.masks == shuffled
    assert untrained > chance + 0.4
    assert gem.pruned > found.pruned + 0.2


def test_scores_have_nothing_to_do_with_weights_drawn_by_the_same_seed() -> None:
    torch.manual_seed(3)
    net = nn.Linear(64, 128)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    weight = net.weight.detach().clone()
    pruner = RareGems().attach(net, optimizer, total_steps=100, seed=3)
    next(pruner.cycles())
    pruner.observe()
    pruner.prune()
    pruner.treat()
    both = torch.stack([pruner.latent["weight"].flatten(), weight.flatten()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.05
