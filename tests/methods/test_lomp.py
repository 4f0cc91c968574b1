"""LOMP: L1 in the dense training, one pruning to the limit, fine-tuning without the penalty."""

import json

import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse.limits.limit import limit
from howsparse.methods import LOMP
from howsparse.training import Callback, Run
from tests.limits.small_limit import make

RECIPE = hs.Recipe(epochs=3, lr=0.05, weight_decay=0.0)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if p.dim() > 1}


def test_to_the_one_shot_limit(make_task, tmp_path) -> None:
    result = hs.prune(make_task(), LOMP(limit="one-shot"), RECIPE, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "limit" / "result.json").read_text())
    assert result.achieved == found["one_shot"]["measured"]
    assert 0 < result.achieved < 1
    assert found["paper"] is None
    assert found["retuned"] is None
    assert result.asked is None
    zeros = sum(int((w == 0).sum()) for w in weights_of(result.model).values())
    assert zeros == round(result.achieved * found["weights"])
    # the dense network it was computed on is that of the L1 training, and what is left is that network's
    trained = make_task()
    hs.prune(trained, LOMP(sparsity=0.0), RECIPE, seed=0)
    again = limit(trained, hs.Recipe(epochs=0), race_epochs=0, curvature_epochs=0)
    assert again.one_shot.value == result.achieved
    flat = torch.cat([w.flatten() for w in weights_of(trained.model).values()])
    edge = flat.abs().sort().values[zeros - 1]
    for name, weight in weights_of(trained.model).items():
        expected = torch.where(weight.abs() > edge, weight, 0.0)
        assert torch.equal(weights_of(result.model)[name], expected)


def test_to_the_papers_limit(make_task, tmp_path) -> None:
    result = hs.prune(make_task(), LOMP(limit="paper", fine_tune=1), RECIPE, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "limit" / "result.json").read_text())
    assert result.achieved == pytest.approx(found["paper"]["value"], abs=0.51 / found["weights"])
    assert found["retuned"] is None
    assert found["recipe"]["epochs"] == 1
    assert found["recipe"]["l1"] == 0


def test_to_the_re_tuned_limit(tmp_path) -> None:
    recipe = hs.Recipe(epochs=1, lr=0.01, optimizer="adam", weight_decay=0.0)
    result = hs.prune(make(), LOMP(limit="re-tuned", fine_tune=9), recipe, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "limit" / "result.json").read_text())
    assert result.achieved == pytest.approx(found["retuned"]["value"], abs=0.51 / found["weights"])
    assert found["retuned"]["recipe"]["epochs"] == found["recipe"]["epochs"] == 9
    assert len(list((tmp_path / "run" / "limit" / "race").iterdir())) >= 2


def test_a_re_tuned_limit_that_is_not_found_is_an_error(tmp_path, make_task) -> None:
    flat = make_task()
    for parameter in flat.model.parameters():
        parameter.data.mul_(0.001)  # so that nothing is lost by removing everything
    with pytest.raises(hs.HowsparseError, match=r"re-tuned limit could not be found.*give LOMP a sparsity"):
        hs.prune(flat, LOMP(limit="re-tuned", fine_tune=3), hs.Recipe(epochs=0, dense_epochs=0, keep="last"))


class Epochs(Callback):
    def __init__(self) -> None:
        self.records: list[dict] = []

    def on_epoch(self, record) -> None:
        self.records.append(record)


def test_the_penalty_is_in_the_dense_training_only(make_task) -> None:
    method, recipe = LOMP(sparsity=0.5, penalty=0.01, fine_tune=2), hs.Recipe(epochs=4, l1=0.0)
    assert method.recipe_in(recipe, 0).l1 == 0.01
    assert method.recipe_in(recipe, 1).l1 == 0
    assert method.recipe_in(hs.Recipe(l1=0.3), 0).l1 == 0.3  # the recipe's own wins
    assert method.recipe_in(hs.Recipe(l1=0.3), 1).l1 == 0
    seen = Epochs()
    result = hs.prune(make_task(), method, recipe, callbacks=[seen])
    assert [record["cycle"] for record in seen.records] == [0] * 4 + [1] * 2
    assert result.achieved == 0.5
    small, large = (
        sum(float(w.abs().sum()) for w in weights_of(trained(make_task, penalty)).values()) for penalty in (0.05, 0.0)
    )
    assert small < 0.7 * large


