"""``limit``: what it promises as a whole, and what it says to bad input."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import howsparse as hs
import howsparse.limits.plan
from howsparse.errors import HowsparseError, RunMismatchError
from howsparse.limits import batch_std, sample_std
from howsparse.limits.compose import metric_limit
from howsparse.limits.extrapolation import Mark
from howsparse.limits.limit import limit
from howsparse.limits.plan import make_plan
from howsparse.limits.result import Limit
from howsparse.limits.search import Watch
from howsparse.limits.settings import LimitSettings
from howsparse.task import squared_error
from tests.limits.small_limit import CHEAP, QUICK, RECIPE, comparable, make, points


class Notes(Watch):
    """Remembers what became known, in order."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.stages: set[str] = set()
        self.plans: list[object] = []

    def on_note(self, key: str, value: object) -> None:
        self.keys.append(key)

    def on_stage(self, stage: str, done: float, total: float) -> None:
        assert done > 0
        assert total > 0
        self.stages.add(stage)

    def on_plan(self, plan: object) -> None:
        self.plans.append(plan)


def state(task: hs.Task) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in task.model.state_dict().items()}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@pytest.fixture(scope="module")
def whole() -> tuple[Limit, Notes, dict[str, torch.Tensor], dict[str, torch.Tensor], list[bool]]:
    """A limit with everything; the network's state before and after, and its modules' modes after."""
    torch.set_num_threads(1)
    task, notes = make(), Notes()
    before = state(task)
    found = limit(task, RECIPE, watch=notes, **QUICK)
    return found, notes, before, state(task), [m.training for m in task.model.modules()]


# --- the whole --------------------------------------------------------------------------------------------------------
def test_every_part_is_there(whole) -> None:
    found, notes, *_ = whole
    assert 0 < found.one_shot.low <= found.one_shot.value <= found.one_shot.high < 1
    assert found.one_shot.value <= found.retuned.low + 1e-9 <= found.retuned.value + 1e-9 <= found.retuned.high < 1
    assert 0 < found.paper.low <= found.paper.value <= found.paper.high <= 1
    assert found.trace_bound > 0
    assert found.eps == 0.1
    assert notes.stages >= {"one-shot", "curvature", "verify"}
    assert len(notes.plans) == 1
    assert "gradients" in str(notes.plans[0])
    assert f"one-shot {found.one_shot.value:.3f} (measured)" in str(found)
    plain = found.to_plain()
    assert plain["schema"] == "howsparse/limit/1"
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain  # lists, as they come back from disk
    expected = {"one_shot", "paper", "retuned", "trace_bound", "eps", "cost", "warnings", "accuracy", "hessian"}
    assert expected <= plain.keys()
    assert plain["cost"]["epochs"] > 9 + 2 * 6  # race and two retrainings
    assert plain["recipe"]["epochs"] == 6
    assert plain["samples"] == {"train": 216, "compared": 216}


def test_the_documentation_names_every_key(whole) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "concepts" / "limits.md").read_text(encoding="utf-8")
    table = page[page.index("| key |") :]

    def names(value, *, apart: frozenset[str]) -> set[str]:
        inside = value[0] if isinstance(value, list) and value else value
        if not isinstance(inside, dict):
            return set()
        return set(inside) | {n for k, v in inside.items() if k not in apart for n in names(v, apart=apart)}

    plain = whole[0].to_plain()
    missing = names(plain, apart=frozenset({"recipe", "spectrum", "scaled"}))
    assert {"rest", "sharpness_share", "constant", "planned", "marks"} <= missing
    assert [name for name in sorted(missing) if f"`{name}`" not in table] == []


def test_the_network_is_left_as_it_was(whole) -> None:
    *_, before, after, modes = whole
    assert same(before, after)
    assert modes == [False] * len(modes)


def test_modes_and_gradients_are_left_alone() -> None:
    task = make()
    task.model.train()
    task.model[1].eval()  # a batch norm that its owner has frozen
    modes = [m.training for m in task.model.modules()]
    limit(task, **CHEAP)
    assert [m.training for m in task.model.modules()] == modes
    limit(task, RECIPE, **{**QUICK, "curvature_epochs": 0, "verify": 1})
    assert [m.training for m in task.model.modules()] == modes
    assert all(p.grad is None for p in task.model.parameters())


def test_the_same_seed_gives_the_same_and_the_users_random_numbers_go_on(whole) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    task = make()
    torch.manual_seed(11)
    again = limit(task, RECIPE, **QUICK)
    assert torch.equal(torch.rand(3), expected)
    assert comparable(again.details) == comparable(whole[0].details)


