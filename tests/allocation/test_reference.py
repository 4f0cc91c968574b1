"""SAP's counts and masks, and the lottery baselines, against the reference vectors."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch

from howsparse import Masks
from howsparse.allocation import fraction_of_each, pqi_adaptive, share_of
from howsparse.masks import group_sizes, remove_smallest
from howsparse.measures import gini
from howsparse.scores import magnitude

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "reference"


@cache
def cases(name: str, key: str):
    path = SHARED / f"{name}.json"
    return json.loads(path.read_text())[key] if path.exists() else []


def each(name: str, key: str, wanted, value: str):
    """Parametrizes a test with the cases whose ``value`` is one of ``wanted``; skips it where there are no vectors."""
    chosen = [c for c in cases(name, key) if wanted is None or c[value] in wanted]
    absent = pytest.param(None, marks=pytest.mark.skip(reason="../shared (reference vectors) is not here"))
    return pytest.mark.parametrize("case", chosen or [absent], ids=lambda c: c["id"] if c else "absent")


def network(case):
    weights, masks = {}, {}
    for name, p in case["params"].items():
        if p["prunable"]:
            weights[name] = torch.tensor(p["data"], dtype=torch.float64).reshape(p["shape"])
            masks[name] = bits(p["mask_in"], p["shape"])
    return weights, Masks(masks)


def bits(text, shape):
    return torch.tensor([c == "1" for c in text]).reshape(shape)


def sap(case, weights, masks):
    spare = pqi_adaptive(weights, masks, scope=case["scope"], p=case["p"], q=case["q"], eta=case["eta"])
    return spare, spare.counts(gamma=case["gamma"], beta=case["beta"])


def by_group(counts, case):
    """Our per-tensor counts in the order and naming of the case's groups."""
    found = {}
    for group, values in counts.items():
        if case["scope"] == "neuron":
            found |= {f"{group}#{row}": values[row].item() for row in range(len(values))}
        else:
            found[group] = values.item()
    return found


@each("sap_vectors", "prune", ("si",), "mode")
def test_sap(case) -> None:
    weights, masks = network(case)
    spare, counts = sap(case, weights, masks)
    found = {key: by_group(getattr(spare, key), case) for key in ("sizes", "index", "bound")}
    found["counts"] = by_group(counts, case)
    paper = by_group(spare.counts(gamma=case["gamma"], beta=case["beta"], rounding="paper"), case)
    for group in case["groups"]:
        name = group["group"]
        assert found["sizes"][name] == group["d"]
        assert found["counts"][name] == group["c"]
        assert paper[name] == group["c_paper"]
        if group["pqi"] is not None:
            assert found["index"][name] == pytest.approx(group["pqi"], abs=1e-12)
            assert found["bound"][name] == pytest.approx(group["r"], rel=1e-9)
            assert abs(found["counts"][name] - group["official_num_prune"]) <= 1  # their float32 floor loses one
    check_masks(case, weights, masks, counts)


@each("sap_vectors", "prune", ("lt", "os"), "mode")
def test_lottery_and_ladder_share_one_rule(case) -> None:
    weights, masks = network(case)
    counts = fraction_of_each(group_sizes(masks, case["scope"]), case["P"], "quantile")
    found = by_group(counts, case)
    assert {g["group"]: g["c"] for g in case["groups"]} == {g["group"]: found[g["group"]] for g in case["groups"]}
    check_masks(case, weights, masks, counts)


def check_masks(case, weights, masks, counts) -> None:
    scores = magnitude(weights)
    for ties, key in (("exact", "mask_exact_count"), ("keep", "mask_keep_ties")):
        new = remove_smallest(masks, scores, counts, scope=case["scope"], ties=ties)
        assert new == Masks({n: bits(text, new[n].shape) for n, text in case[key].items()})
    assert remove_smallest(masks, scores, counts, scope=case["scope"]).active == case["remaining_exact"]
    if case["scope"] == "global" and case["mode"] == "si":
        ours = float(gini(list(weights.values()), list(masks.values())))
        assert ours == pytest.approx(case["groups"][0]["gini"], abs=1e-12)


@each("sap_vectors", "trajectories", None, "id")
def test_trajectories(case) -> None:
    by_id = {c["id"]: c for c in cases("sap_vectors", "prune")}
    previous = None
    for step in case["steps"]:
        here = by_id[step["case"]]
        weights, masks = network(here)
        if previous is not None:
            assert masks == previous
        _, counts = sap(here, weights, masks)
        previous = remove_smallest(masks, magnitude(weights), counts, scope=here["scope"])
        assert previous.active == step["remaining_after"]
        assert previous.density == pytest.approx(step["fraction_after"], abs=1e-12)


@each("methods_vectors", "cases", ("iterative_global_magnitude",), "kind")
def test_iterative_global_magnitude(case) -> None:
    """The official rule: one weight more each round, ignored tensors counted in the budget but never pruned."""
    shapes, ignored = case["inputs"]["shapes"], case["inputs"]["ignore"]
    names = [n for n in shapes if n != ignored]
    left_out = 0 if ignored is None else torch.Size(shapes[ignored]).numel()
    masks = Masks({n: torch.ones(shapes[n], dtype=torch.bool) for n in names})
    for weights, expected, left in zip(
        case["inputs"]["rounds"], case["expected"]["masks"], case["expected"]["remaining"], strict=True
    ):
        tensors = {n: torch.tensor(weights[n]).reshape(shapes[n]) for n in names}
        count = share_of(masks.active + left_out, case["inputs"]["fraction"], "reference")
        masks = remove_smallest(masks, magnitude(tensors), {"global": torch.tensor(count)}, scope="global")
        assert masks.active + left_out == left
        assert masks == Masks({n: torch.tensor(expected[n]).reshape(shapes[n]) for n in names})


@each("methods_vectors", "cases", ("remaining_counts",), "kind")
def test_remaining_counts(case) -> None:
    inputs = case["inputs"]
    for rule, key in (("ceil", "exact"), ("reference", "official")):
        left = [inputs["numel"]]
        for _ in range(inputs["rounds"]):
            left.append(left[-1] - share_of(left[-1], inputs["fraction"], rule))
        assert left == case["expected"][key]


def test_the_vectors_are_all_here(shared) -> None:
    assert shared.is_dir()
    assert len(cases("sap_vectors", "prune")) == 27
    assert len(cases("sap_vectors", "trajectories")) == 2
    kinds = [case["kind"] for case in cases("methods_vectors", "cases")]
    assert [kinds.count(k) for k in ("iterative_global_magnitude", "remaining_counts")] == [2, 2]
