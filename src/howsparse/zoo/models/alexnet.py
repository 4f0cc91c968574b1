"""AlexNet for CIFAR images, enlarged sevenfold at the door."""

from collections import OrderedDict

from torch import nn

from howsparse.zoo.models.initial import kaiming_fan_in
from howsparse.zoo.models.shapes import image_shape

ENLARGE = 7


def alexnet_cifar(shape: tuple[int, ...], classes: int) -> nn.Module:
    """AlexNet without BatchNorm and dropout on inputs enlarged 7 times (nearest pixel), so that 32x32 becomes 224x224.

    Convolutions 96 (11x11, stride 4, padding 1), 256 (5x5), 384, 384, 256 (3x3) with three 3x3 max-pools of stride 2,
    then linear layers of 4096, 4096 and classes units.

    Source: Zhang et al., "How Sparse Can We Prune A Deep Network: A Fundamental Limit Perspective" (arXiv 2306.05857).

    Args:
        shape: (C, H, W) of one image before it is enlarged, 10x10 pixels or more; in the paper (3, 32, 32).
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image or smaller than 10x10.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # counts need no memory
        ...     network = alexnet_cifar((3, 32, 32), 10)
        >>> sum(p.numel() for p in network.parameters() if p.ndim > 1)
        46778400
    """
    channels, height, width = image_shape("alexnet-cifar", shape, classes, smallest=10)
    rows, columns = _side(height), _side(width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        enlarge=nn.Upsample(scale_factor=ENLARGE, mode="nearest"),
        conv1=nn.Conv2d(channels, 96, 11, stride=4, padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, 2),
        conv2=nn.Conv2d(96, 256, 5, padding=2),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(3, 2),
        conv3=nn.Conv2d(256, 384, 3, padding=1),
        relu3=nn.ReLU(),
        conv4=nn.Conv2d(384, 384, 3, padding=1),
        relu4=nn.ReLU(),
        conv5=nn.Conv2d(384, 256, 3, padding=1),
        relu5=nn.ReLU(),
        pool5=nn.MaxPool2d(3, 2),
        flatten=nn.Flatten(),
        fc1=nn.Linear(256 * rows * columns, 4096),
        relu6=nn.ReLU(),
        fc2=nn.Linear(4096, 4096),
        relu7=nn.ReLU(),
        fc3=nn.Linear(4096, classes),
    )
    return kaiming_fan_in(nn.Sequential(layers))


def _side(pixels: int) -> int:
    """Side of the last feature map: the first convolution, then three pools."""
    side = (ENLARGE * pixels + 2 - 11) // 4 + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return side
