"""The paper's limit: the width formula on the training loss's curvature, as an interval, within a budget.

Zhang, Zhang, Sun, Liu, arXiv 2306.05857. The Gauss-Newton matrix of a coreset - the samples whose softmax is least
certain, divided by the number of *all* samples - lies below the full one in the positive semi-definite order, so its
width bounds the full one's from above; the trace of what was left out bounds it from below: with
dof(A) = tr A (A + mu)^-1 and mu = 2 eps / R^2, dof(top + rest) <= dof(top) + tr(rest) / mu.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from howsparse.curvature import Spectrum
from howsparse.curvature.probes import interval
from howsparse.limits.norms import PrefixNorms
from howsparse.limits.solve import limit_curve, scaled_limits, solve_interval, trace_bound
from howsparse.limits.width import Width, contribution


@dataclass(frozen=True)
class Remainder:
    """Trace of the curvature that a spectrum leaves out: an estimate and the upper end of its interval."""

    trace: float = 0.0
    upper: float = 0.0


def width_bounds(spectrum: Spectrum, eps: float, rest: Remainder) -> tuple[Width, Width]:
    """The width g(R) from below and from above: quadrature, probes and left-out samples together.

    For an uncertified spectrum (plain Gauss rules on an indefinite Hessian) only the probes are covered.

    Args:
        spectrum: of the curvature, or of its coreset's.
        eps: admissible loss increase.
        rest: what the coreset leaves out.

    Returns:
        Lower and upper curve.
    """

    def lost(R: float) -> float:
        return rest.upper * R * R / (2 * eps * spectrum.D)

    def side(R: float, index: int) -> float:
        if R == 0:
            return 1.0
        f = contribution(R, eps)
        if spectrum.certified:
            found = spectrum.bounds(f)[index]
        else:
            span = interval(spectrum.mean_of(f), spectrum.D, sampled=spectrum.D - spectrum.values.size)
            found = min((span.low, span.high)[index], 1.0)
        return max(found - (lost(R) if index == 0 else 0.0), 0.0)

    return (lambda R: side(R, 0)), (lambda R: side(R, 1))


def middle(spectrum: Spectrum, eps: float, rest: Remainder) -> Width:
    """A single guess of the width: its complement is the geometric mean of the coreset's own and of the lower bound's.

    What the coreset leaves out adds something between nothing and tr(rest) / mu degrees of freedom; the geometric mean
    misses either end by the same factor.
    """

    def width(R: float) -> float:
        if R == 0:
            return 1.0
        f = contribution(R, eps)
        found = float(spectrum.mean_of(f).mean())
        if spectrum.certified:
            found = (found + min(float(spectrum.mean_of(f, "radau").mean()), 1.0)) / 2
        alone = max(1 - found, 0.0)
        return 1 - math.sqrt(alone * min(alone + rest.trace * R * R / (2 * eps * spectrum.D), 1.0))

    return width


def paper_limit(spectrum: Spectrum, eps: float, norms: PrefixNorms, rest: Remainder) -> dict[str, Any]:
    """Solve the paper's fixed point with the lower, the middle and the upper width, and all that follows from it.

    Args:
        spectrum: of the curvature, or of its coreset's.
        eps: admissible loss increase.
        norms: of the weights that compete.
        rest: what the coreset leaves out.

    Returns:
        JSON values: ``value, low, high`` (sparsities), ``R``, ``width``, ``trace``, ``trace_bound``, ``curve`` (pairs
        of ε and sparsity), ``scaled`` (by factor), ``sensitivity``, ``crossing`` (R, sparsity, g low, g, g high).
    """
    low_width, high_width = width_bounds(spectrum, eps, rest)
    between = middle(spectrum, eps, rest)
    span = solve_interval(low_width, high_width, norms)
    found = solve_interval(between, between, norms).low
    value = min(max(found.sparsity, span.low.sparsity), span.high.sparsity)
    whole = spectrum.trace if spectrum.certified else float(spectrum.mean_of(np.abs).mean()) * spectrum.D
    trace = max(whole + rest.trace, 0.0)  # of |H|
    return {
        "value": value,
        "low": span.low.sparsity,
        "high": span.high.sparsity,
        "R": found.R,
        "width": found.width,
        "trace": trace,
        "trace_bound": trace_bound(trace, eps, norms).sparsity,
        "curve": limit_curve(between, norms, eps),
        "scaled": {f"{c:g}": s.sparsity for c, s in scaled_limits(between, norms).items()},
        "sensitivity": _sensitivity(between, norms, eps),
        "crossing": crossing_curves(norms, between, low_width, high_width),
    }


def crossing_curves(norms: PrefixNorms, between: Width, low: Width, high: Width) -> list[list[float]]:
    """Points (R, sparsity, g low, g, g high) along magnitude pruning; where sparsity meets g is the limit."""
    shares = [i / 20 for i in range(20)] + [1 - 10 ** (-i / 4) for i in range(6, 14)]
    counts = sorted({min(int(share * norms.size), norms.size) for share in shares} | {norms.size})
    rows = []
    for m in counts:
        R = norms.norm(m)
        rows.append([R, m / norms.size, low(R), between(R), high(R)])
    return rows


def _sensitivity(width: Width, norms: PrefixNorms, eps: float) -> float:
    """ds*/d log eps, from the limits a tenth below and above."""
    (_, low), (_, high) = limit_curve(width, norms, eps, grid=[eps / 1.1, eps * 1.1])
    return (high - low) / (2 * math.log(1.1))
