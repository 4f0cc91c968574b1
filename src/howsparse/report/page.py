"""The page of a pruning run: everything its report says, put into the template."""

from typing import Any

from howsparse.report import curves, limit_curves, limit_plots, plots, summary, tables
from howsparse.report.reading import RunFiles
from howsparse.report.rendering import page, plotted


def render(run: RunFiles) -> str:
    """The report of a run as one HTML page; the same run gives the same bytes.

    Args:
        run: the run, finished or not.

    Returns:
        HTML with style and plots inside.
    """
    return page(
        "report.html.j2",
        heading=summary.heading(run),
        finished=run.finished,
        story=summary.story(run),
        strip=summary.strip(run),
        provenance=summary.provenance(run),
        yardstick=run.yardstick,
        shown=run.shown,
        shown_sparsity=tables.percent(run.cycles[run.shown]["sparsity"]) if run.shown is not None else "",
        layers=tables.layer_rows(run),
        cycles=tables.cycle_rows(run),
        splits={split: run.measures(split) for split in ("val", "test")},
        worth=tables.worth_rows(run),
        uncounted=run.result["multiply_adds"]["uncounted"] if run.result is not None else [],
        groups=tables.setting_groups(run),
        **_plots(run),
    )


def _plots(run: RunFiles) -> dict[str, Any]:
    """The plots there is something to show in, and the turning point in words."""
    course = curves.index_course(run)
    return {
        "tradeoff": plotted(plots.plot_tradeoff, curves.tradeoff(run)),
        "indices": plotted(plots.plot_indices, course),
        "spreads": plotted(plots.plot_spreads, curves.spreads(run)),
        "training": plotted(plots.plot_training, curves.training_course(run)),
        "limits": plotted(limit_plots.plot_course, limit_curves.course(run)),
        "turn": course.turn if course is not None else None,
    }
