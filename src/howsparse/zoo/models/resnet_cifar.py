"""The thin CIFAR residual networks of depth 6n + 2 with parameter-free (option A) shortcuts."""

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from howsparse.zoo.models.initial import kaiming_fan_in
from howsparse.zoo.models.shapes import image_shape


class ThinBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm, added to the option-A shortcut; ReLU after each."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.padding = (width - before) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, before, H, W) to (B, width, H / stride, W / stride)."""
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Every second pixel in both directions (at stride 2), and equally many zero channels before and after."""
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))


class ThinResNet(nn.Module):
    """3x3 stem of 16 channels, three stages of 16, 32 and 64 channels, global mean, linear layer.

    Args:
        channels: channels of the input.
        depth: blocks in each stage.
        classes: number of outputs.
        width: channels of the stem and the first stage; the others have two and four times as many.

    Example:
        >>> import torch
        >>> ThinResNet(channels=1, depth=1, classes=3)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, *, channels: int, depth: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, depth)
        self.layer2 = _stage(width, 2 * width, depth)
        self.layer3 = _stage(2 * width, 4 * width, depth)
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, channels, H, W)."""
        x = relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def resnet20(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-20 for CIFAR: three blocks a stage, option-A shortcuts.

    Module names are those of the common checkpoints (conv1, bn1, layer1.0.conv1, linear). Weights are drawn Kaiming
    normal.

    Source: He et al., section 4.2 (arXiv 1512.03385).

    Args:
        shape: (C, H, W) of one image of any size.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image.

    Example:
        >>> sum(p.numel() for p in resnet20((3, 32, 32), 10).parameters())
        269722
    """
    return _thin("resnet20", shape, classes, depth=3)


def resnet32(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-32 for CIFAR: five blocks a stage, else as resnet20.

    Source: He et al., section 4.2 (arXiv 1512.03385).

    Args:
        shape: (C, H, W) of one image of any size.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image.

    Example:
        >>> sum(p.numel() for p in resnet32((3, 32, 32), 10).parameters())
        464154
    """
    return _thin("resnet32", shape, classes, depth=5)


def resnet32x2(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-32 for CIFAR with twice the channels: 32, 64 and 128, else as resnet20.

    Several papers on pruning call this one ResNet-32; at 1.9 million weights it has four times as many.

    Source: Wang, Zhang and Grosse (arXiv 2002.07376) and Cho, Joshi and Hegde (arXiv 2006.15741), in their code.

    Args:
        shape: (C, H, W) of one image of any size.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image.

    Example:
        >>> sum(p.numel() for p in resnet32x2((3, 32, 32), 10).parameters() if p.ndim > 1)
        1845344
    """
    return _thin("resnet32x2", shape, classes, depth=5, width=32)


def resnet44(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-44 for CIFAR: seven blocks a stage, else as resnet20.

    Source: He et al., section 4.2 (arXiv 1512.03385).

    Args:
        shape: (C, H, W) of one image of any size.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image.

    Example:
        >>> sum(p.numel() for p in resnet44((3, 32, 32), 10).parameters())
        658586
    """
    return _thin("resnet44", shape, classes, depth=7)


def resnet56(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-56 for CIFAR: nine blocks a stage, else as resnet20.

    Source: He et al., section 4.2 (arXiv 1512.03385).

    Args:
        shape: (C, H, W) of one image of any size.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, C, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image.

    Example:
        >>> sum(p.numel() for p in resnet56((3, 32, 32), 10).parameters())
        853018
    """
    return _thin("resnet56", shape, classes, depth=9)


def _thin(network: str, shape: tuple[int, ...], classes: int, *, depth: int, width: int = 16) -> nn.Module:
    """The thin ResNet with the given number of blocks a stage, initialised."""
    channels = image_shape(network, shape, classes)[0]
    return kaiming_fan_in(ThinResNet(channels=channels, depth=depth, classes=classes, width=width))


def _stage(before: int, width: int, depth: int) -> nn.Sequential:
    """Blocks of one width; the first halves the image where the width changes."""
    first = ThinBlock(before, width, 1 if before == width else 2)
    return nn.Sequential(first, *(ThinBlock(width, width, 1) for _ in range(depth - 1)))
