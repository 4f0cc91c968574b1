"""MNIST and Fashion-MNIST in their original IDX files, gzipped or not."""

import math
import zlib
from pathlib import Path

import numpy as np

from howsparse.errors import HowsparseError
from howsparse.zoo.data.arrays import Arrays
from howsparse.zoo.data.bundle import Data
from howsparse.zoo.data.checks import Pixels, check_folder, check_images, checked_labels

GZIP = b"\x1f\x8b"
UNSIGNED_BYTES = 0x08


def mnist(folder: Path) -> Data:
    """MNIST from its four IDX files, each plain or with .gz, in the folder or in its subfolder MNIST/raw.

    Source: LeCun et al., "Gradient-based learning applied to document recognition" (1998).

    Args:
        folder: where train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte lie.

    Returns:
        Data with inputs of shape (1, 28, 28) in 10 classes, mean 0.1307 and standard deviation 0.3081 taken out.

    Raises:
        HowsparseError: if a file is missing, damaged, cut short or holds something else.

    Example:
        >>> mnist(Path("no/such/folder"))
        Traceback (most recent call last):
        howsparse.errors.HowsparseError: the data folder ... does not exist; ...
    """
    return _read("mnist", check_folder(folder), "MNIST/raw", mean=0.1307, std=0.3081)


def fashion_mnist(folder: Path) -> Data:
    """Fashion-MNIST from its four IDX files, each plain or with .gz, in the folder or in FashionMNIST/raw.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST" (arXiv 1708.07747).

    Args:
        folder: where train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte lie.

    Returns:
        Data with inputs of shape (1, 28, 28) in 10 classes, mean 0.2860 and standard deviation 0.3530 taken out.

    Raises:
        HowsparseError: if a file is missing, damaged, cut short or holds something else.

    Example:
        >>> fashion_mnist(Path("no/such/folder"))
        Traceback (most recent call last):
        howsparse.errors.HowsparseError: the data folder ... does not exist; ...
    """
    return _read("fashion-mnist", check_folder(folder), "FashionMNIST/raw", mean=0.2860, std=0.3530)


def _read(name: str, folder: Path, subfolder: str, *, mean: float, std: float) -> Data:
    """Both splits of one of the two data sets."""
    train, test = (_split(folder, subfolder, prefix, mean=mean, std=std) for prefix in ("train", "t10k"))
    return Data(name, train=train, test=test, shape=(1, 28, 28), classes=10)


def _split(folder: Path, subfolder: str, prefix: str, *, mean: float, std: float) -> Arrays:
    """Images and labels of one split, checked against each other."""
    image_file = _find(folder, subfolder, f"{prefix}-images-idx3-ubyte")
    label_file = _find(folder, subfolder, f"{prefix}-labels-idx1-ubyte")
    images = _read_idx(image_file, dimensions=3)
    check_images(images, str(image_file))
    if images.shape[1:] != (28, 28):
        raise HowsparseError(
            f"{image_file}: images of {images.shape[1]}x{images.shape[2]} pixels, where the data set has 28x28"
        )
    labels = checked_labels(_read_idx(label_file, dimensions=1), str(label_file), count=len(images), classes=10)
    return Arrays(images, labels, 10, mean=(mean,), std=(std,))


def _find(folder: Path, subfolder: str, stem: str) -> Path:
    """The file, unpacked or gzipped, in the folder or its subfolder."""
    tried = [place / name for place in (folder, folder / subfolder) for name in (stem, f"{stem}.gz")]
    for path in tried:
        if path.is_file():
            return path
    raise HowsparseError(f"{stem} not found; looked for " + ", ".join(map(str, tried)))


def _read_idx(path: Path, *, dimensions: int) -> Pixels:
    """An IDX file of unsigned bytes: two zero bytes, type, number of dimensions, big-endian sizes, then the values."""
    content, complete = _content(path)
    magic = bytes((0, 0, UNSIGNED_BYTES, dimensions))
    if content[:4] != magic:
        raise HowsparseError(
            f"{path}: the file begins with {content[:4].hex() or 'nothing'}, where an IDX file of unsigned bytes in "
            f"{dimensions} dimension{'s' * (dimensions > 1)} begins with {magic.hex()}"
        )
    start = 4 + 4 * dimensions
    sizes = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    expected = start + math.prod(sizes)
    if len(content) != expected or not complete:
        raise HowsparseError(
            f"{path}: the header announces {' x '.join(map(str, sizes))} values, so {expected} bytes in all, "
            f"but {len(content)} bytes were found"
            f"{'' if complete else ' before the gzip stream broke off'}; get the file again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)


def _content(path: Path) -> tuple[bytes, bool]:
    """The file's bytes, gunzipped where needed, and whether the gzip stream reached its end."""
    packed = path.read_bytes()
    if not packed.startswith(GZIP):
        if path.suffix == ".gz":
            raise HowsparseError(f"{path}: not a gzip file (it begins with {packed[:4].hex() or 'nothing'})")
        return packed, True
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(packed)
    except zlib.error as error:
        raise HowsparseError(f"{path}: damaged gzip file ({error}); get the file again") from error
    return content, stream.eof
