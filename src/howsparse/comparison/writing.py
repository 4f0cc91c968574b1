"""The files that a comparison is written to."""

from pathlib import Path

from howsparse.comparison.comparison import JSON, Comparison
from howsparse.comparison.page import render
from howsparse.comparison.tables import as_markdown, cells_csv, summary_csv
from howsparse.files import write_atomic, write_json

PAGE, MARKDOWN, CSV, CELLS = "comparison.html", "comparison.md", "comparison.csv", "cells.csv"


def write(comparison: Comparison, *, page: bool = True) -> Path:
    """Write ``comparison.json``, ``.md``, ``.csv``, ``cells.csv`` and, unless left out, ``comparison.html``.

    Args:
        comparison: finished or not.
        page: whether to draw the page too.

    Returns:
        Path of the page.
    """
    out = comparison.out
    write_json(out / JSON, comparison.to_plain())
    write_atomic(out / MARKDOWN, as_markdown(comparison).encode())
    write_atomic(out / CSV, summary_csv(comparison).encode())
    write_atomic(out / CELLS, cells_csv(comparison).encode())
    if page:
        write_atomic(out / PAGE, render(comparison).encode())
    return out / PAGE
