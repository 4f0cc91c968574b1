"""AutoSparse's training data: rounds, survival counts and targets against the reference vectors; features."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from howsparse import Masks, Task
from howsparse.errors import HowsparseError
from howsparse.masks import prunable_parameters, remove_smallest
from howsparse.scores import magnitude, survival_counts, survival_features, survival_rounds, survival_targets
from tests.scores.vectors import Case, cases, each, fingerprint


@each("autosparse", "round_keep_fraction")
def test_vectors_of_rounds(case: Case) -> None:
    close = case["tol"]["abs"]
    for inputs, expected in zip(case["inputs"], case["expected"], strict=True):
        sparsity, rounds = 1 - inputs["final_keep"], inputs["rounds"]
        num = survival_rounds(sparsity, rounds, spacing="num")
        assert num == pytest.approx(expected["num_round_keep"], abs=close)
        left = [math.prod(num[: i + 1]) for i in range(rounds)]
        assert left == pytest.approx(expected["num_cumulative"], abs=close)
        right, theirs = survival_rounds(sparsity, rounds), survival_rounds(sparsity, rounds, reference_mode=True)
        assert right == pytest.approx([expected["pct_intended_round_keep"]] * rounds, abs=close)
        assert theirs == pytest.approx([expected["pct_official_round_keep"]] * rounds, abs=close)


@each("autosparse", "survival_score")
def test_vectors_of_survival(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    shapes = {str(number): shape for number, shape in enumerate(inputs["shapes"])}
    masks, found = Masks({name: torch.ones(shape) for name, shape in shapes.items()}), []
    shares = survival_rounds(1 - inputs["final_keep"], inputs["rounds"], spacing=inputs["schedule"])
    for share, trained in zip(shares, inputs["trained"], strict=True):
        weights = {n: torch.tensor(w).reshape(shapes[n]) for n, w in zip(shapes, trained, strict=True)}
        count = torch.tensor(int((1 - share) * masks.active))
        masks = remove_smallest(masks, magnitude(weights), {"global": count}, scope="global")
        found.append(masks)
    assert [[m.reshape(-1).int().tolist() for m in masks.values()] for masks in found] == expected["masks"]
    counts = survival_counts(found)
    assert [count.reshape(-1).tolist() for count in counts.values()] == expected["survival"]
    targets = survival_targets(counts)
    assert torch.cat([t.reshape(-1) for t in targets.values()]).tolist() == pytest.approx(
        expected["target"], abs=case["tol"]["abs"]
    )
    assert all(target.shape == torch.Size(shapes[name]) for name, target in targets.items())


def test_the_vectors_are_all_here(shared) -> None:
    kinds = ("round_keep_fraction", "survival_score")
    assert [len(cases("autosparse", kind)) for kind in kinds] == [1, 1]


@given(sparsity=st.floats(0.01, 0.999), rounds=st.integers(1, 100), spacing=st.sampled_from(["pct", "num"]))
def test_rounds_multiply_out_to_the_sparsity(sparsity: float, rounds: int, spacing: str) -> None:
    shares = survival_rounds(sparsity, rounds, spacing=spacing)
    assert len(shares) == rounds
    assert all(0 < share < 1 for share in shares)
    assert math.prod(shares) == pytest.approx(1 - sparsity, rel=1e-9)


@given(ends=st.lists(st.integers(0, 6), min_size=2, max_size=30).filter(lambda e: min(e) < max(e)))
def test_an_entry_pruned_in_round_i_has_count_i(ends: list[int]) -> None:
    when = torch.tensor(ends)
    rounds = [Masks({"w": when > number}) for number in range(6)]
    counts = survival_counts(rounds)
    assert torch.equal(counts["w"], when)
    target = survival_targets(counts)["w"]
    assert torch.equal(target.argsort(stable=True), when.argsort(stable=True))
    assert torch.allclose(target, (when - when.min()) / (when.max() - when.min()), atol=1e-6)
    counted_from_dense = survival_counts([Masks({"w": torch.ones(len(ends))}), *rounds])
    assert torch.equal(survival_targets(counted_from_dense)["w"], target)  # the mask before any pruning does no harm


def test_what_is_no_iterative_run_is_refused() -> None:
    early, late = Masks({"w": torch.tensor([1, 1, 0])}), Masks({"w": torch.tensor([0, 1, 0])})
    with pytest.raises(HowsparseError, match="in round 1 1 weights came back"):
        survival_counts([late, early])
    with pytest.raises(HowsparseError, match="there are none"):
        survival_counts([])
    with pytest.raises(HowsparseError, match="every weight survived 1 rounds"):
        survival_targets(survival_counts([Masks({"w": torch.ones(3)})]))
    for wrong in ((0.0, 3), (1.0, 3), (0.5, 0)):
        with pytest.raises(HowsparseError, match="0 < sparsity < 1"):
            survival_rounds(*wrong)
    with pytest.raises(HowsparseError, match="pct, or num without"):
        survival_rounds(0.5, 2, spacing="num", reference_mode=True)


def test_features_are_initial_values_and_gradients_over_the_whole_pass(make_task: Callable[..., Task]) -> None:
    task = make_task(batch_size=60)  # 180 samples in equal batches
    parameters = prunable_parameters(task.model)
    before = fingerprint(task.model)
    features = survival_features(task, parameters)
    assert fingerprint(task.model) == before
    assert features.batches == 3
    model = copy.deepcopy(task.model).eval()
    for x, y in task.calib.ordered():
        nn.functional.cross_entropy(model(x), y).backward()  # the authors' sum over batches
    for name, parameter in parameters.items():
        assert torch.equal(features.weights[name], parameter.detach())
        gradient = model.get_parameter(name).grad
        assert torch.allclose(features.gradients[name] * features.batches, gradient, rtol=1e-4, atol=1e-6)


def test_features_do_not_follow_the_training(make_task: Callable[..., Task]) -> None:
    task = make_task()
    parameters = prunable_parameters(task.model)
    features, initial = survival_features(task, parameters), copy.deepcopy(task.model.state_dict())
    with torch.no_grad():
        for tensor in (*task.model.parameters(), task.model[1].running_mean):
            tensor.add_(1)
    trained = fingerprint(task.model)
    again = survival_features(task, parameters, state=initial)
    for name in parameters:
        assert torch.equal(features.weights[name], again.weights[name])
        assert torch.equal(features.gradients[name], again.gradients[name])
    assert fingerprint(task.model) == trained
    with pytest.raises(HowsparseError, match="does not belong to Sequential"):
        survival_features(task, parameters, state={"0.weight": torch.zeros(1)})
    with pytest.raises(HowsparseError, match="pass task=Task"):
        survival_features(None, parameters)
