"""What the plots of all reports share: ticks, legends, labels."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TICKS = (
    *(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998),
    *(0.999, 0.9995, 0.9998, 0.9999, 0.99999, 0.999999),
)


def place(sparsity: float, smallest_density: float) -> float:
    """Where a sparsity lies on an axis that is logarithmic in what remains.

    Args:
        sparsity: fraction removed.
        smallest_density: where a network without weights is drawn.

    Returns:
        Powers of ten that are gone.

    Example:
        >>> round(place(0.99, 0.001), 9), place(1.0, 0.001)
        (2.0, 3.0)
    """
    return -math.log10(max(1 - sparsity, smallest_density))


def sparsity_ticks(axes: "Axes", last: float, where: Callable[[float], float]) -> None:
    """Round sparsities, those left out that would touch their left neighbour.

    Args:
        axes: their horizontal axis is marked.
        last: the largest sparsity drawn.
        where: place of a sparsity on the axis, such as `place`.
    """
    step = 0.1 if last > 0.25 else 0.05 if last > 0.1 else 0.01 if last > 0.02 else 0.002
    candidates = _TICKS if last >= 0.5 else [i * step for i in range(11)]
    room, ticks = where(last) / 11, [0.0]
    for tick in candidates[1:]:
        if where(tick) <= where(last) * 1.02 and where(tick) - where(ticks[-1]) >= room:
            ticks.append(tick)
    axes.set_xticks([where(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])


def span_at_least(axes: "Axes", span: float) -> None:
    """Widen the vertical axis, so that differences of a sample or two do not look like cliffs."""
    low, high = axes.get_ylim()
    if high - low < span:
        middle = (low + high) / 2
        axes.set_ylim(middle - span / 2, middle + span / 2)


def legend(axes: "Axes", columns: int) -> None:
    """A legend above the axes, in so many columns."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.3, borderpad=0.1)


def fitting(label: str, letters: int) -> str:
    """A label cut to the height of its panel; the headings have it in full.

    Example:
        >>> fitting("held-out accuracy", 9)
        'held-out…'
    """
    return label if len(label) <= letters else label[: letters - 1].rstrip() + "…"


def plain(value: float, position: float) -> str:  # noqa: ARG001 - matplotlib's signature
    """A tick as people write it."""
    return f"{value:g}"


def thousands(value: float, position: float) -> str:  # noqa: ARG001 - matplotlib's signature
    """A tick for counts."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
