"""The plots of a limit's page, drawn from the points in `howsparse.report.limit_curves`."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from howsparse.report.axes import fitting, legend, place, plain, span_at_least, sparsity_ticks, thousands
from howsparse.report.limit_curves import Course, Density, Kept, Rise, Thresholds, Width
from howsparse.report.limit_reading import Interval, Kind
from howsparse.report.reading import Record
from howsparse.report.svg import ACCENT, GREY, INK, MUTED, drawn
from howsparse.report.wording import sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS: Mapping[Kind, str] = MappingProxyType({"one-shot": ACCENT, "re-tuned": "#b4622a", "paper": "#74579b"})
"""What belongs to which limit, in all plots; report.css has the same."""
HEIGHT = 310
_FLOOR = 1e-3  # of ε: what rises by less is as good as no rise
_RING: dict[str, Any] = {"marker": "o", "linestyle": "", "markerfacecolor": "none", "markersize": 11}
_BAR: dict[str, Any] = {"linestyle": "", "elinewidth": 1.1, "capsize": 2.5}


# --- against sparsity -------------------------------------------------------------------------------------------------
def plot_rise(found: Rise, limits: Sequence[Interval]) -> str:
    """Rise of the training loss over ε against sparsity, both logarithmic, with a band for each limit.

    Args:
        found: the points.
        limits: the intervals.

    Returns:
        The plot.
    """

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        bottom = _scale(axes, found)
        axes.axhline(1, color=INK, linewidth=1, dashes=(4, 3))
        _draw_one_shot(axes, found, bottom)
        _draw_race(axes, found, bottom)
        _floored(axes, found, found.retrained, bottom, label="retrained", marker="s", color=INK, linestyle="")
        sparsities = [p[0] for p in (*found.one_shot, *found.retrained)] + [racer.sparsity for racer in found.racers]
        _bands(axes, limits, sparsities, found.smallest_density)
        axes.set_xlabel("sparsity")
        axes.set_ylabel("rise of the training loss / ε")
        legend(axes, columns=3)

    return drawn("rise", "Rise of the training loss against sparsity", draw, height=HEIGHT + 40)


def _scale(axes: "Axes", found: Rise) -> float:
    """A logarithmic vertical axis over all that is positive and 1; returns its lower end."""
    rises = [p[1] for p in (*found.one_shot, *found.quadratic, *found.retrained)]
    rises += [y for racer in found.racers for y in (*(up for _, up in racer.marks), racer.end[0])]
    known = [y for y in rises if y > _FLOOR] + [1.0]
    bottom, top = min(known) / 2, max(known) * 2
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    axes.yaxis.set_major_formatter(plain)
    axes.minorticks_off()
    return bottom


def _draw_one_shot(axes: "Axes", found: Rise, bottom: float) -> None:
    color, known = COLORS["one-shot"], [point for point in found.one_shot if point[1] > bottom]
    if known:
        x = [place(s, found.smallest_density) for s, _, _ in known]
        reach = [(min(1.96 * e, up - bottom), 1.96 * e) for _, up, e in known]
        axes.errorbar(x, [up for _, up, _ in known], yerr=list(zip(*reach, strict=True)), **_BAR, color=color)
    points = [(s, up) for s, up, _ in found.one_shot]
    _floored(axes, found, points, bottom, label="one-shot, measured", marker="o", color=color, linewidth=1.2)
    look: dict[str, Any] = {"marker": "D", "markerfacecolor": "none", "color": color, "linestyle": "", "markersize": 4}
    _floored(axes, found, found.quadratic, bottom, label="quadratic model", **look)


def _draw_race(axes: "Axes", found: Rise, bottom: float) -> None:
    """A column of dots a racer, growing with the steps, and an open dot with a bar where it is expected to end."""
    look: dict[str, Any] = {"color": COLORS["re-tuned"], "linestyle": ""}
    for racer in found.racers:
        x, last = place(racer.sparsity, found.smallest_density), racer.marks[-1][0]
        for steps, up in racer.marks:
            axes.plot([x], [max(up, bottom)], **look, marker="o", markersize=2 + 2.6 * math.sqrt(steps / last))
        _, low, high = racer.end
        if high > bottom:
            axes.plot([x, x], [max(low, bottom), high], color=look["color"], linewidth=1.1)
    if found.racers:
        axes.plot([], [], **look, marker="o", markersize=4, label="race, so far")
    ends = [(racer.sparsity, racer.end[0]) for racer in found.racers]
    _floored(axes, found, ends, bottom, label="race, predicted end", marker="o", markerfacecolor="white", **look)


def _floored(axes: "Axes", found: Rise, points: Sequence[tuple[float, float]], bottom: float, **look: Any) -> None:
    """Points; those below the axis become triangles on its edge."""
    x = [place(s, found.smallest_density) for s, _ in points]
    y = [max(up, bottom) for _, up in points]
    if points:
        line = {"linestyle": look.pop("linestyle", "-"), "linewidth": look.pop("linewidth", 1)}
        axes.plot(x, y, color=look["color"], **line)
        above = [i for i, up in enumerate(y) if up > bottom]
        axes.plot([x[i] for i in above], [y[i] for i in above], linestyle="", **look)
        below = [i for i, up in enumerate(y) if up <= bottom]
        look |= {"marker": "v", "label": None, "linestyle": "", "clip_on": False, "zorder": 4}
        axes.plot([x[i] for i in below], [y[i] for i in below], **look)


def _bands(axes: "Axes", limits: Sequence[Interval], sparsities: Sequence[float], smallest: float) -> None:
    """A band and a line for each limit with a value, ticks, and an axis that ends after the last point or value."""
    last = max([*sparsities, *(i.value for i in limits if i.value is not None and i.value < 1)])
    right = place(last, smallest) * 1.06
    for interval in limits:
        if interval.value is not None:
            color, low = COLORS[interval.kind], place(interval.low, smallest)
            axes.axvspan(
                min(low, right), min(place(interval.high, smallest), right), color=color, alpha=0.09, linewidth=0
            )
            axes.axvline(place(interval.value, smallest), color=color, linewidth=1)
    sparsity_ticks(axes, last, lambda s: place(s, smallest))
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.02 * right, right)


def plot_kept(found: Kept, limits: Sequence[Interval]) -> str:
    """A metric against sparsity, with a band for each limit.

    Args:
        found: the points.
        limits: the intervals.

    Returns:
        The plot.
    """

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        if found.dense is not None:
            axes.axhline(found.dense, color=GREY, linewidth=1, dashes=(4, 3), label="dense")
        looks: tuple[tuple[str, Any, dict[str, Any]], ...] = (
            ("race, so far", found.averages, {"marker": "o", "color": COLORS["re-tuned"], "linewidth": 1.2}),
            ("retrained", found.retrained, {"marker": "s", "color": INK, "linestyle": ""}),
        )
        for label, points, look in looks:
            if points:
                x = [place(s, found.smallest_density) for s, _ in points]
                axes.plot(x, [y for _, y in points], label=label, **look)
        sparsities = [s for s, _ in (*found.averages, *found.retrained)]
        _bands(axes, limits, sparsities, found.smallest_density)
        if found.limit is not None:
            axes.axvline(place(found.limit, found.smallest_density), color=INK, linewidth=1, dashes=(1, 2))
        axes.set_xlabel("sparsity")
        axes.set_ylabel(fitting(found.label, 44))
        span_at_least(axes, 0.02 * abs(found.dense or 0.0))
        legend(axes, columns=3)

    return drawn("metric", f"{sentence(found.label)} against sparsity", draw, height=HEIGHT)


# --- the paper's formula ----------------------------------------------------------------------------------------------
def plot_width(found: Width) -> str:
    """The width g(R) with its band, and what magnitude pruning removes; their crossing is the limit."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        color = COLORS["paper"]
        axes.fill_between(found.R, found.low, found.high, color=color, alpha=0.13, linewidth=0)
        axes.plot(found.R, found.best, color=color, label="width g(R)")
        axes.plot(found.R, found.removed, "o-", color=INK, markersize=3, linewidth=1, label="share removed, m/N")
        axes.plot(*([x] for x in found.crossing), **_RING, color=color, label="the limit")
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlim(left=0)
        axes.set_xlabel("R, norm of the removed weights")
        axes.set_ylabel("share of all weights")
        legend(axes, columns=3)

    return drawn("width", "Width and share removed against the norm of the removed weights", draw, height=HEIGHT)


