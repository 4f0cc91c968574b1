"""Pictures and tables of limit_experiments.py, from its JSON file alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import sap_plots
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from pages import put
from sap_plots import tidy, with_spread

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "limit_experiments.json"
OUT = HERE.parent / "docs" / "results"
PAGE = OUT / "limit-experiments.md"
COLUMNS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
COLOURS = {"one-shot, measured": "#0b6e84", "paper's formula": "#c4622d", "re-tuned, race": "#6a4c93"}
DEFINITIONS = {
    "last_above_dense": "last > dense",
    "last_at_least_dense": "last ≥ dense",
    "first_drop": "first below by > 0.1",
    "last_before_first_drop": "level before that",
    "last_within": "last within 0.1",
}
DECAY, PLAIN = "fashion-mlp-decay", "fashion-mlp"
Page = Mapping[str, Any]


def write(pages: Page) -> None:
    """All pictures and tables whose numbers are there."""
    nets = pages["nets"]
    ours = {case: net for case, net in sorted(nets.items()) if not case.startswith(DECAY)}
    drawn = {case: net for case, net in ours.items() if case.endswith("-s0")}
    _panels("limit_curves.png", drawn, "curve", _curves, height=6.4, rows=2)
    _panels("limit_crossing.png", drawn, "paper", _crossing)
    _panels("limit_histograms.png", drawn, "weights", _histogram)
    _panels("limit_rows.png", drawn, "rows", _rows_of)
    tables: dict[str, Callable[[], str]] = {
        "table": lambda: table(ours),
        "accuracy": lambda: accuracy(ours),
        "held-out": lambda: held_out(ours),
        "procedure": lambda: procedure(ours),
        "scaling": lambda: scaling(ours),
        "counting": lambda: counting(ours),
        "bounds": lambda: bounds(ours),
        "rows": lambda: rows(ours),
        "variation": lambda: variation(pages["variation"]),
        "iterative": lambda: iterative(pages["iterative"]),
        "l2": lambda: l2(nets),
        "lomp": lambda: lomp(pages["lomp"]),
    }
    for name, make in tables.items():
        try:
            text = make()
        except KeyError as missing:  # an experiment that has not been run
            text = f"Not run yet ({missing.args[0]})."
        put(PAGE, name, text)


def marks(net: Page) -> dict[str, tuple[float, float, float]]:
    """Value and ends of each limit that is known of a network."""
    found = {}
    if "curve" in net:
        one = net["curve"]["loss_limit"]
        found["one-shot, measured"] = (one["value"], one["low"], one["high"] or 1.0)
    if "paper" in net:
        found["paper's formula"] = tuple(net["paper"][key] for key in ("value", "low", "high"))
    if net.get("retuned"):
        found["re-tuned, race"] = tuple(net["retuned"][key] for key in ("value", "low", "high"))
    return found


# --- pictures --------------------------------------------------------------------------------------------------------
def _panels(name: str, nets: Page, needed: str, draw, height: float = 3.4, rows: int = 1) -> None:
    """A picture with a column for each network."""
    chosen = {case: net for case, net in nets.items() if needed in net}
    if not chosen:
        return
    figure = Figure(figsize=(3.1 * len(chosen) + 0.6, height), layout="constrained")
    grid = figure.subplots(rows, len(chosen), squeeze=False)
    for column, (case, net) in enumerate(chosen.items()):
        grid[0][column].set_title(case, fontsize=10, loc="left")
        draw(grid[:, column], net)
        for axis in grid[:, column]:
            tidy(axis)
    grid[0][0].legend(fontsize=7, frameon=False)
    figure.savefig(OUT / name, dpi=110)


def _curves(axes, net: Page) -> None:
    curve = net["curve"]
    left = 100 * (1 - np.array(curve["levels"]))
    styles = {"train": "-", "test": "--"}
    for split, style in styles.items():
        axes[0].plot(left, 100 * np.array(curve[f"{split}_accuracy"]), style, color="#333333", label=split, lw=1.2)
        axes[1].plot(left, curve[f"{split}_loss"], style, color="#333333", lw=1.2)
    axes[0].set_ylabel("accuracy, %", fontsize=9)
    axes[1].set_ylabel("loss", fontsize=9)
    axes[1].axhline(curve["train_loss"][0] + curve["eps"], color="#999999", lw=0.8)
    axes[1].set_yscale("log")
    axes[1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[1].yaxis.set_major_formatter("{x:g}")
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xlim(100, 0.5)
        axis.set_xticks([100, 50, 20, 10, 5, 2, 1], ["100", "50", "20", "10", "5", "2", "1"])
        axis.minorticks_off()
        axis.set_xlabel("weights left, %", fontsize=9)
        for name, (value, low, high) in marks(net).items():
            axis.axvspan(100 * (1 - low), max(100 * (1 - high), 0.5), color=COLOURS[name], alpha=0.15, lw=0)
            axis.axvline(100 * (1 - value), color=COLOURS[name], lw=1.2, label=name)


def _crossing(axes, net: Page) -> None:
    (axis,) = axes
    radius, share, low, between, high = np.array(net["paper"]["crossing"]).T
    axis.plot(radius, between, color=COLOURS["paper's formula"], lw=1.4, label="width g(R)")
    axis.fill_between(radius, low, high, color=COLOURS["paper's formula"], alpha=0.2, lw=0)
    axis.plot(radius, share, ".-", color="#333333", lw=1, ms=3, label="share removed at R")
    for name, (value, _, _) in marks(net).items():
        axis.plot(np.interp(value, share, radius), value, "o", color=COLOURS[name], label=name, ms=6)
    axis.set_xlabel("R, norm of what is removed", fontsize=9)
    axis.set_ylabel("share of the weights", fontsize=9)


def _histogram(axes, net: Page) -> None:
    (axis,) = axes
    weights = net["weights"]
    edges = np.linspace(-weights["largest"], weights["largest"], len(weights["histogram"]) + 1)
    axis.stairs(weights["histogram"], edges, fill=True, color="#8a8a8a")
    axis.set_yscale("log")
    axis.set_xlabel("weight", fontsize=9)
    levels = net["curve"]["levels"] if "curve" in net else None
    for name, (value, _, _) in marks(net).items() if levels else ():
        threshold = float(np.interp(value, levels, weights["magnitudes"]))
        for sign in (-1, 1):
            label = name if sign == 1 else None
            axis.axvline(sign * threshold, color=COLOURS[name], lw=1.2, label=label)


def _rows_of(axes, net: Page) -> None:
    (axis,) = axes
    found = net["rows"]
    for name, colour in (("hessian", "#0b6e84"), ("ggn", "#c4622d")):
        l1 = np.maximum(found[name]["l1"], 1e-12)
        axis.plot(np.linspace(0, 99, len(l1)), l1[np.argsort(found["magnitude"])], ".", color=colour, ms=4, label=name)
    axis.axhline(found["cut"], color="#999999", lw=0.8)
    axis.axhline(2 * net["curve"]["eps"] / found["R"] ** 2, color="#333333", lw=0.8, ls="--", label="2ε/R²")
    axis.set_yscale("log")
    axis.set_xlabel("magnitude level, %", fontsize=9)
    axis.set_ylabel("L1 norm of the row", fontsize=9)


# --- tables ----------------------------------------------------------------------------------------------------------
def lines(head: str, rows_: list[list[str]]) -> str:
    cells = head.split("|")
    return "\n".join(["| " + " | ".join(row) + " |" for row in [cells, ["---"] * len(cells), *rows_]])


def span(found: Page, digits: int = 4) -> str:
    return f"{found['value']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"


def table(nets: Page) -> str:
    """Predicted beside actual."""
    head = "network|ε|one-shot: measured|paper's formula, coreset|all samples|re-tuned: race|re-tuned: measured"
    rows_ = []
    for case, net in nets.items():
        retuned = net.get("retuned")
        if "curve" not in net and retuned is None:
            continue
        eps = net["curve"]["eps"] if "curve" in net else retuned["eps"]
        one = net["curve"]["loss_limit"]["value"] if "curve" in net else retuned["one_shot"]
        spans = [span(net[key]) if key in net else "-" for key in ("paper", "full", "retuned")]
        measured = "-" if retuned is None or retuned["measured"] is None else f"{retuned['measured']:.4f}"
        rows_.append([case, f"{eps:.4f}", f"{one:.3f}", *spans, measured])
    return lines(head, rows_)


def accuracy(nets: Page) -> str:
    """The five definitions on the test set."""
    rows_ = []
    for case, net in nets.items():
        if "curve" in net:
            found, paired = net["curve"]["accuracy"], net["curve"]["paired"]
            cells = ["-" if found[key] is None else f"{found[key]:.3f}" for key in DEFINITIONS]
            paired_ = f"{paired['value']:.3f} [{paired['low']:.3f}, {paired['high']:.3f}]"
            rows_.append([case, f"{net['curve']['loss_limit']['value']:.3f}", *cells, paired_])
    return lines("|".join(["network", "loss within ε", *DEFINITIONS.values(), "paired, 95 %"]), rows_)


def held_out(nets: Page) -> str:
    """What the definitions cost on images they were not chosen on."""
    rows_ = []
    for case, net in nets.items():
        found = net.get("curve", {}).get("held_out", {})
        if case.endswith("-s0") and found:
            cells = [_cost(found[key]) if key in found else "-" for key in DEFINITIONS]
            rows_.append([case, *cells])
    return lines("|".join(["network", *DEFINITIONS.values()]), rows_)


def _cost(found: Page) -> str:
    return f"{found['level']:.3f}: {found['drop']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"


def procedure(nets: Page) -> str:
    """The authors' steps on our quadrature, one quirk after the other undone."""
    head = (
        "network|norm of all weights|authors' procedure|with our ε|with exact R|without bins, levels|certified bracket"
    )
    rows_ = []
    for case, net in nets.items():
        if "paper" in net and "weights" in net:
            found = net["paper"]["procedure"]
            cells = [f"{found[key]:.4f}" for key in ("reference", "our_eps", "exact_R", "direct")]
            bracket = f"[{net['paper']['low']:.4f}, {net['paper']['high']:.4f}]"
            rows_.append([case, f"{net['weights']['norm']:.1f}", *cells, bracket])
    return lines(head, rows_)


