"""What a network asks of its input, checked before anything is built."""

from howsparse.errors import HowsparseError


def check_classes(network: str, classes: int) -> None:
    """Refuse a number of outputs below one."""
    if classes < 1:
        raise HowsparseError(f"{network} cannot have {classes} outputs: classes must be 1 or more")


def flat_size(network: str, shape: tuple[int, ...], classes: int) -> int:
    """Number of values in one input of any shape, for networks that flatten it."""
    check_classes(network, classes)
    size = 1
    for side in shape:
        size *= side
    if not shape or min(shape) < 1:
        raise HowsparseError(f"{network} cannot take inputs of shape {shape}: give one size of 1 or more per dimension")
    return size


def image_shape(network: str, shape: tuple[int, ...], classes: int, *, smallest: int = 1) -> tuple[int, int, int]:
    """The shape as (C, H, W), refused when it is no image or has fewer than smallest pixels a side."""
    flat_size(network, shape, classes)
    if len(shape) != 3:
        raise HowsparseError(
            f"{network} cannot take inputs of shape {shape}: it needs images of shape (channels, height, width); "
            "linear, mlp, lenet-300-100, fc5 and fc12 take any shape"
        )
    channels, height, width = shape
    if min(height, width) < smallest:
        raise HowsparseError(
            f"{network} cannot take images of shape {shape}: its pooling leaves nothing of fewer than "
            f"{smallest}x{smallest} pixels; resnet18 and resnet20 take images of any size"
        )
    return channels, height, width
