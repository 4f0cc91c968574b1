"""The limit paper's networks on CIFAR, on a GPU: L1 training by the paper's recipe, all limits, one-shot curves.

The script works for ``--minutes``, stops after a checkpoint, and goes on where it stopped when called again with the
same arguments; what is done so far stands in ``OUT/results.json``.

    python benchmarks/gpu/limit_cifar.py --model resnet18 --data FOLDER --out runs/limit_resnet18
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import torch
from timed_runs import Clock, TimeIsUpError, about, parser, read, train_dense

import howsparse as hs
from howsparse.files import write_json
from howsparse.limits.dense import DenseNetwork
from howsparse.limits.limit import limit
from howsparse.limits.search import Watch
from howsparse.training import evaluate
from howsparse.training.run import read_json
from howsparse.zoo import build_model

SGD = hs.Recipe(lr=0.01, nesterov=False, weight_decay=0.0, clip=None, keep="last")
RECIPES = {  # learning rate, schedule, warm-up and L1 of the paper's configurations; schedules per epoch, not per step
    "alexnet-cifar": replace(SGD, schedule="milestones", milestones=(0.3, 0.6, 0.8), drop=0.5, warmup=5, l1=3e-5),
    "vgg16": replace(SGD, schedule="constant", warmup=5, l1=1e-4),
    "resnet18": replace(SGD, lr=0.1, schedule="cosine", warmup=5, l1=5e-5),
}
LEVELS = (0.0, 0.5, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995)


def main() -> None:
    options = arguments()
    clock = Clock(options.minutes)
    data = read(options, options.data_set)
    torch.manual_seed(options.seed)
    model = build_model(options.model, data.shape, data.classes).to(options.device)
    task = hs.Task(model, data.train, test=data.test, val_share=0.05, seed=options.seed, name=options.model)
    recipe = replace(RECIPES[options.model], epochs=options.epochs, precision=options.precision)
    try:
        train_dense(task, recipe, options.out / "dense", seed=options.seed, clock=clock)
        retrain = replace(recipe, epochs=options.retrain, l1=0.0, warmup=0, schedule="cosine")
        efforts = {
            "race_epochs": options.race_epochs,
            "curvature_epochs": options.curvature_epochs,
            "probes": 5,
            "steps": 96,
        }
        limit(task, retrain, options.out / "limit", seed=options.seed, watch=Alarm(clock), **efforts)
        write_json(options.out / "curve.json", {"levels": curve(task)})
    except TimeIsUpError:
        print("the time is up; the same command goes on from here")
    finally:
        gather(options)


def arguments() -> argparse.Namespace:
    found = parser(__doc__, precision="bfloat16")
    add = found.add_argument
    add("--model", choices=tuple(RECIPES), default="resnet18")
    add("--data-set", choices=("cifar10", "cifar100"), default="cifar10")
    add("--epochs", type=int, default=60, help="epochs of the dense training; 200 in the paper")
    add("--retrain", type=int, default=30, help="epochs of the recipe that the re-tuned limit belongs to")
    add("--race-epochs", type=int, default=6)
    add("--curvature-epochs", type=float, default=400.0, help="1200: the full training set, 96 steps, 5 probes")
    add("--seed", type=int, default=0)
    return found.parse_args()


class Alarm(Watch):
    """Ends the computation of a limit when the time is over; all that is noted by then is kept."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step(self, epoch: int, step: int, steps: int) -> None:  # noqa: ARG002
        self._ring()

    def on_stage(self, stage: str, done: float, total: float) -> None:  # noqa: ARG002
        self._ring()

    def on_note(self, key: str, value: Any) -> None:
        print(key, str(value)[:120], flush=True)

    def _ring(self) -> None:
        if time.time() > self.clock.end:
            raise TimeIsUpError


def curve(task: hs.Task) -> list[dict[str, float]]:
    """Loss and accuracy on the test set after one-shot magnitude pruning, without retraining."""
    assert task.test is not None
    dense, rows = DenseNetwork(task.model), []
    for level in LEVELS:
        with dense.without(dense.masks(round(level * dense.total))):
            found = evaluate(task, task.test)
        rows.append({"sparsity": level, "loss": found.loss, "accuracy": found.metric})
    return rows


def gather(options: argparse.Namespace) -> None:
    """Write what is done so far."""
    found = about(options)
    for part in ("dense/result.json", "limit/result.json", "curve.json"):
        if (options.out / part).exists():
            found[part.split("/")[0].removesuffix(".json")] = read_json(options.out / part)
    write_json(options.out / "results.json", found)


if __name__ == "__main__":
    main()
