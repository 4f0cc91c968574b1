"""Images held as bytes in memory, turned into normalised float batches when asked for."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from howsparse.errors import HowsparseError
from howsparse.zoo.data.checks import check_images, checked_labels


class Arrays(Dataset[tuple[Tensor, Tensor]]):
    """Labelled uint8 images in memory; a list of indices gives a whole batch at once.

    Each channel is returned as (pixel / 255 - mean) / std in float32. Give a DataLoader batch_size=None and a
    BatchSampler as its sampler, and every batch is made in one vectorised step.

    Args:
        images: uint8, (N, H, W) or (N, H, W, C).
        labels: whole numbers (N,) from 0 to classes - 1.
        classes: number of classes.
        mean: mean of pixel / 255, one for each channel.
        std: standard deviation of pixel / 255, one for each channel, above 0.
        augment: applied to every normalised batch (B, C, H, W), or None.

    Attributes:
        images: the uint8 tensor as given, not copied where that can be avoided.
        labels: int64 tensor (N,).
        classes: number of classes.
        shape: (C, H, W) of one sample.
        augment: the augmentation or None.

    Raises:
        HowsparseError: if type, shape, number or range of images, labels, mean or std is wrong.

    Example:
        >>> pixels = np.array([[[0, 255]], [[255, 255]]], dtype=np.uint8)
        >>> data = Arrays(pixels, np.array([0, 1]), 2, mean=(0.5,), std=(0.5,))
        >>> data[1]
        (tensor([[[1., 1.]]]), tensor(1))
        >>> x, y = data[[1, 0]]
        >>> x.shape, y
        (torch.Size([2, 1, 1, 2]), tensor([1, 0]))
    """

    gathers_batches = True  # tells howsparse.batches that a list of indices gives a whole batch

    def __init__(
        self,
        images: npt.NDArray[Any] | Tensor,
        labels: npt.NDArray[Any] | Tensor,
        classes: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        pixels = np.asarray(images)
        check_images(pixels, "Arrays")
        targets = checked_labels(np.asarray(labels), "Arrays", count=len(pixels), classes=classes)
        # torch cannot share memory that is read-only.
        self.images = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
        self.labels = torch.from_numpy(targets)
        self.classes = classes
        self.augment = augment
        height, width = pixels.shape[1:3]
        self.shape = (pixels.shape[3] if pixels.ndim == 4 else 1, height, width)
        self._scale, self._shift = _affine(mean, std, self.shape[0])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """One sample (C, H, W) with its label, or for a list or tensor of indices a batch (B, C, H, W) with labels."""
        chosen = torch.as_tensor(index)
        if chosen.numel() and (chosen.is_floating_point() or chosen.dtype == torch.bool):
            raise HowsparseError(f"indices must be whole numbers, not {chosen.dtype}; for a mask give its nonzero()")
        chosen = chosen.to(torch.int64)
        chosen = torch.where(chosen < 0, chosen + len(self), chosen)
        x, y = self._batch(chosen.reshape(-1))
        return (x[0], y[0]) if chosen.ndim == 0 else (x, y)

    def plain(self) -> "Arrays":
        """The same samples, sharing memory, without augmentation."""
        twin = copy.copy(self)
        twin.augment = None
        return twin

    def _batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Gather as bytes, then convert, normalise and augment."""
        pixels = self.images.index_select(0, chosen)
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
        x = pixels.to(torch.float32).mul_(self._scale).add_(self._shift)
        return x if self.augment is None else self.augment(x), self.labels.index_select(0, chosen)


def _affine(mean: Sequence[float], std: Sequence[float], channels: int) -> tuple[Tensor, Tensor]:
    """Scale and shift (C, 1, 1) with pixel * scale + shift = (pixel / 255 - mean) / std."""
    if len(mean) != channels or len(std) != channels:
        raise HowsparseError(
            f"mean and std need one value for each of {channels} channels, not {len(mean)} and {len(std)}"
        )
    if min(std) <= 0:
        raise HowsparseError(f"std must be above 0 in every channel, not {tuple(std)}")
    m, s = (torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1) for values in (mean, std))
    return (1 / (255 * s)).to(torch.float32), (-m / s).to(torch.float32)
