"""CIFAR-10 and CIFAR-100 as they are distributed: binary or pickled batches, unpacked or in their .tar.gz archive."""

import gzip
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from howsparse.errors import HowsparseError
from howsparse.zoo.data.arrays import Arrays
from howsparse.zoo.data.augment import crop_flip
from howsparse.zoo.data.bundle import Data
from howsparse.zoo.data.checks import Labels, Pixels, check_folder, checked_labels
from howsparse.zoo.data.pickled import load_plain

PIXELS = 3 * 32 * 32  # the red, green and blue planes

Split = tuple[Pixels, Labels]  # (N, 32, 32, 3), (N,)


def cifar10(folder: Path) -> Data:
    """CIFAR-10 from its binary or its Python (pickled) distribution, random crops and flips on the training images.

    Pickles are read by an unpickler that admits byte arrays and plain values and runs nothing.

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).

    Args:
        folder: holds, in this order of preference, cifar-10-batches-bin, cifar-10-batches-py, the files of one of
            these, cifar-10-binary.tar.gz or cifar-10-python.tar.gz.

    Returns:
        Data with inputs of shape (3, 32, 32) in 10 classes, normalised by the channels' mean and standard deviation.

    Raises:
        HowsparseError: if a file is missing, damaged, cut short or holds something else.

    Example:
        >>> cifar10(Path("no/such/folder"))
        Traceback (most recent call last):
        howsparse.errors.HowsparseError: the data folder ... does not exist; ...
    """
    return _read(folder, CIFAR10)


def cifar100(folder: Path) -> Data:
    """CIFAR-100 with its 100 fine labels, otherwise as cifar10.

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).

    Args:
        folder: holds, in this order of preference, cifar-100-binary, cifar-100-python, the files of one of these,
            cifar-100-binary.tar.gz or cifar-100-python.tar.gz.

    Returns:
        Data with inputs of shape (3, 32, 32) in 100 classes, normalised by the channels' mean and standard deviation.

    Raises:
        HowsparseError: if a file is missing, damaged, cut short or holds something else.

    Example:
        >>> cifar100(Path("no/such/folder"))
        Traceback (most recent call last):
        howsparse.errors.HowsparseError: the data folder ... does not exist; ...
    """
    return _read(folder, CIFAR100)


@dataclass(frozen=True)
class _Layout:
    """One way in which a set is packed."""

    folder: str
    archive: str
    files: tuple[str, ...]  # training batches, then the test batch
    decode: Callable[[bytes, str], Split]


@dataclass(frozen=True)
class _Kind:
    """One of the two sets."""

    name: str
    title: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layouts: tuple[_Layout, ...]


def _read(folder: Path, kind: _Kind) -> Data:
    """Training and test images of one of the sets."""
    source, layout = _find(check_folder(folder), kind)
    contents = _from_folder(source, layout) if source.is_dir() else _from_archive(source, layout)
    splits = [layout.decode(content, where) for where, content in contents]
    images = np.concatenate([split[0] for split in splits[:-1]])
    labels = np.concatenate([split[1] for split in splits[:-1]])
    train = Arrays(images, labels, kind.classes, mean=kind.mean, std=kind.std, augment=crop_flip())
    test = Arrays(*splits[-1], kind.classes, mean=kind.mean, std=kind.std)
    return Data(kind.name, train=train, test=test, shape=(3, 32, 32), classes=kind.classes)


