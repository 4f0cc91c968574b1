"""The event of sparse training: every layer drops its smallest weights and grows as many elsewhere."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.masks import Masks, group_sizes, remove_smallest
from howsparse.scores.magnitude import magnitude

_GUARD = 1e-9  # keeps a product that should be whole from falling to the wrong side of it


def drop_and_grow(
    masks: Masks,
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    rate: float,
    allowed: Masks,
    rounding: Literal["down", "up"] = "down",
) -> Masks:
    """Exchange a share of each layer's living weights; each layer keeps its number of them.

    Of the n living weights of a layer the ``k = min(rate * n, free)`` smallest in magnitude go, where free is the
    number of allowed weights that did not live; then the k allowed weights that are wanted most come to life. One that
    was just dropped may come straight back: it has then not changed at all. Ties go to the first positions, in dropping
    as in growing.

    Source: Mocanu et al. (arXiv 1707.04780) grow at random, Evci et al. (arXiv 1911.11134) and Liu et al. (arXiv
    2106.10404) where the gradient is largest.

    Args:
        masks: the weights that live now.
        weights: their values; only living entries are looked at.
        wanted: how much each weight is wanted, highest grows first; NaN, as after an overflow in half precision, is 0.
        rate: share of the living weights to exchange, in [0, 1].
        allowed: the weights that may live; ``masks`` are nested in them.
        rounding: of ``rate * n``.

    Returns:
        New masks, nested in ``allowed``, with the same number of living weights in every tensor.

    Raises:
        HowsparseError: a rate out of range, masks not nested in ``allowed``, or tensors that do not fit.

    Example:
        >>> masks = Masks({"w": torch.tensor([True, True, False, False])})
        >>> weights, gradients = {"w": torch.tensor([3.0, 1.0, 0.0, 0.0])}, {"w": torch.tensor([0.0, 1.0, 2.0, 5.0])}
        >>> drop_and_grow(masks, weights, gradients, rate=0.5, allowed=Masks.dense(weights))["w"].tolist()
        [True, False, False, True]
    """
    if not 0 <= rate <= 1:
        raise HowsparseError(f"rate = {rate} is not allowed: the share of weights to exchange must be in [0, 1]")
    if not masks <= allowed:
        raise HowsparseError("some living weights are not allowed to live: masks must be nested in allowed")
    counts = _exchanged(masks, allowed, rate, rounding)
    kept = remove_smallest(masks, magnitude(weights), counts, scope="layer")
    candidates = allowed - kept
    # the most wanted are the smallest of the negated scores
    reluctance = {name: -score.nan_to_num(nan=0.0) for name, score in wanted.items()}
    return kept | (candidates - remove_smallest(candidates, reluctance, counts, scope="layer"))


def _exchanged(masks: Masks, allowed: Masks, rate: float, rounding: Literal["down", "up"]) -> dict[str, Tensor]:
    """How many weights each layer exchanges."""
    living, may_live = group_sizes(masks, "layer"), group_sizes(allowed, "layer")
    whole = {
        name: math.floor(rate * int(n) + _GUARD) if rounding == "down" else math.ceil(rate * int(n) - _GUARD)
        for name, n in living.items()
    }
    return {name: torch.tensor(min(whole[name], int(may_live[name] - n))) for name, n in living.items()}
