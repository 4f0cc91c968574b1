"""Rows of an operator, and what they prove about its spectrum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from howsparse.curvature.operators import Operator
from howsparse.curvature.quadrature import Floats, Function
from howsparse.errors import HowsparseError

Norm = Literal["l2", "l1", "diagonal"]


@dataclass(frozen=True, eq=False)
class RowNorms:
    """Norms of some rows of an operator on R^D.

    Attributes:
        D: dimension.
        rows: (n,) int64, which rows.
        l1: (n,) sum of absolute entries of each.
        l2: (n,) Euclidean norm of each, ||A e_i||.
        diagonal: (n,) A_ii.
    """

    D: int
    rows: Tensor
    l1: Floats
    l2: Floats
    diagonal: Floats

    def bound(self, f: Function, norm: Norm = "l2") -> tuple[float, float]:
        """Estimate of a lower bound of (1/D) tr f(|A|), and its standard error.

        (1/D) tr f(|A|) >= mean_i f(||A e_i||_2) >= mean_i f(||row_i||_1) for f with f(sqrt(x)) convex and decreasing,
        which every completely monotone f is, by Jensen's inequality for the spectral measures of the coordinate vectors
        (Peierls 1938). For rows drawn uniformly the mean is an unbiased estimate of that bound; over all rows it is
        the bound itself, error 0. Sharp when many rows vanish, loose for dense matrices. On positive semidefinite A
        ``diagonal``, mean_i f(A_ii), is sharper.

        Args:
            f: completely monotone on [0, inf), for instance 1 / (1 + c x).
            norm: ``l2``, ``l1``, or ``diagonal`` (positive semidefinite A only).

        Returns:
            The mean over the rows and its standard error (NaN for a single row out of several).

        Raises:
            HowsparseError: an unknown norm, or a negative diagonal.

        Example:
            >>> from howsparse.curvature.operators import Dense
            >>> norms = row_norms(Dense(torch.diag(torch.tensor([0.0, 0.0, 0.0, 1.0]))), range(4))
            >>> norms.bound(lambda x: 1 / (1 + x))
            (0.875, 0.0)
        """
        if norm not in get_args(Norm):
            raise HowsparseError(f"norm {norm!r} is unknown; it is one of {', '.join(get_args(Norm))}")
        sizes: Floats = getattr(self, norm)
        if sizes.min() < 0:
            raise HowsparseError(f"a diagonal entry is {sizes.min():.4g}: not positive semidefinite; use norm='l2'")
        values, n = f(sizes), sizes.size
        if n == self.D:
            return float(values.mean()), 0.0
        if n == 1:
            return float(values[0]), math.nan
        without_replacement = 1 - n / self.D
        return float(values.mean()), float(values.std(ddof=1)) * math.sqrt(without_replacement / n)


def sample_rows(size: int, count: int, *, seed: int = 0) -> Tensor:
    """Row numbers drawn uniformly without replacement.

    Args:
        size: D.
        count: 1 <= n <= D; n = D gives all of them.
        seed: of the draw.

    Returns:
        (n,) int64, ascending.

    Raises:
        HowsparseError: a count out of range.

    Example:
        >>> sample_rows(5, 5).tolist()
        [0, 1, 2, 3, 4]
    """
    if not 1 <= count <= size:
        raise HowsparseError(f"{count} rows of {size}: from 1 to {size}")
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(size, generator=generator)[:count].sort().values


def row_norms(operator: Operator, rows: Tensor | Sequence[int], *, chunk: int = 8) -> RowNorms:
    """Norms of rows of an operator: one product A e_i a row.

    Args:
        operator: symmetric.
        rows: different row numbers, 0 <= i < D; see `sample_rows`.
        chunk: products made in lockstep.

    Returns:
        `RowNorms`, float64 sums.

    Raises:
        HowsparseError: no rows, repeated ones or ones out of range, or rows that are not finite.

    Example:
        >>> from howsparse.curvature.operators import Dense
        >>> norms = row_norms(Dense(torch.tensor([[3.0, -4.0], [-4.0, 0.0]])), [0])
        >>> norms.l1.tolist(), norms.l2.tolist(), norms.diagonal.tolist()
        ([7.0], [5.0], [3.0])
    """
    chosen = torch.as_tensor(rows if isinstance(rows, Tensor) else list(rows), dtype=torch.int64).reshape(-1).cpu()
    _check(operator, chosen, chunk)
    found = [_measured(operator, part) for part in chosen.split(chunk)]
    l1, l2, diagonal = (np.concatenate(column) for column in zip(*found, strict=True))
    if not np.isfinite(l1).all():
        raise HowsparseError(
            f"row {int(chosen[~np.isfinite(l1)][0])} holds NaN or infinity; check the weights and data"
        )
    return RowNorms(operator.size, chosen, l1, l2, diagonal)


def _measured(operator: Operator, rows: Tensor) -> tuple[Floats, Floats, Floats]:
    """L1 and L2 norms and diagonal entries of a few rows."""
    units = torch.zeros(rows.numel(), operator.size, dtype=operator.dtype, device=operator.device)
    units[torch.arange(rows.numel()), rows] = 1
    products = operator @ units
    diagonal = products[torch.arange(rows.numel()), rows].double()
    l1 = products.abs().sum(dim=1, dtype=torch.float64)
    l2 = torch.linalg.vector_norm(products, dim=1, dtype=torch.float64)
    return l1.cpu().numpy(), l2.cpu().numpy(), diagonal.cpu().numpy()


def _check(operator: Operator, rows: Tensor, chunk: int) -> None:
    if rows.numel() == 0 or chunk < 1:
        raise HowsparseError(f"{rows.numel()} rows, {chunk} at a time: at least one of each is needed")
    if int(rows.min()) < 0 or int(rows.max()) >= operator.size:
        raise HowsparseError(f"rows from {int(rows.min())} to {int(rows.max())}: they go from 0 to {operator.size - 1}")
    if rows.unique().numel() < rows.numel():
        raise HowsparseError("rows are repeated; each is needed once")