def test_the_prediction_is_stored_before_anything_is_retrained(whole) -> None:
    keys = whole[1].keys
    first = min(i for i, key in enumerate(keys) if key.startswith("retrained"))
    predicted = [i for i, key in enumerate(keys) if key.startswith(("race", "one-shot", "paper", "eps"))]
    assert max(predicted) < first
    assert sum(key.startswith("retrained") for key in keys) == 2


def test_the_race_is_in_the_details(whole) -> None:
    details = whole[0].details
    probes = details["retuned"]["probes"]
    assert [p["sparsity"] for p in probes] == sorted((p["sparsity"] for p in probes), reverse=True)
    assert all(mark[1] >= 0 for p in probes for mark in p["marks"])
    assert (
        details["retuned"]["epochs"] == sum(p["marks"][-1][0] // 7 for p in probes) <= 3 * 5
    )  # three laps of the 5 epochs that predict 6
    assert details["retuned"]["straddled"] in (True, False)


def test_the_accuracy_limit_is_where_the_racers_lose_the_metric(whole) -> None:
    accuracy = whole[0].details["accuracy"]
    assert 0 < accuracy["dense"] <= 1
    assert [s for s, _ in accuracy["points"]] == [p["sparsity"] for p in whole[0].details["retuned"]["probes"]]
    better = [s for s, metric in accuracy["points"] if metric >= accuracy["dense"] - 0.005]
    worse = [s for s, metric in accuracy["points"] if metric < accuracy["dense"] - 0.005]
    if better and worse:
        assert max(better) <= accuracy["value"] <= min(s for s in worse if s > max(better))
    else:
        assert accuracy["value"] is None


@pytest.mark.parametrize("higher", [True, False])
def test_the_metric_limit_interpolates(higher) -> None:
    sign = 1 if higher else -1
    marks = {0.05: [Mark(1, 0.0, sign * 0.80)], 0.2: [Mark(1, 0.0, sign * 0.90)]}
    metric = hs.Metric("accuracy", lambda output, target: target, higher_is_better=higher)
    found = metric_limit(marks, sign * 0.855, metric)
    assert found["value"] == pytest.approx(1 - math.sqrt(0.05 * 0.2))
    assert found["points"] == [[0.95, sign * 0.80], [0.8, sign * 0.90]]
    assert metric_limit(marks, sign * 0.99, metric)["value"] is None


# --- on disk ----------------------------------------------------------------------------------------------------------
def test_a_finished_directory_answers_at_once(tmp_path, whole) -> None:
    first = limit(make(), RECIPE, tmp_path, **QUICK)
    notes = Notes()
    task = make()
    second = limit(task, RECIPE, tmp_path, watch=notes, **QUICK)
    assert notes.keys == []
    assert second.details == first.details  # seconds too; lists are lists before and after
    assert comparable(second.details) == comparable(whole[0].details)
    masks = hs.Masks({"0.weight": torch.arange(192).view(12, 16) % 3 > 0, "4.weight": torch.arange(60).view(5, 12) > 9})
    assert second.predict(masks) == first.predict(masks)
    racers = sorted(p.name for p in (tmp_path / "race").iterdir())
    assert racers == sorted(f"{p['sparsity']:.6f}" for p in second.details["retuned"]["probes"])
    for name in racers:
        assert (tmp_path / "race" / name / "model.safetensors").exists()


def test_without_a_directory_predict_still_works(whole) -> None:
    found = whole[0]
    masks = hs.Masks({"0.weight": torch.rand(12, 16) > 0.3, "4.weight": torch.ones(5, 12, dtype=torch.bool)})
    survival = found.predict(masks)
    assert survival.sparsity == masks.sparsity
    assert survival.measured > 0
    with pytest.raises(HowsparseError, match="read from a file"):
        Limit(found.details).predict(masks)


@pytest.mark.parametrize("change", [{"seed": 1}, {"eps": 0.2}, {"exclude": ["4.*"]}, {"recipe": hs.Recipe(epochs=7)}])
def test_other_settings_on_the_same_directory_are_refused(tmp_path, change) -> None:
    limit(make(), None, tmp_path, **CHEAP)
    recipe = change.pop("recipe", None)
    with pytest.raises(RunMismatchError, match="other settings"):
        limit(make(), recipe, tmp_path, **{**CHEAP, **change})


def test_another_network_on_the_same_directory_is_refused(tmp_path) -> None:
    """A limit is that of these weights; a directory must not answer for others."""
    limit(make(), out=tmp_path, **CHEAP)
    other = make()
    with torch.no_grad():
        other.model[0].weight.mul_(1.5)
    with pytest.raises(HowsparseError):
        limit(other, out=tmp_path, **CHEAP)


def test_predict_is_about_the_dense_network(tmp_path) -> None:
    """Asked after its owner pruned the network it refuses, and changes nothing."""
    task = make()
    found = limit(task, out=tmp_path, **CHEAP)
    masks = hs.Masks({"0.weight": torch.arange(192).view(12, 16) % 3 > 0, "4.weight": torch.arange(60).view(5, 12) > 9})
    expected = found.predict(masks)
    dense = state(task)
    hs.prune(task, hs.OneShot(sparsity=0.5), hs.Recipe(epochs=0))
    pruned = state(task)
    with pytest.raises(HowsparseError, match="dense"):
        found.predict(masks)
    assert same(state(task), pruned)
    task.model.load_state_dict(dense)
    assert found.predict(masks) == expected


# --- efforts ----------------------------------------------------------------------------------------------------------
def test_without_retraining_there_is_no_re_tuned_limit() -> None:
    found = limit(make(), hs.Recipe(epochs=0), curvature_epochs=0)
    assert found.retuned is None
    assert found.paper is None
    assert found.trace_bound is None
    assert str(found).startswith("one-shot")


@pytest.mark.parametrize("given", [{}, {"verify": 2}, {"race_epochs": 0}, {"curvature_epochs": 0}, {"samples": 40}])
def test_minutes_are_shared_out(monkeypatch, given) -> None:
    monkeypatch.setattr(howsparse.limits.plan, "seconds_of_gradient", lambda task: 0.01)  # 2.16 s an epoch
    found = make_plan(make(), hs.Recipe(epochs=6), LimitSettings(minutes=3, **given), 216, 252)
    assert 0.7 * 180 < found.seconds <= 1.05 * 180
    assert (found.race > 0) == (given != {"race_epochs": 0})
    assert (found.coreset > 0) == (given != {"curvature_epochs": 0})
    if not given:
        assert 0.35 < found.race / found.epochs < 0.65


def test_minutes_without_retraining_go_to_the_curvature(monkeypatch) -> None:
    monkeypatch.setattr(howsparse.limits.plan, "seconds_of_gradient", lambda task: 0.01)
    found = make_plan(make(), hs.Recipe(epochs=0), LimitSettings(minutes=3), 216, 252)
    assert found.race == 0
    assert 0.7 * 180 < found.seconds <= 1.05 * 180


def test_a_limit_within_minutes() -> None:
    notes = Notes()
    limit(make(), hs.Recipe(epochs=3), watch=notes, minutes=0.002, steps=6)
    (plan,) = notes.plans
    assert plan.race >= 2
    assert plan.coreset >= 64


def test_too_few_minutes_are_refused_with_what_is_needed() -> None:
    with pytest.raises(
        HowsparseError, match=r"minutes are too few here.*the least that says anything is [0-9.]+ minutes"
    ):
        limit(make(), minutes=1e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"race_epoch": 3}, r"no setting 'race_epoch'.*race_epochs"),
        ({"samples": 3}, "samples"),
        ({"minutes": -1}, "minutes"),
        ({"eps": "sample-sdt"}, "sample-std"),
        ({"eps": "-1"}, "positive"),
        ({"curvature": "fisher"}, "ggn"),
        ({"seed": 1.5}, "whole number"),
    ],
)
def test_settings_that_do_not_fit(settings, message) -> None:
    with pytest.raises(HowsparseError, match=message):
        limit(make(), **settings)


