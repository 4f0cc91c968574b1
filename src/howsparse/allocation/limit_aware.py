"""Each layer gives what its own curvature says it can: equal marginal loss increase in every layer."""

from collections.abc import Mapping

import torch
from torch import Tensor

from howsparse.allocation.reach import out_of_reach
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, group_sizes, remove_smallest
from howsparse.masks.select import GLOBAL


def limit_aware(
    weights: Mapping[str, Tensor], masks: Masks, curvature: Mapping[str, float], *, removed: int
) -> dict[str, Tensor]:
    """How many weights each layer gives when the smallest predicted loss increases go first, over all layers.

    Removing weight w from layer l is predicted to raise the loss by ``h_l w^2 / 2``, with h_l the layer's mean
    curvature: the second-order term of the loss at a minimum with the layer's Hessian replaced by
    ``(tr H_l / N_l) I``. The ``removed`` smallest increases are counted per layer, so that the next weight of every
    layer would cost the same. The largest weight of each layer is counted last, so that no layer is emptied while
    others can give.

    Args:
        weights: tensors by name.
        masks: the weights that live now; entries outside are not looked at.
        curvature: h_l by name: trace of the layer's Hessian (or Gauss-Newton matrix) over its number of weights, >= 0.
        removed: living weights to remove altogether, 0 <= removed <= living weights.

    Returns:
        Numbers to remove, ``{tensor: int64 ()}``, for `howsparse.masks.remove_smallest` with ``scope="layer"``.

    Raises:
        HowsparseError: curvature missing, negative or not finite, or more is asked for than there is.

    Example:
        >>> w = {"flat": torch.tensor([1.0, 2.0, 3.0, 4.0]), "steep": torch.tensor([1.0, 2.0, 3.0, 4.0])}
        >>> counts = limit_aware(w, Masks.dense(w), {"flat": 1.0, "steep": 4.0}, removed=3)
        >>> int(counts["flat"]), int(counts["steep"])  # increases 0.5, 2, 4.5, ... and 2, 8, 18, ...
        (2, 1)
    """
    masks.check(weights)
    _check_curvature(masks, curvature)
    if not 0 <= removed <= masks.active:
        nearest = masks.active if removed > 0 else 0
        raise out_of_reach(removed, nearest, masks.active, way=list(masks), because="there is no more in")
    increases = {name: _increases(weights[name], mask, curvature[name]) for name, mask in masks.items()}
    left = remove_smallest(masks, increases, {GLOBAL: torch.tensor(removed)}, scope="global")
    after = group_sizes(left, "layer")
    return {name: size - after[name] for name, size in group_sizes(masks, "layer").items()}


def _increases(weight: Tensor, mask: Tensor, curvature: float) -> Tensor:
    """The increases h w^2 / 2 in float64, the largest living weight at infinity."""
    squared = weight.detach().double().square()
    last = squared.masked_fill(~mask.to(squared.device), -1).reshape(-1).argmax()  # before h, which may be 0
    increases = (0.5 * curvature * squared).contiguous()
    increases.view(-1)[last] = torch.inf
    return increases


def _check_curvature(masks: Masks, curvature: Mapping[str, float]) -> None:
    wrong = {name: curvature.get(name) for name in masks}
    wrong = {name: h for name, h in wrong.items() if h is None or not 0 <= h < float("inf")}
    if wrong:
        name, value = next(iter(wrong.items()))
        raise HowsparseError(
            f"curvature of {', '.join(list(wrong)[:6])} must be finite and at least 0, that of {name} is {value}; away "
            "from a minimum take traces of the Gauss-Newton matrix, which are never negative"
        )
