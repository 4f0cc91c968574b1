"""Fully connected networks: linear, mlp, lenet-300-100, fc5 and fc12."""

from collections.abc import Sequence

from torch import nn

from howsparse.zoo.models.initial import kaiming_fan_in, kaiming_fan_out
from howsparse.zoo.models.shapes import flat_size


def linear(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Multinomial logistic regression: one linear layer on the flattened input.

    Source: Diao et al., "Pruning Deep Neural Networks from a Sparsity Perspective" (arXiv 2302.05601).

    Args:
        shape: shape of one input, any number of dimensions; images are (C, H, W).
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, *shape) to logits (batch, classes).

    Raises:
        HowsparseError: if a size is below 1.

    Example:
        >>> sum(p.numel() for p in linear((1, 28, 28), 10).parameters())
        7850
    """
    return kaiming_fan_out(_dense((flat_size("linear", shape, classes), classes)))


def mlp(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Multilayer perceptron with hidden layers of 128 and 256 units and ReLU.

    Source: Diao et al., "Pruning Deep Neural Networks from a Sparsity Perspective" (arXiv 2302.05601).

    Args:
        shape: shape of one input, any number of dimensions; images are (C, H, W).
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, *shape) to logits (batch, classes).

    Raises:
        HowsparseError: if a size is below 1.

    Example:
        >>> sum(p.numel() for p in mlp((1, 28, 28), 10).parameters())
        136074
    """
    return kaiming_fan_out(_dense((flat_size("mlp", shape, classes), 128, 256, classes)))


def lenet_300_100(shape: tuple[int, ...], classes: int) -> nn.Module:
    """LeNet-300-100: hidden layers of 300 and 100 units, ReLU; the usual MNIST network of the pruning literature.

    Source: LeCun et al., "Gradient-based learning applied to document recognition" (1998), with ReLU as in
    Frankle and Carbin (arXiv 1803.03635).

    Args:
        shape: shape of one input, any number of dimensions; images are (C, H, W).
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, *shape) to logits (batch, classes).

    Raises:
        HowsparseError: if a size is below 1.

    Example:
        >>> sum(p.numel() for p in lenet_300_100((1, 28, 28), 10).parameters())
        266610
    """
    return kaiming_fan_in(_dense((flat_size("lenet-300-100", shape, classes), 300, 100, classes)))


def fc5(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Five linear layers with ReLU: hidden widths 1000, 600, 300, 100.

    Source: Zhang et al., "How Sparse Can We Prune A Deep Network: A Fundamental Limit Perspective" (arXiv 2306.05857).

    Args:
        shape: shape of one input, any number of dimensions; images are (C, H, W), in the paper (3, 32, 32).
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, *shape) to logits (batch, classes).

    Raises:
        HowsparseError: if a size is below 1.

    Example:
        >>> sum(p.numel() for p in fc5((3, 32, 32), 10).parameters() if p.ndim > 1)
        3883000
    """
    return kaiming_fan_in(_dense((flat_size("fc5", shape, classes), 1000, 600, 300, 100, classes)))


def fc12(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Twelve linear layers with ReLU: hidden widths from 1000 down to 100.

    Source: Zhang et al., "How Sparse Can We Prune A Deep Network: A Fundamental Limit Perspective" (arXiv 2306.05857).

    Args:
        shape: shape of one input, any number of dimensions; images are (C, H, W), in the paper (3, 32, 32).
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, *shape) to logits (batch, classes).

    Raises:
        HowsparseError: if a size is below 1.

    Example:
        >>> sum(p.numel() for p in fc12((3, 32, 32), 10).parameters() if p.ndim > 1)
        7263000
    """
    hidden = (1000, 900, 800, 750, 700, 650, 600, 500, 400, 200, 100)
    return kaiming_fan_in(_dense((flat_size("fc12", shape, classes), *hidden, classes)))


def _dense(widths: Sequence[int]) -> nn.Sequential:
    """Flatten, then linear layers fc1, fc2, ... of the given widths with ReLU between them."""
    network = nn.Sequential()
    network.add_module("flatten", nn.Flatten())
    for i in range(1, len(widths)):
        network.add_module(f"fc{i}", nn.Linear(widths[i - 1], widths[i]))
        if i < len(widths) - 1:
            network.add_module(f"relu{i}", nn.ReLU())
    return network
