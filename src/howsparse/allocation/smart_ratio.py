"""Smart-Ratio: layer densities that fall with depth, without data (Su et al., NeurIPS 2020, arXiv 2009.11094)."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from howsparse.allocation.reach import out_of_reach
from howsparse.allocation.rounding import at_least_one, largest_remainder
from howsparse.errors import HowsparseError

Family = Literal["residual", "plain"]
Variant = Literal["quadratic", "linear", "cubic", "ascending", "uniform"]
FAMILIES: tuple[Family, ...] = ("residual", "plain")
VARIANTS: tuple[Variant, ...] = ("quadratic", "linear", "cubic", "ascending", "uniform")


def smart_ratio(
    shapes: Mapping[str, Sequence[int]],
    removed: int,
    *,
    family: Family = "residual",
    variant: Variant = "quadratic",
    linear_density: float = 0.3,
    reference_mode: bool = False,
) -> dict[str, Tensor]:
    """How many weights each layer gives under the Smart-Ratio rule.

    Layers l = 1..L in order, linear ones (two dimensions) counted. Linear layers keep ``linear_density`` of their
    weights. Convolutions share the other G weights that stay: density ``d_l = G r_l / sum of r N`` with, for
    ``k = L - l + 1``, ``r_l = k^2 + k`` (quadratic), ``k`` (linear), ``k^3`` (cubic), ``l^2 + l`` (ascending) or 1
    (uniform); in the plain family (VGG) all but uniform are divided by ``l^2``. What a layer cannot hold goes to the
    next convolutions that have room. Totals are met to the weight by largest remainder; every convolution keeps at
    least one weight where G suffices.

    Args:
        shapes: shapes of the weights by name, in the order of the layers.
        removed: weights to remove altogether.
        family: ``residual`` or ``plain``.
        variant: ``quadratic`` is the published rule, the others its ablations.
        linear_density: fraction that linear layers keep, in [0, 1]; 0.3 in the paper.
        reference_mode: rounds down as the authors' code, which keeps up to one weight less per layer, stops handing on
            at the first layer that leaves nothing over, and loses what the last layer cannot hold.

    Returns:
        Numbers to remove, ``{tensor: int64 ()}``, for `howsparse.masks.remove_smallest` with ``scope="layer"``.

    Raises:
        HowsparseError: no convolution, a setting out of range, or a total that the rule cannot meet: too few weights
            stay for the linear layers, or too many for the convolutions.

    Example:
        >>> shapes = {"a": (8, 3, 3, 3), "b": (16, 8, 3, 3), "c": (16, 16, 3, 3), "fc": (10, 16)}
        >>> counts = smart_ratio(shapes, 3449)
        >>> [math.prod(shapes[name]) - int(count) for name, count in counts.items()]  # kept
        [45, 145, 145, 48]
    """
    _check(shapes, family, variant, linear_density)
    sizes = [math.prod(shape) for shape in shapes.values()]
    rates = [_rate(layer, shape, len(sizes), (family, variant)) for layer, shape in enumerate(shapes.values(), 1)]
    linear = int(linear_density * sum(n for n, rate in zip(sizes, rates, strict=True) if rate is None))
    budget = sum(sizes) - removed - linear
    flat = [name for name, rate in zip(shapes, rates, strict=True) if rate is None]
    if removed < 0 or budget < 0:
        nearest, way = (sum(sizes) - linear, flat) if budget < 0 else (0, list(shapes))
        because = f"linear layers keep {linear_density:g} of their weights" if budget < 0 else "all are dense"
        raise out_of_reach(removed, nearest, sum(sizes), way=way, because=because)
    if reference_mode:
        kept = _kept_by_reference(sizes, rates, budget, linear_density=linear_density, uniform=variant == "uniform")
    else:
        _refuse_lost(list(shapes), sizes, rates, budget=budget, linear=linear)
        kept = _kept(sizes, rates, budget=budget, linear=linear)
    return {name: torch.tensor(n - k) for name, n, k in zip(shapes, sizes, kept, strict=True)}


def _check(shapes: Mapping[str, Sequence[int]], family: str, variant: str, linear_density: float) -> None:
    if family not in FAMILIES or variant not in VARIANTS:
        raise HowsparseError(
            f"family {family!r}, variant {variant!r}: the families are {', '.join(FAMILIES)}, the variants "
            f"{', '.join(VARIANTS)}"
        )
    if not 0 <= linear_density <= 1:
        raise HowsparseError(f"linear_density = {linear_density} is not allowed: it must be between 0 and 1")
    if all(len(shape) <= 2 for shape in shapes.values()):
        raise HowsparseError(
            "the Smart-Ratio rule shares weights out among convolutions, and there is none; take erk or uniform"
        )


def _rate(layer: int, shape: Sequence[int], layers: int, rule: tuple[Family, Variant]) -> float | None:
    """r_l, or None for a linear layer."""
    if len(shape) <= 2:
        return None
    family, variant = rule
    k = layers - layer + 1
    rate = {"quadratic": k * k + k, "linear": k, "cubic": k**3, "ascending": layer * layer + layer, "uniform": 1}
    return rate[variant] / (layer * layer if family == "plain" and variant != "uniform" else 1)


def _refuse_lost(
    names: Sequence[str], sizes: Sequence[int], rates: Sequence[float | None], *, budget: int, linear: int
) -> None:
    """Refuse a budget of which the last convolutions would have to lose a part."""
    conv = [(name, n, n * rate) for name, n, rate in zip(names, sizes, rates, strict=True) if rate is not None]
    # excess moves to later layers only: from each layer on, the room must hold what is due there
    rooms = list(accumulate(n for _, n, _ in reversed(conv)))
    dues = list(accumulate(mass for _, _, mass in reversed(conv)))
    limits = [math.floor(room * dues[-1] / due * (1 + 1e-12)) for room, due in zip(rooms, dues, strict=True)]
    most = min(limits)
    if budget > most:
        total = sum(sizes)
        way = [name for name, rate in zip(names, rates, strict=True) if rate is None]
        raise out_of_reach(
            total - budget - linear,
            total - most - linear,
            total,
            way=[name for name, _, _ in conv[-1 - limits.index(most) :]] + way,
            because="these convolutions are full and linear layers keep a fixed share",
        )


def _kept(sizes: Sequence[int], rates: Sequence[float | None], *, budget: int, linear: int) -> list[int]:
    """Weights kept by each layer: the exact rule."""
    whole = sum(n * rate for n, rate in zip(sizes, rates, strict=True) if rate is not None)
    flat = max(sum(n for n, rate in zip(sizes, rates, strict=True) if rate is None), 1)
    quotas, carry = [], 0.0
    for n, rate in zip(sizes, rates, strict=True):
        if rate is None:
            quotas.append(linear * n / flat)
        else:
            due = budget * n * rate / whole + carry
            quotas.append(min(due, float(n)))
            carry = due - quotas[-1]
    is_linear = torch.tensor([rate is None for rate in rates])
    kept = torch.zeros(len(sizes), dtype=torch.int64)
    for kind, total in ((is_linear, linear), (~is_linear, budget)):
        high = torch.tensor(sizes)[kind]
        kept[kind] = largest_remainder(
            torch.tensor(quotas, dtype=torch.float64)[kind], total, low=at_least_one(high, total), high=high
        )
    return [int(k) for k in kept]


def _kept_by_reference(
    sizes: Sequence[int], rates: Sequence[float | None], budget: int, *, linear_density: float, uniform: bool
) -> list[int]:
    """Weights kept by each layer as in the authors' code: every product rounded down."""
    conv = [i for i, rate in enumerate(rates) if rate is not None]
    whole = sum(int(sizes[i] * (rates[i] or 0)) for i in conv)
    densities = {i: budget / whole * (rates[i] or 0) for i in conv}
    carry = 0
    for i in () if uniform else conv:
        if densities[i] >= 1:
            carry += int((densities[i] - 1) * sizes[i])
            densities[i] = 1.0
        else:
            taken = min(carry, int((1 - densities[i]) * sizes[i]))
            densities[i] = densities[i] + carry / sizes[i] if taken == carry else 1.0
            carry -= taken
        if carry == 0:
            break
    return [
        int(linear_density * n) if i not in densities else min(int(densities[i] * n), n) for i, n in enumerate(sizes)
    ]
