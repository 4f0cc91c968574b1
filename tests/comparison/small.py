"""Small comparisons that the tests carry out, here or in other processes."""

import os
import signal
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

import howsparse as hs
from howsparse import files
from howsparse.comparison import Comparison, compare
from howsparse.methods import OneShot

RECIPE = hs.Recipe(lr=0.1)


def make_task(seed: int) -> hs.Task:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(120, 12, generator=generator)
    data = TensorDataset(x, (x[:, :3].sum(dim=1) > 0).long())
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
    return hs.Task(model, data, test=data, batch_size=32)


class Deadly(OneShot):
    """Kills the process that it works in."""

    name = "deadly"

    def shrink(self, *_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class Faulty(OneShot):
    """Fails in the middle of its run."""

    name = "faulty"

    def shrink(self, *_: Any) -> Any:
        raise RuntimeError("no such thing in /home/somebody/secret/place.py")


def small(
    out: Any, methods: Any = ("one-shot", "imp"), sparsities: Any = (0.5,), seeds: Any = 1, **more: Any
) -> Comparison:
    arguments: dict[str, Any] = {"epochs": 2, "recipe": RECIPE, "threads": 1, **more}
    return compare(make_task, methods, sparsities, seeds, out=out, **arguments)


def killed(out: str, write: int) -> None:
    """Compare, and die without warning in the middle of the n-th write of a file."""
    torch.set_num_threads(1)
    real, count = os.fsync, [0]

    def deadly(descriptor: int) -> None:
        count[0] += 1
        if count[0] == write:
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)

    files.os.fsync = deadly
    small(out, checkpoint_every=0.0)
