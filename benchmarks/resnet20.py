"""The pretrained CIFAR-10 ResNet-20: measured, pruned in one shot, pruned by SAP without rewinding.

Everything goes through the command line, with the adapter in shared_data.py; key figures are gathered in
benchmarks/results/resnet20.json. Resumable: run it again after a stop.

    python benchmarks/resnet20.py
"""

import json
import subprocess
import sys
from pathlib import Path

from pages import put
from shared_data import ROOT

HERE = Path(__file__).parent
WEIGHTS = ROOT / "resnet20_cifar10.safetensors"
START = ["--model", "resnet20", "--data", f"{HERE}/shared_data.py:cifar10_10k", "--weights", WEIGHTS]
TUNE = ["--batch-size", 128, "--lr", 0.02, "--threads", 1]
RUNS = {
    "one-shot 0.50": ["--method", "one-shot", "--sparsity", 0.5, "--epochs", 3],
    "one-shot 0.70": ["--method", "one-shot", "--sparsity", 0.7, "--epochs", 3],
    "one-shot 0.90": ["--method", "one-shot", "--sparsity", 0.9, "--epochs", 3],
    "SAP (0.5, 1), no rewinding": ["--method", "sap", "--rewind", "none", "--cycles", 9, "--epochs", 2],
}


def howsparse(*arguments: object) -> str:
    command = [sys.executable, "-m", "howsparse", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    found = {"card": json.loads(howsparse("measure", WEIGHTS, "--model", "resnet20", *START[2:4], "--json"))}
    print(howsparse("measure", WEIGHTS, "--model", "resnet20", *START[2:4]))
    for name, flags in RUNS.items():
        out = Path("runs/resnet20") / "".join(c if c.isalnum() else "_" for c in name)
        print(name, howsparse("prune", *START, *TUNE, *flags, "--out", out), flush=True)
        lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
        kept = ("cycle", "sparsity", "active", "total", "pqi", "gini", "val", "test", "pruned", "layers")
        found[name] = {
            "settings": json.loads((out / "config.json").read_text()),
            "result": json.loads((out / "result.json").read_text()),
            "cycles": [{k: line[k] for k in kept if k in line} for line in lines if line["kind"] == "cycle"],
        }
    (HERE / "results" / "resnet20.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
    put(HERE.parent / "docs" / "results" / "resnet20.md", "runs", table(found))


def table(found) -> str:
    """The rows of docs/results/resnet20.md: sparsity and test accuracy, retrained and right after pruning."""
    lines = ["| run | epochs | sparsity | retrained | merely pruned | PQ Index |", "|---|---|---|---|---|---|"]
    for name, run in found.items():
        if name == "card":
            continue
        per_cycle, bare = run["settings"]["settings"]["recipe"]["epochs"], None
        for cycle in run["cycles"]:
            shown = (f"{100 * cycle['sparsity']:.1f} %", f"{100 * cycle['test']['metric']:.2f}", bare or "-")
            if cycle["cycle"] > 0:
                lines.append(f"| {name} | {per_cycle * cycle['cycle']} | {' | '.join(shown)} | {cycle['pqi']:.3f} |")
            bare = f"{100 * cycle['pruned']['test']['metric']:.2f}" if "pruned" in cycle else None
    return "\n".join(lines)


if __name__ == "__main__":
    main()
