"""Keep pruned weights at exactly zero while an optimizer moves the others."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from howsparse.masks.masks import Masks


class Upkeep:
    """Multiplies the weights by their masks, in one fused call; meant for right after ``optimizer.step()``.

    Gradients and optimizer state are left alone: momentum or decoupled weight decay may move a pruned weight during the
    step, and the multiplication puts it back to zero before anybody sees it.

    Args:
        parameters: the prunable parameters by name.
        masks: masks with the same names and shapes. They are copied once in the parameters' type.

    Example:
        >>> weight = nn.Parameter(torch.ones(2))
        >>> Upkeep({"w": weight}, Masks({"w": torch.tensor([True, False])})).step()
        >>> weight.tolist()
        [1.0, 0.0]
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], masks: Masks) -> None:
        masks.check(parameters)
        chosen = [name for name, mask in masks.items() if not bool(mask.all())]  # dense tensors need no work
        self._weights: list[Tensor] = [parameters[name] for name in chosen]
        self._factors = [torch.empty_like(parameters[name]).copy_(masks[name]) for name in chosen]

    @torch.no_grad()
    def step(self) -> None:
        """Set every pruned weight to zero."""
        if self._weights:
            torch._foreach_mul_(self._weights, self._factors)
