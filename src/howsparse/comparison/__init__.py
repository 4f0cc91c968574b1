"""Many runs under one budget: methods x sparsities x seeds x tasks, on one machine or a Ray cluster."""

from howsparse.comparison.comparing import compare
from howsparse.comparison.comparison import Comparison, Summary, read_comparison
from howsparse.comparison.options import Options
from howsparse.comparison.rows import Row
from howsparse.comparison.watch import Watch
from howsparse.comparison.writing import PAGE, write

__all__ = ["PAGE", "Comparison", "Options", "Row", "Summary", "Watch", "compare", "read_comparison", "write"]
