"""Images and labels in one .npz file of numpy."""

import lzma
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from howsparse.errors import HowsparseError
from howsparse.zoo.data.arrays import Arrays
from howsparse.zoo.data.bundle import Data
from howsparse.zoo.data.checks import check_images, checked_labels, held_out_fifth, spread

BOTH_SPLITS = ("train_images", "train_labels", "test_images", "test_labels")
ONE_SPLIT = ("images", "labels")


def npz(file: Path) -> Data:
    """Images from an .npz file, normalised by mean and standard deviation of the training images.

    The file holds train_images, train_labels, test_images and test_labels, or only images and labels: then of each
    class every fifth image, in file order, is held out for testing. The largest training label sets the number of
    classes. Pickled objects are refused; any compression of zip members will do.

    Args:
        file: images are uint8, (N, H, W) or (N, H, W, C); labels are whole numbers (N,) from 0.

    Returns:
        Data with inputs of shape (C, H, W), named after the file.

    Raises:
        HowsparseError: if the file is missing, damaged, or an array is missing or of the wrong type, size or range.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder) / "tiny.npz", images=np.zeros((10, 4, 4), np.uint8), labels=np.arange(10) % 2)
        ...     data = npz(Path(folder) / "tiny.npz")
        >>> len(data.train), len(data.test), data.shape, data.classes
        (8, 2, (1, 4, 4), 2)
    """
    file = file.expanduser()
    arrays = _load(file)
    train, test = _both(arrays, file) if "train_images" in arrays else _divided(arrays, file)
    mean, std = spread(train[0])
    classes = int(train[1].max()) + 1
    parts = [Arrays(*part, classes, mean=mean, std=std) for part in (train, test)]
    return Data(file.stem, train=parts[0], test=parts[1], shape=parts[0].shape, classes=classes)


Split = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def _both(arrays: dict[str, npt.NDArray[Any]], file: Path) -> tuple[Split, Split]:
    """Training and test images and labels as the file divides them."""
    train_images, train_labels, test_images, test_labels = (arrays[name] for name in BOTH_SPLITS)
    check_images(train_images, f"{file}, train_images")
    check_images(test_images, f"{file}, test_images")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise HowsparseError(
            f"{file}: training images have shape {train_images.shape[1:]}, test images {test_images.shape[1:]}"
        )
    train_labels = _labels(train_labels, f"{file}, train_labels", len(train_images))
    classes = int(train_labels.max()) + 1
    test_labels = checked_labels(test_labels, f"{file}, test_labels", count=len(test_images), classes=classes)
    return (train_images, train_labels), (test_images, test_labels)


def _divided(arrays: dict[str, npt.NDArray[Any]], file: Path) -> tuple[Split, Split]:
    """One split cut into four fifths for training and one for testing."""
    images, labels = (arrays[name] for name in ONE_SPLIT)
    check_images(images, f"{file}, images")
    labels = _labels(labels, f"{file}, labels", len(images))
    train, test = held_out_fifth(labels, str(file))
    return (images[train], labels[train]), (images[test], labels[test])


def _labels(labels: npt.NDArray[Any], where: str, count: int) -> npt.NDArray[np.int64]:
    """Labels that themselves set the number of classes."""
    known = bool(labels.size) and np.issubdtype(labels.dtype, np.integer)
    classes = max(int(labels.max()), 0) + 1 if known else 1
    if classes > count:
        raise HowsparseError(f"{where}: a label of {classes - 1} with only {count} images; labels must count from 0")
    return checked_labels(labels, where, count=count, classes=classes)


def _load(file: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays that are needed, each unpacked once."""
    if not file.is_file():
        raise HowsparseError(f"{file} is not a file; give an .npz file with {', '.join(BOTH_SPLITS)}")
    if not zipfile.is_zipfile(file):
        raise HowsparseError(f"{file}: damaged, or no .npz file (it is not a zip archive); save it with numpy.savez")
    try:
        with np.load(file, allow_pickle=False) as members:
            return {name: np.asanyarray(members[name]) for name in _wanted(file, members.files)}
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError) as error:
        raise HowsparseError(f"{file}: damaged file ({error}); get it again or save it with numpy.savez") from error
    except ValueError as error:
        if isinstance(error, HowsparseError):
            raise
        raise HowsparseError(f"{file}: no plain arrays ({error}); save uint8 images and whole labels") from error


def _wanted(file: Path, present: Sequence[str]) -> tuple[str, ...]:
    """Names of the arrays to read: both splits where there is any sign of them, else one."""
    names = BOTH_SPLITS if any(name in present for name in BOTH_SPLITS) else ONE_SPLIT
    missing = [name for name in names if name not in present]
    if missing:
        raise HowsparseError(
            f"{file} lacks {', '.join(missing)}; it has {', '.join(present) or 'nothing'}, and needs "
            f"{', '.join(BOTH_SPLITS)}, or {' and '.join(ONE_SPLIT)}"
        )
    return names
