"""Plots and tables of docs/results/sap.md, from benchmarks/results/sap_fashion_mnist*.json.

python benchmarks/sap_plots.py
"""

import itertools
import json
from collections import defaultdict
from math import log
from pathlib import Path
from statistics import mean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pages import put

import howsparse as hs

HERE = Path(__file__).parent
OUT = HERE.parent / "docs" / "results"
COLOURS = {
    "SAP (0.5, 1)": "#0b6e84",
    "SAP (1, 2)": "#7fb4c2",
    "lottery ticket 0.2": "#c4622d",
    "one-shot ladder 0.2": "#8a8a8a",
}
SCOPES = ("global", "layer", "neuron")


def main() -> None:
    page = OUT / "sap.md"
    short, long = read("sap_fashion_mnist"), read("sap_fashion_mnist_long")
    cycles_figure(short, "sap_cycles.png")
    cycles_figure(long, "sap_cycles_long.png")
    scopes_figure(short)
    put(page, "turning", turning_points(short))
    put(page, "turning-long", turning_points(long))
    put(page, "accuracy", accuracies(short))
    put(page, "accuracy-long", accuracies(long))


def read(name: str):
    """Histories by scope and method, one per seed."""
    runs = defaultdict(list)
    for run in json.loads((HERE / "results" / f"{name}.json").read_text())["runs"]:
        runs[run["scope"], run["method"]].append(run["cycles"])
    return runs


def cycles_figure(runs, name: str) -> None:
    """Global scope against the cycle: accuracy retrained and merely pruned, weights left, PQI, Gini."""
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    axes = figure.subplots(2, 3).reshape(-1)
    panels = (
        ("test accuracy, retrained", lambda c: c["test"]["metric"], 0),
        ("test accuracy, merely pruned", lambda c: c["pruned"]["test"]["metric"] if "pruned" in c else None, 1),
        ("weights left, %", lambda c: 100 * (1 - c["sparsity"]), 0),
        ("PQ Index of the retrained network", lambda c: c["pqi"], 0),
        ("Gini index of the retrained network", lambda c: c["gini"], 0),
        ("PQ Index right after pruning", lambda c: c["pruned"]["pqi"] if "pruned" in c else None, 1),
    )
    for axis, (title, value, shift) in zip(axes, panels, strict=True):
        for method, colour in COLOURS.items():
            band(axis, runs["global", method], value, colour, method, shift)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("cycle", fontsize=9)
        tidy(axis)
    axes[2].set_yscale("log")
    axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(OUT / name, dpi=110)


def scopes_figure(runs) -> None:
    """Test accuracy against the weights left, all scopes, retrained (solid) and merely pruned (dotted)."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axis, scope in zip(figure.subplots(1, 3, sharey=True), SCOPES, strict=True):
        for method, colour in COLOURS.items():
            seeds = runs[scope, method]
            if not seeds:
                continue
            cycles = range(len(seeds[0]))
            left = [100 * mean(1 - s[t]["sparsity"] for s in seeds) for t in cycles]
            axis.plot(left, [mean(s[t]["test"]["metric"] for s in seeds) for t in cycles], color=colour, label=method)
            bare = [mean(s[t]["pruned"]["test"]["metric"] for s in seeds) for t in list(cycles)[:-1]]
            axis.plot(left[1:], bare, color=colour, linestyle=":", linewidth=1)
        axis.set_xscale("log")
        axis.invert_xaxis()
        axis.set_title(f"scope {scope}", fontsize=10, loc="left")
        axis.set_xlabel("weights left, %", fontsize=9)
        tidy(axis)
        if scope == "global":
            axis.set_ylabel("test accuracy", fontsize=9)
            axis.legend(fontsize=8, frameon=False)
    figure.savefig(OUT / "sap_scopes.png", dpi=110)


def band(axis: Axes, seeds, value, colour: str, label: str, shift: int) -> None:
    """Mean over seeds with one standard deviation; ``shift`` moves what belongs to the next cycle's sparsity."""
    points = [(t + shift, [value(s[t]) for s in seeds]) for t in range(len(seeds[0]))] if seeds else []
    points = [(t, [v for v in vs if v is not None]) for t, vs in points]
    points = [(t, vs) for t, vs in points if vs]
    if not points:
        return
    x, middle = [t for t, _ in points], [mean(vs) for _, vs in points]
    spread = [stdev(vs) if len(vs) > 1 else 0.0 for _, vs in points]
    axis.plot(x, middle, color=colour, label=label, linewidth=1.5)
    low, high = (
        [m - s for m, s in zip(middle, spread, strict=True)],
        [m + s for m, s in zip(middle, spread, strict=True)],
    )
    axis.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.15)
    axis.tick_params(labelsize=8)


def turning_points(runs) -> str:
    """Per scope and method, averaged over seeds: where the PQ Index turns, and the accuracy there."""
    lines = [
        "| scope | method | seeds | PQI dense | turns at | Gini at | PQI there | left | accuracy there | peak after |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (scope, method), seeds in ordered(runs):
        cycles = range(len(seeds[0]))
        curve, gini, sparsities = (
            [mean(s[t][key] for s in seeds) for t in cycles] for key in ("pqi", "gini", "sparsity")
        )
        turn, other = hs.turning_point(curve, sparsities), hs.turning_point(gini, sparsities)
        start = f"| {scope} | {method} | {len(seeds)} | {curve[0]:.3f} |"
        if not turn.confirmed:
            left = f"{100 * (1 - turn.tested_to):.2g} %"
            lines.append(f"{start} not in {cycles[-1]} | - | lowest {min(curve):.3f} | looked to {left} | - | - |")
            continue
        accuracy = 100 * mean(s[turn.cycle]["test"]["metric"] for s in seeds)
        peak = max(cycles[turn.cycle :], key=lambda t: curve[t])
        also = other.cycle if other.confirmed else "no"
        place = f"{curve[turn.cycle]:.3f} | {100 * (1 - turn.sparsity):.1f} % | {accuracy:.2f}"
        lines.append(f"{start} {turn.cycle} | {also} | {place} | {curve[peak]:.3f} at cycle {peak} |")
    return "\n".join(lines)


def accuracies(runs) -> str:
    """Per scope and method: test accuracy of retrained networks at fixed shares of weights left."""
    lines = ["| scope | method | dense | " + " | ".join(f"{left:g} %" for left in LEVELS) + " |"]
    lines.append("|---" * (len(LEVELS) + 3) + "|")
    for (scope, method), seeds in ordered(runs):
        dense = with_spread([100 * s[0]["test"]["metric"] for s in seeds])
        cells = [dense, *(at_level(seeds, left / 100) for left in LEVELS)]
        lines.append(f"| {scope} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ordered(runs):
    return [((s, m), runs[s, m]) for s in SCOPES for m in COLOURS if runs[s, m]]


def with_spread(values: list[float]) -> str:
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


LEVELS = (50, 20, 10, 5, 2, 1, 0.5)


def at_level(seeds, left: float) -> str:
    """Accuracy at a share of weights left, interpolated between cycles in the logarithm of that share."""
    found = []
    for cycles in seeds:
        for a, b in itertools.pairwise(cycles):
            da, db = 1 - a["sparsity"], 1 - b["sparsity"]
            if db <= left <= da and da > db:
                share = (log(da) - log(left)) / (log(da) - log(db))
                found.append(a["test"]["metric"] + share * (b["test"]["metric"] - a["test"]["metric"]))
                break
    if len(found) < len(seeds):
        return "-"
    return with_spread([100 * value for value in found])


if __name__ == "__main__":
    main()
