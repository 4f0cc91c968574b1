"""The main path on real data in well under a minute: train, prune with SAP, measure, write a report.

Run as ``make demo``; it needs no network and no GPU.
"""

import sys
from pathlib import Path

import torch

import howsparse as hs
from howsparse.cli.progress import watching
from howsparse.zoo import build_model, load_data


def main(out: Path) -> None:
    """Prune a small network on the digits that come with scikit-learn."""
    torch.set_num_threads(1)  # a network this small gains nothing from more
    data = load_data("digits")
    torch.manual_seed(0)
    model = build_model("mlp", data.shape, data.classes)
    task = hs.Task(model, data.train, test=data.test, batch_size=64, name="mlp on digits")
    recipe = hs.Recipe(epochs=10, lr=0.1, l1=5e-4, keep="last")

    with watching() as callbacks:
        result = hs.prune(task, hs.SAP(cycles=10), recipe, out, callbacks=callbacks)

    print(hs.measure(result.model, result.masks))
    print(result)
    print(f"open {out / 'report.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