def trained(make_task, penalty: float) -> nn.Module:
    return hs.prune(make_task(), LOMP(sparsity=0.0, penalty=penalty), hs.Recipe(epochs=4)).model


@pytest.mark.parametrize("fine_tune", [0, 2])
def test_without_fine_tuning_the_network_is_the_pruned_one(make_task, fine_tune) -> None:
    seen = Epochs()
    result = hs.prune(make_task(), LOMP(sparsity=0.6, fine_tune=fine_tune), RECIPE, callbacks=[seen])
    assert len(seen.records) == 3 + fine_tune
    assert sum(int((w == 0).sum()) for w in weights_of(result.model).values()) == round(0.6 * result.masks.total)


class KilledError(Exception):
    """Stands in for a kill."""


@pytest.mark.parametrize("when", ["in the limit", "after the limit"])
def test_killed_on_the_way_it_resumes_to_the_same_bits(make_task, tmp_path, monkeypatch, when) -> None:
    method, real = LOMP(limit="one-shot", fine_tune=1), Run.append
    whole = hs.prune(make_task(), method, RECIPE, tmp_path / "whole")
    stopped: list[str] = []

    def deadly(self, record) -> None:
        """Four notes are written, then it is killed each time; or once before the cycle's record is written."""
        in_limit = when == "in the limit"
        if in_limit:
            real(self, record)
        if len(stopped) < (4 if in_limit else 1) and record["kind"] == ("note" if in_limit else "cycle"):
            stopped.append(record["kind"])
            raise KilledError
        if not in_limit:
            real(self, record)

    monkeypatch.setattr(Run, "append", deadly)
    for _ in range(4 if when == "in the limit" else 1):
        with pytest.raises(KilledError):
            hs.prune(make_task(), method, RECIPE, tmp_path / "run", checkpoint_every=0)
    resumed = hs.prune(make_task(), method, RECIPE, tmp_path / "run", checkpoint_every=0)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])
    assert all(torch.equal(whole.masks[n], resumed.masks[n]) for n in whole.masks)
    details = [json.loads((tmp_path / x / "limit" / "result.json").read_text()) for x in ("whole", "run")]
    for found in details:
        found["cost"].pop("seconds")
    assert details[0] == details[1]


def test_a_finished_run_returns_at_once(make_task, tmp_path) -> None:
    first = hs.prune(make_task(), LOMP(limit="one-shot"), RECIPE, tmp_path / "run")
    seen = Epochs()
    second = hs.prune(make_task(), LOMP(limit="one-shot"), RECIPE, tmp_path / "run", callbacks=[seen])
    assert seen.records == []
    assert second.details == first.details
    assert (second.asked, second.achieved) == (first.asked, first.achieved)


def test_layers_that_were_left_out_are_left_out_of_the_limit(make_task, tmp_path) -> None:
    hs.prune(make_task(), LOMP(limit="one-shot"), RECIPE, tmp_path / "run", exclude=["4.*"])
    found = json.loads((tmp_path / "run" / "limit" / "result.json").read_text())
    assert found["weights"] == 12 * 16


def test_the_re_tuned_limit_needs_fine_tuning() -> None:
    with pytest.raises(hs.HowsparseError, match="fine_tune is 0"):
        LOMP(limit="re-tuned")
    assert LOMP(limit="re-tuned", sparsity=0.9).sparsity == 0.9
    with pytest.raises(hs.HowsparseError, match="one-shot"):
        LOMP(limit="oneshot")


def test_a_loop_of_ones_own_is_told_what_to_do() -> None:
    pruner = LOMP(limit="paper").attach(nn.Linear(10, 10))
    with pytest.raises(hs.HowsparseError, match=r"hs.limit\(task\).paper.value"):
        for _ in pruner.cycles():
            pass
    pruner = LOMP(sparsity=0.7).attach(nn.Linear(10, 10))
    assert list(pruner.cycles()) == [0, 1]
    assert pruner.finish().sparsity == 0.7