def scaling(nets: Page) -> str:
    rows_ = [
        [case, f"{net['paper']['value']:.4f}", *(f"{net['paper']['scaled'][c]:.4f}" for c in "2345")]
        for case, net in nets.items()
        if "paper" in net and case.endswith("-s0")
    ]
    return lines("network|×1|×2|×3|×4|×5", rows_)


def counting(nets: Page) -> str:
    head = "network|exactly zero|below 1e-3 of the largest|one-shot|paper's formula"
    rows_ = []
    for case, net in nets.items():
        if "weights" in net and "paper" in net and case.endswith("-s0"):
            shares = [f"{net['weights'][key]:.3f}" for key in ("exactly_zero", "small")]
            rows_.append([case, *shares, f"{net['curve']['loss_limit']['value']:.3f}", f"{net['paper']['value']:.4f}"])
    return lines(head, rows_)


def bounds(nets: Page) -> str:
    head = "network|pruned to|ρ_L|ρ_U|Δ|trace, dense|trace, pruned"
    rows_ = []
    for case, net in nets.items():
        if "bounds" in net:
            found = net["bounds"]
            low, high = ("{:.4f} [{:.4f}, {:.4f}]".format(*found[key]) for key in ("lower", "upper"))
            traces = [f"{trace:.3g}" for trace in found["trace"]]
            rows_.append([case, f"{found['at']:.4f}", low, high, f"{found['gap']:+.4f}", *traces])
    return lines(head, rows_)


