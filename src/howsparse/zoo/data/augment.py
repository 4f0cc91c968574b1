"""Random changes to a batch of images, drawn from torch's global CPU generator."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from howsparse.errors import HowsparseError


def crop_flip(padding: int = 4, flip: bool = True) -> Callable[[Tensor], Tensor]:
    """Random crop after reflect padding and random horizontal flip, drawn anew for every image of a batch.

    Pixel (r, c) of the result is pixel (|r + dy - padding|, |c + dx - padding|) of the image, mirrored again at the
    far edge, with dy and dx uniform on 0 .. 2 * padding; with probability one half the columns run backwards.

    Source: the usual CIFAR augmentation, with reflect padding as in Diao et al. (arXiv 2302.05601).

    Args:
        padding: pixels added on each side, 0 or more and less than the images' height and width.
        flip: whether half of the images, on average, are mirrored.

    Returns:
        A function from images (B, C, H, W) to images of the same shape and type. Seed it with torch.manual_seed.

    Raises:
        HowsparseError: if padding is negative, or (by the function) not less than an image's side.

    Example:
        >>> images = torch.arange(9.0).reshape(1, 1, 3, 3)
        >>> torch.equal(crop_flip(padding=0, flip=False)(images), images)
        True
        >>> crop_flip(padding=2)(images).shape
        torch.Size([1, 1, 3, 3])
    """
    if padding < 0:
        raise HowsparseError(f"padding must be 0 or more, not {padding}")
    return partial(_crop_flip, padding=padding, flip=flip)


def _crop_flip(images: Tensor, *, padding: int, flip: bool) -> Tensor:
    """Crop, pad and flip in one gather from the unpadded images."""
    batch, channels, height, width = images.shape
    if padding >= min(height, width):
        raise HowsparseError(f"padding {padding} must be less than the side of the images, here {height}x{width}")
    moves = torch.randint(0, 2 * padding + 1, (2, batch))
    rows = _mirrored(moves[0], height, padding)
    columns = _mirrored(moves[1], width, padding)
    if flip:
        columns = torch.where(torch.rand(batch)[:, None] < 0.5, columns.flip(1), columns)
    places = (rows[:, :, None] * width + columns[:, None, :]).to(images.device)  # (B, H, W) into flat images
    places = places.reshape(batch, 1, height * width).expand(batch, channels, -1)
    return images.flatten(2).gather(2, places).reshape(images.shape)


def _mirrored(move: Tensor, side: int, padding: int) -> Tensor:
    """Source positions (B, side) of a window that begins at move - padding, reflected into 0 .. side - 1."""
    place = (move[:, None] + torch.arange(-padding, side - padding)).abs()
    return (side - 1) - ((side - 1) - place).abs()
