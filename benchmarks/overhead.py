"""What methods that work during training add to it: a hundred training steps, one mask update among them.

    python benchmarks/overhead.py [--threads N]

Every variant trains 100 steps at the default update interval of a run of 10,000 steps, which is 100 steps, so that a
block holds exactly one update. Writes benchmarks/results/overhead.json and the table in benchmarks/README.md.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from pages import put
from rounds import Case, measure
from table import cpu, markdown

from howsparse import methods as m
from howsparse.training.run import environment
from howsparse.zoo import build_model

RESULTS = Path(__file__).parent / "results" / "overhead.json"
STEPS, BLOCK = 10_000, 100
METHODS = [m.Static(), m.GMP(), m.SET(), m.RigL(), m.GraNet(), m.GraNetST(), m.ACDC(), m.STE(), m.GReg1(), m.GReg2()]
BATCHES = {"fc5": 128, "resnet20": 8}  # a small batch makes overhead look larger than in use


def cases() -> Iterator[Case]:
    for network, batch in BATCHES.items():
        variants = {"dense": block(network, batch, None), "dense again": block(network, batch, None)}
        variants |= {method.name: block(network, batch, method) for method in METHODS}
        goals = dict.fromkeys((method.name for method in METHODS), 1.1)
        yield Case(f"{BLOCK} training steps, {network}, batch {batch}", variants, goals)


def block(network: str, batch: int, method: m.CyclicMethod | None) -> Callable[[], None]:
    """A hundred steps of a fresh network, going on from block to block."""
    torch.manual_seed(0)
    model = build_model(network, (3, 32, 32), 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    x, y = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    pruner = None if method is None else method.attach(model, optimizer, total_steps=STEPS)

    def run() -> None:
        for _ in range(BLOCK):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            if pruner is not None:
                pruner.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    rows = [row for case in cases() for row in measure(case, 0.0, at_least=3)]
    about = {**environment(), "cpu": cpu(), "load": round(os.getloadavg()[0], 1)}
    found = {"environment": about, "rows": rows, "remarks": []}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    put(Path(__file__).with_name("README.md"), "overhead", markdown(found))


if __name__ == "__main__":
    main()
