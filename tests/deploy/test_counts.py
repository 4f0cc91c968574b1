import torch
from torch import nn

from howsparse import Masks
from howsparse.deploy import count_bytes, count_multiply_adds


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, stride=2, groups=2)
        self.up = nn.ConvTranspose2d(8, 2, 2, stride=2)
        self.fc = nn.Linear(2 * 6 * 6, 5)
        self.twice = nn.Linear(5, 5)

    def forward(self, x):
        x = self.fc(self.up(self.conv(x)).flatten(1))
        return self.twice(self.twice(x))


def test_multiply_adds_by_hand() -> None:
    net, x = Net(), torch.zeros(3, 4, 7, 7)
    masks = {"conv.weight": torch.arange(8 * 2 * 9).reshape(8, 2, 3, 3) < 72, "twice.weight": torch.eye(5) > 0}
    found = count_multiply_adds(net, lambda m: len(m(x)), masks)
    conv, up, fc, twice = 9 * 144, 9 * 8 * 2 * 4, 72 * 5, 2 * 25
    assert found.dense == conv + up + fc + twice
    assert found.sparse == conv // 2 + up + fc + 2 * 5
    assert found.uncounted == ()
    assert net.training


def test_bytes() -> None:
    net = nn.Linear(64, 64)
    masks = Masks({"weight": torch.arange(4096).reshape(64, 64) % 10 == 0})
    masks.apply_({"weight": net.weight.detach()})
    file = net.weight.detach().numpy().tobytes()
    found = count_bytes(net, masks, file)
    assert found.dense == 4 * (4096 + 64)
    assert found.packed == 512 + 4 * 410 + 4 * 64
    assert found.compressed < len(file) / 4


def test_tied_and_parametrized_weights() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight
            self.c = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3, bias=False))

        def forward(self, x):
            return self.c(self.b(self.a(x)))

    net = Tied()
    masks = Masks({"a.weight": torch.eye(4) > 0})
    found = count_multiply_adds(net, lambda m: len(m(torch.zeros(2, 4))), masks)
    assert (found.dense, found.sparse, found.uncounted) == (44, 4 + 4 + 12, ())
    sizes = count_bytes(net, masks, b"")
    assert sizes.dense == 4 * (16 + 12 + 3)  # the tied tensor once; the parametrization's two tensors
    assert sizes.packed == 2 + 4 * 4 + 4 * (12 + 3)
