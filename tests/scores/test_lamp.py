"""LAMP: the definition, its corollaries, and extremes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from howsparse import HowsparseError, Masks
from howsparse.masks import remove_smallest
from howsparse.scores import lamp, magnitude

values = st.lists(st.sampled_from([0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -3.0]), min_size=1, max_size=12)


def by_definition(weights: list[float], living: list[bool]) -> list[float]:
    """Sums over all that are at least as large; among equals, over itself and the later ones."""
    scores = []
    for u, (w, alive) in enumerate(zip(weights, living, strict=True)):
        larger = [
            x * x
            for v, (x, there) in enumerate(zip(weights, living, strict=True))
            if there and (abs(x) > abs(w) or (abs(x) == abs(w) and v >= u))
        ]
        scores.append(w * w / sum(larger) if alive and sum(larger) else float(alive and len(larger) == 1))
    return scores


@given(values, st.data())
def test_equals_the_definition(weights, data) -> None:
    living = data.draw(st.lists(st.booleans(), min_size=len(weights), max_size=len(weights)))
    scores = lamp({"w": torch.tensor(weights)}, Masks({"w": torch.tensor(living)}))["w"]
    assert scores.tolist() == pytest.approx(by_definition(weights, living), rel=1e-12)


@given(st.lists(values, min_size=1, max_size=4), st.data())
def test_no_tensor_is_emptied(tensors, data) -> None:
    weights = {str(i): torch.tensor(w) for i, w in enumerate(tensors)}
    masks = Masks.dense(weights)
    removed = data.draw(st.integers(0, masks.total - len(weights)))
    left = remove_smallest(masks, lamp(weights), {"global": torch.tensor(removed)}, scope="global")
    assert left.active == masks.total - removed
    assert all(bool(mask.any()) for mask in left.values())


def test_orders_a_tensor_by_magnitude_and_ignores_its_scale() -> None:
    torch.manual_seed(0)
    weights = {"w": torch.randn(40, 50)}
    masks, scores = Masks.dense(weights), lamp(weights)
    assert float(scores["w"].max()) == 1.0
    assert scores["w"].shape == (40, 50)
    for count in (1, 700, 1999):
        counts = {"w": torch.tensor(count)}
        by_lamp, by_size = (remove_smallest(masks, s, counts, scope="layer") for s in (scores, magnitude(weights)))
        assert by_lamp == by_size
    assert torch.equal(lamp({"w": weights["w"] * 2**-60})["w"], scores["w"])


def test_extremes() -> None:
    assert lamp({"w": torch.tensor([1e-30, 1e30])})["w"].tolist() == pytest.approx([1e-120, 1.0])
    assert lamp({"w": torch.tensor([3e38, -3e38])})["w"].tolist() == [0.5, 1.0]
    assert lamp({"w": torch.zeros(3)})["w"].tolist() == [0.0, 0.0, 1.0]
    assert lamp({"w": torch.ones(2)}, Masks({"w": torch.zeros(2)}))["w"].tolist() == [0.0, 0.0]
    parameter = torch.nn.Parameter(torch.ones(2))
    assert not lamp({"w": parameter})["w"].requires_grad
    with pytest.raises(HowsparseError, match="has shape"):
        lamp({"w": torch.ones(2)}, Masks({"w": torch.ones(3)}))
