"""CIFAR-10 in the formats it is distributed in: binary or pickled batches, unpacked or in their .tar.gz archive."""

import gzip
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from howsparse.errors import HowsparseError
from howsparse.zoo.data.arrays import Arrays
from howsparse.zoo.data.augment import crop_flip
from howsparse.zoo.data.bundle import Data
from howsparse.zoo.data.checks import Labels, Pixels, check_folder, checked_labels
from howsparse.zoo.data.pickled import load_plain

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes

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
    source, layout = _find(check_folder(folder))
    contents = _from_folder(source, layout) if source.is_dir() else _from_archive(source, layout)
    splits = [layout.decode(content, where) for where, content in contents]
    images = np.concatenate([split[0] for split in splits[:-1]])
    labels = np.concatenate([split[1] for split in splits[:-1]])
    train = Arrays(images, labels, 10, mean=MEAN, std=STD, augment=crop_flip())
    test = Arrays(*splits[-1], 10, mean=MEAN, std=STD)
    return Data("cifar10", train=train, test=test, shape=(3, 32, 32), classes=10)


@dataclass(frozen=True)
class _Layout:
    """One way in which CIFAR-10 is packed."""

    folder: str
    archive: str
    files: tuple[str, ...]  # training batches, then the test batch
    decode: Callable[[bytes, str], Split]


def _decode_binary(content: bytes, where: str) -> Split:
    """Records of one label byte and 3,072 pixel bytes."""
    if not content or len(content) % RECORD:
        raise HowsparseError(
            f"{where}: {len(content)} bytes found, but a binary batch has {RECORD} bytes for each image: "
            f"{len(content) // RECORD} whole images and {len(content) % RECORD} bytes over; get the file again"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD)
    return _split(records[:, 1:], records[:, 0], where)


def _decode_pickle(content: bytes, where: str) -> Split:
    """A dict with data (N, 3072) and a list of labels."""
    batch = load_plain(content, where)
    if not isinstance(batch, dict):
        raise HowsparseError(f"{where}: the pickle holds a {type(batch).__name__}, not a dict with data and labels")
    batch = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    if not {"data", "labels"} <= set(batch):
        raise HowsparseError(f"{where}: the pickle must hold data and labels, but has {sorted(map(str, batch))}")
    pixels, labels = batch["data"], batch["labels"]
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != RECORD - 1 or not len(pixels):
        shape = getattr(pixels, "shape", type(pixels).__name__)
        raise HowsparseError(f"{where}: data must be bytes of shape (N, {RECORD - 1}) with N above 0, not {shape}")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise HowsparseError(f"{where}: labels must be a list of whole numbers")
    return _split(pixels, np.array(labels, dtype=np.int64), where)


def _split(planes: Pixels, labels: Labels | Pixels, where: str) -> Split:
    """Planes (N, 3072) as images (N, 32, 32, 3), with checked labels."""
    images = np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return images, checked_labels(labels, where, count=len(images), classes=10)


BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
LAYOUTS = (
    _Layout(
        "cifar-10-batches-bin", "cifar-10-binary.tar.gz", tuple(f"{batch}.bin" for batch in BATCHES), _decode_binary
    ),
    _Layout("cifar-10-batches-py", "cifar-10-python.tar.gz", BATCHES, _decode_pickle),
)


def _find(folder: Path) -> tuple[Path, _Layout]:
    """Where the data are and how they are packed."""
    for layout in LAYOUTS:
        if (folder / layout.folder).is_dir():
            return folder / layout.folder, layout
    for layout in LAYOUTS:
        if any((folder / name).is_file() for name in layout.files):
            return folder, layout
    for layout in LAYOUTS:
        if (folder / layout.archive).is_file():
            return folder / layout.archive, layout
    tried = [name for layout in LAYOUTS for name in (f"{layout.folder}/", layout.archive, layout.files[0])]
    raise HowsparseError(f"no CIFAR-10 found in {folder}; looked for " + ", ".join(tried))


def _from_folder(folder: Path, layout: _Layout) -> list[tuple[str, bytes]]:
    """Names and contents of the six batches, in order."""
    missing = [name for name in layout.files if not (folder / name).is_file()]
    if missing:
        raise HowsparseError(f"{folder} lacks {', '.join(missing)}; it needs {', '.join(layout.files)}")
    return [(str(folder / name), (folder / name).read_bytes()) for name in layout.files]


def _from_archive(archive: Path, layout: _Layout) -> list[tuple[str, bytes]]:
    """Names and contents of the six batches, read in one pass; nothing is unpacked onto the disk."""
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
