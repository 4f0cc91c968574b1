"""The report of a pruning run: one self-contained HTML file."""

from howsparse.report.page import REPORT, render, write_report
from howsparse.report.reading import RunFiles, read_run

__all__ = ["REPORT", "RunFiles", "read_run", "render", "write_report"]
