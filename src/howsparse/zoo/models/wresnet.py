"""Wide ResNet 28x8, whose number of stages follows the size of the images."""

import math

from torch import nn

from howsparse.zoo.models.initial import kaiming_fan_out
from howsparse.zoo.models.preact_resnet import PreActNet
from howsparse.zoo.models.shapes import image_shape

DEPTH, WIDEN = 28, 8


def wresnet28x8(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Wide ResNet with widening factor 8: a stem of 16 channels, stages of 128, 256, ... channels, no dropout.

    Images of side s get round(log2 s) - 2 stages (at least one), and the blocks of depth 28 are shared among them:
    3 stages of 4 blocks at 28 and 32 pixels, 4 stages of 2 blocks at 64 pixels, where the true depth is less than 28.

    Source: Diao et al., "Pruning Deep Neural Networks from a Sparsity Perspective" (arXiv 2302.05601);
    Zagoruyko and Komodakis (arXiv 1605.07146).

    Args:
        shape: (C, H, W) of one image of any size.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # counts need no memory
        ...     network = wresnet28x8((3, 32, 32), 10)
        >>> sum(p.numel() for p in network.parameters())
        23354842
    """
    channels, height, width = image_shape("wresnet28x8", shape, classes)
    stages = max(1, round(math.log2(min(height, width))) - 2)
    widths = tuple(16 * WIDEN * 2**i for i in range(stages))
    depth = int(((DEPTH - 1) / stages - 1) / 2)
    return kaiming_fan_out(PreActNet(channels=channels, stem=16, widths=widths, depth=depth, classes=classes))
