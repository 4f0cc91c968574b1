"""ERK and Smart-Ratio against the reference vectors."""

import math

import pytest
import torch

from howsparse import Masks
from howsparse.allocation import erk, erk_counts, smart_ratio
from howsparse.masks import remove_smallest
from tests.allocation.test_reference import cases, each

VARIANTS = {"default": "quadratic", "linear_decay": "linear", "ascend": "ascending"}


def settings(case):
    inputs = case["inputs"]
    variant = inputs.get("variant", "default")
    shapes = {f"{i}.weight": tuple(layer["shape"]) for i, layer in enumerate(inputs["layers"])}
    total = sum(math.prod(shape) for shape in shapes.values())
    removed = total - int((1 - inputs["prune_ratio"]) * total)
    choices = {
        "family": inputs["family"],
        "variant": VARIANTS.get(variant, variant),
        "linear_density": inputs["linear_keep_ratio"],
    }
    return shapes, removed, choices


@each("methods_vectors", "cases", ("layer_densities",), "kind")
def test_erk(case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    shapes = {str(i): tuple(shape) for i, shape in enumerate(inputs["shapes"])}
    densities = list(erk(shapes, inputs["density"], power=inputs["power"]).values())
    assert densities == pytest.approx(expected["densities"], abs=case["tol"]["abs"])
    assert [i for i, density in enumerate(densities) if density == 1] == expected["dense_layers"]
    sizes = [math.prod(shape) for shape in shapes.values()]
    removed = round(sum(sizes) * (1 - inputs["density"]))
    counts = [int(count) for count in erk_counts(shapes, removed, power=inputs["power"]).values()]
    assert sum(counts) == removed
    assert all(abs(n * (1 - d) - c) <= 1.5 for n, d, c in zip(sizes, densities, counts, strict=True))


@pytest.mark.parametrize("reference_mode", [False, True])
@each("methods_vectors", "cases", ("layer_keep_counts",), "kind")
def test_smart_ratio(case, reference_mode) -> None:
    shapes, removed, choices = settings(case)
    counts = smart_ratio(shapes, removed, **choices, reference_mode=reference_mode)
    totals = [math.prod(shape) for shape in shapes.values()]
    assert totals == case["expected"]["total"]
    found = [n - int(count) for n, count in zip(totals, counts.values(), strict=True)]
    # the authors round every layer down, we hand out what that leaves
    assert all(abs(k - e) <= case["tol"]["count_abs"] for k, e in zip(found, case["expected"]["keep"], strict=True))
    if reference_mode:
        assert found == case["expected"]["keep"]
    else:
        assert sum(found) == sum(totals) - removed


@each("methods_vectors", "cases", ("hybrid_mask",), "kind")
def test_hybrid(case) -> None:
    shapes, removed, choices = settings(case)
    counts = smart_ratio(shapes, removed, **choices, reference_mode=True)
    layers = zip(shapes.items(), case["inputs"]["layers"], strict=True)
    scores = {name: torch.tensor(layer["weight"]).reshape(shape).abs() for (name, shape), layer in layers}
    masks = remove_smallest(Masks.dense(scores), scores, counts, scope="layer")
    assert [mask.flatten().int().tolist() for mask in masks.values()] == case["expected"]["mask"]
    assert [int(mask.sum()) for mask in masks.values()] == case["expected"]["keep"]


def test_the_vectors_are_all_here(shared) -> None:
    assert shared.is_dir()
    kinds = [case["kind"] for case in cases("methods_vectors", "cases")]
    assert [kinds.count(kind) for kind in ("layer_densities", "layer_keep_counts", "hybrid_mask")] == [12, 14, 1]