def plot_curve(paper: Record, eps: float) -> str:
    """The paper's limit as a function of ε."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        color = COLORS["paper"]
        axes.plot([e for e, _ in paper["curve"]], [s for _, s in paper["curve"]], color=color)
        axes.plot([eps], [paper["value"]], **_RING, color=color)
        axes.axvline(eps, color=INK, linewidth=1, dashes=(4, 3))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(plain)
        axes.minorticks_off()
        axes.set_xlabel("ε, allowed rise of the training loss")
        axes.set_ylabel("paper's limit")

    return drawn("curve", "The paper's limit against the allowed rise of the loss", draw, height=HEIGHT)


def plot_density(found: Density) -> str:
    """Eigenvalues of the curvature, smoothed, on a logarithmic axis, with standard errors over probes."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        floor, color = 0.1, COLORS["paper"]
        heights = [max(y, floor) for y in found.heights]
        if not any(map(math.isnan, found.errors)):
            pairs = list(zip(found.heights, found.errors, strict=True))
            low, high = ([max(y + sign * e, floor) for y, e in pairs] for sign in (-1, 1))
            axes.fill_between(found.at, low, high, color=color, alpha=0.25, linewidth=0)
        axes.plot(found.at, heights, color=color, linewidth=1.2)
        axes.set_yscale("log")
        axes.set_ylim(bottom=floor)
        axes.yaxis.set_major_formatter(thousands)
        axes.minorticks_off()
        axes.set_xlabel("eigenvalue of the curvature")
        axes.set_ylabel("eigenvalues nearby")

    return drawn("spectrum", "Spectrum of the curvature", draw, height=HEIGHT)


