"""LAMP: layer-adaptive magnitude, comparable over layers (Lee et al., ICLR 2021, arXiv 2010.07611)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from howsparse.masks import Masks


def lamp(weights: Mapping[str, Tensor], masks: Masks | None = None) -> dict[str, Tensor]:
    """``w_u^2`` over the sum of ``w_v^2`` over all v of the tensor that are at least as large, u included.

    Meant for one global ranking. Within a tensor it orders as magnitude does, equal magnitudes by position (the later
    one scores higher); the largest weight of each tensor has score 1, so no tensor is emptied before all have one
    weight left.

    Args:
        weights: tensors by name.
        masks: the weights that live; the others take no part and score 0. All live by default.

    Returns:
        float64 scores in [0, 1] with the same names and shapes, outside autograd.

    Raises:
        HowsparseError: masks that do not fit the weights.

    Example:
        >>> lamp({"w": torch.tensor([1.0, -2.0, 2.0])})["w"].tolist()  # 1/9, 4/8, 4/4
        [0.1111111111111111, 0.5, 1.0]
    """
    if masks is not None:
        masks.check(weights)
    return {name: _lamp(weight.detach(), None if masks is None else masks[name]) for name, weight in weights.items()}


def _lamp(weight: Tensor, mask: Tensor | None) -> Tensor:
    alive = torch.ones_like(weight, dtype=torch.bool) if mask is None else mask.to(weight.device)
    positions = alive.reshape(-1).nonzero().squeeze(1)
    scores = torch.zeros(weight.numel(), dtype=torch.float64, device=weight.device)
    if not len(positions):
        return scores.view(weight.shape)
    sizes, order = weight.reshape(-1)[positions].abs().sort(stable=True)
    # sizes over the largest one neither overflow nor all vanish when squared
    energy = (sizes.double() / sizes[-1].double().clamp(min=torch.finfo(torch.float64).tiny)).square()
    tail = energy.flip(0).cumsum(0).flip(0)
    ranked = energy / tail.clamp(min=torch.finfo(torch.float64).tiny)
    ranked[-1] = 1.0  # by definition, also where all weights are 0
    scores[positions[order]] = ranked
    return scores.view(weight.shape)
