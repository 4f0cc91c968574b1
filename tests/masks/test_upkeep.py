import pytest
import torch
from torch import nn

from howsparse import Masks
from howsparse.masks import Upkeep, prunable_parameters

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_are_zero_after_every_step(name) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    optimizer = OPTIMIZERS[name](net.parameters())
    x, y = torch.randn(8, 1, 8, 8), torch.randint(0, 3, (8,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    step()  # momentum is warm before the mask comes
    weights = prunable_parameters(net)
    masks = Masks({n: torch.rand_like(w) < 0.4 for n, w in weights.items()})
    masks.apply_({n: w.detach() for n, w in weights.items()})
    upkeep = Upkeep(weights, masks)
    for _ in range(5):
        step()
        upkeep.step()
        assert all(bool((w.detach()[~masks[n]] == 0).all()) for n, w in weights.items())
        assert all(bool((w.detach()[masks[n]] != 0).all()) for n, w in weights.items())


def test_living_weights_move_as_without_masks() -> None:
    """A mask of ones changes nothing, bit for bit."""
    weight = nn.Parameter(torch.randn(3, 3))
    before = weight.detach().clone()
    Upkeep({"w": weight}, Masks.dense({"w": weight})).step()
    assert torch.equal(weight.detach(), before)
