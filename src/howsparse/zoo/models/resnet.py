"""Residual networks with 1x1 shortcuts: resnet18 and resnet50 for small images, resnet50-imagenet for large ones.

Modules are named as in torchvision (conv1, bn1, layer1.0.conv1, layer1.0.downsample.0, fc), so weights saved from
torchvision's ResNet-50 load into resnet50-imagenet.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu

from howsparse.errors import HowsparseError
from howsparse.zoo.models.initial import kaiming_fan_in, kaiming_fan_out
from howsparse.zoo.models.shapes import image_shape


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm, added to the shortcut; ReLU after each."""

    expansion: ClassVar[int] = 1

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(before, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, before, H, W) to (B, width, H / stride, W / stride)."""
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 (it takes the stride) and 1x1 convolutions with BatchNorm, added to the shortcut; ReLU after each."""

    expansion: ClassVar[int] = 4

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = self.expansion * width
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = _shortcut(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, before, H, W) to (B, 4 * width, H / stride, W / stride)."""
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return relu(y + self.downsample(x))


class ResNet(nn.Module):
    """Stem, four stages of residual blocks with widths 64, 128, 256, 512, global mean and a linear layer.

    Args:
        block: BasicBlock or Bottleneck.
        depths: blocks in each of the four stages.
        channels: channels of the input.
        classes: number of outputs.
        large: stem of a 7x7 convolution of stride 2 and a max-pool, instead of one 3x3 convolution.

    Example:
        >>> import torch
        >>> ResNet(BasicBlock, (1, 1, 1, 1), channels=1, classes=3)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        *,
        channels: int,
        classes: int,
        large: bool = False,
    ) -> None:
        super().__init__()
        kernel, stride = (7, 2) if large else (3, 1)
        self.conv1 = nn.Conv2d(channels, 64, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        self.layer1 = _stage(block, 64, 64, depth=depths[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, depth=depths[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, depth=depths[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, depth=depths[3], stride=2)
        self.fc = nn.Linear(512 * block.expansion, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, channels, H, W)."""
        x = self.maxpool(relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def resnet18(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-18 with a 3x3 stem of stride 1 and no pool: basic blocks 2-2-2-2.

    Source: Zhang et al., "How Sparse Can We Prune A Deep Network: A Fundamental Limit Perspective" (arXiv 2306.05857);
    He et al. (arXiv 1512.03385).

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
        ...     network = resnet18((3, 32, 32), 10)
        >>> sum(p.numel() for p in network.parameters() if p.ndim > 1)
        11164352
    """
    channels = image_shape("resnet18", shape, classes)[0]
    return kaiming_fan_in(ResNet(BasicBlock, (2, 2, 2, 2), channels=channels, classes=classes))


def resnet50(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-50 with a 3x3 stem of stride 1 and no pool: bottleneck blocks 3-4-6-3.

    Source: Zhang et al., "How Sparse Can We Prune A Deep Network: A Fundamental Limit Perspective" (arXiv 2306.05857);
    He et al. (arXiv 1512.03385).

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
        ...     network = resnet50((3, 32, 32), 100)
        >>> sum(p.numel() for p in network.parameters() if p.ndim > 1)
        23652032
    """
    channels = image_shape("resnet50", shape, classes)[0]
    return kaiming_fan_in(ResNet(Bottleneck, (3, 4, 6, 3), channels=channels, classes=classes))


def resnet50_imagenet(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-50 with the ImageNet stem, a 7x7 convolution of stride 2 and a max-pool, on colour images of any size.

    Source: He et al. (arXiv 1512.03385), stride in the 3x3 convolutions; used on CIFAR-10 by Diao et al.
    (arXiv 2302.05601).

    Args:
        shape: (3, H, W) of one image.
        classes: number of outputs, 1 or more.

    Returns:
        A network from (batch, 3, H, W) to logits (batch, classes).

    Raises:
        HowsparseError: if the shape is no image or has not three channels.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # counts need no memory
        ...     network = resnet50_imagenet((3, 224, 224), 1000)
        >>> sum(p.numel() for p in network.parameters())
        25557032
    """
    channels = image_shape("resnet50-imagenet", shape, classes)[0]
    if channels != 3:
        raise HowsparseError(
            f"resnet50-imagenet cannot take images of shape {shape}: it needs 3 channels, not {channels}; "
            "resnet50 takes any number"
        )
    return kaiming_fan_out(ResNet(Bottleneck, (3, 4, 6, 3), channels=3, classes=classes, large=True))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], before: int, width: int, *, depth: int, stride: int
) -> nn.Sequential:
    """Blocks of one width, the first of which takes the stride."""
    blocks = [block(before, width, stride)]
    blocks += [block(width * block.expansion, width, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def _shortcut(before: int, after: int, stride: int) -> nn.Module:
    """Identity where the shape stays, else a 1x1 convolution with BatchNorm."""
    if stride == 1 and before == after:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
