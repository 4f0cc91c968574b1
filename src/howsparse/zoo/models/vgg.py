"""VGG-16 with BatchNorm for CIFAR-sized images."""

from torch import nn

from howsparse.zoo.models.initial import kaiming_fan_in
from howsparse.zoo.models.shapes import image_shape

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


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
    before = image_shape("vgg16", shape, classes, smallest=32)[0]
    network = nn.Sequential()
    for stage, widths in enumerate(STAGES, start=1):
        for i, width in enumerate(widths, start=1):
            network.add_module(f"conv{stage}_{i}", nn.Conv2d(before, width, 3, padding=1))
            network.add_module(f"bn{stage}_{i}", nn.BatchNorm2d(width))
            network.add_module(f"relu{stage}_{i}", nn.ReLU())
            before = width
        network.add_module(f"pool{stage}", nn.MaxPool2d(2))
    network.add_module("mean", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("linear", nn.Linear(before, classes))
    return kaiming_fan_in(network)
