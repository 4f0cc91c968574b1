"""AutoSparse's predictor: what it learns, that it repeats, and its file."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from howsparse import LotteryTicket, Masks, Task
from howsparse.errors import HowsparseError
from howsparse.masks import prunable_parameters, remove_smallest
from howsparse.scores import SurvivalFeatures, SurvivalPredictor, survival_features


def drawn(seed: int, *, scale: float = 1.0, size: int = 60) -> tuple[SurvivalFeatures, dict[str, torch.Tensor]]:
    """Two tensors whose weights survive by |w0| and, half as much, by |g0|; ``scale`` changes only the units."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (size, 20), "b": (2, 3, size)}
    w = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    g = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    target = {name: torch.tanh(w[name].abs() + g[name].abs() / 2) for name in shapes}
    weights, gradients = ({n: by * t for n, t in part.items()} for by, part in ((scale, w), (scale**2, g)))
    return SurvivalFeatures(weights, gradients, batches=4), target


def rank_correlation(found: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> float:
    ranks = [torch.cat([t.reshape(-1) for t in part.values()]).argsort().argsort().double() for part in (found, target)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


@pytest.fixture(scope="module")
def learned() -> SurvivalPredictor:
    predictor = SurvivalPredictor()
    features, target = drawn(0)
    errors = predictor.fit(features, target, epochs=300)
    assert errors[-1] < 0.1 * errors[0]
    return predictor


def test_it_ranks_the_weights_of_another_network(learned: SurvivalPredictor) -> None:
    features, target = drawn(1)
    scores = learned.scores(features)
    assert {name: score.shape for name, score in scores.items()} == {n: t.shape for n, t in target.items()}
    assert all(score.dtype == torch.float32 and not score.requires_grad for score in scores.values())
    assert rank_correlation(scores, target) > 0.97


def test_standardised_features_carry_over_to_other_units(learned: SurvivalPredictor) -> None:
    features, target = drawn(1, scale=0.01)
    assert rank_correlation(learned.scores(features), target) > 0.97
    raw = SurvivalPredictor(raw=True)
    raw.fit(*drawn(0), epochs=300)
    assert rank_correlation(raw.scores(drawn(1)[0]), target) > 0.97
    assert rank_correlation(raw.scores(features), target) < 0.9  # the authors' features do not


def test_raw_gradients_are_sums_over_batches() -> None:
    features, target = drawn(0)
    raw = SurvivalPredictor(raw=True)
    raw.fit(features, target, epochs=2)
    summed = SurvivalFeatures(features.weights, {n: 4 * g for n, g in features.gradients.items()}, batches=1)
    assert all(torch.equal(a, raw.scores(summed)[n]) for n, a in raw.scores(features).items())


def test_same_seed_same_predictor() -> None:
    features, target = drawn(0, size=10)
    found = []
    for seed in (3, 3, 4):
        torch.rand(1)  # the global generator plays no part
        predictor = SurvivalPredictor((8,))
        predictor.fit(features, target, seed=seed, epochs=2)
        found.append(predictor.scores(features)["a"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_it_learns_from_so_many_weights_at_most() -> None:
    features, target = drawn(0)
    few, all_of_them = SurvivalPredictor(), SurvivalPredictor()
    few.fit(features, target, epochs=3, most=40)
    all_of_them.fit(features, target, epochs=3)
    assert rank_correlation(few.scores(features), target) < rank_correlation(all_of_them.scores(features), target)
    spoiled = {name: t.clone() for name, t in target.items()}
    order = torch.randperm(sum(t.numel() for t in target.values()), generator=torch.Generator().manual_seed(0))
    for position in order[40:].tolist():  # what was not drawn does not matter
        name, where = ("a", position) if position < target["a"].numel() else ("b", position - target["a"].numel())
        spoiled[name].view(-1)[where] = 99.0
    same = SurvivalPredictor()
    same.fit(features, spoiled, epochs=3, most=40)
    assert torch.equal(same.scores(features)["a"], few.scores(features)["a"])


def test_chunks_do_not_change_a_prediction(learned: SurvivalPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = drawn(1)
    whole = learned.scores(features)
    monkeypatch.setattr("howsparse.scores.survival_predictor._CHUNK", 7)
    for name, score in learned.scores(features).items():
        assert torch.allclose(score, whole[name], atol=1e-6)


def test_saved_and_loaded(learned: SurvivalPredictor, tmp_path: Path) -> None:
    path, again = tmp_path / "predictor.safetensors", tmp_path / "again.safetensors"
    learned.save(path)
    loaded = SurvivalPredictor.load(path)
    assert (loaded.layers, loaded.raw, loaded.batches) == ((32, 32), False, 4)
    features, _ = drawn(1)
    for name, score in learned.scores(features).items():
        assert torch.equal(loaded.scores(features)[name], score)
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("predictor")] == ["predictor.safetensors"]


def test_files_that_are_no_predictor_are_refused(learned: SurvivalPredictor, tmp_path: Path) -> None:
    path = tmp_path / "predictor.safetensors"
    with pytest.raises(HowsparseError, match="cannot read a survival predictor"):
        SurvivalPredictor.load(path)
    path.write_bytes(b"not this")
    with pytest.raises(HowsparseError, match="cannot read a survival predictor"):
        SurvivalPredictor.load(path)
    learned.save(path)
    tensors, key = load_file(path), "howsparse-survival-predictor"
    about = {"version": 1, "layers": [32, 32], "raw": False, "batches": 4}
    save_file(tensors, path)
    with pytest.raises(HowsparseError, match="not a survival predictor of version 1 .it says nothing"):
        SurvivalPredictor.load(path)
    save_file(tensors, path, metadata={key: json.dumps({**about, "version": 2})})
    with pytest.raises(HowsparseError, match="of version 1 .it says 2.: learn it again"):
        SurvivalPredictor.load(path)
    save_file(tensors, path, metadata={key: json.dumps({**about, "layers": [16, 32]})})
    with pytest.raises(HowsparseError, match="0.weight is damaged"):
        SurvivalPredictor.load(path)
    save_file(tensors, path, metadata={key: json.dumps({**about, "layers": [32, 32, 32]})})
    with pytest.raises(HowsparseError, match="cannot read a survival predictor"):
        SurvivalPredictor.load(path)
    save_file({**tensors, "1.bias": torch.full((32,), torch.nan)}, path, metadata={key: json.dumps(about)})
    with pytest.raises(HowsparseError, match="1.bias is damaged"):
        SurvivalPredictor.load(path)


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    features, target = drawn(0, size=4)
    predictor = SurvivalPredictor()
    for use in (lambda: predictor.scores(features), lambda: predictor.save(tmp_path / "p.safetensors")):
        with pytest.raises(HowsparseError, match="learned nothing yet"):
            use()
    with pytest.raises(HowsparseError, match="shape"):
        predictor.fit(features, {**target, "a": target["a"].T})
    with pytest.raises(HowsparseError, match="epochs = 0"):
        predictor.fit(features, target, epochs=0)
    with pytest.raises(HowsparseError, match="layers = .8, 0."):
        SurvivalPredictor((8, 0))
    flat = SurvivalFeatures(features.weights, {n: torch.zeros_like(g) for n, g in features.gradients.items()}, 1)
    with pytest.raises(HowsparseError, match="initial gradients have standard deviation 0"):
        predictor.fit(flat, target)
    huge = SurvivalFeatures(features.weights, {n: g * 1e30 for n, g in features.gradients.items()}, batches=1)
    with pytest.raises(HowsparseError, match=r"raw=False"):
        SurvivalPredictor(raw=True).fit(huge, target)


def test_from_a_run_to_another_network(make_task: Callable[..., Task]) -> None:
    """Learned from an iterative run with rewinding, applied to a network of other initial weights."""
    task = make_task()
    initial = copy.deepcopy(task.model.state_dict())
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.3)
    pruner = LotteryTicket(cycles=6, fraction=0.3).attach(task.model, optimizer)
    rounds: list[Masks] = []
    for cycle in pruner.cycles():
        rounds += [pruner.masks] if cycle else []  # the masks that the pruning before left
        for share in (share for seed in range(3) for share in task.train.shuffled(seed)):
            optimizer.zero_grad()
            task.sample_losses(*task.outputs(task.model, share.batch)).mean().backward()
            optimizer.step()
            pruner.step()
    assert len(rounds) == 6
    trained = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    predictor = SurvivalPredictor.from_run(task, initial, rounds)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in task.model.state_dict().items())
    other = make_task(seed=1)
    parameters = prunable_parameters(other.model)
    scores = predictor.scores(survival_features(other, parameters))
    masks = remove_smallest(Masks.dense(parameters), scores, {"global": torch.tensor(150)}, scope="global")
    assert masks.total - masks.active == 150
    by_size = torch.cat([p.detach().abs().reshape(-1) for p in parameters.values()])
    gone = ~torch.cat([mask.reshape(-1) for mask in masks.values()])
    assert float(by_size[gone].mean()) < float(by_size[~gone].mean())  # what it learned first: small ones go
    with pytest.raises(HowsparseError, match="name different tensors"):
        SurvivalPredictor.from_run(task, initial, [Masks({"nowhere": torch.tensor([1, 0])})])
