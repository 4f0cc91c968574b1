"""From templates and plots to HTML."""

from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from howsparse.report.wording import sentence

if TYPE_CHECKING:
    from jinja2 import Environment

T = TypeVar("T")


def page(template: str, **content: Any) -> str:
    """A page of a report.

    Args:
        template: its file.
        **content: what the template names.

    Returns:
        HTML with style and plots inside.
    """
    return _templates().get_template(template).render(version=version("howsparse"), **content)


def plotted(plot: Callable[[T], str], points: T | None) -> str:
    """An SVG that the template need not escape, because matplotlib has; empty without points.

    Args:
        plot: draws the points.
        points: what to draw, or None.

    Returns:
        The SVG, marked as safe.
    """
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
