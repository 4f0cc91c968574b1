"""Matplotlib figures as SVG to be put inside a page: small, the page's own fonts, the same bytes every time."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, RULE, ACCENT, GREY = "#1d2329", "#66707a", "#d8dde2", "#0b6b83", "#8a949e"
WIDTH = 460  # in SVG units; type of 11 units stays readable when a telephone shows it 380 pixels wide

_STYLE: Any = {  # matplotlib's own annotation of its settings differs between versions
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of metrics may hold dollar signs
    "font.family": "DejaVu Sans",  # comes with matplotlib; only measures, the page's font is used
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.labelsize": 11,
    "grid.color": "#eef1f3",
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
}


def drawn(name: str, title: str, draw: Callable[["Figure"], None], *, height: int) -> str:
    """Draw a figure and return it as an ``<svg>`` element.

    Args:
        name: prefix of every id inside, unique on the page.
        title: what the figure shows, for readers who cannot see it.
        draw: puts axes into an empty figure.
        height: in SVG units; the width is `WIDTH`.

    Returns:
        The element, without fixed size; ids carry the prefix and no date or version is inside.
    """
    from matplotlib.figure import Figure

    with _style(name):
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        figure.patch.set_visible(False)
        draw(figure)
        stream = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing, transparent=True)
    return inlined(stream.getvalue(), name, title)


@contextmanager
def _style(salt: str) -> Iterator[None]:
    """Our style on top of matplotlib's defaults, whatever the user's configuration, and back again afterwards."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE | {"svg.hashsalt": salt})
        yield


def inlined(svg: str, name: str, title: str) -> str:
    """An SVG file as an element of a page.

    Args:
        svg: the file.
        name: prefix for ids; ids nobody refers to are dropped.
        title: put where screen readers look.

    Returns:
        The element.

    Example:
        >>> inlined('<?xml?><svg width="9pt" height="9pt" viewBox="0 0 9 9"><g id="a"/></svg>', "plot", "a < b")
        '<svg class="plot" role="img" aria-label="a &lt; b" viewBox="0 0 9 9"><g/></svg>'
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href").replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family: [^;\"]*;?|font: (?P<size>\S+) [^;\"]*", _without_font, svg)
    head, body = svg.split(">", 1)
    head = re.sub(r' (?:width|height|version)="[^"]*"', "", head)
    return head.replace("<svg", f'<svg class="plot" role="img" aria-label="{escape(title)}"', 1) + ">" + body


def _without_font(found: re.Match[str]) -> str:
    """Keep the size of type and leave the family to the page."""
    return f"font-size: {found['size']}" if found["size"] else ""
