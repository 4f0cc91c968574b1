"""Measuring the re-tuned limit: where retrainings are placed, and what one of them is."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import howsparse as hs
from howsparse.limits.dense import DenseNetwork
from howsparse.limits.verify import STEP, measure_retuned, retrain
from howsparse.limits.yardstick import Yardstick
from howsparse.masks import Upkeep
from howsparse.training import Training, evaluate
from tests.limits.small_limit import RECIPE, make, points


def measured(law, start: float, target: float, trainings: int, **changes):
    asked: list[float] = []

    def retrain_at(kept: float) -> dict[str, float]:
        asked.append(kept)
        return {"kept": kept, "loss": law(kept)}

    return *measure_retuned(retrain_at, start, target, trainings, **changes), asked


@settings(deadline=None, max_examples=100)
@given(st.floats(0.01, 0.7), st.floats(-1, 1), st.floats(0.5, 3), st.integers(1, 10))
def test_a_falling_loss_is_bracketed_and_the_bracket_narrows(edge, off, power, trainings) -> None:
    start = min(edge * math.exp(off), 1.0)
    found, points_of, asked = measured(lambda kept: (edge / kept) ** power, start, 1.0, trainings)
    assert asked[0] == start
    assert len(points_of) == len(asked) == len(set(asked)) <= trainings
    assert [p["kept"] for p in points_of] == sorted(asked)
    assert all(0 < kept <= 1 for kept in asked)
    if found is None:
        assert all(k < edge for k in asked) or all(k >= edge for k in asked)
        assert trainings <= 1 + math.ceil(abs(math.log(edge / start)) / math.log(STEP))
    else:
        assert found.low <= edge <= found.high
        assert found.low <= found.value <= found.high
        assert found.high / found.low <= STEP * 1.0001


def test_never_denser_than_allowed() -> None:
    found, _, asked = measured(lambda kept: 2.0, 0.5, 1.0, 10, densest=0.6)
    assert found is None
    assert asked == [0.5, 0.6]


def test_one_retraining_is_the_recipe_on_what_is_left() -> None:
    """Against the training loop itself."""
    task = make(val=points(), test=points())
    dense = DenseNetwork(task.model)
    yardstick = Yardstick(task, dense.parameters)
    before = {n: t.clone() for n, t in task.model.state_dict().items()}
    found = retrain(task, dense, yardstick, RECIPE, 0.3, seed=5)
    assert all(torch.equal(before[n], t) for n, t in task.model.state_dict().items())
    assert not any(module.training for module in task.model.modules())
    masks = dense.masks(round(0.7 * dense.total))
    parameters = {n: p.detach() for n, p in dense.parameters.items()}
    masks.apply_(parameters)
    upkeep = Upkeep(dense.parameters, masks)
    task.model.train()
    training = Training(
        task,
        hs.Recipe(**{**RECIPE.to_plain(), "keep": "last"}),
        6,
        epoch_seed=lambda epoch: 1_000_003 * 6 + epoch,
        after_step=upkeep.step,
    )
    assert len(list(training.run())) == 6
    task.model.eval()
    x, y = points().tensors
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(task.model(x), y))
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["val"] == found["test"] == evaluate(task, task.val).metric
    assert found["kept"] == 0.3


def test_a_task_without_metric_or_held_out_data() -> None:
    task = make(val_share=0, loss=lambda o, t: (o - nn.functional.one_hot(t, 5)).square().mean(1))
    dense = DenseNetwork(task.model)
    found = retrain(task, dense, Yardstick(task, dense.parameters), hs.Recipe(epochs=1, keep="last"), 0.5, seed=0)
    assert (found["val"], found["test"]) == (None, None)
    assert found["loss"] > 0
