"""Erdős-Rényi(-kernel) densities: small layers stay denser (Mocanu et al., 2018; Evci et al., arXiv 1911.11134)."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from howsparse.allocation.reach import out_of_reach
from howsparse.allocation.rounding import at_least_one, largest_remainder
from howsparse.errors import HowsparseError


def erk(
    shapes: Mapping[str, Sequence[int]], density: float, *, power: float = 1.0, kernel: bool = True
) -> dict[str, float]:
    """The density of each layer.

    ``d_l = min(1, e q_l)`` with ``q_l = (sum of the shape / product of the shape) ^ power``, where ``e`` makes the
    total density right. Layers are made dense one value of q at a time, largest first, as long as ``e q_l > 1``.

    Args:
        shapes: shapes of the weights by name, (out, in, ...).
        density: fraction kept altogether, in (0, 1].
        power: 0 gives the same density everywhere, 1 is the published rule.
        kernel: True takes the whole shape (ERK), False only its first two numbers (ER).

    Returns:
        Densities in (0, 1] whose mean, weighted by size, is ``density``.

    Raises:
        HowsparseError: no layers, an empty layer, or a density outside (0, 1].

    Example:
        >>> erk({"a": (300, 784), "b": (100, 300), "c": (10, 100)}, 0.1)["a"]  # doctest: +ELLIPSIS
        0.0795677...
    """
    if not 0 < density <= 1:
        raise HowsparseError(f"density = {density} is not allowed: it must be greater than 0 and at most 1")
    return _densities(shapes, density, power, kernel)


def erk_counts(
    shapes: Mapping[str, Sequence[int]], removed: int, *, power: float = 1.0, kernel: bool = True
) -> dict[str, Tensor]:
    """How many weights each layer gives under `erk`, with the total met to the weight.

    Largest remainder; no layer gives more than it has, and each keeps at least one weight where as many are kept as
    there are layers.

    Args:
        shapes: shapes of the weights by name, (out, in, ...).
        removed: weights to remove altogether, 0 <= removed < number of weights.
        power: see `erk`.
        kernel: see `erk`.

    Returns:
        Numbers to remove, ``{tensor: int64 ()}``, for `howsparse.masks.remove_smallest` with ``scope="layer"``.

    Raises:
        HowsparseError: nothing would be left, or shapes as in `erk`.

    Example:
        >>> counts = erk_counts({"a": (30, 78), "b": (10, 30)}, 2376)
        >>> int(counts["a"]), int(counts["b"])  # of 2340 and 300
        (2147, 229)
    """
    sizes = torch.tensor([math.prod(shape) for shape in shapes.values()])
    total = int(sizes.sum())
    if not 0 <= removed < max(total, 1):
        nearest = total - 1 if removed > 0 else 0
        raise out_of_reach(removed, nearest, total, way=list(shapes), because="one weight must be left in")
    kept = total - removed
    shares = torch.tensor(list(_densities(shapes, kept / max(total, 1), power, kernel).values()), dtype=torch.float64)
    counts = largest_remainder(shares * sizes, kept, low=at_least_one(sizes, kept), high=sizes)
    return dict(zip(shapes, (sizes - counts).unbind(), strict=True))


def _densities(shapes: Mapping[str, Sequence[int]], density: float, power: float, kernel: bool) -> dict[str, float]:
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    empty = [name for name, size in sizes.items() if size == 0 or len(shapes[name]) < 2]
    if empty or not shapes:
        raise HowsparseError(f"layers need weights in two or more dimensions; {empty or 'there are no layers'}")
    raw = {name: _raw(shape if kernel else shape[:2], power) for name, shape in shapes.items()}
    open_layers, budget = set(raw), density * sum(sizes.values())
    while open_layers:
        top = max(raw[name] for name in open_layers)
        scale = budget / sum(raw[name] * sizes[name] for name in open_layers)
        if scale * top <= 1:
            return {name: scale * raw[name] if name in open_layers else 1.0 for name in raw}
        full = {name for name in open_layers if raw[name] == top}
        open_layers -= full
        budget -= sum(sizes[name] for name in full)
    return dict.fromkeys(raw, 1.0)


def _raw(shape: Sequence[int], power: float) -> float:
    return float((sum(shape) / math.prod(shape)) ** power)
