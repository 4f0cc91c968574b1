"""Taking a pruning up again in a loop of one's own, in whatever order the parts are loaded."""

import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse.methods import StepwiseMethod
from tests.methods.test_battery import same_state

METHODS: list[StepwiseMethod] = [
    *(hs.Static(sparsity=0.8), hs.RigL(sparsity=0.8, every=2), hs.SET(sparsity=0.8, every=2)),
    *(hs.STE(sparsity=0.8, growth="constant"), hs.GraNetST(sparsity=0.8, every=2), hs.ACDC(sparsity=0.8)),
]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 2))


def adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=0.01)


def step(net: nn.Module, optimizer: torch.optim.Optimizer, pruner: hs.methods.Pruner) -> None:
    x = torch.randn(16, 12, generator=torch.Generator().manual_seed(pruner.steps))
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), (x[:, 0] > 0).long()).backward()
    optimizer.step()
    pruner.step()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("order", ["attach last", "attach first", "attach between"])
@pytest.mark.parametrize("at", [0, 6, 8])
def test_nothing_is_lost_in_any_order_with_any_seed(method, order, at, tmp_path) -> None:
    net = network()
    optimizer = adam(net)
    pruner = method.attach(net, optimizer, total_steps=20, seed=1)
    for number in range(20):
        if number == at:
            parts = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "pruner": pruner.state_dict()}
            torch.save(parts, tmp_path / "mid.pt")
        step(net, optimizer, pruner)
    loaded = torch.load(tmp_path / "mid.pt", weights_only=True)
    other = network()
    second = adam(other)
    if order != "attach first":
        other.load_state_dict(loaded["net"])
    if order == "attach last":
        second.load_state_dict(loaded["optimizer"])
    resumed = method.attach(other, second, total_steps=20, seed=2)
    if order == "attach first":
        other.load_state_dict(loaded["net"])
    if order != "attach last":
        second.load_state_dict(loaded["optimizer"])
    resumed.load_state_dict(loaded["pruner"])
    assert same_state(other, _at(loaded["net"]))
    while resumed.steps < 20:
        step(other, second, resumed)
    assert resumed.finish() == pruner.finish()
    assert same_state(other, net)


def _at(state: dict[str, torch.Tensor]) -> nn.Module:
    net = network()
    net.load_state_dict(state)
    return net


def test_once_training_has_begun_nothing_is_put_back() -> None:
    net = network()
    optimizer = adam(net)
    pruner = hs.Static(sparsity=0.8).attach(net, optimizer)
    saved = pruner.state_dict()
    step(net, optimizer, pruner)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    pruner.load_state_dict(saved)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("method", [hs.SET(sparsity=0.5, every=2), hs.ACDC(sparsity=0.5), hs.STE(sparsity=0.5)])
def test_what_is_gone_never_comes_back_after_a_resume_without_masks_either(method, tmp_path) -> None:
    net = network()
    optimizer = adam(net)
    given = hs.Masks({name: torch.rand_like(w) < 0.6 for name, w in net.named_parameters() if w.dim() > 1})
    pruner = method.attach(net, optimizer, total_steps=30, masks=given)
    for _ in range(3):
        step(net, optimizer, pruner)
    torch.save({"net": net.state_dict(), "pruner": pruner.state_dict()}, tmp_path / "mid.pt")
    loaded = torch.load(tmp_path / "mid.pt", weights_only=True)
    other = network()
    other.load_state_dict(loaded["net"])
    second = adam(other)
    resumed = method.attach(other, second, total_steps=30)
    resumed.load_state_dict(loaded["pruner"])
    assert resumed.allowed == given
    while resumed.steps < 30:
        step(other, second, resumed)
        assert resumed.masks <= given
