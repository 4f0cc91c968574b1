"""CIFAR-10 from files in its original formats that the tests write."""

import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from howsparse.errors import HowsparseError
from howsparse.zoo import Arrays, load_data

RNG = np.random.default_rng(2)
PLANES = RNG.integers(0, 256, (6, 4, 3, 32, 32), dtype=np.uint8)  # six batches of four images
LABELS = RNG.integers(0, 10, (6, 4))
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
BINARY, PICKLED = "cifar-10-batches-bin", "cifar-10-batches-py"
MEAN = np.array((0.4914, 0.4822, 0.4465))[:, None, None]
STD = np.array((0.2470, 0.2435, 0.2616))[:, None, None]


def binary(i: int) -> bytes:
    return b"".join(bytes([LABELS[i, n]]) + PLANES[i, n].tobytes() for n in range(4))


def pickled(i: int) -> bytes:
    batch = {b"batch_label": b"x", b"data": PLANES[i].reshape(4, -1), b"labels": LABELS[i].tolist(), b"filenames": []}
    return pickle.dumps(batch, protocol=2)


def pickled_by_python2(i: int) -> bytes:
    """The opcodes of cPickle, protocol 2, with numpy 1 under Python 2: the form of the original files."""
    labels = b"".join(b"K" + bytes([label]) for label in LABELS[i])
    raw: bytes = PLANES[i].tobytes()
    return (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labelsq\x04]q\x05("
        + labels
        + b"eU\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09"
        + b"(K\x01K\x04M\x00\x0c\x86cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b"
        + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tbu."
    )


def contents(kind: str) -> dict[str, bytes]:
    """Path of each file with its content."""
    if kind == BINARY:
        return {f"{BINARY}/{name}.bin": binary(i) for i, name in enumerate(NAMES)}
    make = pickled_by_python2 if kind == "python2" else pickled
    return {f"{PICKLED}/{name}": make(i) for i, name in enumerate(NAMES)}


def write(folder: Path, kind: str) -> Path:
    for name, content in contents(kind).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def archive(folder: Path, kind: str) -> Path:
    path = folder / ("cifar-10-binary.tar.gz" if kind == BINARY else "cifar-10-python.tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        for name, content in {**contents(kind), f"{kind}/readme.html": b"hello"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def check(folder: Path) -> None:
    """All images, labels and their order."""
    data = load_data(f"cifar10:{folder}")
    assert (data.name, data.shape, data.classes) == ("cifar10", (3, 32, 32), 10)
    assert isinstance(data.train, Arrays)
    assert isinstance(data.test, Arrays)
    x, y = data.train.plain()[torch.arange(20)]
    np.testing.assert_allclose(x.numpy(), (PLANES[:5].reshape(-1, 3, 32, 32) / 255 - MEAN) / STD, atol=2e-6)
    assert y.tolist() == LABELS[:5].ravel().tolist()
    x, y = data.test[torch.arange(4)]
    np.testing.assert_allclose(x.numpy(), (PLANES[5] / 255 - MEAN) / STD, atol=2e-6)
    assert y.tolist() == LABELS[5].tolist()
    assert data.train.augment is not None
    assert data.test.augment is None


@pytest.mark.parametrize("kind", [BINARY, PICKLED, "python2"])
def test_folders(tmp_path: Path, kind: str) -> None:
    check(write(tmp_path, kind))


@pytest.mark.parametrize("kind", [BINARY, PICKLED])
def test_the_folder_itself(tmp_path: Path, kind: str) -> None:
    check(write(tmp_path, kind) / kind)


@pytest.mark.parametrize("kind", [BINARY, PICKLED])
def test_archives_are_read_without_unpacking(tmp_path: Path, kind: str) -> None:
    path = archive(tmp_path, kind)
    check(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(HowsparseError, match=r"no CIFAR-10 found.*cifar-10-batches-bin/, cifar-10-binary.tar.gz"):
        load_data(f"cifar10:{tmp_path}")


def refused(folder: Path, name: str, content: bytes, message: str) -> None:
    """Put content in place of one file and expect an error that names it."""
    (folder / name).write_bytes(content)
    with pytest.raises(HowsparseError, match=rf"(?s){Path(name).name}.*{message}"):
        load_data(f"cifar10:{folder}")


def test_missing_batches(tmp_path: Path) -> None:
    write(tmp_path, PICKLED)
    (tmp_path / PICKLED / "data_batch_3").unlink()
    (tmp_path / PICKLED / "test_batch").unlink()
    with pytest.raises(HowsparseError, match="lacks data_batch_3, test_batch; it needs data_batch_1"):
        load_data(f"cifar10:{tmp_path}")


def test_truncated_binary(tmp_path: Path) -> None:
    name = f"{BINARY}/data_batch_2.bin"
    refused(write(tmp_path, BINARY), name, binary(1)[:-5], "12287 bytes found.*3073.*3 whole images and 3068")


def test_empty_binary(tmp_path: Path) -> None:
    refused(write(tmp_path, BINARY), f"{BINARY}/test_batch.bin", b"", "0 bytes found")


def test_binary_label_out_of_range(tmp_path: Path) -> None:
    content = bytearray(binary(0))
    content[2 * 3073] = 77
    message = "1 of 4 labels lie outside 0 to 9; the first is number 2 .*: 77"
    refused(write(tmp_path, BINARY), f"{BINARY}/data_batch_1.bin", bytes(content), message)


DATA = PLANES[0].reshape(4, -1)
SHAPES = "bytes of shape \\(N, 3072\\)"


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "holds a list, not a dict"),
        ({b"data": DATA}, "must hold data and labels, but has \\['data'\\]"),
        ({b"data": DATA[:, :100].copy(), b"labels": [1] * 4}, SHAPES),
        ({b"data": DATA[:0].copy(), b"labels": []}, SHAPES),
        ({b"data": b"abc", b"labels": [1] * 4}, f"{SHAPES}.*bytes"),
        ({b"data": DATA.astype(np.float32), b"labels": [1] * 4}, "not of unsigned bytes"),
        ({b"data": DATA, b"labels": [1, 2, 3, 10]}, "number 3 .*: 10"),
        ({b"data": DATA, b"labels": [1, 2, 3]}, "4 images but 3 labels"),
        ({b"data": DATA, b"labels": ["a"] * 4}, "whole numbers"),
        ({b"data": DATA, b"labels": 3}, "whole numbers"),
    ],
)
def test_wrong_batches(tmp_path: Path, batch: object, message: str) -> None:
    refused(write(tmp_path, PICKLED), f"{PICKLED}/data_batch_1", pickle.dumps(batch, protocol=3), message)


def test_truncated_pickle(tmp_path: Path) -> None:
    refused(write(tmp_path, PICKLED), f"{PICKLED}/data_batch_4", pickled(3)[:-500], "damaged pickle")


def test_truncated_archive(tmp_path: Path) -> None:
    path = archive(tmp_path, BINARY)
    refused(tmp_path, path.name, path.read_bytes()[:20_000], "damaged archive")


def test_corrupt_archive(tmp_path: Path) -> None:
    path = archive(tmp_path, BINARY)
    content = bytearray(path.read_bytes())
    content[10_000] ^= 0xFF
    refused(tmp_path, path.name, bytes(content), "damaged archive")


def test_no_archive_at_all(tmp_path: Path) -> None:
    refused(tmp_path, "cifar-10-python.tar.gz", b"<html>", "damaged archive")


def test_archive_without_batches(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz"):
        pass
    with pytest.raises(HowsparseError, match=r"cifar-10-binary.tar.gz lacks data_batch_1.bin"):
        load_data(f"cifar10:{tmp_path}")
