"""Every method under one budget: the grids behind docs/results/comparison.md.

    python benchmarks/comparison.py run mlp [--jobs 2]      # hours each; stop and start as you like
    python benchmarks/comparison.py run lenet5
    python benchmarks/comparison.py run resnet20
    python benchmarks/comparison.py page                    # results/comparison.json, docs/results/comparison.md

Cells are run directories under runs/comparison/GRID. Training sets are cut to their first 10,000 images.
"""

import argparse
import json
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import shared_data
import torch
from pages import put

import howsparse as hs
from howsparse import methods as m
from howsparse.comparison import Watch, compare, read_comparison
from howsparse.comparison.tables import as_markdown
from howsparse.training.run import environment
from howsparse.weights import load_weights
from howsparse.zoo import Arrays, build_model

HERE = Path(__file__).parent
FOLDER = Path("runs/comparison")
RESULTS = HERE / "results" / "comparison.json"
PAGE = HERE.parent / "docs" / "results" / "comparison.md"
SAMPLES = 10_000
ISSUED = {
    "one-shot": m.OneShot(),
    "imp": m.LotteryTicket(),
    "sap": m.SAP(),
    "lomp": m.LOMP(),
    "gmp": m.GMP(),
    "granet": m.GraNet(),
    "rigl": m.RigL(),
    "rare-gems": m.RareGems(penalty="l2", search_lr=0.5),
    "rare-gems-no-penalty": m.RareGems(penalty="none", search_lr=0.5),
    "espn": m.ESPN(),
    "greg1": m.GReg1(),
    "greg2": m.GReg2(),
    "snip": m.SNIP(),
    "synflow": m.SynFlow(),
    "random": m.Static(),
}


@dataclass(frozen=True)
class Grid:
    """What is compared with what."""

    tasks: dict[str, partial]
    methods: dict[str, m.Method]
    sparsities: tuple[float, ...]
    seeds: int
    epochs: int
    recipe: hs.Recipe
    trained: bool = False


def build(network: str, source: str, seed: int, weights: str | None = None) -> hs.Task:
    """A task with its training set cut short, the same for all methods."""
    data = getattr(shared_data, source)()
    train = data.train
    assert isinstance(train, Arrays)
    train.images, train.labels = train.images[:SAMPLES], train.labels[:SAMPLES]
    torch.manual_seed(seed)
    model = build_model(network, data.shape, data.classes)
    if weights:
        load_weights(model, shared_data.ROOT / weights)
    return hs.Task(model, train, test=data.test, batch_size=64 if weights is None else 128, seed=seed, name=network)


def on(network: str, source: str, weights: str | None = None) -> partial:
    return partial(_built, network, source, weights)


def _built(network: str, source: str, weights: str | None, seed: int) -> hs.Task:
    return build(network, source, seed, weights)


SCRATCH = hs.Recipe(lr=0.05, weight_decay=5e-4, keep="last")
TICKET = {"smart-ratio": m.SmartRatio(family="plain", linear_density=0.01)}  # 0.3 leaves LeNet-5 no room above 70 %
GRIDS = {
    "mlp": Grid(
        {"mnist": on("lenet-300-100", "mnist"), "fashion-mnist": on("lenet-300-100", "fashion_mnist")},
        ISSUED,
        (0.8, 0.9, 0.95, 0.98, 0.99),
        seeds=3,
        epochs=12,
        recipe=SCRATCH,
    ),
    "lenet5": Grid(
        {"mnist": on("lenet5", "mnist"), "fashion-mnist": on("lenet5", "fashion_mnist")},
        ISSUED | TICKET,
        (0.8, 0.9, 0.95, 0.98, 0.99),
        seeds=3,
        epochs=12,
        recipe=SCRATCH,
    ),
    "resnet20": Grid(
        {"cifar-10": on("resnet20", "cifar10_10k", "resnet20_cifar10.safetensors")},
        ISSUED | {"smart-ratio": m.SmartRatio()},
        (0.9, 0.95, 0.98),
        seeds=3,
        epochs=5,
        recipe=replace(SCRATCH, lr=0.02),
        trained=True,
    ),
}


class Progress(Watch):
    """A line for every cell that ends."""

    def on_cell(self, row, done, total, seconds_left) -> None:
        left = "" if seconds_left is None else f", {seconds_left / 60:.0f} minutes left"
        print(
            f"{done} of {total}: {row.task} {row.method} {row.sparsity} seed {row.seed}: {row.state}{left}", flush=True
        )


def run(name: str, jobs: int, methods: list[str], seeds: int | None, sparsities: list[float]) -> None:
    grid = GRIDS[name]
    chosen = {label: grid.methods[label] for label in methods or grid.methods}
    torch.set_num_threads(1)
    compare(
        grid.tasks,
        chosen,
        sparsities or list(grid.sparsities),
        grid.seeds if seeds is None else seeds,
        epochs=grid.epochs,
        out=FOLDER / name,
        recipe=grid.recipe,
        engine="joblib" if jobs > 1 else "serial",
        jobs=jobs,
        threads=1,
        trained=grid.trained,
        watch=Progress(),
    )


def page() -> None:
    """Write what is there so far."""
    found = {name: read_comparison(FOLDER / name) for name in GRIDS if (FOLDER / name / "comparison.json").exists()}
    content = {"environment": environment(), **{name: comparison.to_plain() for name, comparison in found.items()}}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    for name, comparison in found.items():
        # below the page's own headings; its title is there already
        text = as_markdown(comparison).partition("\n\n")[2]
        put(PAGE, name, re.sub(r"^#", "##", text, flags=re.MULTILINE).strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("grid", nargs="?", choices=tuple(GRIDS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--sparsities", nargs="*", type=float, default=[])
    parser.add_argument("--seeds", type=int)
    options = parser.parse_args()
    if options.what == "page":
        page()
    else:
        run(options.grid, options.jobs, options.methods, options.seeds, options.sparsities)


if __name__ == "__main__":
    main()
