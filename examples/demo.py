"""The main path on real data in about a minute: train, measure, prune with SAP, write a report.

Run as ``make demo``; it needs no network and no GPU.
"""

import sys
from pathlib import Path

import howsparse as hs
from howsparse.cli.progress import observer
from howsparse.zoo import build_model, load_data


def main(out: Path) -> None:
    """Prune a small network on the digits that come with scikit-learn."""
    import torch

    data = load_data("digits")
    torch.manual_seed(0)
    task = hs.Task(build_model("mlp", data.shape, data.classes), data.train, test=data.test, batch_size=64, name="mlp")

    progress = observer()
    result = hs.prune(task, hs.SAP(cycles=10), hs.Recipe(epochs=10, lr=0.1), out, callbacks=[progress])
    progress.stop()

    print(hs.measure(result.model, result.masks))
    print(result)
    print(f"open {out / 'report.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
