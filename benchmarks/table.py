"""One command, one table: what howsparse costs beside doing without it.

    python benchmarks/table.py [--threads N]

On a machine that others use too, take ``--threads 1``: threads that wait for one another measure the others' work.
Prints the table and writes it, with the environment, to ``benchmarks/results/table.json``. Takes under five minutes.
A row: median milliseconds, ratio to the case's first row with half its 95 % interval, 10th and 90th percentile of the
ratio, ratio of processor times, number of rounds; `rounds.py` says how they come about.
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
from pages import put
from rounds import Case, measure

from howsparse.training.run import environment

RESULTS = Path(__file__).parent / "results" / "table.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    parser.add_argument("--seconds", type=float, default=15, help="time for the rounds of a case")
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
    remarks = [threshold.quantile_refuses(), pqi.error_of_float32()]
    print("", *remarks, sep="\n")
    verdicts = [row["verdict"] for row in rows if row["verdict"] is not None]
    print(f"goals met: {verdicts.count('met')} of {len(verdicts)}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found = {"environment": about, "seconds_per_case": options.seconds, "rows": rows, "remarks": remarks}
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    if options.out == RESULTS:
        put(Path(__file__).with_name("README.md"), "table", markdown(found))


def cases() -> Iterator[Case]:
    yield from upkeep.cases()
    yield from threshold.cases()
    yield from pqi.cases()


def line(row: dict[str, Any]) -> str:
    ratio, rounds = f"{row['ratio']:8.3f} +- {np.diff(row['ratio_95'])[0] / 2:.3f}", f"{row['rounds']} rounds"
    spread, processor = "[{:.3f}, {:.3f}]".format(*row["ratio_10_90"]), f"processor {row['processor_ratio']:.3f}"
    goal = "" if row["goal"] is None else f"goal <= {row['goal']:g}: {row['verdict']}"
    start = f"  {row['variant']:27}{row['milliseconds']:7.1f} ms"
    return f"{start} {ratio:18}{spread:18}{processor:18}{rounds:11} {goal}".rstrip()


def markdown(found: dict[str, Any]) -> str:
    """The table for README.md."""
    about = found["environment"]
    lines = [
        f"{about['cpu']}, {about['threads']} thread(s), load {about['load']}, torch {about['torch']}.",
        "",
        "| case | variant | ms | ratio to the first | goal |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        half = np.diff(row["ratio_95"])[0] / 2
        goal = "" if row["goal"] is None else f"<= {row['goal']:g}: {row['verdict']}"
        numbers = f"{row['milliseconds']:.1f} | {row['ratio']:.3f} ± {half:.3f}"
        lines.append(f"| {row['case']} | {row['variant']} | {numbers} | {goal} |")
    return "\n".join([*lines, "", *found["remarks"]])


def cpu() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((text.partition(":")[2].strip() for text in lines if text.startswith("model name")), "unknown")


if __name__ == "__main__":
    sys.exit(main())
