"""A small trained network and the limits that the tests compute on it, here or in processes of their own."""

import os
import signal
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import howsparse as hs
from howsparse import processes
from howsparse.limits.limit import limit
from howsparse.limits.result import Limit
from howsparse.limits.search import Watch

RECIPE = hs.Recipe(epochs=6, lr=0.02, optimizer="adam")
QUICK: dict[str, Any] = {"eps": 0.1, "race_epochs": 9, "curvature_epochs": 3.0, "verify": 2, "steps": 8}
CHEAP: dict[str, Any] = {"race_epochs": 0, "curvature_epochs": 0.0}


def points(samples: int = 240) -> TensorDataset:
    """Five noisy clusters in 16 dimensions, some labels wrong: the loss of a trained network is small, not zero."""
    generator = torch.Generator().manual_seed(3)
    centres = 1.5 * torch.randn(5, 16, generator=generator)
    labels = torch.randint(0, 5, (samples,), generator=generator)
    x = centres[labels] + torch.randn(samples, 16, generator=generator)
    wrong = torch.rand(samples, generator=generator) < 0.05
    return TensorDataset(x, torch.where(wrong, (labels + 1) % 5, labels))


def network(*, batch_norm: bool = True, width: int = 12, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Untrained; the same weights every time."""
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1)] if batch_norm else [nn.ReLU()]
    return nn.Sequential(nn.Linear(16, width), *middle, nn.Linear(width, 5)).to(dtype)


@cache
def _trained(batch_norm: bool, width: int, dtype: torch.dtype) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        model = network(batch_norm=batch_norm, width=width, dtype=dtype)
        x, y = points().tensors
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(80):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x.to(dtype)), y).backward()
            optimizer.step()
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def make(*, batch_norm: bool = True, width: int = 12, dtype: torch.dtype = torch.float32, **changes: Any) -> hs.Task:
    """The trained network with its data; evaluation mode."""
    model = network(batch_norm=batch_norm, width=width, dtype=dtype)
    model.load_state_dict(_trained(batch_norm, width, dtype))
    x, y = points().tensors
    given: dict[str, Any] = {"batch_size": 32, "name": "points", **changes}
    return hs.Task(model.eval(), TensorDataset(x.to(dtype), y), **given)


def comparable(details: Any) -> Any:
    """The details of a limit without the time they took."""
    return {**details, "cost": {**details["cost"], "seconds": None}}


class KilledAt(Watch):
    """Kills its own process, without warning, when the given piece becomes known."""

    def __init__(self, note: int) -> None:
        self.left = note

    def on_note(self, key: str, value: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_recalled(self, key: str, value: Any) -> None:
        self.left -= 1


def run(out: str, kill_at_note: int | None = None) -> Limit:
    """Everything that a limit can consist of."""
    torch.set_num_threads(1)
    watch = None if kill_at_note is None else KilledAt(kill_at_note)
    return limit(make(), RECIPE, out, watch=watch, **QUICK)


def several(out: str, rank: int = 0, world: int = 1, port: int = 0) -> None:
    """One of several processes, or the only one: every process writes the details it has."""
    torch.set_num_threads(1)
    if world > 1:
        places = {"RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in places.items()})
    with processes.joined("cpu"):
        task = make(batch_norm=False, dtype=torch.float64)
        found = limit(task, RECIPE, f"{out}/limit", **{**QUICK, "curvature_epochs": 60.0})
        kept = {"details": comparable(found.details), "state": task.model.state_dict()}
        torch.save(kept, Path(out) / f"rank{rank}.pt")
