"""CIFAR-100 from files in its original formats that the tests write; what it shares with CIFAR-10 is tested there."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from howsparse.errors import HowsparseError
from howsparse.zoo import Arrays, load_data

RNG = np.random.default_rng(3)
PLANES = {name: RNG.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8) for name, count in (("train", 6), ("test", 4))}
COARSE = {name: RNG.integers(0, 20, len(planes)) for name, planes in PLANES.items()}
FINE = {"train": np.array([99, 0, 20, 57, 3, 3]), "test": np.array([20, 98, 1, 0])}
BINARY, PICKLED = "cifar-100-binary", "cifar-100-python"
MEAN = np.array((0.5071, 0.4865, 0.4409))[:, None, None]
STD = np.array((0.2673, 0.2564, 0.2762))[:, None, None]


def contents(kind: str) -> dict[str, bytes]:
    """Path of each file with its content: the coarse label comes before the fine one."""
    if kind == PICKLED:
        return {f"{kind}/{name}": pickled(name) for name in PLANES}
    return {
        f"{kind}/{name}.bin": b"".join(
            bytes([c, f]) + p.tobytes() for c, f, p in zip(COARSE[name], FINE[name], planes, strict=True)
        )
        for name, planes in PLANES.items()
    }


def pickled(name: str) -> bytes:
    planes = PLANES[name]
    labels = {b"fine_labels": FINE[name].tolist(), b"coarse_labels": COARSE[name].tolist()}
    return pickle.dumps(
        {b"filenames": [], b"batch_label": b"x", **labels, b"data": planes.reshape(len(planes), -1)}, protocol=2
    )


def write(folder: Path, kind: str) -> Path:
    for name, content in contents(kind).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def archive(folder: Path, kind: str) -> Path:
    with tarfile.open(folder / f"{kind}.tar.gz", "w:gz") as tar:
        for name, content in {**contents(kind), f"{kind}/fine_label_names.txt": b"apple"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return folder


def check(folder: Path) -> None:
    """All images, fine labels and their order."""
    data = load_data(f"cifar100:{folder}")
    assert (data.name, data.shape, data.classes) == ("cifar100", (3, 32, 32), 100)
    for split, name in ((data.train, "train"), (data.test, "test")):
        assert isinstance(split, Arrays)
        assert split.classes == 100
        x, y = split.plain()[torch.arange(len(split))]
        np.testing.assert_allclose(x.numpy(), (PLANES[name] / 255 - MEAN) / STD, atol=2e-6)
        assert y.tolist() == FINE[name].tolist()
        assert (split.augment is not None) == (name == "train")


@pytest.mark.parametrize("kind", [BINARY, PICKLED])
def test_folders(tmp_path: Path, kind: str) -> None:
    check(write(tmp_path, kind))
    check(tmp_path / kind)


@pytest.mark.parametrize("kind", [BINARY, PICKLED])
def test_archives(tmp_path: Path, kind: str) -> None:
    check(archive(tmp_path, kind))


def test_nothing_there_and_the_other_set(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-bin").mkdir()
    with pytest.raises(HowsparseError, match=r"no CIFAR-100 found.*cifar-100-binary/, cifar-100-binary.tar.gz"):
        load_data(f"cifar100:{tmp_path}")
    write(tmp_path, PICKLED)
    (tmp_path / PICKLED / "train").write_bytes(pickle.dumps({b"data": 1, b"coarse_labels": [1]}, protocol=2))
    with pytest.raises(HowsparseError, match="train: the pickle must hold data and fine_labels, but has"):
        load_data(f"cifar100:{tmp_path}")


def test_fine_label_out_of_range_and_truncated_binary(tmp_path: Path) -> None:
    file = write(tmp_path, BINARY) / BINARY / "test.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:1] + bytes([100]) + whole[2:])
    with pytest.raises(HowsparseError, match=r"test.bin.*1 of 4 labels lie outside 0 to 99; .* number 0 .*: 100"):
        load_data(f"cifar100:{tmp_path}")
    file.write_bytes(whole[:-2])
    with pytest.raises(HowsparseError, match=r"12294 bytes found.*3074 bytes.*3 whole images and 3072"):
        load_data(f"cifar100:{tmp_path}")
