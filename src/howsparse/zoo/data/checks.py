"""What image files must hold, checked with messages that name the file, the value and what would be right."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from howsparse.errors import HowsparseError

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def check_images(images: npt.NDArray[Any], where: str) -> None:
    """Refuse anything but one or more uint8 images in NHW or NHWC."""
    if images.dtype != np.uint8:
        raise HowsparseError(f"{where}: images must be uint8 with values 0 to 255, not {images.dtype}")
    if images.ndim not in {3, 4} or 0 in images.shape:
        raise HowsparseError(
            f"{where}: images must have shape (N, H, W) or (N, H, W, C) with no size 0, not {images.shape}"
        )


def checked_labels(labels: npt.NDArray[Any], where: str, *, count: int, classes: int) -> Labels:
    """The labels as int64, one for each of count images, each in 0 .. classes - 1."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise HowsparseError(
            f"{where}: labels must be whole numbers in one dimension, not {labels.dtype} of shape {labels.shape}"
        )
    if len(labels) != count:
        raise HowsparseError(f"{where}: {count} images but {len(labels)} labels; each image needs one")
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        first = int(outside[0])
        raise HowsparseError(
            f"{where}: {len(outside)} of {count} labels lie outside 0 to {classes - 1}; "
            f"the first is number {first} (counted from 0): {labels[first]}"
        )
    return labels.astype(np.int64)


def check_folder(folder: Path) -> Path:
    """The folder with ~ resolved, refused when it is not there."""
    folder = folder.expanduser()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise HowsparseError(f"the data folder {folder} {what}; give the folder that holds the data files")
    return folder


def spread(images: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixel / 255 per channel, from exact counts of the 256 values."""
    values = np.arange(256) / 255
    channels = images[..., None] if images.ndim == 3 else images
    means, deviations = [], []
    for c in range(channels.shape[-1]):
        share = np.bincount(channels[..., c].ravel(), minlength=256) / channels[..., c].size
        mean = float(share @ values)
        means.append(mean)
        # A constant channel has nothing to scale.
        deviations.append(float(np.sqrt(share @ (values - mean) ** 2)) or 1.0)
    return tuple(means), tuple(deviations)


def held_out_fifth(labels: Labels, where: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions (train, test), both ascending: of each class, every fifth sample in file order is for testing."""
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        held[np.flatnonzero(labels == label)[4::5]] = True
    if not held.any():
        raise HowsparseError(
            f"{where}: no class has 5 images, so a fifth cannot be held out; "
            "give train_images, train_labels, test_images and test_labels"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)
