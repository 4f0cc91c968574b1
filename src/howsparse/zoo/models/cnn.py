"""Small convolutional networks: the four-layer CNN of the PQ Index paper and LeNet-5."""

from collections import OrderedDict

from torch import nn

from howsparse.zoo.models.initial import kaiming_fan_in, kaiming_fan_out
from howsparse.zoo.models.shapes import image_shape


def cnn(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Four blocks of 3x3 convolution, BatchNorm and ReLU (64, 128, 256, 512 channels), global mean, linear layer.

    A 2x2 max-pool stands between the blocks. The convolutions have biases.

    Source: Diao et al., "Pruning Deep Neural Networks from a Sparsity Perspective" (arXiv 2302.05601).

    Args:
        shape: (C, H, W) of one image, 8x8 pixels or more.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image or smaller than 8x8.

    Example:
        >>> sum(p.numel() for p in cnn((3, 32, 32), 10).parameters())
        1558026
    """
    before = image_shape("cnn", shape, classes, smallest=8)[0]
    network = nn.Sequential()
    for i, width in enumerate((64, 128, 256, 512), start=1):
        if i > 1:
            network.add_module(f"pool{i - 1}", nn.MaxPool2d(2))
        network.add_module(f"conv{i}", nn.Conv2d(before, width, 3, padding=1))
        network.add_module(f"bn{i}", nn.BatchNorm2d(width))
        network.add_module(f"relu{i}", nn.ReLU())
        before = width
    network.add_module("mean", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("linear", nn.Linear(before, classes))
    return kaiming_fan_out(network)


def lenet5(shape: tuple[int, ...], classes: int) -> nn.Module:
    """LeNet-5 as Caffe ships it: 5x5 convolutions of 20 and 50 channels, then linear layers of 500 and classes units.

    Each convolution is followed by ReLU and a 2x2 max-pool (Caffe's own file leaves these two ReLUs out; the pruning
    literature keeps them). This is the 431,080-parameter network for MNIST.

    Source: LeCun et al., "Gradient-based learning applied to document recognition" (1998); Caffe's lenet.prototxt.

    Args:
        shape: (C, H, W) of one image, 16x16 pixels or more.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image or smaller than 16x16.

    Example:
        >>> sum(p.numel() for p in lenet5((1, 28, 28), 10).parameters())
        431080
    """
    channels, height, width = image_shape("lenet5", shape, classes, smallest=16)
    rows, columns = (((side - 4) // 2 - 4) // 2 for side in (height, width))
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, 20, 5),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(20, 50, 5),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc1=nn.Linear(50 * rows * columns, 500),
        relu3=nn.ReLU(),
        fc2=nn.Linear(500, classes),
    )
    return kaiming_fan_in(nn.Sequential(layers))
