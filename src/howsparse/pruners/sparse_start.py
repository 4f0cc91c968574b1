"""A network that is sparse from the first step on, in layers of different densities."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from howsparse.allocation.erk import erk_counts
from howsparse.allocation.proportional import proportional
from howsparse.allocation.uniform import uniform
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, remove_smallest
from howsparse.schedules import removed_at

Distribution = Literal["erk", "uniform", "global"]


def sparse_start(
    masks: Masks,
    scores: Mapping[str, Tensor],
    *,
    sparsity: float,
    distribution: Distribution = "erk",
    dense: Sequence[str] = (),
) -> Masks:
    """Keep the highest scores of every layer, with exactly the asked-for sparsity altogether.

    What is gone already counts. A layer that has lost more than its share is left alone, and the others give less.

    Args:
        masks: the weights that live now.
        scores: importance of each weight; random ones for a random network.
        sparsity: fraction of all weights that are gone afterwards, in [0, 1).
        distribution: densities by shape (``erk``, see `howsparse.allocation.erk`), the same ``uniform`` share of every
            layer, or one ``global`` ranking.
        dense: names or patterns of layers that give nothing, with ``uniform``.

    Returns:
        Masks nested in ``masks``; the same ones if as much is gone already.

    Raises:
        HowsparseError: the sparsity is out of reach.

    Example:
        >>> masks = Masks.dense({"a": torch.zeros(10, 30), "b": torch.zeros(2, 10)})
        >>> scores = {name: torch.rand(mask.shape) for name, mask in masks.items()}
        >>> start = sparse_start(masks, scores, sparsity=0.8)
        >>> int(start["a"].sum()), int(start["b"].sum())  # the small layer is denser
        (49, 15)
    """
    removed = removed_at(sparsity, masks.total) - (masks.total - masks.active)
    if removed <= 0:
        return masks
    if distribution == "global":
        return remove_smallest(masks, scores, {"global": torch.tensor(removed)}, scope="global")
    if distribution == "uniform":
        counts = uniform(masks, removed, dense=dense)
    elif distribution == "erk":
        counts = _erk_of_the_living(masks, removed)
    else:
        raise HowsparseError(f"distribution {distribution!r} is unknown; it is one of erk, uniform, global")
    return remove_smallest(masks, scores, counts, scope="layer")


def _erk_of_the_living(masks: Masks, removed: int) -> dict[str, Tensor]:
    """What each layer still has to give towards its share by ERK."""
    gone = {name: (~mask).count_nonzero().cpu() for name, mask in masks.items()}
    shapes = {name: mask.shape for name, mask in masks.items()}
    shares = erk_counts(shapes, removed + sum(map(int, gone.values())))
    counts = {name: (share - gone[name]).clamp(min=0) for name, share in shares.items()}
    spared = proportional(counts, sum(map(int, counts.values())) - removed)  # where others gave more than their share
    return {name: count - spared[name] for name, count in counts.items()}
