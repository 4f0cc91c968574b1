"""Methods that act inside ``optimizer.step()``: what they refuse, and what they leave behind."""

import warnings

import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse.pruners.before_step import decay_in_gradient

METHODS = {
    "ste": hs.STE(sparsity=0.7, growth="constant"),
    "rare-gems": hs.RareGems(sparsity=0.7),
    "espn": hs.ESPN(sparsity=0.7),
    "greg1": hs.GReg1(sparsity=0.7),
}
LATENT = ["ste", "rare-gems", "espn"]
BOTH_LAYERS = {"0.weight", "2.weight"}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))


def begun(name: str, net: nn.Module, optimizer: torch.optim.Optimizer, **options) -> hs.methods.CyclicPruner:
    """In the first step of the search, or of the one training."""
    pruner = METHODS[name].attach(net, optimizer, total_steps=20, **options)
    while pruner.cycle == 0:
        pruner.observe()
        pruner.prune()
        pruner.treat()
    return pruner


def backward(net: nn.Module) -> torch.Tensor:
    net.zero_grad()
    loss = net(torch.ones(3, 6)).square().sum()
    loss.backward()
    return loss


@pytest.mark.parametrize("name", METHODS)
def test_layers_split_over_two_optimizers_are_refused(name) -> None:
    net = network()
    first = torch.optim.SGD(net[0].parameters(), lr=0.1)
    begun(name, net, first)
    backward(net)
    with pytest.raises(hs.HowsparseError, match=r"2\.weight would be pruned but .* one optimizer .*exclude="):
        first.step()


@pytest.mark.parametrize("name", METHODS)
def test_layers_that_are_left_out_or_frozen_may_be_somebody_elses(name) -> None:
    for way in ("exclude", "freeze"):
        net = network()
        if way == "freeze":
            net[2].requires_grad_(False)
        optimizer = torch.optim.SGD(net[0].parameters(), lr=0.1)
        pruner = begun(name, net, optimizer, exclude=["2.*"] if way == "exclude" else None)
        assert set(pruner.weights) == ({"0.weight"} if way == "exclude" else BOTH_LAYERS)
        backward(net)
        optimizer.step()
        pruner.step()
        assert pruner.steps == 1


@pytest.mark.parametrize("name", METHODS)
def test_closures_are_refused(name) -> None:
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    pruner = begun(name, net, optimizer)
    backward(net)
    for call in (lambda: optimizer.step(lambda: backward(net)), lambda: optimizer.step(closure=lambda: backward(net))):
        with pytest.raises(hs.HowsparseError, match="without a closure"):
            call()
    optimizer.step(closure=None)
    pruner.step()


def test_closures_are_fine_where_nothing_happens_inside_the_step() -> None:
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    pruner = hs.Static(sparsity=0.5).attach(net, optimizer)
    optimizer.step(lambda: backward(net))
    pruner.step()
    assert pruner.sparsity == 0.5


class BrokenError(Exception):
    """What an optimizer may raise in the middle of its step."""


class Broken(torch.optim.SGD):
    def step(self, closure=None) -> None:
        raise BrokenError


@pytest.mark.parametrize("name", LATENT)
@pytest.mark.parametrize("way", ["step", "finish"])
def test_a_step_that_raises_leaves_nothing_behind_once_the_pruner_is_told(name, way) -> None:
    net = network()
    optimizer = Broken(net.parameters(), lr=0.1, weight_decay=0.3)
    pruner = begun(name, net, optimizer)
    shown = {n: w.clone() for n, w in pruner.weights.items()}
    backward(net)
    with pytest.raises(BrokenError):
        optimizer.step()
    if way == "step":
        pruner.step()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a search that was cut short
            pruner.finish()
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    if name != "espn":  # its multipliers have moved already
        assert all(torch.equal(w, shown[n]) for n, w in pruner.weights.items())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (torch.optim.SGD, 0.3),
        (torch.optim.Adam, 0.3),
        (torch.optim.AdamW, 0.0),
        (torch.optim.Adafactor, 0.0),
        (lambda p, **kw: torch.optim.NAdam(p, decoupled_weight_decay=True, **kw), 0.0),
        (torch.optim.NAdam, 0.3),
    ],
)
def test_the_decay_that_greg2_cancels_is_the_one_in_the_gradient(make, expected) -> None:
    """Kept weights rest where decay and its counterpart cancel; decoupled decay has none."""
    net = nn.Linear(6, 5, bias=False)
    optimizer = make(net.parameters(), lr=1e-3, weight_decay=0.3)
    assert decay_in_gradient(optimizer, optimizer.param_groups[0]) == expected
    pruner = hs.GReg2(sparsity=0.5, scope="global").attach(net, optimizer, total_steps=40)
    while pruner.to_go is None or not pruner.course.recovering(pruner.steps):
        net.weight.grad = torch.zeros_like(net.weight)
        optimizer.step()
        pruner.step()
    kept = ~pruner.to_go["weight"]
    net.weight.grad = torch.zeros_like(net.weight)
    before = net.weight.detach().clone()
    optimizer.step()
    assert torch.allclose(net.weight.grad[kept], -expected * before[kept])
