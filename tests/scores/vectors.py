"""The reference cases of methods, and the small networks they describe."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from howsparse import Task

PATH = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "reference" / "methods_vectors.json"
Case = dict[str, Any]


@cache
def cases(method: str, kind: str) -> list[Case]:
    found = json.loads(PATH.read_text())["cases"] if PATH.exists() else []
    return [case for case in found if (case["method"], case["kind"]) == (method, kind)]


def each(method: str, kind: str) -> pytest.MarkDecorator:
    """Parametrizes a test with the cases of a method and kind; skips it where there are no vectors."""
    absent = pytest.param(None, marks=pytest.mark.skip(reason="../shared (reference vectors) is not here"))
    return pytest.mark.parametrize("case", cases(method, kind) or [absent], ids=lambda c: c["id"] if c else "absent")


def perceptron(layers: list[dict[str, Any]]) -> nn.Sequential:
    """Linear layers with ReLU between them, in float64."""
    modules: list[nn.Module] = []
    for layer in layers:
        out, into = layer["shape"]
        linear = nn.Linear(into, out, bias=layer.get("bias") is not None, dtype=torch.float64)
        linear.weight.data = torch.tensor(layer["weight"], dtype=torch.float64).reshape(out, into)
        if layer.get("bias") is not None:
            linear.bias.data = torch.tensor(layer["bias"], dtype=torch.float64)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def task_of(case: Case) -> Task:
    """The case's network with its data as one batch."""
    data = [(torch.tensor(case["inputs"]["x"], dtype=torch.float64), torch.tensor(case["inputs"]["y"]))]
    return Task(perceptron(case["inputs"]["layers"]), data, calib=data, val_share=0)


def flat(scores: dict[str, Tensor]) -> list[list[float]]:
    return [score.reshape(-1).tolist() for score in scores.values()]


def fingerprint(model: nn.Module) -> list[Any]:
    """Everything that scoring must leave alone: tensors to the bit, where they lie, gradients, modes."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    bits = [(n, t.data_ptr(), t.requires_grad, t.detach().reshape(-1).view(torch.uint8).tolist()) for n, t in tensors]
    gradients = [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in model.parameters()]
    modules = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks), list(vars(m))) for m in model.modules()]
    return [bits, gradients, modules]
