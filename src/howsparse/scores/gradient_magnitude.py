"""Gradient magnitude: how much the loss would change with a weight; what grown connections are chosen by."""

from collections.abc import Mapping

from torch import Tensor


def gradient_magnitude(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``|dL/dw|`` of every weight, those that are gone included.

    Source: Evci et al., "Rigging the Lottery" (arXiv 1911.11134), which grows where this is largest.

    Args:
        gradients: gradients of the loss by name.

    Returns:
        Scores with the same names and shapes, outside autograd.

    Example:
        >>> import torch
        >>> gradient_magnitude({"w": torch.tensor([-2.0, 0.5])})["w"].tolist()
        [2.0, 0.5]
    """
    return {name: gradient.detach().abs() for name, gradient in gradients.items()}
