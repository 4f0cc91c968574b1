"""Runs to report on: one made by the real code, others put together by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse.report import RunFiles

MakeRun = Callable[..., RunFiles]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two cycles: a network with a hostile name, half of it pruned, 3 epochs a cycle."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 6, generator=generator)
    data = torch.utils.data.TensorDataset(x[:80], (x[:80, 0] > 0).long())
    test = torch.utils.data.TensorDataset(x[80:], (x[80:, 0] > 0).long())
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    task = hs.Task(network, data, test=test, batch_size=16, name="<script>alert('net')</script>")
    folder = tmp_path_factory.mktemp("report") / "run"
    origin = {"data": 'toy & "co"</style>'}
    hs.prune(task, hs.OneShot(sparsity=0.5), hs.Recipe(epochs=3, lr=0.1), out=folder, origin=origin)
    return folder


@pytest.fixture
def make_run() -> MakeRun:
    """Builds the content of a run directory from a few numbers a cycle."""
    return _make_run


def _make_run(
    sparsities: list[float],
    metrics: list[float | None],
    *,
    merely: list[float | None] | None = None,
    pqi: list[float | None] | None = None,
    chosen: int | None = None,
    **method: Any,
) -> RunFiles:
    """A run of 1000 weights: finished with a chosen cycle, else stopped after the given cycles.

    ``merely`` holds the metric after each cycle's pruning, at the sparsity of the next cycle; held-out metrics lie 0.1
    above test metrics.
    """
    merely = merely or []
    pqi = pqi or [0.3 / (cycle + 1) for cycle in range(len(sparsities))]
    cycles = []
    for cycle, (sparsity, metric) in enumerate(zip(sparsities, metrics, strict=True)):
        record = {"kind": "cycle", "cycle": cycle, "higher_is_better": True, **_portrait(sparsity, pqi[cycle])}
        record |= {"layers": [{"name": "fc.weight", **_portrait(sparsity, pqi[cycle])}], **_evaluations(metric)}
        record["histograms"] = {"limit": 0.5, "counts": [1, 2, 4, 2, 1]}
        if cycle < len(merely):
            after = sparsities[cycle + 1] if cycle + 1 < len(sparsities) else 0.99
            record["pruned"] = {**_portrait(after, 0.1), **_evaluations(merely[cycle])}
        cycles.append(record)
    return RunFiles(
        settings={
            "method": {"name": "imp", "scope": "global", "rewind": "init", "cycles": 5, "stop": "never", **method},
            "recipe": {"epochs": 4, "dense_epochs": None, "keep": "best"},
            "seed": 0,
            "include": None,
            "exclude": None,
            "task": {
                "name": "Net",
                "metric": "accuracy",
                "samples": {"train": 90, "val": 10, "test": 50},
                "batch_size": 16,
                "parameters": {"fc.weight": [10, 100], "fc.bias": [10]},
            },
            "origin": {},
        },
        environment={"howsparse": "0.0.1", "threads": 1},
        epochs=tuple(_epoch(cycle, epoch) for cycle in range(len(cycles)) for epoch in range(4)),
        cycles=tuple(cycles),
        result=None if chosen is None else _result(cycles, chosen),
    )


def _portrait(sparsity: float, pqi: float | None) -> dict[str, Any]:
    active = round(1000 * (1 - sparsity))
    return {"sparsity": sparsity, "active": active, "total": 1000, "pqi": pqi, "gini": pqi}


def _evaluations(metric: float | None) -> dict[str, Any]:
    held_out = None if metric is None else metric + 0.1
    return {
        "val": {"loss": 0.5, "metric": held_out, "samples": 10},
        "test": {"loss": 0.7, "metric": metric, "samples": 50},
    }


def _epoch(cycle: int, epoch: int) -> dict[str, Any]:
    numbers = {"train_loss": 1.0 / (epoch + 1), "val_loss": 0.5, "val_metric": 0.8, "seconds": 0.25}
    return {"kind": "epoch", "cycle": cycle, "epoch": epoch, "lr": 0.1, **numbers}


def _result(cycles: list[dict[str, Any]], chosen: int) -> dict[str, Any]:
    turn = hs.turning_point(
        [float("nan") if c["pqi"] is None else c["pqi"] for c in cycles], [c["sparsity"] for c in cycles]
    )
    return {
        "asked": None,
        "achieved": cycles[chosen]["sparsity"],
        "active": cycles[chosen]["active"],
        "total": 1000,
        "chosen_cycle": chosen,
        "cycles": len(cycles),
        "metric": {
            "name": "accuracy",
            "higher_is_better": True,
            "split": "test",
            "dense": cycles[0]["test"]["metric"],
            "pruned": cycles[chosen]["test"]["metric"],
        },
        "turning_point": {**vars(turn), "text": str(turn)},
        "bytes": {"dense": 4040, "packed": 1165, "compressed": 1500},
        "multiply_adds": {"dense": 1000, "sparse": 250, "uncounted": []},
        "epochs": 4 * len(cycles),
        "seconds": 1.0 * len(cycles),
    }
