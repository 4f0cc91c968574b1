"""A sparsity for each layer, written down by name."""

from collections.abc import Mapping

import torch
from torch import Tensor

from howsparse.allocation.named import named
from howsparse.allocation.proportional import proportional
from howsparse.allocation.reach import out_of_reach
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, group_sizes


def table(masks: Masks, sparsities: Mapping[str, float], *, removed: int | None = None) -> dict[str, Tensor]:
    """How many weights each layer gives when sparsities are given by name.

    A layer that the table names gives ``round(s_l n_l)`` of its n_l living weights, halves up, and keeps at least one.
    The others share what is left of ``removed`` in proportion to their sizes, or stay dense when no total is given.

    Args:
        masks: the weights that live now.
        sparsities: fraction to remove, in [0, 1), by tensor name or shell pattern. A full name goes before patterns,
            an earlier pattern before a later one.
        removed: living weights to remove altogether, or None: the table alone decides.

    Returns:
        Numbers to remove, ``{tensor: int64 ()}``, for `howsparse.masks.remove_smallest` with ``scope="layer"``.

    Raises:
        HowsparseError: a sparsity out of range, a pattern that matches nothing, or a total that the layers outside the
            table cannot complete.

    Example:
        >>> masks = Masks.dense({"conv1": torch.zeros(10), "conv2": torch.zeros(40), "fc": torch.zeros(50)})
        >>> counts = table(masks, {"fc": 0.2, "conv1": 0.0}, removed=30)
        >>> {name: int(count) for name, count in counts.items()}
        {'conv1': 0, 'conv2': 20, 'fc': 10}
    """
    for pattern, sparsity in sparsities.items():
        if not 0 <= sparsity < 1:
            raise HowsparseError(f"sparsity {sparsity} of {pattern!r} is not allowed: it must be at least 0, below 1")
    sizes = group_sizes(masks, "layer")
    deciding = named(sparsities, sizes)
    counts = {name: _share(int(sizes[name]), sparsities[pattern]) for name, pattern in deciding.items()}
    rest = {name: size for name, size in sizes.items() if name not in deciding}
    if removed is not None:
        counts |= _completing(rest, removed, counts, total=masks.active)
    return {name: counts.get(name, torch.tensor(0)) for name in sizes}


def _share(size: int, sparsity: float) -> Tensor:
    return torch.tensor(min(int(sparsity * size + 0.5), max(size - 1, 0)))


def _completing(
    rest: Mapping[str, Tensor], removed: int, counts: Mapping[str, Tensor], *, total: int
) -> dict[str, Tensor]:
    """What the layers outside the table give so that the total is met."""
    least = sum(int(count) for count in counts.values())
    most = least + sum(int(size) for size in rest.values())
    if not least <= removed <= most:
        nearest = least if removed < least else most
        raise out_of_reach(removed, nearest, total, way=list(counts or rest), because="the table fixes these tensors")
    return proportional(rest, removed - least) if rest else {}
