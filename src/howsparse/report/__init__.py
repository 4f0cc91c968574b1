"""The report of a pruning run: one self-contained HTML file."""

from howsparse.report.page import render, write_report
from howsparse.report.reading import RunFiles, read_run

__all__ = ["RunFiles", "read_run", "render", "write_report"]
