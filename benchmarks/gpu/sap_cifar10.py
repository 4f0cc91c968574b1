"""The SAP paper's figure on CIFAR-10 with the paper's CNN or ResNet-18, on a GPU.

Every run is an ordinary run directory. The script works for ``--minutes``, stops after a checkpoint, and goes on where
it stopped when called again with the same arguments; what is done so far stands in ``OUT/results.json``.

    python benchmarks/gpu/sap_cifar10.py --model preact-resnet18 --data FOLDER --out runs/sap_cifar10
"""

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timed_runs import DONE, Clock, TimeIsUpError, about, parser, read, recorded

import howsparse as hs
from howsparse.files import write_json
from howsparse.zoo import Data, build_model

METHODS: dict[str, Callable[..., Any]] = {
    "sap": hs.SAP,
    "sap-1-2": lambda **settings: hs.SAP(p=1.0, q=2.0, **settings),
    "lottery-ticket": lambda **settings: hs.LotteryTicket(count="quantile", **settings),
    "one-shot": hs.OneShotLadder,
}
BATCH = 250


def main() -> None:
    options = arguments()
    clock = Clock(options.minutes)
    data = read(options)
    grid = [*itertools.product(range(options.seeds), options.scopes, options.methods)]
    try:
        for seed, scope, method in grid:
            folder = options.out / name_of(options, seed, scope, method)
            if not (folder / DONE).exists():
                one(options, data, clock.watch(folder), seed=seed, scope=scope, method=method, clock=clock)
    except TimeIsUpError:
        print("the time is up; the same command goes on from here")
    finally:
        done = gather(options, data, grid)
        print(f"{done} of {len(grid)} runs are done; see {options.out / 'results.json'}")


def arguments() -> argparse.Namespace:
    found = parser(__doc__)
    add = found.add_argument
    add("--model", choices=("cnn", "preact-resnet18"), default="cnn")
    add("--epochs", type=int, default=15, help="epochs per cycle; 200 in the paper")
    add("--cycles", type=int, default=15, help="prunings; 30 in the paper")
    add("--seeds", type=int, default=1, help="runs of each kind")
    add("--scopes", nargs="+", choices=("neuron", "layer", "global"), default=["global"])
    add("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    return found.parse_args()


def name_of(options: argparse.Namespace, seed: int, scope: str, method: str) -> str:
    return f"{options.model}-{method}-{scope}-{seed}"


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


def gather(options: argparse.Namespace, data: Data, grid: list[tuple[int, str, str]]) -> int:
    """Write what all runs have found so far, unfinished ones too; returns how many are done."""
    runs = []
    for seed, scope, method in grid:
        folder = options.out / name_of(options, seed, scope, method)
        if (folder / "config.json").exists():
            runs.append({"method": method, "scope": scope, "seed": seed, **recorded(folder)})
    write_json(options.out / "results.json", {**about(options), "data": data.name, "runs": runs})
    return sum(run["finished"] for run in runs)


if __name__ == "__main__":
    main()