def plot_scaled(paper: Record) -> str:
    """The paper's limit with all weights multiplied by a factor and the curvature as it is."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        points = sorted([(1.0, paper["value"]), *((float(c), s) for c, s in paper["scaled"].items())])
        axes.plot([c for c, _ in points], [s for _, s in points], "o-", color=COLORS["paper"])
        axes.set_xticks([c for c, _ in points], [f"×{c:g}" for c, _ in points])
        for c, s in points:
            axes.annotate(f"{s:.3f}", (c, s), (5, 5), textcoords="offset points", color=MUTED)
        axes.margins(x=0.1, y=0.14)
        axes.set_xlabel("all weights multiplied by")
        axes.set_ylabel("paper's limit")

    return drawn("scaled", "The paper's limit for larger weights", draw, height=HEIGHT)


# --- the weights ------------------------------------------------------------------------------------------------------
def plot_thresholds(found: Thresholds) -> str:
    """Histogram of all weights on a logarithmic scale, with the magnitudes at which the limits cut."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.stairs(found.counts, found.edges, fill=True, color="#dce1e5")
        for interval, magnitude in found.cuts:
            for sign in (-1, 1):
                axes.axvline(sign * magnitude, color=COLORS[interval.kind], linewidth=1.2)
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.5)
        axes.yaxis.set_major_formatter(thousands)
        axes.minorticks_off()
        axes.set_xlabel("weight")
        axes.set_ylabel("weights in a bin")

    return drawn("thresholds", "Histogram of the weights with the limits' thresholds", draw, height=HEIGHT)


# --- over the cycles of a pruning run --------------------------------------------------------------------------------
def plot_course(found: Course) -> str:
    """The limits of each cycle's network against cycle, and how sparse that network is."""
    from matplotlib.ticker import MaxNLocator

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        if found.sparsities:
            axes.plot(*zip(*found.sparsities, strict=True), "--", color=GREY, linewidth=1.1, label="network")
        for kind, points in found.limits:
            cycles, values = [cycle for cycle, _, _, _ in points], [value for _, value, _, _ in points]
            reach = [[v - low for _, v, low, _ in points], [high - v for _, v, _, high in points]]
            axes.errorbar(cycles, values, yerr=reach, **_BAR, color=COLORS[kind])
            axes.plot(cycles, values, "o-", color=COLORS[kind], label="paper's formula" if kind == "paper" else kind)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("cycle")
        axes.set_ylabel("sparsity")
        legend(axes, columns=4)

    return drawn("limits", "Limits of each cycle's network", draw, height=HEIGHT)
