"""The SAP paper's main figure in miniature: SAP, lottery tickets and one-shot on Fashion-MNIST with an MLP.

Every run is an ordinary run directory, so this script can be stopped and started at will; it works until ``--minutes``
are over and then writes what it has to ``benchmarks/results/NAME.json``.

    python benchmarks/sap_figure.py --minutes 60
    python benchmarks/sap_figure.py --minutes 60 --name sap_fashion_mnist_long --epochs 30 --seeds 2 --scopes global
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

import howsparse as hs
from howsparse.training.run import environment
from howsparse.zoo import build_model

sys.path.insert(0, str(Path(__file__).parent))
from shared_data import fashion_mnist

METHODS = {
    "SAP (0.5, 1)": lambda scope, cycles: hs.SAP(scope=scope, cycles=cycles),
    "SAP (1, 2)": lambda scope, cycles: hs.SAP(scope=scope, cycles=cycles, p=1.0, q=2.0),
    "lottery ticket 0.2": lambda scope, cycles: hs.LotteryTicket(scope=scope, cycles=cycles, count="quantile"),
    "one-shot ladder 0.2": lambda scope, cycles: hs.OneShotLadder(scope=scope, cycles=cycles),
}
RESULTS = Path(__file__).parent / "results"
KEPT = ("cycle", "sparsity", "active", "total", "pqi", "gini", "val", "test", "layers", "pruned")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="sap_fashion_mnist")
    parser.add_argument("--scopes", nargs="+", default=["global", "layer", "neuron"])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--part", default="0/1", help="k/n: this process does every n-th run, starting with the k-th")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = hs.Recipe(epochs=options.epochs, lr=0.1)  # else the paper's: SGD, Nesterov, cosine, 5e-4, clip 1
    grid = [(seed, scope, name) for seed in range(options.seeds) for scope in options.scopes for name in METHODS]
    part, parts = map(int, options.part.split("/"))
    end = time.monotonic() + 60 * options.minutes
    data = fashion_mnist()
    for seed, scope, name in grid[part::parts]:
        if time.monotonic() > end:
            break
        started = time.monotonic()
        one(
            data,
            METHODS[name](scope, options.cycles),
            recipe,
            Path("runs") / options.name / folder(name, scope, seed),
            seed,
        )
        print(f"{name:22} {scope:7} seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
    write(grid, options)


def one(data, method, recipe, out: Path, seed: int) -> None:
    if (out / "result.json").exists():
        return
    torch.manual_seed(seed)
    model = build_model("mlp", data.shape, data.classes)
    task = hs.Task(model, data.train, test=data.test, batch_size=250, seed=seed, name="mlp")
    hs.prune(task, method, recipe, out, seed=seed)


def folder(name: str, scope: str, seed: int) -> str:
    plain = "".join(c if c.isalnum() else "_" for c in name)
    return f"{plain}-{scope}-{seed}"


def write(grid, options) -> None:
    rows = []
    for seed, scope, name in grid:
        run = Path("runs") / options.name / folder(name, scope, seed)
        if (run / "result.json").exists():
            lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
            cycles = [{k: line[k] for k in KEPT if k in line} for line in lines if line["kind"] == "cycle"]
            for cycle in cycles:
                cycle["layers"] = {layer["name"]: layer["sparsity"] for layer in cycle["layers"]}
            rows.append({"method": name, "scope": scope, "seed": seed, "cycles": cycles})
    settings = {"epochs": options.epochs, "cycles": options.cycles, "batch": 250, "lr": 0.1, "model": "mlp 128-256"}
    place = RESULTS / f"{options.name}.json"
    place.write_text(
        json.dumps({"settings": settings, "environment": environment(), "runs": rows}, separators=(",", ":")) + "\n"
    )
    print(f"{len(rows)} of {len(grid)} runs in {place}")


if __name__ == "__main__":
    main()
