"""Classical measures of sparsity, all oriented so that a larger value means sparser.

The measures are those compared in Hurley, Rickard, "Comparing Measures of Sparsity", IEEE Transactions on Information
Theory 55 (2009), arXiv 0811.4706, with d the number of active entries and x their magnitudes. Every function takes
weights of any real floating-point type and shape (or a sequence of tensors as one group) and a boolean mask of the same
shape (True = active, None for all), sums in float64 chunk by chunk, and returns a 0-dim float64 tensor, NaN where the
measure is undefined. NaN or Inf among the active weights, integer or complex weights, and masks that do not fit raise
`HowsparseError`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.measures import entries
from howsparse.measures.entries import Active, Weights
from howsparse.measures.sums import power_sums


def l0(x: Weights, mask: Active = None) -> Tensor:
    """Share of exact zeros among the active entries, #{x_i = 0} / d; NaN when nothing is active.

    Example:
        >>> l0(torch.tensor([0.0, 1.0, -0.0, 2.0])).item()
        0.5
    """
    return l0_epsilon(x, mask, eps=0.0)


def l0_epsilon(x: Weights, mask: Active = None, *, eps: float = 1e-3) -> Tensor:
    """Share of active entries of at most `eps`, #{x_i <= eps} / d; NaN when nothing is active.

    Args:
        x: Weights.
        mask: Active entries.
        eps: Largest magnitude that counts as zero, in the units of the weights, eps >= 0.

    Returns:
        A value in [0, 1].

    Raises:
        HowsparseError: eps is negative or NaN.

    Example:
        >>> l0_epsilon(torch.tensor([1e-4, 1.0, 0.0, -2.0])).item()
        0.5
    """
    if not eps >= 0:
        raise HowsparseError(f"eps={eps}: the largest magnitude that counts as zero must be 0 or more")
    small, count = _total(x, mask, lambda magnitude: (magnitude <= eps).sum().to(torch.float64))
    return small / count


def neg_l1(x: Weights, mask: Active = None) -> Tensor:
    """Minus the sum of magnitudes, -sum x_i; 0 when nothing is active.

    Example:
        >>> neg_l1(torch.tensor([1.0, -2.0])).item()
        -3.0
    """
    return 0.0 - _total(x, mask, torch.sum)[0]


def neg_lp(x: Weights, mask: Active = None, *, p: float = 0.5) -> Tensor:
    """Minus the p-quasi-norm, -(sum x_i^p)^(1/p), 0 < p < 1; 0 when nothing is active.

    Args:
        x: Weights.
        mask: Active entries.
        p: Order, 0 < p < 1.

    Returns:
        A value of at most 0.

    Raises:
        HowsparseError: p outside (0, 1).

    Example:
        >>> neg_lp(torch.tensor([1.0, 4.0])).item()
        -9.0
    """
    if not 0 < p < 1:
        raise HowsparseError(f"p={p}: the quasi-norm needs 0 < p < 1, for example 0.5; for p = 1 use neg_l1")
    return 0.0 - _total(x, mask, lambda magnitude: magnitude.pow(p))[0].pow(1 / p)


def l2_over_l1(x: Weights, mask: Active = None) -> Tensor:
    """Ratio of norms, ||x||_2 / ||x||_1, in [1/sqrt(d), 1]; NaN when all are zero.

    Example:
        >>> round(l2_over_l1(torch.tensor([1.0, 1.0, 1.0, 1.0])).item(), 12)
        0.5
    """
    sums = power_sums(x, mask, p=1.0, q=2.0)
    return _where_defined(sums.scale, sums.sum_q.sqrt() / sums.sum_p)


def hoyer(x: Weights, mask: Active = None) -> Tensor:
    """Hoyer's measure, (sqrt(d) - ||x||_1 / ||x||_2) / (sqrt(d) - 1), in [0, 1]; NaN for d = 1 or all zero.

    Source: Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 5 (2004).

    Example:
        >>> hoyer(torch.tensor([0.0, 5.0, 0.0])).item(), hoyer(torch.tensor([2.0, -2.0, 2.0, 2.0])).item()
        (1.0, 0.0)
    """
    sums = power_sums(x, mask, p=1.0, q=2.0)
    root = sums.count.to(torch.float64).sqrt()
    value = ((root - sums.sum_p / sums.sum_q.sqrt()) / (root - 1)).clamp(0.0, 1.0)
    return _where_defined(sums.scale * (root - 1), value)


def participation(x: Weights, mask: Active = None) -> Tensor:
    """Share of entries that do not participate, 1 - (||x||_1 / ||x||_2)^2 / d, in [0, 1 - 1/d]; NaN when all are zero.

    (||x||_1 / ||x||_2)^2 is the participation ratio, the effective number of weights for (p, q) = (1, 2).

    Example:
        >>> participation(torch.tensor([0.0, 7.0, -7.0, 0.0])).item()
        0.5
    """
    sums = power_sums(x, mask, p=1.0, q=2.0)
    return _where_defined(sums.scale, (1 - sums.sum_p.square() / (sums.sum_q * sums.count)).clamp_min(0.0))


def kurtosis(x: Weights, mask: Active = None) -> Tensor:
    """Kurtosis about zero, mean(x^4) / mean(x^2)^2, in [1, d]; 3 for Gaussian weights; NaN when all are zero.

    Example:
        >>> kurtosis(torch.tensor([0.0, 2.0, 0.0, -2.0])).item()
        2.0
    """
    sums = power_sums(x, mask, p=2.0, q=4.0)
    return _where_defined(sums.scale, sums.count * sums.sum_q / sums.sum_p.square())


def neg_shannon(x: Weights, mask: Active = None) -> Tensor:
    """Minus the entropy of the shares, sum s_i log s_i with s = x / sum x, in [-log d, 0]; NaN when all are zero.

    Example:
        >>> round(neg_shannon(torch.tensor([1.0, -1.0])).item() / math.log(2), 12)
        -1.0
    """
    total = 0.0 - neg_l1(x, mask)
    return _where_defined(
        total, _total(x, mask, lambda magnitude: torch.xlogy(magnitude / total, magnitude / total))[0]
    )


def neg_tanh(x: Weights, mask: Active = None, *, a: float = 1.0, b: float = 1.0) -> Tensor:
    """Minus a smooth count of large entries, -sum tanh((a x_i)^b); 0 when nothing is active.

    Args:
        x: Weights.
        mask: Active entries.
        a: Inverse of the magnitude that counts as large, a > 0.
        b: Steepness, b > 0.

    Returns:
        A value in [-d, 0].

    Raises:
        HowsparseError: a or b is not positive.

    Example:
        >>> neg_tanh(torch.tensor([100.0, 0.0, -100.0])).item()
        -2.0
    """
    if not (a > 0 and b > 0):
        raise HowsparseError(f"a={a}, b={b}: both must be positive, for example a=1/typical magnitude, b=1")
    return 0.0 - _total(x, mask, lambda magnitude: torch.tanh((a * magnitude) ** b))[0]


def neg_log(x: Weights, mask: Active = None) -> Tensor:
    """Minus the log energy, -sum log(1 + x_i^2); 0 when nothing is active.

    Example:
        >>> round(neg_log(torch.tensor([1.0, 0.0])).item() / math.log(2), 12)
        -1.0
    """
    return 0.0 - _total(x, mask, lambda magnitude: torch.log1p(magnitude.square()))[0]


def _total(x: Weights, mask: Active, term: Callable[[Tensor], Tensor]) -> tuple[Tensor, int]:
    """Sum of a term over all active magnitudes, and their number."""
    first = x if isinstance(x, Tensor) else next(iter(x), torch.empty(0))
    total, count = torch.zeros((), dtype=torch.float64, device=first.device), 0
    for chunk, _ in entries.magnitudes(x, mask):
        total = total + term(chunk).sum().to(total.device)
        count += chunk.numel()
    return total, count


def _where_defined(positive: Tensor, value: Tensor) -> Tensor:
    """The value where the first argument is positive, else NaN."""
    return torch.where(positive > 0, value, math.nan)
