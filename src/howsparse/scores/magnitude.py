"""Magnitude: the size of a weight as its importance."""

from collections.abc import Mapping

from torch import Tensor


def magnitude(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``|w|`` of every weight.

    Args:
        weights: tensors by name.

    Returns:
        Scores with the same names and shapes, outside autograd.

    Example:
        >>> import torch
        >>> magnitude({"w": torch.tensor([-2.0, 0.5])})["w"].tolist()
        [2.0, 0.5]
    """
    return {name: weight.detach().abs() for name, weight in weights.items()}
