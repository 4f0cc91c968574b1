"""Random crop and flip."""

import pickle

import pytest
import torch
import torch.nn.functional
from hypothesis import given
from hypothesis import strategies as st

from howsparse.errors import HowsparseError
from howsparse.zoo.data import crop_flip


def crops(image: torch.Tensor, padding: int, flip: bool) -> list[torch.Tensor]:
    """All crops that the padded image (C, H, W) allows."""
    height, width = image.shape[1:]
    padded = torch.nn.functional.pad(image[None], (padding,) * 4, mode="reflect")[0]
    steps = range(2 * padding + 1)
    found = [padded[:, r : r + height, c : c + width] for r in steps for c in steps]
    return found + [crop.flip(2) for crop in found] if flip else found


@given(
    seed=st.integers(0, 1000),
    height=st.integers(3, 7),
    width=st.integers(3, 7),
    padding=st.integers(0, 2),
    flip=st.booleans(),
)
def test_every_output_is_a_crop_of_the_padded_original(
    seed: int, height: int, width: int, padding: int, flip: bool
) -> None:
    torch.manual_seed(seed)
    images = torch.randn(4, 2, height, width)
    for image, result in zip(images, crop_flip(padding, flip)(images), strict=True):
        assert any(torch.equal(result, crop) for crop in crops(image, padding, flip))


def test_all_crops_occur_about_equally_often() -> None:
    torch.manual_seed(0)
    image = torch.arange(16.0).reshape(1, 4, 4)
    wanted = crops(image, 1, flip=True)
    results = crop_flip(1)(image.expand(3600, 1, 4, 4))
    counts = [int((results == crop).flatten(1).all(1).sum()) for crop in wanted]
    assert len(counts) == 18
    assert sum(counts) == 3600
    assert max(abs(count - 200) for count in counts) < 5 * 200**0.5


def test_one_draw_per_image_only_from_the_global_generator() -> None:
    images = torch.randn(8, 3, 9, 9)
    torch.manual_seed(3)
    first = crop_flip()(images)
    torch.manual_seed(3)
    assert torch.equal(first, crop_flip()(images))
    assert not torch.equal(first, crop_flip()(images))


def test_type_and_input_are_kept() -> None:
    images = torch.randn(2, 1, 6, 8, dtype=torch.float64)
    before = images.clone()
    result = crop_flip()(images)
    assert result.dtype == torch.float64
    assert result.is_contiguous()
    assert torch.equal(images, before)


def test_the_function_survives_pickling() -> None:
    images = torch.randn(4, 3, 8, 8)
    augment = crop_flip(2)
    torch.manual_seed(0)
    first = augment(images)
    torch.manual_seed(0)
    assert torch.equal(first, pickle.loads(pickle.dumps(augment))(images))


def test_refusals() -> None:
    with pytest.raises(HowsparseError, match="-1"):
        crop_flip(-1)
    with pytest.raises(HowsparseError, match=r"padding 4 .* 4x9"):
        crop_flip(4)(torch.zeros(1, 1, 4, 9))
