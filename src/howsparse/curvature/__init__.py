"""Curvature of a loss: exact products with its second derivatives, and spectra made from them."""

from howsparse.curvature.coreset import Coreset, RemainderTrace, most_uncertain, remainder_trace, uniform
from howsparse.curvature.deflation import Deflation, Projected, Squared, top_eigenpairs
from howsparse.curvature.gauss_newton import GaussNewton
from howsparse.curvature.hessian import Hessian
from howsparse.curvature.lanczos import Lanczos, lanczos_memory
from howsparse.curvature.objective import Objective
from howsparse.curvature.operators import Dense, Operator
from howsparse.curvature.probes import Interval, interval, rademacher
from howsparse.curvature.quadrature import Rule, gauss, radau
from howsparse.curvature.rows import RowNorms, row_norms, sample_rows
from howsparse.curvature.slq import slq
from howsparse.curvature.spectrum import Spectrum
from howsparse.curvature.trace import TraceEstimate, hutch_plus_plus, hutchinson

__all__ = [
    "Coreset",
    "Deflation",
    "Dense",
    "GaussNewton",
    "Hessian",
    "Interval",
    "Lanczos",
    "Objective",
    "Operator",
    "Projected",
    "RemainderTrace",
    "RowNorms",
    "Rule",
    "Spectrum",
    "Squared",
    "TraceEstimate",
    "gauss",
    "hutch_plus_plus",
    "hutchinson",
    "interval",
    "lanczos_memory",
    "most_uncertain",
    "radau",
    "rademacher",
    "remainder_trace",
    "row_norms",
    "sample_rows",
    "slq",
    "top_eigenpairs",
    "uniform",
]
