"""The drop-and-grow event: the authors' cases, its invariants, and what the optimizer keeps."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import howsparse as hs
from howsparse import HowsparseError, Masks
from howsparse.methods.granet import GraNet
from howsparse.pruners.at_init import keep_best
from howsparse.pruners.drop_and_grow import drop_and_grow
from tests.scores.vectors import Case, each


def tensors(layers: list[dict], key: str) -> dict[str, torch.Tensor]:
    return {
        f"{i}.weight": torch.tensor(layer[key], dtype=torch.float64).reshape(layer["shape"])
        for i, layer in enumerate(layers)
    }


def like(layers: list[dict], shapes: list[dict], key: str) -> dict[str, torch.Tensor]:
    return tensors([{**layer, "shape": shape["shape"]} for layer, shape in zip(layers, shapes, strict=True)], key)


def network(layers: list[dict]) -> nn.ModuleList:
    """Layers with the case's weights; they need not fit together, nothing is sent through them."""
    modules = []
    for layer in layers:
        out, into, *kernel = layer["shape"]
        module = nn.Conv2d(into, out, tuple(kernel), bias=False) if kernel else nn.Linear(into, out, bias=False)
        modules.append(module.double())
    net = nn.ModuleList(modules)
    for name, weight in tensors(layers, "weight").items():
        net.get_parameter(name).data = weight
    return net


@each("granet", "prune_regrow_step")
def test_masks_weights_and_momentum_of_the_authors_code(case: Case) -> None:
    layers, expected = case["inputs"]["layers"], case["expected"]["layers"]
    net, masks = network(layers), Masks(tensors(layers, "mask"))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    pruner = GraNet(sparsity=0.5).attach(net, optimizer, total_steps=100)
    pruner.change(masks)
    for name, buffer in tensors(layers, "momentum").items():
        optimizer.state[net.get_parameter(name)]["momentum_buffer"] = buffer
    pruner.change(
        drop_and_grow(
            pruner.masks,
            pruner.weights,
            {name: grad.abs() for name, grad in tensors(layers, "grad").items()},
            rate=case["inputs"]["drop_rate"],
            allowed=pruner.allowed,
            rounding="up",
        )
    )
    assert pruner.masks == Masks(like(expected, layers, "mask"))
    for name, weight in like(expected, layers, "weight").items():
        assert torch.equal(pruner.weights[name], weight)
    for name, buffer in like(expected, layers, "momentum").items():
        assert torch.equal(optimizer.state[net.get_parameter(name)]["momentum_buffer"], buffer)
    assert [int(mask.sum()) for mask in pruner.masks.values()] == case["expected"]["nnz_after"]


@each("granet", "prune_then_regenerate")
def test_cut_then_regeneration_of_the_authors_code(case: Case) -> None:
    inputs, layers = case["inputs"], case["inputs"]["layers"]
    net = network(layers)
    method = GraNet(
        sparsity=1 - inputs["final_density"],
        initial_sparsity=1 - inputs["init_density"],
        end=inputs["total_updates"] / 100,
        every=1,
        reference_mode=True,
    )
    target = method.target(inputs["update_index"], 100)
    assert target == pytest.approx(case["expected"]["target_sparsity"], abs=1e-12)
    pruner = method.attach(net, total_steps=100)
    pruner.steps = inputs["update_index"]
    after_cut = method._cut(pruner, 100)
    expected = {
        key: Masks(like([{"m": mask} for mask in case["expected"][key]], layers, "m"))
        for key in ("mask_after_prune", "mask_after_regrow")
    }
    assert after_cut == expected["mask_after_prune"]
    grown = drop_and_grow(
        after_cut,
        pruner.weights,
        {name: grad.abs() for name, grad in tensors(layers, "grad").items()},
        rate=inputs["drop_rate"],
        allowed=pruner.allowed,
        rounding="up",
    )
    assert grown == expected["mask_after_regrow"]


@st.composite
def events(draw: st.DrawFn):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shapes = draw(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 9)), min_size=1, max_size=3))
    coarse = draw(st.booleans())  # whole numbers, so that many scores tie

    def numbers(shape):
        drawn = torch.randn(shape, generator=generator)
        return drawn.round() if coarse else drawn

    def some(shape, share):
        return torch.rand(shape, generator=generator) < share

    allowed = Masks({str(i): some(shape, draw(st.sampled_from([0.0, 0.8, 1.0]))) for i, shape in enumerate(shapes)})
    masks = allowed & Masks({name: some(mask.shape, draw(st.floats(0, 1))) for name, mask in allowed.items()})
    weights = {name: numbers(mask.shape) * mask for name, mask in masks.items()}
    wanted = {name: numbers(mask.shape).abs() for name, mask in masks.items()}
    return masks, weights, wanted, allowed


