"""The plot of a comparison: metric against sparsity, a line a method, with spreads and the predicted limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from howsparse.comparison.comparison import Comparison
from howsparse.report.axes import fitting, place
from howsparse.report.limit_plots import COLORS
from howsparse.report.limit_reading import Interval, intervals
from howsparse.report.svg import GREY, INK, MUTED, RULE, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0b6b83", "#d1495b", "#6a994e", "#e08e00", "#74579b", "#3a3a3a", "#2f9e9e", "#b4622a", "#8fa0ff", "#c04cae")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_SMALLEST = 1e-7
_ROOM = 15.5  # SVG units from one label to the next


@dataclass(frozen=True)
class Curve:
    """One method on a task: (sparsity achieved, mean, deviation) in the order of sparsity."""

    method: str
    place: int  # among all methods: its colour is the same on every plot
    points: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Curves:
    """What one plot shows."""

    task: str
    label: str
    curves: tuple[Curve, ...]
    grid: tuple[float, ...]  # sparsities asked for
    dense: float | None  # of the network that was given, where it came trained
    limits: tuple[Interval, ...]


def curves_of(comparison: Comparison, task: str) -> Curves | None:
    """The points of a task's plot.

    Args:
        comparison: the comparison.
        task: label.

    Returns:
        The points; None while no cell is done.
    """
    lines, row = comparison.of_task(task), comparison.metric_of(task)
    curves = []
    for position, method in enumerate(comparison.methods):
        points = [
            (line.achieved, line.mean, line.deviation or 0.0)
            for line in lines
            if line.method == method and line.mean is not None and line.achieved is not None
        ]
        if points:
            curves.append(Curve(method, position, tuple(sorted(points))))
    if not curves or row is None:
        return None
    dense = next((line.dense for line in lines if line.dense is not None), None) if comparison.trained[task] else None
    found = comparison.limits.get(task)
    limits = () if found is None else tuple(i for i in intervals(dict(found)) if i.kind != "paper")
    grid = tuple(s for s in comparison.sparsities if s is not None) or tuple(p[0] for c in curves for p in c.points)
    return Curves(task, f"{row.split} {row.metric}", tuple(curves), grid, dense, limits)


def plot(found: Curves) -> str:
    """Metric against sparsity, on an axis that is logarithmic in what remains.

    Args:
        found: the points.

    Returns:
        The plot as SVG.
    """
    height = max(330, int(110 + _ROOM * len(found.curves)))

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        left, right = _reach(found)
        _draw_limits(axes, found.limits, left, right)
        if found.dense is not None:
            axes.axhline(found.dense, color=GREY, linewidth=1, dashes=(4, 3), zorder=1)
        step = 0.012 * (right - left)
        for order, curve in enumerate(found.curves):
            _draw_curve(axes, curve, (order - (len(found.curves) - 1) / 2) * min(step, 0.05 / len(found.curves)))
        axes.set_xlim(left, right)
        _ticks(axes, found.grid, (right - left) / 11)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("sparsity")
        axes.set_ylabel(fitting(found.label, 44))
        figure.draw_without_rendering()  # where labels go depends on how high the axes are
        _label(axes, found, height)

    title = f"{found.label} against sparsity on {found.task}, a line a method"
    return drawn(f"curves-{found.task}", title, draw, height=height)


def _reach(found: Curves) -> tuple[float, float]:
    """Both ends of the axis: around all points, and the limits that are not far from them."""
    x = [place(p[0], _SMALLEST) for curve in found.curves for p in curve.points]
    x += [place(s, _SMALLEST) for s in found.grid]
    low, high = min(x), max(x)
    span = max(high - low, 0.3)
    for interval in found.limits:
        near = [place(s, _SMALLEST) for s in (interval.low, interval.high)]
        low = min([low, *(v for v in near if v > low - span)])
        high = max([high, *(v for v in near if v < high + span)])
    pad = 0.06 * max(high - low, 0.3)
    return low - pad, high + pad


def _draw_curve(axes: "Axes", curve: Curve, shift: float) -> None:
    """A line with error bars, moved a little sideways so that bars of different methods do not hide each other."""
    color = PALETTE[curve.place % len(PALETTE)]
    look: dict[str, Any] = {
        "color": color,
        "marker": _MARKERS[curve.place % len(_MARKERS)],
        "linestyle": "-" if curve.place < len(PALETTE) else (0, (5, 2)),
    }
    x = [place(s, _SMALLEST) + shift for s, _, _ in curve.points]
    axes.plot(x, [mean for _, mean, _ in curve.points], **look, zorder=3)
    barred = [(at, mean, d) for at, (_, mean, d) in zip(x, curve.points, strict=True) if d > 0]
    if barred:
        bars: dict[str, Any] = {"linestyle": "", "elinewidth": 1.1, "capsize": 2.5, "alpha": 0.75}
        at, means, deviations = zip(*barred, strict=True)
        axes.errorbar(at, means, yerr=deviations, color=color, **bars, zorder=2)


def _draw_limits(axes: "Axes", limits: Sequence[Interval], left: float, right: float) -> None:
    for interval in limits:
        low, high = (min(max(place(s, _SMALLEST), left), right) for s in (interval.low, interval.high))
        color = COLORS[interval.kind]
        if high > low:
            axes.axvspan(low, high, color=color, alpha=0.09, linewidth=0, zorder=0)
        at = low if interval.value is None else place(interval.value, _SMALLEST)
        if left < at < right and interval.value is not None:
            axes.axvline(at, color=color, linewidth=1, zorder=1)
        if left <= at <= right and (high > low or interval.value is not None):
            words = {"one-shot": "one-shot limit", "re-tuned": "re-tuned limit"}[interval.kind]
            to_left = at > (left + right) / 2
            spot: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
            axes.annotate(
                words, (at, 0.0 if interval.kind == "re-tuned" else 0.06), **spot, xytext=(-4 if to_left else 4, 5),
                ha="right" if to_left else "left", color=color, fontsize=9.5,
            )  # fmt: skip


def _ticks(axes: "Axes", grid: Sequence[float], room: float) -> None:
    """The sparsities asked for, those left out that would touch their left neighbour."""
    ticks: list[float] = []
    for sparsity in sorted(set(grid)):
        if not ticks or place(sparsity, _SMALLEST) - place(ticks[-1], _SMALLEST) >= room:
            ticks.append(sparsity)
    axes.set_xticks([place(s, _SMALLEST) for s in ticks], [f"{s:.6g}" for s in ticks])


def _label(axes: "Axes", found: Curves, height: int) -> None:
    """Names at the right ends of the lines, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    unit = (high - low) / (axes.get_position().height * height)  # of the metric in one SVG unit
    ends = [(curve.points[-1][1], curve.method, PALETTE[curve.place % len(PALETTE)]) for curve in found.curves]
    if found.dense is not None:
        ends.append((found.dense, "as given", MUTED))
    ends.sort()
    places = apart([end[0] for end in ends], _ROOM * unit, low, high)
    leader = {"arrowstyle": "-", "color": RULE, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}
    beside = axes.get_yaxis_transform()  # across in shares of the axes, upwards in values
    for (value, name, color), spot in zip(ends, places, strict=True):
        axes.annotate(
            fitting(name, 20), (1.0, value), xycoords=beside, textcoords=beside, xytext=(1.035, spot),
            va="center", color=INK if color == MUTED else color, fontsize=11, arrowprops=leader,
        )  # fmt: skip


def apart(values: Sequence[float], room: float, low: float, high: float) -> list[float]:
    """Places as near as possible to the values, in their order, so far apart, between the ends where there is room.

    Args:
        values: ascending.
        room: least distance.
        low: lower end.
        high: upper end.

    Returns:
        The places.

    Example:
        >>> apart([1.0, 1.0, 5.0], 1.0, 0.0, 10.0)
        [0.5, 1.5, 5.0]
    """
    groups = [[value, 1] for value in values]  # middle and size of runs of labels that touch
    merged: list[list[float]] = []
    for middle, size in groups:
        merged.append([middle, size])
        while len(merged) > 1 and merged[-1][0] - merged[-2][0] < room * (merged[-1][1] + merged[-2][1]) / 2:
            (b, m), (a, n) = merged.pop(), merged.pop()
            merged.append([(a * n + b * m) / (n + m), n + m])
    places: list[float] = []
    for middle, size in merged:
        half = room * (size - 1) / 2
        middle = min(max(middle, low + half), high - half) if size * room <= high - low else middle
        places += [middle - half + room * i for i in range(int(size))]
    return places
