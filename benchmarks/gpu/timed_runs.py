"""What the scripts of this folder share: data that live on the device, a time limit for a call, what is recorded."""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import howsparse as hs
from howsparse.training.run import CHECKPOINT, environment, read_history, read_json
from howsparse.zoo import Arrays, Data, load_data

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import shared_data

KEPT = ("cycle", "sparsity", "active", "total", "pqi", "gini", "val", "test", "layers", "pruned", "reached")
DONE = "result.json"


def parser(about: str | None, *, precision: str = "float32") -> argparse.ArgumentParser:
    """A parser with the options that all scripts have."""
    found = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = found.add_argument
    add("--data", type=Path, required=True, help="CIFAR in its original files; CIFAR-10 also as image strips (.npz)")
    add("--out", type=Path, required=True, help="folder for the run directories and results.json")
    add("--minutes", type=float, default=9.0, help="stop after so many minutes, at a checkpoint")
    add("--precision", choices=("float32", "bfloat16"), default=precision)
    add("--device", type=torch.device, default=torch.device("cuda"))
    add("--samples", type=int, help="only the first so many training and test images, for a quick look")
    return found


# --- time -------------------------------------------------------------------------------------------------------------
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


def train_dense(task: hs.Task, recipe: hs.Recipe, folder: Path, *, seed: int, clock: Clock) -> None:
    """Train the task's network; a run of its own, which returns at once with the trained weights when it is done."""
    hs.prune(
        task,
        hs.OneShot(sparsity=0.0, rewind="none"),
        replace(recipe, dense_epochs=recipe.epochs, epochs=0),
        clock.watch(folder),
        seed=seed,
        callbacks=[clock],
    )


# --- data -------------------------------------------------------------------------------------------------------------
class OnDevice(Arrays):
    """The same images with everything on one device: batches are gathered, normalised and augmented there."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        self.__dict__.update({k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in vars(arrays).items()})

    def _batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super()._batch(chosen.to(self.images.device))


def read(options: argparse.Namespace, name: str = "cifar10") -> Data:
    """The first images of a data set, on the device."""
    folder, samples = options.data, options.samples
    if name == "cifar10" and (folder / "cifar10_train_0.npz").exists():
        shared_data.ROOT = folder
        data = shared_data.cifar10() if samples is None or samples > 10_000 else shared_data.cifar10_10k()
    else:
        data = load_data(f"{name}:{folder}")
    for arrays in (data.train, data.test):
        arrays.images, arrays.labels = arrays.images[:samples], arrays.labels[:samples]
    train, test = OnDevice(data.train, options.device), OnDevice(data.test, options.device)
    return replace(data, train=train, test=test)


# --- results ----------------------------------------------------------------------------------------------------------
def about(options: argparse.Namespace) -> dict[str, Any]:
    """Command, settings and versions; results may be published, folder names should not."""
    hidden = {options.data: "DATA", options.out: "OUT"}
    words = ["=".join(hidden.get(Path(part), part) for part in word.split("=")) for word in sys.argv[1:]]
    settings = {key: value for key, value in vars(options).items() if not isinstance(value, Path)}
    return {
        "command": " ".join(["python", f"benchmarks/gpu/{Path(sys.argv[0]).name}", *words]),
        "settings": settings | {"device": str(options.device)},
        "environment": environment(),
    }


def recorded(folder: Path) -> dict[str, Any]:
    """What a run has found so far: its settings, whether it is finished, and every cycle."""
    cycles = [{k: line[k] for k in KEPT if k in line} for line in read_history(folder) if line["kind"] == "cycle"]
    for cycle in cycles:
        cycle["layers"] = {layer["name"]: layer["sparsity"] for layer in cycle["layers"]}
    return {"finished": (folder / DONE).exists(), "cycles": cycles, **read_json(folder / "config.json")}