def rows(nets: Page) -> str:
    head = "network|matrix|rows below 1e-7|authors' count|rows that matter|bound, L1|bound, L2|paper's formula"
    rows_ = []
    for case, net in nets.items():
        for name in ("ggn", "hessian") if "rows" in net else ():
            found = net["rows"][name]
            shares = [f"{found[key]:.2f}" for key in ("below", "released_below", "matters")]
            limits = ["{:.3f} ± {:.3f}".format(*found[key]) for key in ("bound_l1", "bound_l2")]
            rows_.append([case, name, *shares, *limits, f"{net['paper']['value']:.4f}"])
    return lines(head, rows_)


def variation(found: Page) -> str:
    rows_ = []
    for family, by_bins in found.items():
        for bins, distances in by_bins.items():
            other = distances["recipes"]
            rows_.append([family, bins, f"{mean(distances['seeds']):.4f}", f"{distances['halves']:.4f}",
                          "-" if other is None else f"{other:.3f}"])  # fmt: skip
    return lines(
        "network|bins|between seeds, mean of 3 pairs|halves of one network|to the other recipe (L1 or not)", rows_
    )


def iterative(found: Page) -> str:
    figure = Figure(figsize=(4.2 * len(found["runs"]) + 0.4, 3.5), layout="constrained")
    grid = figure.subplots(1, len(found["runs"]), squeeze=False, sharey=True)[0]
    rows_ = []
    for axis, (name, rounds) in zip(grid, found["runs"].items(), strict=True):
        _rounds(axis, name, rounds)
        for cycle, r in enumerate(rounds):
            rows_.append([name, str(cycle), f"{r['sparsity']:.3f}", f"{100 * r['test']:.2f}", f"{r['eps']:.4f}",
                          f"{r['one_shot']['value']:.3f}", span(r["paper"]), f"{r['trace']:.3g}"])  # fmt: skip
    grid[0].legend(fontsize=7, frameon=False)
    figure.savefig(OUT / "limit_iterative.png", dpi=110)
    return lines("run|round|already removed|test accuracy|ε|one-shot|paper's formula|trace", rows_)


