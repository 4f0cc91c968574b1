"""One command, one table: what howsparse costs beside doing without it.

    python benchmarks/table.py [--threads N]

Prints the table and writes it, with the environment, to ``benchmarks/results/table.json``. Takes under five minutes.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pqi
import threshold
import torch
import upkeep
from rounds import Case, measure

from howsparse.training.run import environment

RESULTS = Path(__file__).parent / "results" / "table.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    parser.add_argument("--seconds", type=float, default=22, help="time for the rounds of each of the nine cases")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    about = {**environment(), "numpy": np.__version__, "cpu": cpu(), "load": round(os.getloadavg()[0], 1)}
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    rows = []
    for case in cases():
        print(f"\n{case.what}")
        for row in measure(case, options.seconds):
            rows.append(row)
            print(line(row), flush=True)
    remark = threshold.quantile_refuses()
    print(f"\n{remark}")
    missed = [row for row in rows if row["met"] is False]
    print(f"goals missed: {len(missed)} of {sum(row['goal'] is not None for row in rows)}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found = {"environment": about, "seconds_per_case": options.seconds, "rows": rows, "remarks": [remark]}
    options.out.write_text(json.dumps(found, indent=1) + "\n")


def cases() -> Iterator[Case]:
    yield from upkeep.cases()
    yield from threshold.cases()
    yield from pqi.cases()


def line(row: dict[str, Any]) -> str:
    spread = f"{row['ratio']:7.3f} [{row['ratio_10']:.3f}, {row['ratio_90']:.3f}]"
    goal = "" if row["goal"] is None else f"goal <= {row['goal']:g}: {'met' if row['met'] else 'MISSED'}"
    return f"  {row['variant']:28}{row['milliseconds']:9.1f} ms {spread:25} {row['rounds']:4} rounds  {goal}"


def cpu() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((text.partition(":")[2].strip() for text in lines if text.startswith("model name")), "unknown")


if __name__ == "__main__":
    sys.exit(main())
