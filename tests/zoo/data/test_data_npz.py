"""Images from .npz files."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from howsparse.errors import HowsparseError
from howsparse.zoo import Arrays, Data, load_data

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 200, (23, 5, 4, 3), dtype=np.uint8)
LABELS = (np.arange(23) % 3).astype(np.uint8)
BOTH = {
    "train_images": IMAGES[:15],
    "train_labels": LABELS[:15],
    "test_images": IMAGES[15:],
    "test_labels": LABELS[15:],
}


def loaded(folder: Path, arrays: dict[str, Any]) -> Data:
    np.savez(folder / "mine.npz", **arrays)
    return load_data(f"npz:{folder / 'mine.npz'}")


def everything(samples: Any) -> tuple[np.ndarray[Any, Any], list[int]]:
    """Bytes of all samples and their labels."""
    assert isinstance(samples, Arrays)
    return samples.images.numpy(), samples.labels.tolist()


def test_both_splits(tmp_path: Path) -> None:
    data = loaded(tmp_path, BOTH)
    assert (data.name, data.shape, data.classes) == ("mine", (3, 5, 4), 3)
    images, labels = everything(data.train)
    assert np.array_equal(images, IMAGES[:15])
    assert labels == LABELS[:15].tolist()
    images, labels = everything(data.test)
    assert np.array_equal(images, IMAGES[15:])
    assert labels == LABELS[15:].tolist()


def test_training_images_are_standardised(tmp_path: Path) -> None:
    x, _ = loaded(tmp_path, BOTH).train[torch.arange(15)]
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-6, rtol=0)


def test_one_split_holds_out_every_fifth_of_each_class(tmp_path: Path) -> None:
    data = loaded(tmp_path, {"images": IMAGES[..., 0], "labels": LABELS})
    held = sorted(i for label in range(3) for i in np.flatnonzero(label == LABELS)[4::5])
    images, labels = everything(data.test)
    assert np.array_equal(images, IMAGES[held][..., 0])
    assert labels == LABELS[held].tolist()
    assert everything(data.train)[1] == np.delete(LABELS, held).tolist()
    assert data.shape == (1, 5, 4)


def test_constant_images_stay_finite(tmp_path: Path) -> None:
    data = loaded(tmp_path, {"images": np.full((10, 4, 4), 7, np.uint8), "labels": np.arange(10) % 2})
    assert data.train[[0]][0].abs().max() < 1e-6


def test_lzma_members(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", **BOTH)  # type: ignore[arg-type]
    packed = zipfile.ZipFile(tmp_path / "lzma.npz", "w", zipfile.ZIP_LZMA)
    with zipfile.ZipFile(tmp_path / "plain.npz") as source, packed as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert np.array_equal(everything(load_data(f"npz:{tmp_path / 'lzma.npz'}").train)[0], IMAGES[:15])


def test_the_real_mnist(shared: Path) -> None:
    data = load_data(f"npz:{shared / 'data' / 'mnist.npz'}")
    assert (data.name, data.shape, data.classes) == ("mnist", (1, 28, 28), 10)
    assert isinstance(data.train, Arrays)
    assert isinstance(data.test, Arrays)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.train.labels.bincount().tolist() == train
    assert data.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    x, _ = data.train[[0]]
    shift, unit = float(x.min()), float(x.max() - x.min())  # pixel 0 is -mean / std, pixel 255 (1 - mean) / std
    assert 1 / unit == pytest.approx(0.3081, abs=5e-5)
    assert -shift / unit == pytest.approx(0.1307, abs=5e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_labels": None}, "lacks test_labels; it has train_images, train_labels, test_images, and needs"),
        ({"train_images": None}, "lacks train_images"),
        ({"train_images": IMAGES[:15] / 255}, "train_images: images must be uint8.*float64"),
        ({"test_images": IMAGES[15:, :4]}, r"\(5, 4, 3\), test images \(4, 4, 3\)"),
        ({"train_labels": LABELS[:14]}, "train_labels: 15 images but 14 labels"),
        (
            {"test_labels": LABELS[15:] + 1},
            "test_labels: 2 of 8 labels lie outside 0 to 2; the first is number 2 .*: 3",
        ),
        ({"train_labels": LABELS[:15].astype(int) - 1}, "train_labels: 5 of 15 labels .* number 0 .*: -1"),
        ({"train_labels": np.full(15, -1)}, "15 of 15 labels"),
        ({"train_labels": LABELS[:15] * 20}, "a label of 40 with only 15 images"),
        ({"train_labels": LABELS[:15] / 2}, "train_labels: labels must be whole numbers.*float64"),
        ({"train_labels": LABELS[:0]}, "15 images but 0 labels"),
        ({"train_labels": np.array([None] * 15)}, "no plain arrays.*[Oo]bject"),
    ],
)
def test_wrong_arrays(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(HowsparseError, match=rf"mine\.npz.*{message}"):
        loaded(tmp_path, {name: array for name, array in {**BOTH, **change}.items() if array is not None})


def test_too_few_to_hold_out(tmp_path: Path) -> None:
    with pytest.raises(HowsparseError, match="no class has 5 images"):
        loaded(tmp_path, {"images": IMAGES[:6], "labels": LABELS[:6]})


def test_a_member_that_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images", b"hello")
        archive.writestr("labels", b"hello")
    with pytest.raises(HowsparseError, match=r"x\.npz, images"):
        load_data(f"npz:{tmp_path / 'x.npz'}")


def damaged(tmp_path: Path, change: Any) -> None:
    np.savez_compressed(tmp_path / "x.npz", **BOTH)  # type: ignore[arg-type]
    content = bytearray((tmp_path / "x.npz").read_bytes())
    (tmp_path / "x.npz").write_bytes(bytes(change(content)))
    with pytest.raises(HowsparseError, match=r"x\.npz: .*damaged"):
        load_data(f"npz:{tmp_path / 'x.npz'}")


def test_truncated_file(tmp_path: Path) -> None:
    damaged(tmp_path, lambda content: content[:-200])


@pytest.mark.parametrize("place", [100, 200, 400, 600])
def test_flipped_bits(tmp_path: Path, place: int) -> None:
    damaged(tmp_path, lambda content: content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])


def test_empty_file(tmp_path: Path) -> None:
    damaged(tmp_path, lambda content: b"")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(HowsparseError, match=r"none\.npz is not a file"):
        load_data(f"npz:{tmp_path / 'none.npz'}")