# --- ε ----------------------------------------------------------------------------------------------------------------
def by_hand(task: hs.Task) -> torch.Tensor:
    with torch.no_grad():
        x, y = (torch.cat(parts) for parts in zip(*task.calib.ordered(), strict=True))
        return nn.functional.cross_entropy(task.model.eval()(x), y, reduction="none").double()


def test_rules_for_eps() -> None:
    losses = by_hand(make())
    found = {rule: limit(make(), eps=rule, **CHEAP) for rule in ("sample-std", "batch-std", "5%", "0.01", 0.01)}
    assert found["sample-std"].eps == pytest.approx(sample_std(losses).value, rel=1e-6)
    assert found["batch-std"].eps == pytest.approx(
        batch_std([float(p.mean()) for p in losses.split(32)]).value, rel=1e-5
    )
    assert found["5%"].eps == pytest.approx(0.05 * float(losses.mean()), rel=1e-6)
    assert found["0.01"].eps == found[0.01].eps == 0.01
    assert limit(make(), **CHEAP).eps == found["sample-std"].eps
    assert found["5%"].details["eps_rule"].startswith("relative")


def test_eps_calibrated_to_accuracy() -> None:
    task = make(val=points())
    found = limit(task, eps="accuracy:2", **CHEAP)
    assert found.details["eps_rule"].startswith("calibrated")
    with torch.no_grad():
        x, y = points().tensors
        dense = float((task.model(x).argmax(1) == y).double().mean())
        before = found.one_shot.value
        weights = {n: p for n, p in task.model.named_parameters() if p.dim() > 1}
        edge = torch.cat([w.flatten() for w in weights.values()]).abs().sort().values
        for w in weights.values():
            w[w.abs() <= edge[round(before * 252) - 1]] = 0
        drop = 100 * (dense - float((task.model(x).argmax(1) == y).double().mean()))
    assert 0.5 < drop < 4


