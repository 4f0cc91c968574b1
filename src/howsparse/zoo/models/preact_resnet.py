"""Pre-activation ResNet-18: BatchNorm and ReLU stand before each convolution."""

from torch import Tensor, nn
from torch.nn.functional import relu

from howsparse.zoo.models.initial import kaiming_fan_out
from howsparse.zoo.models.shapes import image_shape


class PreActBlock(nn.Module):
    """BatchNorm, ReLU, 3x3 convolution, twice; where the shape changes, the shortcut is a bare 1x1 convolution."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        changes = stride != 1 or before != width
        self.shortcut = nn.Conv2d(before, width, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, before, H, W) to (B, width, H / stride, W / stride)."""
        active = relu(self.bn1(x))
        # A convolved shortcut starts from the activated input, an identity from the raw one.
        skip = x if self.shortcut is None else self.shortcut(active)
        y: Tensor = self.conv2(relu(self.bn2(self.conv1(active))))
        return y + skip


class PreActNet(nn.Module):
    """3x3 stem, stages of PreActBlocks (stride 2 from the second stage on), BatchNorm, ReLU, global mean, linear.

    Args:
        channels: channels of the input.
        stem: channels after the stem.
        widths: channels of each stage.
        depth: blocks in each stage.
        classes: number of outputs.

    Example:
        >>> import torch
        >>> PreActNet(channels=1, stem=4, widths=(4, 8), depth=1, classes=3)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, *, channels: int, stem: int, widths: tuple[int, ...], depth: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.stages = nn.Sequential()
        before = stem
        for i, width in enumerate(widths):
            blocks = [PreActBlock(before, width, 1 if i == 0 else 2)]
            blocks += [PreActBlock(width, width, 1) for _ in range(depth - 1)]
            self.stages.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
            before = width
        self.bn = nn.BatchNorm2d(before)
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, channels, H, W)."""
        x = relu(self.bn(self.stages(self.conv1(x))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def preact_resnet18(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Pre-activation ResNet-18: 3x3 stem, basic blocks 2-2-2-2 of 64, 128, 256, 512 channels, 1x1 shortcuts.

    Source: Diao et al., "Pruning Deep Neural Networks from a Sparsity Perspective" (arXiv 2302.05601);
    He et al. (arXiv 1603.05027).

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
        ...     network = preact_resnet18((3, 32, 32), 10)
        >>> sum(p.numel() for p in network.parameters())
        11172170
    """
    channels = image_shape("preact-resnet18", shape, classes)[0]
    widths = (64, 128, 256, 512)
    return kaiming_fan_out(PreActNet(channels=channels, stem=64, widths=widths, depth=2, classes=classes))
