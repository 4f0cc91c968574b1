"""Reports of pruning runs and of limits: one self-contained HTML file each."""

from howsparse.report.limit_page import render_limit
from howsparse.report.limit_reading import LimitFiles, read_limit
from howsparse.report.page import render
from howsparse.report.reading import RunFiles, read_run
from howsparse.report.writing import REPORT, write_report

__all__ = ["REPORT", "LimitFiles", "RunFiles", "read_limit", "read_run", "render", "render_limit", "write_report"]