@pytest.mark.parametrize("changes", [{"val_share": 0}, {"loss": lambda o, t: (o.sum(1) - t).square()}])
def test_eps_by_accuracy_needs_held_out_data_and_a_metric(changes) -> None:
    with pytest.raises(HowsparseError, match=r"held-out|metric"):
        limit(make(**changes), eps="accuracy:1", **CHEAP)


# --- bad input --------------------------------------------------------------------------------------------------------
def test_a_loss_that_is_not_finite() -> None:
    x, y = points().tensors
    x = x.clone()
    x[200] = torch.nan  # not in the first batch
    with pytest.raises(HowsparseError, match="not a finite number"):
        limit(hs.Task(make().model, TensorDataset(x, y), val_share=0), **CHEAP)


def test_weights_that_are_not_numbers() -> None:
    task = make()
    task.model[4].weight.data[0, 0] = torch.nan
    with pytest.raises(HowsparseError, match=r"4.weight holds 1 weights that are NaN"):
        limit(task, **CHEAP)


def test_weights_that_are_all_zero() -> None:
    task = make(val_share=0)
    for parameter in task.model.parameters():
        if parameter.dim() > 1:
            parameter.data.zero_()
    task.model[4].bias.data.copy_(torch.arange(5.0))
    before = state(task)
    found = limit(task, hs.Recipe(epochs=3, keep="last"))
    assert found.one_shot.value == found.one_shot.low == found.one_shot.high == 1
    assert found.retuned is None
    assert any("zero" in warning for warning in found.warnings)
    assert same(before, state(task))
    assert len(found.warnings) == 1


def test_iterable_data_without_a_frozen_pass() -> None:
    x, y = points().tensors
    batches = list(zip(x.split(40), y.split(40), strict=True))
    task = hs.Task(make().model, batches, val=batches)
    with pytest.raises(HowsparseError, match="calib"):
        limit(task, **CHEAP)
    with_pass = hs.Task(make().model, batches, val=batches, calib=batches)
    found = limit(with_pass, hs.Recipe(epochs=3, lr=0.02), race_epochs=4, curvature_epochs=0.5, steps=4)
    assert found.paper is not None
    map_style = limit(hs.Task(make().model, points(), val=points(), batch_size=40), **CHEAP)
    assert found.one_shot == map_style.one_shot


def test_eps_beyond_what_the_network_has_learnt() -> None:
    warned = limit(make(), eps=1.2, **CHEAP)
    assert any("constant predictor" in warning for warning in warned.warnings)
    all_gone = limit(make(), hs.Recipe(epochs=3), eps=3.0)
    assert all_gone.one_shot.value == 1
    assert any("eps is larger than what the network has learnt" in warning for warning in all_gone.warnings)
    assert not any("constant predictor" in warning for warning in limit(make(), eps=0.05, **CHEAP).warnings)


def test_a_limit_of_nothing_says_why_there_is_no_re_tuned_one() -> None:
    """Least squares at its minimum: whatever goes, the loss rises."""
    generator = torch.Generator().manual_seed(0)
    x, target = (torch.randn(64, k, generator=generator, dtype=torch.float64) for k in (6, 3))
    model = nn.Linear(6, 3, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, target).solution.T)
    task = hs.Task(model, TensorDataset(x, target), loss=squared_error, val_share=0)
    found = limit(task, hs.Recipe(epochs=6, lr=0.01, keep="last"), eps=1e-12, curvature_epochs=0)
    assert found.one_shot.value == 0
    assert found.retuned is None
    assert any("re-tuned" in warning or "race" in warning for warning in found.warnings)


def absolute_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).abs().mean(dim=1)


