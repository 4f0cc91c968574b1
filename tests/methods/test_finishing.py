"""How prunings end: too early, or in a training that diverges."""

import pytest
import torch
from torch import nn

import howsparse as hs


def stepped(method, steps: int):
    net = nn.Linear(10, 10)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    pruner = method.attach(net, optimizer, total_steps=20)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.ones(1, 10)).square().sum().backward()
        optimizer.step()
        pruner.step()
    return pruner


@pytest.mark.parametrize("method", [hs.GMP(sparsity=0.8), hs.GReg1(sparsity=0.8), hs.STE(sparsity=0.8)])
def test_finishing_before_the_end_warns(method) -> None:
    with pytest.warns(UserWarning, match=rf"{type(method).__name__} was asked for 0.8.*pruner.step\(\)") as warned:
        stepped(method, 1).finish()
    assert warned[0].filename == __file__
    assert stepped(method, 20).finish().sparsity == 0.8


def test_stopping_a_search_before_its_end_warns() -> None:
    pruner = hs.RareGems(sparsity=0.8).attach(nn.Linear(10, 10), total_steps=5)
    with pytest.warns(UserWarning, match="RareGems was asked for 0.8"):
        pruner.finish()


def test_a_method_that_stops_by_itself_may_end_denser() -> None:
    net = nn.Linear(10, 10)
    pruner = hs.SAP(sparsity=0.9, stop="turning-point", patience=1).attach(net)
    pruner.finish()
    assert pruner.sparsity == 0


@pytest.mark.parametrize("method", [hs.GMP(sparsity=0.8, every=1), hs.STE(sparsity=0.8), hs.SET(sparsity=0.8, every=1)])
def test_a_training_that_diverges_says_so_whatever_the_method_does_with_weights(method, make_task) -> None:
    recipe = hs.Recipe(epochs=3, lr=1e30, clip=None, keep="last")
    with pytest.raises(hs.DivergedError, match="training diverged in epoch 0"):
        hs.prune(make_task(), method, recipe)


def test_what_a_method_refuses_in_a_sound_training_is_not_called_divergence(make_task) -> None:
    class Refusing(hs.Static):
        name = "refusing"

        def update(self, pruner):
            raise hs.HowsparseError("not on a Sunday")

    with pytest.raises(hs.HowsparseError, match="not on a Sunday") as raised:
        hs.prune(make_task(), Refusing(sparsity=0.5), hs.Recipe(epochs=1))
    assert not isinstance(raised.value, hs.DivergedError)
