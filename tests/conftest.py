"""Fixtures shared by all tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from howsparse import Task

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with reference vectors and real data, or skip."""
    if not SHARED.is_dir():
        pytest.skip("../shared (reference vectors and real data) is not here")
    return SHARED


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    """The same arithmetic on every machine: results may depend on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture
def points() -> TensorDataset:
    """Two hundred labelled points in 12 dimensions that a small network learns quickly."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(200, 12, generator=generator)
    return TensorDataset(x, (x[:, :3].sum(dim=1) > 0).long())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2)),
    "conv": lambda: nn.Sequential(
        *(nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(96, 2)),
    ),
}


@pytest.fixture
def make_task(points: TensorDataset) -> Callable[..., Task]:
    """Builds a task with a small network that has batch norm and dropout; the same weights every time."""

    def make(seed: int = 0, network: str = "mlp", **changes: object) -> Task:
        torch.manual_seed(seed)
        model = NETWORKS[network]()
        return Task(model, points, **{"test": points, "batch_size": 32, **changes})  # type: ignore[arg-type]

    return make