@given(events(), st.floats(0, 1), st.sampled_from(["down", "up"]))
def test_every_layer_exchanges_the_smallest_for_the_most_wanted(event, rate, rounding) -> None:
    masks, weights, wanted, allowed = event
    after = drop_and_grow(masks, weights, wanted, rate=rate, allowed=allowed, rounding=rounding)
    assert after <= allowed
    for name, mask in masks.items():
        living, free = int(mask.sum()), int((allowed[name] & ~mask).sum())
        share = math.floor(rate * living + 1e-9) if rounding == "down" else math.ceil(rate * living - 1e-9)
        count = min(share, free)
        # by plain sorting: positions break ties, Python's sort is stable
        order = [i for i in range(mask.numel()) if mask.view(-1)[i]]
        dropped = sorted(order, key=lambda i: float(weights[name].view(-1)[i].abs()))[:count]
        kept = set(order) - set(dropped)
        candidates = [i for i in range(mask.numel()) if allowed[name].view(-1)[i] and i not in kept]
        grown = sorted(candidates, key=lambda i: -float(wanted[name].view(-1)[i]))[:count]
        assert set(after[name].view(-1).nonzero().flatten().tolist()) == kept | set(grown)


@given(events())
def test_rate_zero_changes_nothing(event) -> None:
    masks, weights, wanted, allowed = event
    for rounding in ("down", "up"):
        assert drop_and_grow(masks, weights, wanted, rate=0, allowed=allowed, rounding=rounding) == masks


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5])
def test_rate_one_keeps_nothing_but_the_largest_gradients(density) -> None:
    generator = torch.Generator().manual_seed(1)
    weights = {"w": torch.randn(20, 10, generator=generator)}
    wanted = {"w": torch.randn(20, 10, generator=generator).abs()}
    living = int(200 * density)
    masks = Masks({"w": torch.randperm(200, generator=generator).reshape(20, 10) < living})
    after = drop_and_grow(masks, weights, wanted, rate=1.0, allowed=Masks.dense(weights))
    assert set(after["w"].view(-1).nonzero().flatten().tolist()) == set(
        wanted["w"].view(-1).topk(living).indices.tolist()
    )


def test_shares_that_are_whole_are_not_rounded_away() -> None:
    weights = {"w": torch.arange(1.0, 201.0).reshape(10, 20)}
    masks, wanted = Masks({"w": weights["w"] > 100}), {"w": 300 - weights["w"]}
    for rate, count in ((0.29, 29), (0.07, 7), (0.1, 10)):  # 0.29 * 100 < 29 and 0.07 * 100 > 7 in floating point
        for rounding in ("down", "up"):
            after = drop_and_grow(masks, weights, wanted, rate=rate, allowed=Masks.dense(weights), rounding=rounding)
            assert (masks - after).active == count


def test_dense_and_empty_layers_have_nothing_to_exchange() -> None:
    masks = Masks({"full": torch.ones(3, 3, dtype=torch.bool), "empty": torch.zeros(3, 3, dtype=torch.bool)})
    numbers = {name: torch.randn(3, 3) for name in masks}
    assert drop_and_grow(masks, numbers, numbers, rate=0.5, allowed=Masks.dense(numbers), rounding="up") == masks


def test_gradients_that_overflowed_are_wanted_least() -> None:
    masks = Masks({"w": torch.tensor([[True, False, False]])})
    weights = {"w": torch.tensor([[1.0, 0.0, 0.0]])}
    wanted = {"w": torch.tensor([[0.0, torch.nan, 0.5]])}
    after = drop_and_grow(masks, weights, wanted, rate=1.0, allowed=Masks.dense(weights))
    assert after["w"].tolist() == [[False, False, True]]


def test_refusals_name_what_is_wrong() -> None:
    masks, weights = Masks({"w": torch.ones(2, 2)}), {"w": torch.ones(2, 2)}
    with pytest.raises(HowsparseError, match=r"rate = 1\.5"):
        drop_and_grow(masks, weights, weights, rate=1.5, allowed=masks)
    with pytest.raises(HowsparseError, match="nested in allowed"):
        drop_and_grow(masks, weights, weights, rate=0.5, allowed=~masks)


def test_a_cut_counts_what_was_gone_before() -> None:
    net = nn.Linear(10, 10, bias=False)
    start = Masks({"weight": torch.arange(100).reshape(10, 10) >= 30})
    pruner = GraNet(sparsity=0.5).attach(net, total_steps=100, masks=start)
    cut = keep_best(pruner, pruner.weights, 0.5)
    assert cut.active == 50
    assert cut <= start
    assert hs.Masks.from_zeros(pruner.weights) == start