def test_a_loss_without_a_second_derivative_still_has_a_one_shot_limit() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 8)
    model = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 2))
    with torch.no_grad():
        y = model(x) + 0.05 * torch.randn(200, 2)
    task = hs.Task(model, TensorDataset(x, y), loss=absolute_error, batch_size=25)
    found = limit(task, hs.Recipe(epochs=3, lr=0.01), race_epochs=4)
    assert 0 < found.one_shot.value < 1
    assert found.paper is None
    assert any("second derivative" in warning for warning in found.warnings)
    masks = hs.Masks.dense({n: p for n, p in model.named_parameters() if p.dim() > 1})
    assert found.predict(masks).measured == 0


class Shuffling:
    """Another order at every pass; the first ``quiet`` passes are alike."""

    def __init__(self, quiet: int = 0) -> None:
        self.passes, self.quiet = 0, quiet

    def __len__(self) -> int:
        return 6

    def __iter__(self):
        x, y = points().tensors
        self.passes += 1
        order = torch.arange(240).roll(7 * max(self.passes - self.quiet, 0))
        return iter(list(zip(x[order].split(40), y[order].split(40), strict=True)))


@pytest.mark.parametrize("quiet", [0, 6])
def test_data_that_change_between_passes(quiet) -> None:
    with pytest.raises(HowsparseError, match="not the same in two passes"):
        limit(make(calib=Shuffling(quiet)), RECIPE, race_epochs=4, curvature_epochs=1)


def test_a_loader_that_shuffles_is_read_in_order() -> None:
    loader = DataLoader(points(), batch_size=40, shuffle=True)
    found = limit(hs.Task(make().model, loader, val=points()), **CHEAP)
    plain = limit(hs.Task(make().model, points(), val=points(), batch_size=40), **CHEAP)
    assert found.one_shot == plain.one_shot
    assert found.eps == plain.eps


def test_dropout_that_does_not_rest() -> None:
    def noisy(model, batch):
        x, target = batch
        return model(nn.functional.dropout(x, 0.2)), target

    with pytest.raises(HowsparseError, match="two passes over the same batch give different losses"):
        limit(make(forward=noisy), **CHEAP)


def test_a_network_that_breaks_without_weights() -> None:
    """Its output is divided by its own norm: without any weight the loss is not a number."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.Linear(16, 5, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.inside(x)
            return 5 * y / y.square().sum(dim=1, keepdim=True).sqrt()

    torch.manual_seed(0)
    model = Normed()
    task = hs.Task(model, points(), batch_size=32)
    found = limit(task, curvature_epochs=0, race_epochs=0)
    assert 0 < found.one_shot.value < 1
    assert found.details["one_shot"]["points"][-1] == [1.0, None, 0.0]
    survival = found.predict(hs.Masks({"inside.weight": torch.rand(5, 16) > 0.2}))
    assert math.isfinite(survival.measured)


def test_a_tiny_network_can_race() -> None:
    """Where the race would keep less than one weight, it keeps one."""
    torch.manual_seed(0)
    x = torch.randn(128, 3)
    task = hs.Task(nn.Linear(3, 2), TensorDataset(x, (x[:, 0] > 0).long()), batch_size=16)
    with torch.no_grad():
        task.model.weight.copy_(torch.tensor([[-4.0, 0.1, 0.02], [4.0, 0.05, 0.01]]))
    found = limit(task, hs.Recipe(epochs=3), curvature_epochs=0, race_epochs=6)
    assert found.one_shot.value >= 0.5


def test_a_network_without_gradients_can_be_measured() -> None:
    task = make()
    task.model.requires_grad_(False)
    expected = limit(make(), **CHEAP)
    assert limit(task, **CHEAP).one_shot == expected.one_shot
    with pytest.raises(HowsparseError, match="gradients"):
        limit(task, RECIPE, race_epochs=4, curvature_epochs=0)


def test_squared_error_and_batch_norm() -> None:
    x = points().tensors[0]
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        squared_error(model(x), x).mean().backward()
        optimizer.step()
    task = hs.Task(model.eval(), TensorDataset(x, x), loss=squared_error, batch_size=32)
    found = limit(task, RECIPE, race_epochs=6, curvature_epochs=2, eps="10%")
    assert 0 < found.one_shot.value < 1
    assert found.details["accuracy"] is None
    assert found.paper is not None
    assert json.dumps(found.to_plain(), allow_nan=False)


def test_a_race_that_diverges_says_what_to_do() -> None:
    task = make()
    before = state(task)
    found = limit(task, hs.Recipe(epochs=6, lr=1e30, clip=None, momentum=0), race_epochs=4, curvature_epochs=0)
    assert found.one_shot.value > 0
    assert found.retuned is None
    assert any("diverged" in warning and "learning rate" in warning for warning in found.warnings)
    assert same(before, state(task))
