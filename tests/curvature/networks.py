"""Tiny networks with their data, and their curvature by brute force: torch's own dense derivatives of the mean loss."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from howsparse.curvature import Objective
from howsparse.errors import HowsparseError
from howsparse.task import cross_entropy, input_and_target, squared_error


@dataclass
class Problem:
    """A network, its data as one batch, and how to read it."""

    model: nn.Module
    data: tuple[Tensor, Tensor]
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    forward: Callable[..., Any] = input_and_target

    def objective(self, batch_size: int = 7, *, everything: bool = False, **changes: Any) -> Objective:
        """Over batches of some size, of the prunable parameters or of all."""
        batches = list(zip(*(part.split(batch_size) for part in self.data), strict=True))
        parameters = dict(self.model.named_parameters()) if everything else None
        chosen = {"loss": self.loss, "forward": self.forward, "parameters": parameters}
        return Objective(self.model, batches, **{**chosen, **changes})

    def output(self, objective: Objective, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Output on all the data and target, at other weights."""
        at = objective.unflatten(flat)
        self.model.eval()
        return self.forward(lambda *inputs: torch.func.functional_call(self.model, at, inputs), self.data)

    def hessian(self, objective: Objective) -> Tensor:
        """(D, D), of the mean loss at the present weights."""
        with sdpa_kernel(SDPBackend.MATH):
            return torch.autograd.functional.hessian(
                lambda flat: self.loss(*self.output(objective, flat)).mean(), objective.weights()
            )

    def gauss_newton(self, objective: Objective) -> Tensor:
        """(D, D), J' S J with the dense Jacobian of all outputs and the dense Hessian of the mean loss in them."""
        weights = objective.weights()
        with sdpa_kernel(SDPBackend.MATH):
            output, target = self.output(objective, weights)
            jacobian = torch.autograd.functional.jacobian(lambda flat: self.output(objective, flat)[0], weights)
        bend = torch.autograd.functional.hessian(lambda z: self.loss(z, target).mean(), output.detach())
        jacobian, n = jacobian.reshape(-1, len(weights)), output.numel()
        return jacobian.T @ bend.reshape(n, n) @ jacobian


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal float64 numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(count: int, classes: int, *more: int) -> Tensor:
    """Random labels."""
    return torch.randint(0, classes, (count, *more), generator=torch.Generator().manual_seed(2))


def statistics(model: nn.Module) -> nn.Module:
    """Batch norms that have seen something: no statistic, scale or shift is trivial."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.copy_(normal(module.num_features, seed=3))
            module.running_var.copy_(normal(module.num_features, seed=4).square() + 0.5)
            if module.affine:
                module.weight.data.copy_(normal(module.num_features, seed=5))
                module.bias.data.copy_(normal(module.num_features, seed=6))
    return model


class Residual(nn.Module):
    """A block whose convolution's output goes two ways, once through batch norm and once past it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv(x)
        return x + torch.tanh(self.norm(inner)) + inner.square()


class InPlace(nn.Module):
    """Changes the convolution's output in place before the batch norm reads it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv(x)
        inner *= 1.5
        return self.norm(inner.add_(x))


class Sequence(nn.Module):
    """Tokens to logits (B, classes, T): an embedding, something that mixes the positions, a linear layer."""

    def __init__(self, mixer: nn.Module, width: int) -> None:
        super().__init__()
        self.embedding, self.mixer, self.head = nn.Embedding(5, 4), mixer, nn.Linear(width, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        mixed = self.mixer(x, x, x)[0] if isinstance(self.mixer, nn.MultiheadAttention) else self.mixer(x)
        return self.head(mixed[0] if isinstance(mixed, tuple) else mixed).transpose(1, 2)


def mlp() -> Problem:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    return Problem(model, (normal(15, 4), labels(15, 3)))


def regression() -> Problem:
    model = nn.Sequential(nn.Linear(3, 4), nn.Softplus(), nn.Linear(4, 2, bias=False))
    return Problem(model, (normal(10, 3), normal(10, 2, seed=8)), loss=squared_error)


def convolutions() -> Problem:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=(2, 1), padding=1, bias=False), nn.BatchNorm2d(4), nn.Tanh(),
        nn.Conv2d(4, 4, 2, dilation=2, groups=2), nn.BatchNorm2d(4, affine=False), nn.Softplus(), nn.AvgPool2d((1, 3)),
        nn.Conv2d(4, 3, 1, padding="same"), nn.Flatten(), nn.Linear(3, 3),
    )  # fmt: skip
    return Problem(model, (normal(9, 2, 6, 5), labels(9, 3)))


def residual() -> Problem:
    model = nn.Sequential(nn.Conv2d(1, 2, 2), Residual(2), InPlace(2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    return Problem(model, (normal(8, 1, 3, 3), labels(8, 2)))


def one_dimension() -> Problem:
    model = nn.Sequential(nn.Conv1d(2, 3, 3, padding=2), nn.BatchNorm1d(3), nn.SiLU(), nn.Flatten(), nn.Linear(18, 2))
    return Problem(model, (normal(8, 2, 4), labels(8, 2)))


def three_dimensions() -> Problem:
    model = nn.Sequential(
        nn.ConvTranspose3d(1, 2, 2), nn.Conv3d(2, 2, 2, stride=2), nn.BatchNorm3d(2), nn.SiLU(), nn.Flatten(),
        nn.Linear(2, 2),
    )  # fmt: skip
    return Problem(model, (normal(5, 1, 2, 2, 1), labels(5, 2)))


def tokens(mixer: Callable[[], nn.Module], width: int) -> Problem:
    def forward(model: Any, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return model(batch[0]), batch[1]

    return Problem(Sequence(mixer(), width), (labels(6, 5, 3), labels(6, 5, 3)), forward=forward)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "mlp": mlp,
    "regression": regression,
    "convolutions": convolutions,
    "residual": residual,
    "one dimension": one_dimension,
    "three dimensions": three_dimensions,
    "attention": lambda: tokens(lambda: nn.MultiheadAttention(4, 2, batch_first=True), 4),
    "lstm": lambda: tokens(lambda: nn.LSTM(4, 3, batch_first=True), 3),
}


def problem(name: str, seed: int = 0) -> Problem:
    """A problem in float64 with weights from a seed and statistics that are not trivial."""
    torch.manual_seed(seed)
    made = PROBLEMS[name]()
    statistics(made.model.double())
    return made


def least_memory(kind: Callable[..., Any], objective: Objective) -> int:
    """What the error says is the least that works: nothing is kept with it."""
    with pytest.raises(HowsparseError, match="too small for one sample: it takes at least") as caught:
        kind(objective, memory=1) @ torch.zeros(objective.size)
    return int(re.search(r"at least ([\d,]+) bytes", str(caught.value))[1].replace(",", ""))
