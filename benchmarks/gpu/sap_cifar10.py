"""The SAP paper's figure on CIFAR-10 with the paper's CNN or ResNet-18, on a GPU.

Every run is an ordinary run directory. The script works for ``--minutes``, stops after a checkpoint, and goes on where
it stopped when called again with the same arguments; what is done so far stands in ``OUT/results.json``.

    python benchmarks/gpu/sap_cifar10.py --model preact-resnet18 --data FOLDER --out runs/sap_cifar10
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import howsparse as hs
from howsparse.files import write_json
from howsparse.training.run import CHECKPOINT, environment, read_history, read_json
from howsparse.zoo import Arrays, Data, build_model, load_data

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import shared_data

METHODS: dict[str, Callable[..., Any]] = {
    "sap": hs.SAP,
    "sap-1-2": lambda **settings: hs.SAP(p=1.0, q=2.0, **settings),
    "lottery-ticket": lambda **settings: hs.LotteryTicket(count="quantile", **settings),
    "one-shot": hs.OneShotLadder,
}
KEPT = ("cycle", "sparsity", "active", "total", "pqi", "gini", "val", "test", "layers", "pruned")
BATCH = 250


def main() -> None:
    options = arguments()
    clock = Clock(options.minutes)
    data = on_device(read(options.data, options.samples), options.device)
    grid = [*itertools.product(range(options.seeds), options.scopes, options.methods)]
    try:
        for seed, scope, method in grid:
            folder = options.out / name_of(options, seed, scope, method)
            if not (folder / "result.json").exists():
                one(options, data, clock.watch(folder), seed=seed, scope=scope, method=method, clock=clock)
    except TimeIsUpError:
        print("the time is up; the same command goes on from here")
    finally:
        done = gather(options, data, grid)
        print(f"{done} of {len(grid)} runs are done; see {options.out / 'results.json'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", choices=("cnn", "preact-resnet18"), default="cnn")
    add("--data", type=Path, required=True, help="CIFAR-10 in its original files, or as image strips (.npz)")
    add("--out", type=Path, required=True, help="folder for the run directories and results.json")
    add("--minutes", type=float, default=9.0, help="stop after so many minutes, at a checkpoint")
    add("--epochs", type=int, default=15, help="epochs per cycle; 200 in the paper")
    add("--cycles", type=int, default=15, help="prunings; 30 in the paper")
    add("--seeds", type=int, default=1, help="runs of each kind")
    add("--scopes", nargs="+", choices=("neuron", "layer", "global"), default=["global"])
    add("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    add("--precision", choices=("float32", "bfloat16"), default="float32")
    add("--device", type=torch.device, default=torch.device("cuda"))
    add("--samples", type=int, help="only the first so many training and test images, for a quick look")
    return parser.parse_args()


def name_of(options: argparse.Namespace, seed: int, scope: str, method: str) -> str:
    return f"{options.model}-{method}-{scope}-{seed}"


# --- one run ----------------------------------------------------------------------------------------------------------
class TimeIsUpError(Exception):
    """Ends a run that the next call resumes."""


class Clock(hs.Callback):
    """Ends a run at the first step after a checkpoint of the closing seconds, at the latest when the time is over."""

    def __init__(self, minutes: float) -> None:
        self.end = time.time() + 60 * minutes
        self.closing = self.end - min(40.0, 6 * minutes)  # long enough for a checkpoint to fall into it

    def watch(self, folder: Path) -> Path:
        self.folder = folder
        return folder

    def on_step(self, epoch: int, step: int, steps: int) -> None:  # noqa: ARG002
        now = time.time()
        if now > self.end or (now > self.closing and (self.folder / CHECKPOINT).stat().st_mtime > self.closing):
            raise TimeIsUpError

    def on_cycle(self, record: dict[str, Any]) -> None:
        found = f"cycle {record['cycle']}, {record['sparsity']:.4f} removed, test {record['test']['metric']:.4f}"
        print(f"{self.folder.name}: {found}", flush=True)


def one(
    options: argparse.Namespace, data: Data, folder: Path, *, seed: int, scope: str, method: str, clock: Clock
) -> None:
    torch.manual_seed(seed)
    model = build_model(options.model, data.shape, data.classes).to(options.device)
    task = hs.Task(model, data.train, test=data.test, batch_size=BATCH, seed=seed, name=options.model)
    # the rest of the paper's recipe is the default: Nesterov momentum 0.9, cosine, weight decay 5e-4, clip 1
    recipe = hs.Recipe(epochs=options.epochs, lr=0.1, per="step", precision=options.precision)
    what = METHODS[method](scope=scope, cycles=options.cycles)
    try:
        hs.prune(task, what, recipe, folder, seed=seed, callbacks=[clock], origin={"data": data.name})
    except hs.DivergedError as error:  # the other runs are still worth their time
        print(f"{folder.name}: {error}", flush=True)


# --- data -------------------------------------------------------------------------------------------------------------
class OnDevice(Arrays):
    """The same images with everything on one device: batches are gathered, normalised and augmented there."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        self.__dict__.update({k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in vars(arrays).items()})

    def _batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super()._batch(chosen.to(self.images.device))


def read(folder: Path, samples: int | None) -> Data:
    if (folder / "cifar10_train_0.npz").exists():
        shared_data.ROOT = folder
        data = shared_data.cifar10() if samples is None or samples > 10_000 else shared_data.cifar10_10k()
    else:
        data = load_data(f"cifar10:{folder}")
    for arrays in (data.train, data.test):
        arrays.images, arrays.labels = arrays.images[:samples], arrays.labels[:samples]
    return data


def on_device(data: Data, device: torch.device) -> Data:
    train, test = OnDevice(data.train, device), OnDevice(data.test, device)
    return Data(data.name, train=train, test=test, shape=data.shape, classes=data.classes)


# --- results ----------------------------------------------------------------------------------------------------------
def gather(options: argparse.Namespace, data: Data, grid: list[tuple[int, str, str]]) -> int:
    """Write what all runs have found so far, unfinished ones too; returns how many are done."""
    runs = []
    for seed, scope, method in grid:
        folder = options.out / name_of(options, seed, scope, method)
        if (folder / "config.json").exists():
            history = read_history(folder)
            cycles = [{k: line[k] for k in KEPT if k in line} for line in history if line["kind"] == "cycle"]
            for cycle in cycles:
                cycle["layers"] = {layer["name"]: layer["sparsity"] for layer in cycle["layers"]}
            config, finished = read_json(folder / "config.json"), (folder / "result.json").exists()
            found = {"method": method, "scope": scope, "seed": seed, "finished": finished, "cycles": cycles}
            runs.append({**found, **config})
    # results may be published, folder names should not
    hidden = {str(options.data): "DATA", str(options.out): "OUT"}
    about = {
        "command": " ".join(["python benchmarks/gpu/sap_cifar10.py", *(hidden.get(a, a) for a in sys.argv[1:])]),
        "settings": {k: v for k, v in vars(options).items() if not isinstance(v, Path)}
        | {"device": str(options.device)},
        "environment": environment(),
        "data": data.name,
    }
    write_json(options.out / "results.json", {**about, "runs": runs})
    return sum(run["finished"] for run in runs)


if __name__ == "__main__":
    main()
