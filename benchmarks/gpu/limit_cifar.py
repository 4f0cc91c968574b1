"""The limit paper's networks on CIFAR, on a GPU: L1 training by the paper's recipe, all limits, one-shot curves.

The script works for ``--minutes``, stops after a checkpoint, and goes on where it stopped when called again with the
same arguments; what is done so far stands in ``OUT/results.json``.

    python benchmarks/gpu/limit_cifar.py --model resnet18 --data FOLDER --out runs/limit_resnet18
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import howsparse as hs
from howsparse.files import write_json
from howsparse.limits.dense import DenseNetwork
from howsparse.limits.limit import limit
from howsparse.limits.search import Watch
from howsparse.training import evaluate
from howsparse.training.run import environment, read_json
from howsparse.weights import load_weights
from howsparse.zoo import build_model

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sap_cifar10 import Clock, TimeIsUpError, on_device, read

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
    data = on_device(read(options.data, options.samples), options.device)
    torch.manual_seed(options.seed)
    model = build_model(options.model, data.shape, data.classes).to(options.device)
    task = hs.Task(model, data.train, test=data.test, val_share=0.05, seed=options.seed, name=options.model)
    recipe = replace(RECIPES[options.model], epochs=options.epochs, precision=options.precision)
    try:
        hs.prune(
            task,
            hs.OneShot(sparsity=0.0, rewind="none"),
            replace(recipe, dense_epochs=options.epochs, epochs=0),
            clock.watch(options.out / "dense"),
            seed=options.seed,
            callbacks=[clock],
        )
        load_weights(model, options.out / "dense" / "model.safetensors")
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", choices=tuple(RECIPES), default="resnet18")
    add("--data", type=Path, required=True, help="CIFAR-10 in its original files, or as image strips (.npz)")
    add("--out", type=Path, required=True)
    add("--minutes", type=float, default=9.0, help="stop after so many minutes")
    add("--epochs", type=int, default=60, help="epochs of the dense training; 200 in the paper")
    add("--retrain", type=int, default=30, help="epochs of the recipe that the re-tuned limit belongs to")
    add("--race-epochs", type=int, default=6)
    add("--curvature-epochs", type=float, default=400.0, help="1200: the full training set, 96 steps, 5 probes")
    add("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    add("--device", type=torch.device, default=torch.device("cuda"))
    add("--seed", type=int, default=0)
    add("--samples", type=int, help="only the first so many images, for a quick look")
    return parser.parse_args()


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
    hidden = {str(options.data): "DATA", str(options.out): "OUT"}
    found: dict[str, Any] = {
        "command": " ".join(["python benchmarks/gpu/limit_cifar.py", *(hidden.get(a, a) for a in sys.argv[1:])]),
        "environment": environment(),
    }
    for part in ("dense/result.json", "limit/result.json", "curve.json"):
        if (options.out / part).exists():
            found[part.split("/")[0].removesuffix(".json")] = read_json(options.out / part)
    write_json(options.out / "results.json", found)


if __name__ == "__main__":
    main()
