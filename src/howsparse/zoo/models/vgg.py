"""VGG-16 and VGG-19 with BatchNorm for CIFAR-sized images."""

from torch import nn

from howsparse.zoo.models.initial import kaiming_fan_in
from howsparse.zoo.models.shapes import image_shape

WIDTHS = (64, 128, 256, 512, 512)  # of the five stages


def vgg16(shape: tuple[int, ...], classes: int) -> nn.Module:
    """VGG-16: thirteen 3x3 convolutions with bias, BatchNorm and ReLU in five pooled stages, then one linear layer.

    Images above 32x32 leave a map larger than 1x1, which is averaged.

    Source: Zhang et al., "How Sparse Can We Prune A Deep Network: A Fundamental Limit Perspective" (arXiv 2306.05857);
    Simonyan and Zisserman (arXiv 1409.1556).

    Args:
        shape: (C, H, W) of one image, 32x32 pixels or more.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image or smaller than 32x32.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # counts need no memory
        ...     network = vgg16((3, 32, 32), 10)
        >>> sum(p.numel() for p in network.parameters() if p.ndim > 1)
        14715584
    """
    channels = image_shape("vgg16", shape, classes, smallest=32)[0]
    return _vgg(channels, classes, depths=(2, 2, 3, 3, 3), pooled=5)


def vgg19(shape: tuple[int, ...], classes: int) -> nn.Module:
    """VGG-19: sixteen 3x3 convolutions with bias, BatchNorm and ReLU in five stages, then one linear layer.

    Four stages are pooled by their maximum; the map of the last, 2x2 for images of 32x32, is averaged.

    Source: Wang, Zhang and Grosse (arXiv 2002.07376) and others after them; Simonyan and Zisserman (arXiv 1409.1556).

    Args:
        shape: (C, H, W) of one image, 16x16 pixels or more.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image or smaller than 16x16.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # counts need no memory
        ...     network = vgg19((3, 32, 32), 10)
        >>> sum(p.numel() for p in network.parameters() if p.ndim > 1)
        20024000
    """
    channels = image_shape("vgg19", shape, classes, smallest=16)[0]
    return _vgg(channels, classes, depths=(2, 2, 4, 4, 4), pooled=4)


def _vgg(channels: int, classes: int, *, depths: tuple[int, ...], pooled: int) -> nn.Module:
    """Stages of the given depths, the first ``pooled`` of them followed by max-pooling."""
    network, before = nn.Sequential(), channels
    for stage, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True), start=1):
        for i in range(1, depth + 1):
            network.add_module(f"conv{stage}_{i}", nn.Conv2d(before, width, 3, padding=1))
            network.add_module(f"bn{stage}_{i}", nn.BatchNorm2d(width))
            network.add_module(f"relu{stage}_{i}", nn.ReLU())
            before = width
        if stage <= pooled:
            network.add_module(f"pool{stage}", nn.MaxPool2d(2))
    network.add_module("mean", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("linear", nn.Linear(before, classes))
    return kaiming_fan_in(network)
