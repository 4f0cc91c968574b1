"""The trace of an operator from products with random signs, with its standard error."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howsparse.curvature.deflation import project
from howsparse.curvature.lanczos import row_dots
from howsparse.curvature.operators import Operator
from howsparse.curvature.probes import rademacher
from howsparse.curvature.quadrature import Floats
from howsparse.errors import HowsparseError

_SKETCH = 1 << 31  # number of the first sketching vector, beyond those of the probes


@dataclass(frozen=True)
class TraceEstimate:
    """An estimate of a trace.

    Attributes:
        value: unbiased estimate of tr A.
        error: its standard error, from the spread over probes; NaN with a single probe.
        probes: vectors averaged over.
        products: products with the operator that were spent.
    """

    value: float
    error: float
    probes: int
    products: int


def hutchinson(operator: Operator, *, probes: int = 16, seed: int = 0, chunk: int = 8) -> TraceEstimate:
    """Trace as the mean of v' A v over random signs v.

    E v' A v = tr A and Var v' A v = 2 (||A||_F^2 - sum A_ii^2), so the error falls with the square root of the probes
    and vanishes for diagonal A (Hutchinson 1990). For a trace to more than a digit or two see `hutch_plus_plus`.

    Args:
        operator: symmetric.
        probes: p >= 1, one product each.
        seed: of the signs.
        chunk: products made in lockstep.

    Returns:
        A `TraceEstimate`.

    Raises:
        HowsparseError: no probes, or products that are not finite.

    Example:
        >>> from howsparse.curvature.operators import Dense
        >>> hutchinson(Dense(torch.diag(torch.tensor([1.0, 2.0, 3.0]))), probes=4)
        TraceEstimate(value=6.0, error=0.0, probes=4, products=4)
    """
    return _averaged(_forms(operator, None, probes, seed=seed, chunk=chunk), 0.0, probes)


def hutch_plus_plus(operator: Operator, *, products: int = 24, seed: int = 0, chunk: int = 8) -> TraceEstimate:
    """Trace as an exact part on a sketched subspace and a Hutchinson estimate of the rest.

    With Q an orthonormal basis of A S, S random signs: tr Q' A Q + tr (I - QQ') A (I - QQ'). A third of the products
    each for A S, A Q and the probes of the second term; for positive semidefinite A the relative error falls with the
    number of products, not with its root (Meyer, Musco, Musco, Woodruff, arXiv 2010.09649, algorithm 1).

    Args:
        operator: symmetric.
        products: at least 3; the third left over by division goes to the probes.
        seed: of the signs.
        chunk: products made in lockstep.

    Returns:
        A `TraceEstimate`; its error is that of the second term. Exact, with error 0, once the sketch spans the range of
        A or all of R^D.

    Raises:
        HowsparseError: fewer than three products, or products that are not finite.

    Example:
        >>> from howsparse.curvature.operators import Dense
        >>> low_rank = Dense(torch.ones(50, 50, dtype=torch.float64))
        >>> found = hutch_plus_plus(low_rank, products=6)
        >>> round(found.value, 9), found.error < 1e-9
        (50.0, True)
    """
    if products < 3:
        raise HowsparseError(f"{products} products: Hutch++ needs at least 3, one for each of its three parts")
    rank = min(products // 3, operator.size)
    sketch = rademacher(rank, operator.size, seed=seed, first=_SKETCH, dtype=operator.dtype)
    basis = torch.linalg.qr(_products(operator, sketch, chunk).T)[0].T.contiguous()
    known = float(row_dots(_products(operator, basis, chunk), basis).sum())
    probes = products - 2 * rank
    forms = np.zeros(probes) if rank == operator.size else _forms(operator, basis, probes, seed=seed, chunk=chunk)
    spent = 2 * rank if rank == operator.size else products
    return _averaged(forms, known, spent)


def _averaged(forms: Floats, known: float, products: int) -> TraceEstimate:
    """The mean of quadratic forms with its standard error, and a part that is known."""
    alone = forms.size == 1
    error = math.nan if alone else float(forms.std(ddof=1)) / math.sqrt(forms.size)
    return TraceEstimate(known + float(forms.mean()), error, forms.size, products)


def _forms(operator: Operator, away: Tensor | None, count: int, *, seed: int, chunk: int) -> Floats:
    """The v' A v of random signs v, made orthogonal to ``away``; only ``chunk`` vectors exist at a time."""
    _check(count, chunk)
    found = []
    for first in range(0, count, chunk):
        signs = rademacher(min(chunk, count - first), operator.size, seed=seed, first=first, dtype=operator.dtype)
        signs = signs.to(operator.device)
        signs = signs if away is None else project(signs, away)
        found.append(row_dots(_products(operator, signs, chunk), signs))
    forms: Floats = torch.cat(found).numpy()
    return forms


def _products(operator: Operator, vectors: Tensor, chunk: int) -> Tensor:
    """A times every row, ``chunk`` rows at a time."""
    _check(len(vectors), chunk)
    products = torch.cat([operator @ rows for rows in vectors.split(chunk)])
    if not bool(products.isfinite().all()):
        raise HowsparseError("a product of the operator holds NaN or infinity; check the weights and data for NaN")
    return products


def _check(count: int, chunk: int) -> None:
    if count < 1 or chunk < 1:
        raise HowsparseError(f"{count} vectors, {chunk} at a time: at least one of each is needed")
