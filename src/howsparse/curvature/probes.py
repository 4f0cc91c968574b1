"""Random sign vectors and what their spread says about a trace."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from howsparse.errors import HowsparseError

FEWEST_FOR_T = 5  # fewer probes say too little about their own spread


def rademacher(count: int, size: int, *, seed: int = 0, first: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Vectors of independent fair signs, each drawn from a stream of its own.

    Vector number i depends on the seed and i alone, so that asking for more leaves the first ones as they are.

    Args:
        count: p >= 1 vectors.
        size: D >= 1 entries each.
        seed: not negative.
        first: number of the first vector.
        dtype: type of the entries.

    Returns:
        (p, D) of -1 and 1 on the CPU.

    Raises:
        HowsparseError: a count or size below one, or a negative seed.

    Example:
        >>> signs = rademacher(2, 5, seed=3)
        >>> signs.abs().tolist() == [[1.0] * 5] * 2, bool((rademacher(1, 5, seed=3, first=1)[0] == signs[1]).all())
        (True, True)
    """
    if count < 1 or size < 1 or seed < 0:
        raise HowsparseError(f"{count} probes of {size} entries with seed {seed}: at least 1, at least 1, at least 0")
    signs = torch.empty(count, size, dtype=dtype)
    for index in range(count):
        drawn = np.random.SeedSequence((seed, first + index)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(drawn[0]))
        signs[index] = torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8)
    return signs.mul_(2).sub_(1)


@dataclass(frozen=True)
class Interval:
    """A mean over probes and the interval that holds the expected value.

    Attributes:
        mean: average of the values.
        low: lower end.
        high: upper end.
        method: ``t`` (spread of the values) or ``a-priori`` (bound that needs no spread).
    """

    mean: float
    low: float
    high: float
    method: Literal["t", "a-priori"]


def interval(values: npt.ArrayLike, D: int, confidence: float = 0.95, *, sampled: int | None = None) -> Interval:
    """Confidence interval for (1/D) tr F from one estimate a probe.

    From five probes on, Student's t with the spread of the values. With fewer, an a-priori bound with the normal
    quantile: for sign probes and 0 <= F <= I (f(A) with 0 <= f <= 1), Var(v' F v) = 2 (||F||_F^2 - sum F_ii^2) is at
    most 2 tr F, and at most 2 tr(I - F) since both have the same off-diagonal entries. So with g = tr F / D the
    standard deviation of the mean is at most sqrt(2 min(g, 1 - g) / (p D)); g is taken as far from 0 and 1 as the
    interval itself allows. When only k of D directions are sampled, it is also at most sqrt(2 k / p) / D.

    Args:
        values: (p,) estimates, p >= 1.
        D: dimension, D >= 1.
        confidence: probability that the interval holds the trace, in (0, 1).
        sampled: directions that the probes speak for, D by default; the others are known.

    Returns:
        An `Interval` that says which was used.

    Raises:
        HowsparseError: no values, D below one or a confidence outside (0, 1).

    Example:
        >>> interval([0.5], D=10_000).method
        'a-priori'
        >>> found = interval([0.4, 0.5, 0.6, 0.5, 0.5], D=100)
        >>> found.method, round(found.low, 3), round(found.high, 3)
        ('t', 0.412, 0.588)
    """
    from scipy.special import ndtri, stdtrit

    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size == 0 or D < 1 or not 0 < confidence < 1:
        raise HowsparseError(
            f"an interval needs a vector of values, D >= 1 and a confidence in (0, 1); got shape {numbers.shape}, "
            f"D = {D}, confidence {confidence}"
        )
    p, mean, tail = numbers.size, float(numbers.mean()), (1 + confidence) / 2
    if p >= FEWEST_FOR_T:
        half = float(stdtrit(p - 1, tail)) * float(numbers.std(ddof=1)) / math.sqrt(p)
        return Interval(mean, mean - half, mean + half, "t")
    scale = 2 * float(ndtri(tail)) ** 2 / p
    known = math.sqrt(scale * (D if sampled is None else sampled)) / D
    edge = min(max(mean, 0.0), max(1 - mean, 0.0)) if sampled in (None, D) else 1.0
    unit = scale / D
    half = min((unit + math.sqrt(unit**2 + 4 * unit * edge)) / 2, known)  # half^2 = unit (edge + half)
    return Interval(mean, mean - half, mean + half, "a-priori")
