"""Adapters for data kept beside the checkout, in the folder ``$HOWSPARSE_DATA`` or ``../shared/data``.

They are ordinary ``--data file.py:function`` and ``--model file.py:function`` callables, for example
``howsparse prune --model resnet20 --data benchmarks/shared_data.py:cifar10_10k --weights resnet20.safetensors ...``.
"""

import io
import itertools
import os
from pathlib import Path

import numpy as np

from howsparse.zoo import Arrays, Data
from howsparse.zoo.data.augment import crop_flip

ROOT = Path(os.environ.get("HOWSPARSE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FASHION = {"mean": (0.2860,), "std": (0.3530,)}
# the normalisation the pretrained ResNets were trained with
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def fashion_mnist() -> Data:
    """All 60,000 training images, without augmentation."""
    parts = [np.load(ROOT / f"fashion_mnist_train_{k}.npz") for k in range(3)]
    images = np.concatenate([part["images"] for part in parts])
    labels = np.concatenate([part["labels"] for part in parts])
    test = np.load(ROOT / "fashion_mnist_test.npz")
    return Data(
        "fashion-mnist",
        train=Arrays(images, labels, 10, **FASHION),
        test=Arrays(test["images"], test["labels"], 10, **FASHION),
        shape=(1, 28, 28),
        classes=10,
    )


def cifar10_10k() -> Data:
    """The first training file of CIFAR-10: 10,000 images, crop and flip; all 10,000 test images."""
    return _cifar10(1)


def cifar10() -> Data:
    """All 50,000 training images of CIFAR-10, crop and flip."""
    return _cifar10(5)


def _cifar10(files: int) -> Data:
    parts = [_strips(ROOT / f"cifar10_train_{k}.npz") for k in range(files)]
    images, labels = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    test = _strips(ROOT / "cifar10_test.npz")
    return Data(
        f"cifar10 ({len(images):,} training images)",
        train=Arrays(images, labels, 10, augment=crop_flip(4), **IMAGENET),
        test=Arrays(*test, 10, **IMAGENET),
        shape=(3, 32, 32),
        classes=10,
    )


def _strips(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    content = np.load(path)
    raw, offsets = content["strips"].tobytes(), content["offsets"]
    pictures = [np.asarray(Image.open(io.BytesIO(raw[a:b])).convert("RGB")) for a, b in itertools.pairwise(offsets)]
    return np.concatenate(pictures).reshape(-1, 32, 32, 3), content["labels"]
