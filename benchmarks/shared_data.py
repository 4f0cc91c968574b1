"""Adapters for data kept beside the checkout, in the folder ``$HOWSPARSE_DATA`` or ``../shared/data``.

They are ordinary ``--data file.py:function`` and ``--model file.py:function`` callables, for example
``howsparse prune --model resnet20 --data benchmarks/shared_data.py:cifar10_10k --weights resnet20.safetensors ...``.
"""

import io
import itertools
import json
import os
from pathlib import Path

import numpy as np
import torch
from networks import sampled, stories260k
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from howsparse.files import write_atomic
from howsparse.task import Metric, cross_entropy, squared_error
from howsparse.weights import load_weights
from howsparse.zoo import Arrays, Data, load_data
from howsparse.zoo.data.augment import crop_flip

ROOT = Path(os.environ.get("HOWSPARSE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FASHION = {"mean": (0.2860,), "std": (0.3530,)}
# the normalisation the pretrained ResNets were trained with
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HELD_OUT_IMAGES = ("camera", "chelsea")
NOISE = 25 / 255


def mnist() -> Data:
    """All 60,000 training images, without augmentation."""
    return load_data(f"npz:{ROOT / 'mnist.npz'}")


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


def grey_patches(per_image: int = 80, side: int = 40, seed: int = 0) -> Data:
    """Noisy and clean patches at random places of six photographs; two whole photographs for the test.

    The noise is drawn once: a sample is the same in every pass. In the test it is drawn as the weights' own check does.
    """
    images = {name: image.astype(np.float32) / 255 for name, image in np.load(ROOT / "natural_images_gray.npz").items()}
    draw = np.random.default_rng(seed)
    patches = [
        patch
        for name, image in images.items()
        if name not in HELD_OUT_IMAGES
        for patch in _patches(image, per_image, side, draw)
    ]
    clean = np.stack(patches)[:, None]
    noisy = clean + draw.normal(0, NOISE, clean.shape).astype(np.float32)
    return Data(
        "grey patches",
        train=TensorDataset(torch.from_numpy(noisy), torch.from_numpy(clean)),
        test=[_noisy_and_clean(images[name]) for name in HELD_OUT_IMAGES],
        shape=(1, side, side),
        loss=squared_error,
        metric=Metric("PSNR in dB", psnr),
    )


def psnr(output: Tensor, clean: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each restored image, clipped and rounded to 8 bits: shape (B,)."""
    seen = (output.clamp(0, 1) * 255).round() / 255
    return -10 * (seen - clean).double().square().flatten(1).mean(dim=1).log10()


def _patches(image: np.ndarray, count: int, side: int, draw: np.random.Generator) -> list[np.ndarray]:
    rows, columns = (draw.integers(0, length - side + 1, count) for length in image.shape)
    return [image[r : r + side, c : c + side] for r, c in zip(rows, columns, strict=True)]


def _noisy_and_clean(image: np.ndarray) -> tuple[Tensor, Tensor]:
    """A batch of one whole image."""
    noise = np.random.RandomState(0).normal(0, NOISE, image.shape)  # the generator of the published check
    noisy = (image + noise).astype(np.float32)
    return torch.from_numpy(noisy)[None, None], torch.from_numpy(image)[None, None]


def stories(count: int = 400, length: int = 256, folder: Path = Path("runs/limit_truth")) -> Data:
    """Sequences drawn from the trained storyteller itself, kept in ``folder``; five real stories for the test.

    The training text of the storyteller is not here; what it writes at temperature 1 stands in for it.
    """
    told = json.loads((ROOT / "stories260k_tokenizer.json").read_text())["sample_ids"]
    return Data(
        "stories",
        train=TensorDataset(_drawn_stories(folder / f"stories-{count}x{length}.npy", count, length + 1)),
        test=[[torch.tensor([ids])] for ids in told],
        loss=cross_entropy,
        forward=next_piece,
        metric=Metric("loss a piece", _loss_and_pieces, higher_is_better=False, finish=_loss_a_piece),
    )


def next_piece(model: nn.Module, batch: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (B, pieces, T) for every piece but the first, and those pieces (B, T)."""
    (ids,) = batch
    return model(ids[:, :-1]).transpose(1, 2), ids[:, 1:]


def _loss_and_pieces(output: Tensor, target: Tensor) -> Tensor:
    loss = cross_entropy(output, target).sum(dim=1)
    return torch.stack([loss, torch.full_like(loss, target.shape[1])], dim=1)


def _loss_a_piece(mean: Tensor) -> float:
    return float(mean[0] / mean[1])


def _drawn_stories(path: Path, count: int, length: int) -> Tensor:
    if not path.exists():
        model = stories260k()
        load_weights(model, ROOT / "stories260k.safetensors")
        content = io.BytesIO()
        np.save(content, sampled(model, count, length, begin=1, seed=0).numpy())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content.getvalue())
    return torch.from_numpy(np.load(path))
