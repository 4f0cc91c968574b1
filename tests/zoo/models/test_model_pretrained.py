"""Public CIFAR-10 checkpoints reach their published accuracy."""

import io
import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from howsparse.zoo import MODELS, Arrays

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of these checkpoints


def unpacked(file: Path, strips: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images (N, 32, 32, 3) and labels of the first strips of 100 images."""
    image = pytest.importorskip("PIL.Image")
    with np.load(file) as packed:
        raw, offsets, labels = packed["strips"].tobytes(), packed["offsets"][: strips + 1], packed["labels"]
    parts = [
        np.asarray(image.open(io.BytesIO(raw[start:end])).convert("RGB")) for start, end in itertools.pairwise(offsets)
    ]
    return np.concatenate(parts).reshape(-1, 32, 32, 3), labels[: 100 * strips]


def correct(name: str, shared: Path, strips: int) -> int:
    """Number of images that the checkpoint gets right."""
    load_file = pytest.importorskip("safetensors.torch").load_file
    network = MODELS[name].build((3, 32, 32), 10).eval()
    network.load_state_dict(load_file(shared / "data" / f"{name}_cifar10.safetensors"), strict=True)
    samples = Arrays(*unpacked(shared / "data" / "cifar10_test.npz", strips), 10, mean=MEAN, std=STD)
    right = 0
    with torch.inference_mode():
        for start in range(0, len(samples), 250):
            x, y = samples[range(start, start + 250)]
            right += int((network(x).argmax(1) == y).sum())
    return right


def test_resnet20_on_two_thousand_images(shared: Path) -> None:
    # 91.73 % on all 10,000; three standard deviations of a sample of 2,000 are 1.9 points.
    assert abs(correct("resnet20", shared, 20) / 2000 - 0.9173) < 0.019


@pytest.mark.slow
@pytest.mark.parametrize(("name", "right"), [("resnet20", 9173), ("resnet32", 9263), ("resnet56", 9339)])
def test_published_accuracy(shared: Path, name: str, right: int) -> None:
    assert abs(correct(name, shared, 100) - right) <= 1  # a tie in the last bit may fall either way


@pytest.mark.parametrize("name", ["resnet20", "resnet32", "resnet56"])
def test_checkpoints_load_strictly(shared: Path, name: str) -> None:
    load_file = pytest.importorskip("safetensors.torch").load_file
    weights = load_file(shared / "data" / f"{name}_cifar10.safetensors")
    network = MODELS[name].build((3, 32, 32), 10)
    own = {key for key in network.state_dict() if not key.endswith("num_batches_tracked")}
    assert own == set(weights)
    network.load_state_dict(weights, strict=True)
