"""Arrays: bytes in, normalised batches out."""

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Subset

from howsparse.errors import HowsparseError
from howsparse.zoo import Arrays
from howsparse.zoo.data import crop_flip

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
LABELS = np.arange(20) % 4


def colour() -> Arrays:
    return Arrays(COLOUR, LABELS, 4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))


def test_normalisation_against_float64() -> None:
    x, y = colour()[[3, 17, 3]]
    expected = (COLOUR[[3, 17, 3]] / 255 - (0.1, 0.2, 0.3)) / (0.5, 0.25, 2.0)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    np.testing.assert_allclose(x.numpy(), expected.transpose(0, 3, 1, 2), rtol=0, atol=2e-6)
    assert y.dtype == torch.int64
    assert y.tolist() == [3, 1, 3]


def test_grey_images_get_a_channel() -> None:
    data = Arrays(GREY, LABELS, 4, mean=(0.0,), std=(1.0,))
    x, _ = data[torch.arange(20)]
    assert data.shape == (1, 6, 5)
    np.testing.assert_allclose(x[:, 0].numpy(), GREY / 255, atol=1e-6)


def test_single_samples_lists_and_tensors_agree() -> None:
    data = colour()
    x, y = data[[4, 19]]
    for i, index in enumerate((4, -1)):
        single, label = data[index]
        assert single.shape == (3, 6, 5)
        assert torch.equal(single, x[i])
        assert label == y[i]
    assert torch.equal(data[torch.tensor([4, -1])][0], x)
    assert data[[]][0].shape == (0, 3, 6, 5)


def test_iteration_ends() -> None:
    assert [int(y) for _, y in colour()] == LABELS.tolist()  # type: ignore[attr-defined]


@pytest.mark.parametrize("index", [20, -21, [0, 20]])
def test_index_out_of_range(index: int | list[int]) -> None:
    with pytest.raises(IndexError):
        colour()[index]


@pytest.mark.parametrize("index", [torch.ones(20, dtype=torch.bool), [0.5]])
def test_masks_and_fractions_are_no_indices(index: object) -> None:
    with pytest.raises(HowsparseError, match="indices"):
        colour()[index]  # type: ignore[index]


def test_batches_from_a_loader_cover_the_data_once() -> None:
    data = colour()
    sampler = BatchSampler(RandomSampler(data, generator=torch.Generator().manual_seed(0)), 8, drop_last=False)
    loader: DataLoader[tuple[torch.Tensor, torch.Tensor]] = DataLoader(data, batch_size=None, sampler=sampler)
    batches = list(loader)
    assert [len(x) for x, _ in batches] == [8, 8, 4]
    seen = torch.cat([x for x, _ in batches]).flatten(1)
    everything = data[torch.arange(20)][0].flatten(1)
    assert torch.equal(seen.sort(dim=0).values, everything.sort(dim=0).values)


def test_a_subset_serves_batches_too() -> None:
    x, y = Subset(colour(), [5, 9, 2])[[2, 0]]
    assert torch.equal(x, colour()[[2, 5]][0])
    assert y.tolist() == [2, 1]


def test_augmentation_sees_the_normalised_batch_and_plain_leaves_it_out() -> None:
    data = Arrays(GREY, LABELS, 4, mean=(0.5,), std=(0.5,), augment=torch.neg)
    plain = data.plain()
    assert torch.equal(data[[1, 2]][0], -plain[[1, 2]][0])
    assert torch.equal(data[1][0], -plain[1][0])
    assert plain.augment is None
    assert data.augment is torch.neg
    assert plain.images.data_ptr() == data.images.data_ptr()


def test_memory_is_shared_and_read_only_arrays_are_fine() -> None:
    images = COLOUR.copy()
    assert Arrays(images, LABELS, 4, mean=(0,) * 3, std=(1,) * 3).images.data_ptr() == images.ctypes.data
    images.flags.writeable = False
    assert Arrays(images, LABELS, 4, mean=(0,) * 3, std=(1,) * 3).images.tolist() == COLOUR.tolist()


def test_repeatable_under_seed() -> None:
    data = Arrays(COLOUR, LABELS, 4, mean=(0,) * 3, std=(1,) * 3, augment=crop_flip(2))
    torch.manual_seed(5)
    first = data[list(range(20))][0]
    second = data[list(range(20))][0]
    torch.manual_seed(5)
    assert torch.equal(first, data[list(range(20))][0])
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("images", "labels", "mean", "std", "message"),
    [
        (GREY.astype(np.float32), LABELS, (0,), (1,), "uint8.*float32"),
        (GREY[0], LABELS, (0,), (1,), r"shape.*\(6, 5\)"),
        (GREY[:0], LABELS[:0], (0,), (1,), r"\(0, 6, 5\)"),
        (GREY, LABELS[:19], (0,), (1,), "20 images but 19 labels"),
        (GREY, LABELS[:, None], (0,), (1,), "one dimension"),
        (GREY, LABELS / 2, (0,), (1,), "whole numbers.*float64"),
        (GREY, LABELS + 1, (0,), (1,), "5 of 20 labels lie outside 0 to 3; the first is number 3 .*: 4"),
        (GREY, LABELS - 1, (0,), (1,), "5 of 20 labels .* number 0 .*: -1"),
        (COLOUR, LABELS, (0,), (1,), "3 channels, not 1 and 1"),
        (GREY, LABELS, (0,), (0,), "std must be above 0"),
    ],
)
def test_refusals(images: object, labels: object, mean: object, std: object, message: str) -> None:
    with pytest.raises(HowsparseError, match=message):
        Arrays(images, labels, 4, mean=mean, std=std)  # type: ignore[arg-type]
