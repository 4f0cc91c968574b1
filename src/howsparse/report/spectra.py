"""A picture of spectra: how many eigenvalues lie near a value, one panel for each spectrum."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from howsparse.curvature import Spectrum
from howsparse.report.axes import fitting, thousands
from howsparse.report.svg import ACCENT, MUTED, WIDTH, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FLOOR = 0.1  # of an eigenvalue
_POINTS = 301


def plot_spectra(found: Mapping[str, Spectrum]) -> str:
    """Draw densities on logarithmic axes, smoothed over a hundredth of each range, with standard errors over probes.

    Args:
        found: spectra by name, one at least.

    Returns:
        An SVG file.
    """
    columns = 1 if len(found) == 1 else 2
    rows = math.ceil(len(found) / columns)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes in panels.flat[len(found) :]:
            axes.set_visible(False)
        for axes, (name, spectrum) in zip(panels.flat, found.items(), strict=False):
            _draw_density(axes, spectrum)
            axes.set_title(fitting(name, 60 // columns), fontsize=11, color=MUTED)
        figure.supxlabel("eigenvalue", fontsize=11, color=MUTED)
        figure.supylabel("eigenvalues nearby", fontsize=11, color=MUTED)

    height = 310 if columns == 1 else 40 + 150 * rows
    return _as_file(drawn("spectrum", "Spectra of the curvature", draw, height=height), height)


def _draw_density(axes: "Axes", spectrum: Spectrum) -> None:
    """How many eigenvalues lie within about a hundredth of the range: a single one alone gives 1."""
    low, high = min(spectrum.smallest, 0.0), max(spectrum.largest, 0.0)
    spread = max(high - low, 1e-30) / 100
    grid = np.linspace(low - 6 * spread, high + 6 * spread, _POINTS)
    density, error = spectrum.density(grid, width=spread)
    unit = spectrum.D * spread * math.sqrt(2 * math.pi)
    heights = np.maximum(unit * density, _FLOOR)
    if spectrum.probes > 1:
        lower, upper = (np.maximum(unit * (density + sign * error), _FLOOR) for sign in (-1, 1))
        axes.fill_between(grid, lower, upper, color=ACCENT, alpha=0.25, linewidth=0)
    axes.plot(grid, heights, color=ACCENT, linewidth=1.2)
    axes.set_yscale("log")
    axes.set_ylim(bottom=_FLOOR)
    axes.yaxis.set_major_formatter(thousands)
    axes.minorticks_off()
    axes.locator_params(axis="x", nbins=5)


def _as_file(svg: str, height: int) -> str:
    """An element of a page as a file of its own: with size, type and background."""
    look = "background:#fff;font-family:system-ui,sans-serif"
    return svg.replace("<svg", f'<svg width="{2 * WIDTH}" height="{2 * height}" style="{look}"', 1) + "\n"
