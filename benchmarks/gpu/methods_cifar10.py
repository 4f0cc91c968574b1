"""Published methods on CIFAR-10 in their authors' settings, beside what is published, on a GPU.

Every run is an ordinary run directory. The script works for ``--minutes``, stops after a checkpoint, and goes on where
it stopped when called again with the same arguments; what is done so far stands in ``OUT/results.json``.

    python benchmarks/gpu/methods_cifar10.py --data FOLDER --out runs/methods_cifar10
"""

import argparse
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from published import GEM, SETTINGS, Setting, figure, setting
from timed_runs import DONE, Clock, TimeIsUpError, about, parser, read, recorded, train_dense

import howsparse as hs
from howsparse.files import write_json
from howsparse.training.run import read_json
from howsparse.zoo import Data, build_model

NETWORKS = ("vgg19", "resnet32x2", "resnet32", "resnet20")


class Cell(NamedTuple):
    """One run."""

    method: str
    network: str
    sparsity: float
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.network}-{self.method}-{self.sparsity:g}-{self.seed}"


def main() -> None:
    options = arguments()
    clock = Clock(options.minutes)
    data = read(options)
    cells = grid(options)
    try:
        for cell in cells:
            if not (options.out / cell.folder / DONE).exists():
                one(options, data, cell, clock)
    except TimeIsUpError:
        print("the time is up; the same command goes on from here")
    finally:
        runs = gather(options, data, cells)
        print(table(runs))
        done = sum(run["finished"] for run in runs)
        print(f"{done} of {len(cells)} runs are done; see {options.out / 'results.json'}")


def arguments() -> argparse.Namespace:
    found = parser(__doc__)
    add = found.add_argument
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    add("--methods", nargs="+", choices=tuple(SETTINGS), default=list(SETTINGS))
    add("--sparsities", nargs="+", type=float, default=[0.9, 0.95, 0.98, GEM])
    add("--seeds", type=int, default=1, help="runs of each kind")
    add("--unpublished", action="store_true", help="also runs of which no published figure is known here")
    add("--epochs", type=int, default=1000, help="no training is longer than this; the authors' take up to 300")
    return found.parse_args()


def grid(options: argparse.Namespace) -> list[Cell]:
    """Runs in an order in which whole rows of the table come early."""
    cells = [
        Cell(method, network, sparsity, seed)
        for seed in range(options.seeds)
        for network in options.networks
        for method in options.methods
        for sparsity in options.sparsities
    ]
    wanted = [cell for cell in cells if options.unpublished and cell.sparsity != GEM]
    return [cell for cell in cells if cell in wanted or figure(*cell[:3]) is not None]


def one(options: argparse.Namespace, data: Data, cell: Cell, clock: Clock) -> None:
    """Carry one run out, after the training of the dense network that it starts from."""
    found = setting(*cell[:3], samples=len(data.train), most_epochs=options.epochs)
    torch.manual_seed(cell.seed)
    model = build_model(cell.network, data.shape, data.classes).to(options.device)
    # as the authors do: all images are for training, and the last epoch counts
    task = hs.Task(
        model, data.train, test=data.test, batch_size=found.batch, val_share=0, seed=cell.seed, name=cell.network
    )
    recipe = replace(found.recipe, precision=options.precision)
    folder = options.out / cell.folder
    try:
        if found.dense is not None:
            dense = replace(found.dense, precision=options.precision)
            train_dense(task, dense, options.out / dense_name(cell, found), seed=cell.seed, clock=clock)
        hs.prune(
            task,
            found.method,
            recipe,
            clock.watch(folder),
            seed=cell.seed,
            callbacks=[clock],
            origin={"data": data.name},
        )
    except hs.DivergedError as error:  # the other runs are still worth their time
        print(f"{clock.folder.name}: {error}", flush=True)


def dense_name(cell: Cell, found: Setting) -> str:
    """Folder of the dense network that several runs start from."""
    return f"{cell.network}-dense-{found.batch}-{cell.seed}"


def gather(options: argparse.Namespace, data: Data, cells: list[Cell]) -> list[dict[str, Any]]:
    """Write what all runs have found so far, unfinished ones too."""
    runs = []
    for cell in cells:
        folder = options.out / cell.folder
        if not (folder / "config.json").exists():
            continue
        found = setting(*cell[:3], samples=len(data.train), most_epochs=options.epochs)
        run = {**cell._asdict(), **recorded(folder), "published": figure(*cell[:3]), "remark": found.remark}
        if run["finished"]:
            result = read_json(folder / DONE)
            run |= {"achieved": result["achieved"], "accuracy": 100 * result["metric"]["pruned"]}
        dense = options.out / dense_name(cell, found)
        if found.dense is not None and (dense / "config.json").exists():
            run["dense"] = recorded(dense)
        runs.append(run)
    write_json(options.out / "results.json", {**about(options), "data": data.name, "runs": runs})
    return runs


def table(runs: list[dict[str, Any]]) -> str:
    """A line a run: accuracy in per cent beside the published one."""
    lines = [f"{'network':11} {'method':12} {'asked':>7} {'achieved':>9} {'here':>6} {'published':>9}"]
    for run in runs:
        reported = (run["published"] or {}).get("accuracy")
        achieved, here = (f"{run['achieved']:.6f}", f"{run['accuracy']:.2f}") if run["finished"] else ("-", "-")
        beside = "-" if reported is None else f"{reported:.1f}"
        start = f"{run['network']:11} {run['method']:12} {run['sparsity']:7g}"
        lines.append(f"{start} {achieved:>9} {here:>6} {beside:>9}")
    return "\n".join([*lines, "published figures are unverified; each run's source stands in results.json"])


if __name__ == "__main__":
    main()
