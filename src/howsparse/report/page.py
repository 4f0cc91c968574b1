"""The page: everything the report says, put into the template."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from howsparse.files import write_atomic
from howsparse.report import curves, plots, summary, tables
from howsparse.report.reading import RunFiles, read_run
from howsparse.report.wording import sentence

if TYPE_CHECKING:
    from jinja2 import Environment

REPORT = "report.html"
T = TypeVar("T")


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a run directory, also while the run is not finished.

    Args:
        folder: the run directory.

    Returns:
        Path of the report: one file that needs no network.

    Raises:
        HowsparseError: the folder holds no run, a file in it is damaged, or it cannot be written.

    Example:
        >>> import tempfile, torch, howsparse as hs
        >>> data = torch.utils.data.TensorDataset(torch.randn(40, 8), torch.randint(0, 2, (40,)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = hs.prune(hs.Task(torch.nn.Linear(8, 2), data), hs.OneShot(), hs.Recipe(epochs=1), out=folder)
        ...     write_report(Path(folder)).name
        'report.html'
    """
    path = Path(folder) / REPORT
    write_atomic(path, render(read_run(Path(folder))).encode())
    return path


def render(run: RunFiles) -> str:
    """The report of a run as one HTML page; the same run gives the same bytes.

    Args:
        run: the run, finished or not.

    Returns:
        HTML with style and plots inside.
    """
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
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
            version=version("howsparse"),
            **_plots(run),
        )
    )


def _plots(run: RunFiles) -> dict[str, Any]:
    """The plots there is something to show in, and the turning point in words."""
    course = curves.index_course(run)
    return {
        "tradeoff": _drawn(plots.plot_tradeoff, curves.tradeoff(run)),
        "indices": _drawn(plots.plot_indices, course),
        "spreads": _drawn(plots.plot_spreads, curves.spreads(run)),
        "training": _drawn(plots.plot_training, curves.training_course(run)),
        "turn": course.turn if course is not None else None,
    }


def _drawn(plot: Callable[[T], str], points: T | None) -> str:
    """An SVG that the template need not escape, because matplotlib has; empty without points."""
    from markupsafe import Markup

    return Markup("" if points is None else plot(points))


def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("howsparse.report", "templates")
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["sentence"] = sentence
    return templates
