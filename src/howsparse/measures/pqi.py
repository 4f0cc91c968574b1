"""PQ Index of weights: how unevenly magnitude is spread, and how many weights that says must stay.

The PQ Index and the bound on pruning are from Diao, Wang, Zhang, Yang, Ding, Tarokh, "Pruning Deep Neural Networks from
a Sparsity Perspective", ICLR 2023, arXiv 2302.05601.
"""

import math
from typing import overload

import torch
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.measures.entries import Active, Weights
from howsparse.measures.sums import check_orders, largest_index, power_sums


def pqi(
    x: Weights, mask: Active = None, *, p: float = 0.5, q: float = 1.0, dim: int | tuple[int, ...] | None = None
) -> Tensor:
    """PQ Index of the active weights: 0 when all magnitudes are equal, larger when few entries hold the energy.

    I_{p,q}(w) = 1 - d^(1/q - 1/p) ||w||_p / ||w||_q, with d the number of active entries; 0 <= I <= 1 - d^(1/q - 1/p)
    (arXiv 2302.05601). It does not depend on scale, sign or order. Active zeros count in d; masked entries do not, and
    may hold anything. Magnitudes are divided by the largest one and everything is float64, because float32 sums of
    p-th powers are visibly wrong from about 10^6 entries on.

    Args:
        x: Weights of any real floating-point type and shape, or a sequence of such tensors taken as one group.
        mask: Boolean, same shape, True = active; None for all. For a sequence: one mask or None per tensor.
        p: Smaller order, p > 0.
        q: Larger order, q > p. For p <= 1 <= q all six properties of an ideal sparsity measure hold.
        dim: Dimension(s) to reduce; None for one index of everything. For one index per output unit of a weight
            (out, ...), pass `x.flatten(1)` with dim=1.

    Returns:
        float64, 0-dim for dim=None, else of the remaining shape; NaN where undefined (nothing active, or all zero).

    Raises:
        HowsparseError: Orders out of range, active NaN or Inf, or mask and weights that do not fit.

    Example:
        >>> import torch
        >>> round(pqi(torch.tensor([0.0, 3.0, 0.0, -3.0])).item(), 12)  # k of d equal: 1 - (k/d)^(1/p - 1/q)
        0.5
        >>> pqi(torch.tensor([[2.0, 2.0], [0.0, 0.0]]), dim=1).tolist()
        [0.0, nan]
    """
    return power_sums(x, mask, p=p, q=q, dim=dim).pqi


def effective_count(
    x: Weights, mask: Active = None, *, p: float = 0.5, q: float = 1.0, dim: int | tuple[int, ...] | None = None
) -> Tensor:
    """Effective number of weights: as many equal ones would spread their energy as evenly.

    r_0 = d (1 - I_{p,q})^(pq/(q-p)) = (||w||_p / ||w||_q)^(pq/(q-p)), the Hill number of order q/p of the shares
    |w|^p / sum |w|^p. It is the bound of arXiv 2302.05601 for eta = 0: 1 <= r_0 <= number of non-zeros, exactly k for
    k equal non-zeros. For (p, q) = (0.5, 1) it is d (1 - I), for (1, 2) the participation ratio.

    Args:
        x: Weights of any real floating-point type and shape, or a sequence of such tensors taken as one group.
        mask: Boolean, same shape, True = active; None for all. For a sequence: one mask or None per tensor.
        p: Smaller order, p > 0.
        q: Larger order, q > p.
        dim: Dimension(s) to reduce; None for one count of everything.

    Returns:
        float64, 0-dim for dim=None, else of the remaining shape; NaN where undefined (nothing active, or all zero).

    Raises:
        HowsparseError: Orders out of range, active NaN or Inf, or mask and weights that do not fit.

    Example:
        >>> import torch
        >>> round(effective_count(torch.tensor([5.0, 0.0, 5.0, -5.0]), p=1.0, q=2.0).item(), 12)
        3.0
    """
    return power_sums(x, mask, p=p, q=q, dim=dim).effective_count


@overload
def pqi_upper(d: float, p: float, q: float) -> float: ...
@overload
def pqi_upper(d: Tensor, p: float, q: float) -> Tensor: ...
def pqi_upper(d: float | Tensor, p: float, q: float) -> float | Tensor:
    """Largest value the PQ Index of d entries can take, reached by a single non-zero: 1 - d^(1/q - 1/p).

    Args:
        d: Number of active entries, d >= 0; a number or a tensor of any shape.
        p: Smaller order, p > 0.
        q: Larger order, q > p.

    Returns:
        A float for a number, a float64 tensor for a tensor; NaN for d = 0.

    Raises:
        HowsparseError: Orders out of range.

    Example:
        >>> round(pqi_upper(5, 0.5, 1.0), 12)
        0.8
    """
    check_orders(p, q)
    upper = largest_index(torch.as_tensor(d, dtype=torch.float64), p, q)
    return upper if isinstance(d, Tensor) else float(upper)


@overload
def retained_bound(d: float, index: float, *, p: float, q: float, eta: float = 0.0) -> float: ...
@overload
def retained_bound(d: Tensor, index: Tensor, *, p: float, q: float, eta: float = 0.0) -> Tensor: ...
def retained_bound(d: float | Tensor, index: float | Tensor, *, p: float, q: float, eta: float = 0.0) -> float | Tensor:
    """Least number of weights that must stay when the removed ones may hold `eta` of the kept ones' p-energy.

    r = d (1 + eta)^(-q/(q-p)) (1 - I)^(pq/(q-p)), the bound of arXiv 2302.05601. It is a necessary count; it says
    nothing about accuracy by itself.

    Args:
        d: Number of active entries, d >= 0; a number, or a tensor when `index` is one.
        index: PQ Index of those entries in [0, 1]; NaN passes through.
        p: Smaller order, p > 0.
        q: Larger order, q > p.
        eta: Tolerated ratio of removed to kept p-energy, eta >= 0.

    Returns:
        A float for numbers, a float64 tensor for tensors.

    Raises:
        HowsparseError: Orders or eta out of range.

    Example:
        >>> retained_bound(100, 0.25, p=0.5, q=1.0)  # here the removed share is the index itself
        75.0
        >>> retained_bound(100, 0.0, p=0.5, q=1.0, eta=1.0)
        25.0
    """
    check_orders(p, q)
    if not eta >= 0:
        raise HowsparseError(f"eta={eta}: the tolerated energy ratio must be 0 or more; 0 is the usual choice")
    kept = torch.log1p(-torch.as_tensor(index, dtype=torch.float64)) * (p * q / (q - p))
    bound = torch.as_tensor(d, dtype=torch.float64) * torch.exp(kept - math.log1p(eta) * q / (q - p))
    return bound if isinstance(d, Tensor) or isinstance(index, Tensor) else float(bound)
