"""Networks of the kinds that people have, small, with weights and statistics that hide nothing."""

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from howsparse.structured import ChannelGroups, Unit, channel_groups
from howsparse.zoo.models import MODELS
from howsparse.zoo.objects import load_object

OTHERS = Path(__file__).resolve().parents[2] / "benchmarks" / "networks.py"


class MobileNet(nn.Module):
    """Inverted residuals: expand, depthwise, project; squeeze and excitation in one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.first, self.second, self.third = _Inverted(8, 12, 24), _Inverted(12, 12, 36), _Inverted(12, 16, 36)
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.classifier = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.third(self.second(self.first(self.stem(x))))
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1))))
        return self.classifier((x * torch.sigmoid(gate)).mean((2, 3)))


class _Inverted(nn.Module):
    def __init__(self, before: int, after: int, inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(before, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.Hardswish()),
            *(nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.Hardswish()),
            *(nn.Conv2d(inner, after, 1, bias=False), nn.BatchNorm2d(after)),
        )
        self.adds = before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class ViT(nn.Module):
    """Patches, a class token, positions, blocks with one matrix for query, key and value, and a head."""

    def __init__(self, *, width: int = 24, heads: int = 3, blocks: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), _Attention(width, heads), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, width // heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, self.num_heads * self.head_dim))


class Mixed(nn.Module):
    """Concatenation, flattening over places, grouped convolution, group normalisation, gates cut out of one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.grouped = nn.Conv2d(10, 15, 3, padding=1, groups=5)
        self.norm = nn.GroupNorm(5, 15)
        self.up = nn.ConvTranspose2d(15, 4, 2, stride=2)
        self.wide, self.out = nn.Linear(4 * 16 * 16, 12), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(torch.cat([self.a(x), self.b(x)], dim=1))
        x = F.max_pool2d(F.relu(self.norm(self.grouped(x))), 2)
        x = F.silu(self.up(x)).flatten(1)
        value, gate = self.wide(x).chunk(2, dim=1)
        return self.out(value * torch.sigmoid(gate))


class UNet(nn.Module):
    """Down, up, a skip by concatenation, instance normalisation, and the input added to the output."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.norm = nn.ConvTranspose2d(16, 8, 2, stride=2), nn.InstanceNorm2d(8, affine=True)
        self.out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.down(x))
        b = self.norm(self.up(F.leaky_relu(self.deep(F.max_pool2d(a, 2)))))
        return x + self.out(torch.cat([a, b], dim=1))


class Dense(nn.Module):
    """Every layer reads all layers before it."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 12, 16)
        self.stem, self.classifier = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(20, 4)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.layers = nn.ModuleList(nn.Conv2d(width, 4, 3, padding=1) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = torch.cat([x, layer(F.relu(norm(x)))], dim=1)
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Bert(nn.Module):
    """Attention whose head count, head size and their product are three attributes; a gated layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size, self.all_head_size = 4, 8, 32
        self.query, self.key, self.value, self.dense = (nn.Linear(32, 32) for _ in range(4))
        self.norm, self.wide, self.out = nn.LayerNorm(32), nn.Linear(32, 40), nn.Linear(20, 32)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.num_attention_heads, self.attention_head_size).permute(0, 2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
        y = (q @ k.transpose(-1, -2) / self.attention_head_size**0.5).softmax(-1) @ v
        y = y.permute(0, 2, 1, 3).contiguous()
        x = self.norm(x + self.dense(y.view(*y.shape[:-2], self.all_head_size)))
        return self.out(F.glu(self.wide(x)))


def images(side: int = 16, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))


def zoo(name: str, side: int = 16) -> nn.Module:
    return MODELS[name].build((3, side, side), 10)


def llama(layers: int = 2) -> nn.Module:
    return load_object(f"{OTHERS}:Llama")(dim=32, hidden=24, layers=layers, heads=4, kv_heads=2, pieces=50)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "resnet20": (functools.partial(zoo, "resnet20"), images()),
    "resnet56": (functools.partial(zoo, "resnet56"), images(8)),
    "resnet18": (functools.partial(zoo, "resnet18"), images(8)),
    "vgg16": (functools.partial(zoo, "vgg16", 32), images(32)),
    "mobilenet": (MobileNet, images()),
    "dncnn": (lambda: load_object(f"{OTHERS}:DnCNN")(depth=5, width=12), images(channels=1)),
    "vit": (ViT, images()),
    "llama": (llama, torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(2))),
    "encoder": (lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), torch.randn(2, 5, 16)),
    "mixed": (Mixed, images()),
    "unet": (UNet, images()),
    "dense": (Dense, images()),
    "bert": (Bert, torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(3))),
}


def made(name: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """A network of the table, with random norms and running statistics, and its inputs."""
    build, inputs = NETWORKS[name]
    torch.manual_seed(seed)
    return stirred(build()), inputs


def stirred(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return network


@functools.cache
def groups_of(name: str) -> ChannelGroups:
    return channel_groups(*made(name))


def some_units(groups: ChannelGroups, seed: int) -> list[Unit]:
    """Random units out of the whole width of every group; one of each stays."""
    draw = random.Random(seed)
    chosen: list[Unit] = []
    for group in groups:
        chosen += draw.sample(group.units, draw.randint(0, len(group.units) - 1))
    return chosen
