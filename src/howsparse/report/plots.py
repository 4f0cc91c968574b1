"""The four plots of the report, drawn from the points in `howsparse.report.curves`."""

import math
from typing import TYPE_CHECKING, Any

from howsparse.report.axes import fitting, legend, place, plain, span_at_least, sparsity_ticks, thousands
from howsparse.report.curves import IndexCourse, Spread, Spreads, Tradeoff, TrainingCourse
from howsparse.report.svg import ACCENT, GREY, MUTED, drawn
from howsparse.report.wording import sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TINT = "#e3f0f3"  # the accent, very light
_RING: dict[str, Any] = {"marker": "o", "linestyle": "", "color": ACCENT, "markerfacecolor": "none", "markersize": 11}


def plot_tradeoff(curve: Tradeoff) -> str:
    """Metric against sparsity, on an axis that is logarithmic in what remains."""

    def where(sparsity: float) -> float:
        return place(sparsity, curve.smallest_density)

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.axhline(curve.dense, color=GREY, linewidth=1, dashes=(4, 3), label=curve.start)
        merely: dict[str, Any] = {"marker": "s", "color": GREY, "markersize": 4, "linewidth": 1.1}
        retrained: dict[str, Any] = {"marker": "o", "color": ACCENT}
        for points, label, look in (
            (curve.merely_pruned, "merely pruned", merely),
            (curve.retrained, "retrained", retrained),
            (curve.answer, "answer", _RING),
        ):
            if points:
                axes.plot([where(x) for x, _ in points], [y for _, y in points], label=label, **look)
        last = max(x for x, _ in curve.retrained + curve.merely_pruned)
        sparsity_ticks(axes, last, where)
        axes.set_xlabel("sparsity")
        axes.set_ylabel(fitting(curve.label, 44))
        span_at_least(axes, 0.02 * abs(curve.dense))
        legend(axes, columns=4)

    return drawn("tradeoff", f"{sentence(curve.label)} against sparsity", draw, height=310)


def plot_indices(course: IndexCourse) -> str:
    """PQ Index and Gini index against cycle, with the turning point."""

    def draw(figure: "Figure") -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (1.6, 1)})
        turn = course.turn
        for axes, values, label in ((upper, course.pqi, "PQ Index"), (lower, course.gini, "Gini index")):
            if turn.confirmed:
                axes.axvspan(turn.low, turn.high, color=_TINT, linewidth=0)
                axes.axvline(turn.cycle, color=ACCENT, linewidth=1, dashes=(4, 3))
            axes.plot(course.cycles, values, "o-", color=ACCENT if axes is upper else GREY, markersize=3.5)
            axes.set_ylabel(label)
        if not turn.confirmed:
            upper.plot([turn.cycle], [course.pqi[turn.cycle]], **_RING)
        _name_phases(upper, course)
        lower.set_xlabel("cycle")
        lower.xaxis.get_major_locator().set_params(integer=True)
        figure.align_ylabels()

    return drawn("indices", "PQ Index and Gini index against cycle", draw, height=310)


def _name_phases(axes: "Axes", course: IndexCourse) -> None:
    """Write each phase above its cycles, where there is room for the word."""
    if not course.turn.confirmed:
        return
    whole = course.cycles[-1] - course.cycles[0]
    for phase, first, last in course.spans:
        if (last - first) / whole >= 0.25:
            place = ((first + last) / 2, 1.03)
            axes.annotate(phase, place, xycoords=("data", "axes fraction"), ha="center", color=MUTED)


def plot_spreads(found: Spreads) -> str:
    """Histograms of living weights, dense and shown, as weights per unit of value."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.stairs(found.dense.per(found.unit), found.dense.edges, fill=True, color="#dce1e5", label="dense")
        if found.shown is not None:
            axes.stairs(found.shown.per(found.unit), found.shown.edges, color=ACCENT, linewidth=1.4, label=found.label)
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.5 * min(_smallest(s, found.unit) for s in (found.dense, found.shown) if s is not None))
        axes.yaxis.set_major_formatter(thousands)
        axes.minorticks_off()
        axes.set_xlabel("weight")
        axes.set_ylabel(f"weights per {found.unit:g}")
        legend(axes, columns=2)

    return drawn("spreads", "Histograms of the weights", draw, height=310)


def _smallest(spread: Spread, unit: float) -> float:
    """What one weight in a bin comes to."""
    return unit / spread.width


def plot_training(course: TrainingCourse) -> str:
    """Held-out metric and training loss over the epochs of all cycles."""

    def draw(figure: "Figure") -> None:
        epochs = [i + 1 for i in range(len(course.losses))]
        panels = [(course.losses, "training loss", GREY)]
        if course.held_out:
            panels.insert(0, (course.held_out, course.held_out_label, ACCENT))
        if course.sparsities:
            panels.append((course.sparsities, "sparsity", ACCENT))
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (values, label, color) in zip(rows, panels, strict=True):
            _mark_cycles(axes, course)
            axes.plot(epochs, values, color=color, linewidth=1.2)
            axes.set_ylabel(fitting(label, 22))
        _logarithmic_if_wide(rows[len(panels) - (2 if course.sparsities else 1)], course.losses)
        rows[-1].set_xlabel("epoch")
        rows[-1].xaxis.get_major_locator().set_params(integer=True)
        figure.align_ylabels()

    return drawn("training", "Training loss and held-out metric against epoch", draw, height=310)


def _mark_cycles(axes: "Axes", course: TrainingCourse) -> None:
    """A hairline where a cycle begins, and the cycle shown shaded."""
    axes.grid(visible=False, axis="x")
    if course.shown is not None:
        axes.axvspan(course.shown[0] + 0.5, course.shown[1] + 0.5, color=_TINT, linewidth=0)
    for start in course.starts[1:]:
        axes.axvline(start + 0.5, color="#e4e8eb", linewidth=0.8)


def _logarithmic_if_wide(axes: "Axes", values: tuple[float, ...]) -> None:
    known = [value for value in values if not math.isnan(value)]
    if known and min(known) > 0 and max(known) > 20 * min(known):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(plain)
        axes.minorticks_off()
