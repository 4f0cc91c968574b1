"""The page of a limit: how sparse a network can go, and why we think so."""

from typing import Any

from howsparse.report import limit_curves, limit_plots, limit_summary, tables
from howsparse.report.limit_reading import LimitFiles
from howsparse.report.rendering import page, plotted


def render_limit(limit: LimitFiles) -> str:
    """The report of a limit as one HTML page; the same files give the same bytes.

    Args:
        limit: the limit, finished or not.

    Returns:
        HTML with style and plots inside.
    """
    details, origin = limit.details, limit.settings.get("origin") or {}
    return page(
        "limit.html.j2",
        model=str(origin.get("model") or details["task"]),
        data=str(origin.get("data") or ""),
        finished=limit.finished,
        story=limit_summary.story(limit),
        cells=limit_summary.cells(limit),
        details=details,
        facts=limit_summary.facts(limit),
        doubling=limit_summary.doubling(limit),
        flat=limit_summary.flat(limit),
        layers=limit_summary.layers(limit),
        groups=tables.setting_groups(limit),
        **_plots(limit),
    )


def _plots(limit: LimitFiles) -> dict[str, Any]:
    """The plots there is something to show in."""
    paper, eps, limits = limit.details["paper"], limit.details["eps"], limit.intervals
    kept = limit_curves.kept_metric(limit)
    return {
        "rise": plotted(lambda found: limit_plots.plot_rise(found, limits), limit_curves.rise(limit)),
        "kept": kept,
        "metric": plotted(lambda found: limit_plots.plot_kept(found, limits), kept),
        "width": plotted(limit_plots.plot_width, limit_curves.width(limit)),
        "curve": plotted(lambda found: limit_plots.plot_curve(found, eps), paper),
        "spectrum": plotted(limit_plots.plot_density, limit_curves.density(limit)),
        "scaled": plotted(limit_plots.plot_scaled, paper),
        "thresholds": plotted(limit_plots.plot_thresholds, limit_curves.thresholds(limit)),
    }