def _rounds(axis: Axes, name: str, rounds: list[Page]) -> None:
    cycles = range(len(rounds))
    axis.plot(cycles, [r["sparsity"] for r in rounds], "k.-", label="already removed", lw=1)
    for key, label in (("one_shot", "one-shot, measured"), ("paper", "paper's formula")):
        axis.plot(cycles, [r[key]["value"] for r in rounds], ".-", color=COLOURS[label], label=label)
        low, high = ([r[key][side] for r in rounds] for side in ("low", "high"))
        axis.fill_between(cycles, low, high, color=COLOURS[label], alpha=0.2, lw=0)
    axis.set_title(name, fontsize=10, loc="left")
    axis.set_xlabel("round", fontsize=9)
    axis.set_ylabel("sparsity", fontsize=9)
    tidy(axis)


def l2(nets: Page) -> str:
    head = "seed|weight decay|test accuracy|ε|norm of weights|trace|one-shot|paper's formula"
    rows_ = []
    for case in sorted(case for case in nets if case.startswith(DECAY)):
        seed = case.rpartition("-s")[2]
        for label, net in (("0", nets[f"{PLAIN}-s{seed}"]), ("5e-4", nets[case])):
            rows_.append([seed, label, f"{100 * net['curve']['test_accuracy'][0]:.2f}", f"{net['curve']['eps']:.4f}",
                          f"{net['weights']['norm']:.1f}", f"{net['paper']['trace']:.3g}",
                          f"{net['curve']['loss_limit']['value']:.3f}", span(net["paper"])])  # fmt: skip
    return lines(head, rows_)


def lomp(found: Page) -> str:
    """Accuracy at the levels, ours beside the recorded runs of the SAP figure, each with the epochs it took."""
    levels, epochs = found["levels"], found["epochs"]
    figure = Figure(figsize=(6.2, 3.8), layout="constrained")
    axis = figure.subplots()
    rows_ = []
    for method in dict.fromkeys(run["method"] for run in found["runs"]):
        runs = [run for run in found["runs"] if run["method"] == method]
        columns = np.array([run["accuracy"] for run in runs]).T
        rows_.append([method, str(epochs), *(with_spread(list(100 * column)) for column in columns)])
        axis.errorbar([0, *levels], 100 * columns.mean(axis=1), 100 * columns.std(axis=1, ddof=1), label=method, lw=1.3)
    recorded = sap_plots.read("sap_fashion_mnist")
    for method in ("one-shot ladder 0.2", "lottery ticket 0.2", "SAP (1, 2)"):
        seeds = recorded["global", method]
        cells = [with_spread([100 * s[0]["test"]["metric"] for s in seeds])]
        cells += [sap_plots.at_level(seeds, 1 - level) for level in levels]
        spent = [_epochs_to(seeds, level, epochs, ladder="ladder" in method) for level in levels]
        rows_.append([f"{method}, retrained", _range(spent), *cells])
        axis.plot([0, *levels], [float(cell.split(" ")[0]) for cell in cells], "--", label=f"{method}, retrained", lw=1)
    axis.set_ylim(60, 92)
    axis.set_xlabel("sparsity", fontsize=9)
    axis.set_ylabel("test accuracy, %", fontsize=9)
    axis.legend(fontsize=7, frameon=False, loc="lower left")
    tidy(axis)
    figure.savefig(OUT / "limit_lomp.png", dpi=110)
    own = [
        f"{method}: one-shot limit {_at(runs, 'one_shot', 'sparsity')}, accuracy there {_percent(runs, 'one_shot')}; "
        f"paper's formula {_at(runs, 'paper', 'value')} [{_at(runs, 'paper', 'low')}, {_at(runs, 'paper', 'high')}], "
        f"accuracy there {_percent(runs, 'paper')}."
        for method in dict.fromkeys(run["method"] for run in found["runs"])
        for runs in [[run for run in found["runs"] if run["method"] == method]]
    ]
    head = "|".join(["method", "epochs", "dense", *(f"{level:g}" for level in levels)])
    return lines(head, rows_) + "\n\nAt the networks' own limits:\n\n" + "\n".join(f"- {line}" for line in own)


def _epochs_to(seeds, level: float, epochs: int, *, ladder: bool) -> int:
    """Epochs until the sparsity is reached; a level of the ladder needs the dense training and one more."""
    cycle = max(next(i for i, c in enumerate(s) if c["sparsity"] >= level - 1e-9) for s in seeds)
    return epochs * (2 if ladder else cycle + 1)


def _range(numbers: list[int]) -> str:
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _at(runs, key: str, value: str) -> str:
    return f"{mean(run[key][value] for run in runs):.3f}"


def _percent(runs, key: str) -> str:
    return with_spread([100 * run[key]["accuracy"] for run in runs])
