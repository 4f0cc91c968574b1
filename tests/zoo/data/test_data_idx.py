"""MNIST and Fashion-MNIST from IDX files that the tests write."""

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from howsparse.errors import HowsparseError
from howsparse.zoo import Arrays, load_data

RNG = np.random.default_rng(1)
TRAIN, TEST = RNG.integers(0, 256, (12, 28, 28), dtype=np.uint8), RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8)
TRAIN_LABELS, TEST_LABELS = (np.arange(n, dtype=np.uint8) % 10 for n in (12, 5))


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    sizes = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def write(folder: Path, *, packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "train-images-idx3-ubyte": TRAIN,
        "train-labels-idx1-ubyte": TRAIN_LABELS,
        "t10k-images-idx3-ubyte": TEST,
        "t10k-labels-idx1-ubyte": TEST_LABELS,
    }
    for name, array in contents.items():
        path = folder / f"{name}.gz" if packed else folder / name
        path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return folder


@pytest.mark.parametrize(
    ("name", "subfolder", "mean", "std"),
    [("mnist", "MNIST/raw", 0.1307, 0.3081), ("fashion-mnist", "FashionMNIST/raw", 0.2860, 0.3530)],
)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_reads_what_was_written(
    tmp_path: Path, name: str, subfolder: str, mean: float, std: float, packed: bool, nested: bool
) -> None:
    write(tmp_path / subfolder if nested else tmp_path, packed=packed)
    data = load_data(f"{name}:{tmp_path}")
    assert (data.name, data.shape, data.classes, data.val) == (name, (1, 28, 28), 10, None)
    for samples, images, labels in ((data.train, TRAIN, TRAIN_LABELS), (data.test, TEST, TEST_LABELS)):
        assert isinstance(samples, Arrays)
        x, y = samples[torch.arange(len(images))]
        np.testing.assert_allclose(x[:, 0].numpy(), (images / 255 - mean) / std, atol=2e-6)
        assert y.tolist() == labels.tolist()
        assert samples.augment is None


def test_a_missing_file_is_named_with_all_places(tmp_path: Path) -> None:
    (write(tmp_path) / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(HowsparseError, match=r"t10k-labels-idx1-ubyte not found.*ubyte\.gz.*MNIST.raw.t10k-labels"):
        load_data(f"mnist:{tmp_path}")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(HowsparseError, match="is a file, not a folder"):
        load_data(f"mnist:{tmp_path / 'x'}")


def refused(folder: Path, name: str, content: bytes, message: str) -> None:
    """Put content in place of one file and expect an error that names it."""
    (folder / name).write_bytes(content)
    with pytest.raises(HowsparseError, match=rf"(?s){name}.*{message}"):
        load_data(f"mnist:{folder}")


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def test_truncated_content(tmp_path: Path) -> None:
    refused(write(tmp_path), IMAGES, gzip.compress(idx(TRAIN)[:-100]), "12 x 28 x 28 .*9424 bytes.* 9324 bytes")


def test_trailing_content(tmp_path: Path) -> None:
    refused(write(tmp_path), IMAGES, gzip.compress(idx(TRAIN) + b"x"), "9424 bytes.* 9425 bytes")


def test_truncated_gzip(tmp_path: Path) -> None:
    refused(write(tmp_path), IMAGES, gzip.compress(idx(TRAIN))[:5000], "9424 bytes.*before the gzip stream broke off")


def test_gzip_that_lacks_only_its_check_sum(tmp_path: Path) -> None:
    refused(write(tmp_path), IMAGES, gzip.compress(idx(TRAIN))[:-4], "gzip stream broke off")


def test_corrupt_gzip(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(idx(TRAIN)))
    content[4000] ^= 0xFF
    refused(write(tmp_path), IMAGES, bytes(content), "damaged gzip")


def test_not_gzip_at_all(tmp_path: Path) -> None:
    refused(write(tmp_path), IMAGES, b"<html>not found</html>", "not a gzip file .*3c68746d")


def test_wrong_magic(tmp_path: Path) -> None:
    refused(write(tmp_path), IMAGES, gzip.compress(idx(TRAIN_LABELS)), "00000801.*3 dimensions.*00000803")


def test_empty_file(tmp_path: Path) -> None:
    refused(write(tmp_path, packed=False), "train-labels-idx1-ubyte", b"", "nothing")


def test_header_only(tmp_path: Path) -> None:
    refused(write(tmp_path), IMAGES, gzip.compress(idx(TRAIN)[:6]), "6 bytes")


def test_wrong_image_size(tmp_path: Path) -> None:
    refused(write(tmp_path), IMAGES, gzip.compress(idx(TRAIN[:, :20, :20])), "20x20.*28x28")


def test_labels_out_of_range(tmp_path: Path) -> None:
    labels = TRAIN_LABELS.copy()
    labels[[4, 7]] = 10, 255
    refused(write(tmp_path), LABELS, gzip.compress(idx(labels)), "2 of 12 labels.*0 to 9.*number 4 .*: 10")


def test_counts_differ(tmp_path: Path) -> None:
    refused(write(tmp_path), LABELS, gzip.compress(idx(TRAIN_LABELS[:11])), "12 images but 11 labels")
