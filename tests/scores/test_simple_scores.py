"""Random scores and gradient magnitude."""

import torch

from howsparse import Masks
from howsparse.masks import remove_smallest
from howsparse.scores import gradient_magnitude, random_scores


def test_random_scores_are_decided_by_the_generator_alone() -> None:
    weights = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    other = {"a": torch.zeros(3, 4), "b": torch.ones(5, dtype=torch.float16)}
    first = random_scores(weights, torch.Generator().manual_seed(3))
    again = random_scores(other, torch.Generator().manual_seed(3))
    assert all(torch.equal(first[n], again[n]) and first[n].shape == weights[n].shape for n in weights)
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(random_scores(weights, generator)["a"], first["a"])
    assert not torch.equal(random_scores(weights, generator)["a"], first["a"])  # the generator moves on


def test_random_scores_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    random_scores({"a": torch.zeros(10)}, torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_random_scores_remove_every_weight_equally_often() -> None:
    weights, generator = {"a": torch.zeros(6), "b": torch.zeros(2)}, torch.Generator().manual_seed(0)
    dense, kept = Masks.dense(weights), torch.zeros(8)
    for _ in range(4000):
        masks = remove_smallest(
            dense, random_scores(weights, generator), {"global": torch.tensor(6)}, scope="global"
        )  # fmt: skip
        kept += torch.cat(list(masks.values()))
    deviations = (kept / 4000 - 0.25) / (0.25 * 0.75 / 4000) ** 0.5
    assert float(deviations.abs().max()) < 4


def test_random_scores_of_many_weights_do_not_tie() -> None:
    scores = random_scores({"a": torch.zeros(100_000)}, torch.Generator().manual_seed(0))["a"]
    assert len(scores.unique()) == 100_000  # in float32 about three hundred would tie


def test_gradient_magnitude_is_outside_autograd() -> None:
    gradient = torch.tensor([[-3.0, 0.0], [0.5, 2.0]], requires_grad=True)
    found = gradient_magnitude({"w": gradient})["w"]
    assert found.tolist() == [[3.0, 0.0], [0.5, 2.0]]
    assert not found.requires_grad