def _decode_binary(content: bytes, where: str, *, bytes_before: int, classes: int) -> Split:
    """Records of label bytes, the last of which is the label, and 3,072 pixel bytes."""
    record = bytes_before + PIXELS
    if not content or len(content) % record:
        raise HowsparseError(
            f"{where}: {len(content)} bytes found, but a binary batch has {record} bytes for each image: "
            f"{len(content) // record} whole images and {len(content) % record} bytes over; get the file again"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    return _split(records[:, bytes_before:], records[:, bytes_before - 1], where, classes)


def _decode_pickle(content: bytes, where: str, *, key: str, classes: int) -> Split:
    """A dict with data (N, 3072) and a list of labels under the key."""
    batch = load_plain(content, where)
    if not isinstance(batch, dict):
        raise HowsparseError(f"{where}: the pickle holds a {type(batch).__name__}, not a dict with data and {key}")
    batch = {name.decode("latin-1") if isinstance(name, bytes) else name: value for name, value in batch.items()}
    if not {"data", key} <= set(batch):
        raise HowsparseError(f"{where}: the pickle must hold data and {key}, but has {sorted(map(str, batch))}")
    pixels, labels = batch["data"], batch[key]
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != PIXELS or not len(pixels):
        shape = getattr(pixels, "shape", type(pixels).__name__)
        raise HowsparseError(f"{where}: data must be bytes of shape (N, {PIXELS}) with N above 0, not {shape}")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise HowsparseError(f"{where}: {key} must be a list of whole numbers")
    return _split(pixels, np.array(labels, dtype=np.int64), where, classes)


def _split(planes: Pixels, labels: Labels | Pixels, where: str, classes: int) -> Split:
    """Planes (N, 3072) as images (N, 32, 32, 3), with checked labels."""
    images = np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return images, checked_labels(labels, where, count=len(images), classes=classes)


BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
CIFAR10 = _Kind(
    "cifar10",
    "CIFAR-10",
    10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    layouts=(
        _Layout(
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            tuple(f"{batch}.bin" for batch in BATCHES),
            partial(_decode_binary, bytes_before=1, classes=10),
        ),
        _Layout(
            "cifar-10-batches-py",
            "cifar-10-python.tar.gz",
            BATCHES,
            partial(_decode_pickle, key="labels", classes=10),
        ),
    ),
)
CIFAR100 = _Kind(
    "cifar100",
    "CIFAR-100",
    100,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    layouts=(
        _Layout(
            "cifar-100-binary",
            "cifar-100-binary.tar.gz",
            ("train.bin", "test.bin"),
            partial(_decode_binary, bytes_before=2, classes=100),  # the coarse label comes first
        ),
        _Layout(
            "cifar-100-python",
            "cifar-100-python.tar.gz",
            ("train", "test"),
            partial(_decode_pickle, key="fine_labels", classes=100),
        ),
    ),
)


def _find(folder: Path, kind: _Kind) -> tuple[Path, _Layout]:
    """Where the data are and how they are packed."""
    for layout in kind.layouts:
        if (folder / layout.folder).is_dir():
            return folder / layout.folder, layout
    for layout in kind.layouts:
        if any((folder / name).is_file() for name in layout.files):
            return folder, layout
    for layout in kind.layouts:
        if (folder / layout.archive).is_file():
            return folder / layout.archive, layout
    tried = [name for layout in kind.layouts for name in (f"{layout.folder}/", layout.archive, layout.files[0])]
    raise HowsparseError(f"no {kind.title} found in {folder}; looked for " + ", ".join(tried))


def _from_folder(folder: Path, layout: _Layout) -> list[tuple[str, bytes]]:
    """Names and contents of the batches, in order."""
    missing = [name for name in layout.files if not (folder / name).is_file()]
    if missing:
        raise HowsparseError(f"{folder} lacks {', '.join(missing)}; it needs {', '.join(layout.files)}")
    return [(str(folder / name), (folder / name).read_bytes()) for name in layout.files]


def _from_archive(archive: Path, layout: _Layout) -> list[tuple[str, bytes]]:
    """Names and contents of the batches, read in one pass; nothing is unpacked onto the disk."""
    found: dict[str, bytes] = {}
    try:
        with gzip.open(archive) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as members:
            for member in members:
                stream = members.extractfile(member) if member.isfile() else None
                if stream is not None and Path(member.name).name in layout.files:
                    found[Path(member.name).name] = stream.read()
            while unzipped.read(1 << 20):  # only at its end does gzip compare the check sum
                pass
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise HowsparseError(f"{archive}: damaged archive ({error}); get the file again") from error
    missing = [name for name in layout.files if name not in found]
    if missing:
        raise HowsparseError(f"{archive} lacks {', '.join(missing)}; it needs {', '.join(layout.files)}")
    return [(f"{archive}, {name}", found[name]) for name in layout.files]
