"""The experiments of limit_experiments.py that train: limits along iterative pruning, and LOMP against others."""

import json
from pathlib import Path
from typing import Any

import limit_tasks
import torch
from shared_data import fashion_mnist

import howsparse as hs
from howsparse.limits.dense import DenseNetwork
from howsparse.limits.limit import limit
from howsparse.limits.result import Limit
from howsparse.methods.lomp import LOMP
from howsparse.schedules import removed_at
from howsparse.training import Callback, evaluate
from howsparse.zoo import Data, build_model

CYCLES, FRACTION, EPOCHS = 5, 0.3, 3
IMAGES = 20_000
ROUNDS: dict[str, dict[str, Any]] = {
    "L1, survivors kept": {"l1": limit_tasks.L1, "rewind": "none"},
    "plain, rewound": {"l1": 0.0, "rewind": "init"},
}
EFFORT: dict[str, Any] = {"race_epochs": 0, "curvature_epochs": 22.0, "steps": 40}  # a coreset of 10 %


class LimitEachRound(Callback):
    """Computes the limits of every round's trained network, before it is pruned, beside the run."""

    def __init__(self, task: hs.Task, recipe: hs.Recipe, out: Path) -> None:
        self.task, self.recipe, self.out = task, recipe, out

    def on_epoch(self, record: dict[str, Any]) -> None:
        if record["epoch"] == self.recipe.epochs - 1:
            limit(self.task, self.recipe, self.out / "limits" / str(record["cycle"]), **EFFORT)


def iterative(folder: Path) -> dict[str, Any]:
    """Experiment 8: prune three tenths of what is left, retrain, and look at the limits again."""
    runs = {}
    for name, chosen in ROUNDS.items():
        out = folder / plain_name(name)
        recipe = hs.Recipe(
            epochs=EPOCHS, lr=0.05, nesterov=False, weight_decay=0.0, clip=None, keep="last", l1=chosen["l1"]
        )
        task = limit_tasks.fashion(0, samples=IMAGES)
        method = hs.LotteryTicket(cycles=CYCLES, fraction=FRACTION, rewind=chosen["rewind"])
        result = hs.prune(task, method, recipe, out, callbacks=[LimitEachRound(task, recipe, out)])
        runs[name] = [_round(record, out) for record in result.history if record["kind"] == "cycle"]
    return {"cycles": CYCLES, "fraction": FRACTION, "epochs": EPOCHS, "images": IMAGES, **EFFORT, "runs": runs}


def _round(record: dict[str, Any], out: Path) -> dict[str, Any]:
    found = Limit(json.loads((out / "limits" / str(record["cycle"]) / "result.json").read_text()))
    assert found.paper is not None
    return {
        "sparsity": record["sparsity"],
        "test": record["test"]["metric"],
        "eps": found.eps,
        "loss": found.details["loss"],
        "one_shot": vars(found.one_shot),
        "paper": vars(found.paper),
        "trace": found.details["paper"]["trace"],
        "coreset": found.details["paper"]["samples"],
    }


# --- LOMP ------------------------------------------------------------------------------------------------------------
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.98)
SEEDS = (0, 1, 2)
TRAIN = hs.Recipe(epochs=5, lr=0.1)  # the recorded runs' recipe: SGD, Nesterov, cosine, clip 1, weight decay 5e-4
PENALTIES = {"one-shot, no L1": 0.0, "LOMP, L1 5e-5": 5e-5, "LOMP, L1 2e-4": 2e-4}


def lomp(folder: Path) -> dict[str, Any]:
    """Experiment 11: train once, with or without L1, and remove the smallest weights once, without retraining."""
    data, rows = fashion_mnist(), []
    for name, penalty in PENALTIES.items():
        for seed in SEEDS:
            task = _mlp(data, seed)
            recipe = TRAIN if penalty == 0 else hs.Recipe(epochs=TRAIN.epochs, lr=TRAIN.lr, weight_decay=0.0)
            out = folder / f"{plain_name(name)}-{seed}"
            hs.prune(task, LOMP(sparsity=0.0, penalty=penalty), recipe, out, seed=seed)
            rows.append({"method": name, "seed": seed, **_pruned_once(task, recipe, out, seed)})
    return {"levels": LEVELS, "epochs": TRAIN.epochs, "runs": rows}


def _mlp(data: Data, seed: int) -> hs.Task:
    torch.manual_seed(seed)
    model = build_model("mlp", data.shape, data.classes)
    return hs.Task(model, data.train, test=data.test, batch_size=250, seed=seed, name="mlp")


def _pruned_once(task: hs.Task, recipe: hs.Recipe, out: Path, seed: int) -> dict[str, Any]:
    """Test accuracy at the levels and where the network's own limits lie."""
    dense = DenseNetwork(task.model)
    found = limit(task, recipe, out / "limits" / "0", seed=seed, race_epochs=0, curvature_epochs=6.0)
    assert found.paper is not None

    def accuracy(sparsity: float) -> float:
        with dense.without(dense.masks(removed_at(sparsity, dense.total))):
            return evaluate(task, task.test).metric

    return {
        "accuracy": [accuracy(level) for level in (0.0, *LEVELS)],
        "one_shot": {"sparsity": found.one_shot.value, "accuracy": accuracy(found.one_shot.value)},
        "paper": {**vars(found.paper), "accuracy": accuracy(found.paper.value)},
    }


def plain_name(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
