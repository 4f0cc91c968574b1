"""Random scores: every weight equally likely to go."""

from collections.abc import Mapping

import torch
from torch import Tensor


def random_scores(weights: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """A number from U[0, 1) for every weight.

    They have 53 random bits, so that even among 10^8 weights almost none tie: ties go by position, which is not random.

    Args:
        weights: tensors by name; only names, shapes and devices matter.
        generator: where the numbers come from; it moves on.

    Returns:
        float64 scores with the same names and shapes, on the weights' devices.

    Example:
        >>> weights = {"w": torch.zeros(2, 3)}
        >>> first = random_scores(weights, torch.Generator().manual_seed(0))["w"]
        >>> again = random_scores(weights, torch.Generator().manual_seed(0))["w"]
        >>> first.shape, torch.equal(first, again)
        (torch.Size([2, 3]), True)
    """
    return {
        name: torch.rand(weight.shape, generator=generator, dtype=torch.float64, device=generator.device).to(
            weight.device
        )
        for name, weight in weights.items()
    }
