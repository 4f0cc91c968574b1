"""What a limit took: effort counted from its pieces, time over all sessions."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import howsparse as hs
from howsparse.limits import notebook
from howsparse.limits.constant import constant_loss
from howsparse.limits.effort import spent
from howsparse.limits.limit import limit
from howsparse.limits.notebook import Notebook
from howsparse.task import squared_error
from howsparse.training import Run
from tests.limits.small_limit import CHEAP, RECIPE, make, network, points


def pieces(**changes):
    """A result that took eleven looks at half of the samples and nothing else."""
    return {
        "samples": {"train": 600, "compared": 300},
        "one_shot": {"points": [[0.1 * i, 0.0, 0.0] for i in range(10)], "checked": []},
        "eps_rule": "sample-std: sigma",
        "recipe": {"epochs": 12},
        **dict.fromkeys(("hessian", "retuned", "paper", "verified")),
        **changes,
    }


def test_every_piece_counts() -> None:
    bare = 1 / 3 + 11 / 6
    assert spent(pieces()) == pytest.approx(bare)
    race = {"epochs": 6, "probes": [{"marks": [[1, 0.1, None]] * 3}] * 2}
    assert spent(pieces(retuned=race)) == pytest.approx(bare + 6 + 6 / 6)
    assert spent(pieces(verified={"points": [{}, {}]})) == pytest.approx(bare + 2 * (12 + 1 / 6))
    assert spent(pieces(hessian={"samples": 60})) == pytest.approx(bare + 2.5 * 16 / 10)
    paper = {"samples": 60, "certified": True, "spectrum": {"gauss": [0, 0], "steps": 20}}
    assert spent(pieces(paper=paper)) == pytest.approx(bare + 1 / 3 + 2.5 * 42 / 10 + 1.6 * 0.9)
    assert spent(pieces(paper=paper), deflate=2) == pytest.approx(spent(pieces(paper=paper)) + 2.5 * 6 / 10)
    checked = {**pieces()["one_shot"], "checked": [[0.5, 0, 0]] * 4}
    assert spent(pieces(one_shot=checked)) == pytest.approx(bare + 1 + 2.5 * 4 / 10)


def test_what_was_planned_stands_beside_what_was_spent() -> None:
    found = limit(make(), RECIPE, race_epochs=0, curvature_epochs=0.5, steps=8)
    cost = found.details["cost"]
    assert cost["epochs"] == spent(found.details)
    assert cost["epochs"] > cost["planned"] > 0.5  # 64 samples are the least that a spectrum is taken of
    assert 0 < cost["seconds"] < 60


def test_time_goes_on_from_earlier_sessions(tmp_path, monkeypatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(notebook.time, "perf_counter", lambda: clock[0])

    def value_after(seconds, value=0):
        clock[0] += seconds
        return value

    def session():
        run = Run(tmp_path / "run", {})
        return run, Notebook(run, lambda *_: None)

    run, notes = session()
    notes.once("a", lambda: value_after(3))
    notes.once("b", lambda: value_after(4))
    clock[0] += 50  # killed in the third piece
    assert notes.seconds == 57
    run.close()
    clock[0] += 1000
    run, notes = session()
    assert notes.seconds == 7
    notes.once("a", lambda: value_after(9))  # is known
    notes.once("c", lambda: value_after(5))
    assert notes.seconds == 12
    run.close()


def test_what_is_known_is_recalled_once_and_not_told_as_new(tmp_path) -> None:
    told, recalled = [], []
    for _ in range(2):
        run = Run(tmp_path / "run", {})
        notes = Notebook(run, lambda key, _: told.append(key), lambda key, _: recalled.append(key))
        for _ in range(2):
            assert notes.once("a", lambda: 1) == 1
        run.close()
    assert (told, recalled) == (["a"], ["a"])


# --- what a network has learnt ----------------------------------------------------------------------------------------
def test_the_best_constant_predictor_knows_how_frequent_labels_are() -> None:
    labels = torch.tensor([0] * 6 + [2] * 2)
    task = hs.Task(nn.Linear(3, 3), TensorDataset(torch.zeros(8, 3), labels), val_share=0)
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert constant_loss(task, task.train) == pytest.approx(expected)
    labels[3] = -100  # cross-entropy passes over it, and so must we
    outputs = torch.tensor([math.log(5 / 7), -50.0, math.log(2 / 7)]).expand(8, 3)
    assert constant_loss(task, task.train) == pytest.approx(float(task.loss(outputs, labels).mean()), rel=1e-6)
    other = hs.Task(
        nn.Linear(3, 3), TensorDataset(torch.zeros(8, 3), torch.zeros(8, 3)), loss=squared_error, val_share=0
    )
    assert constant_loss(other, other.train) is None


def test_an_untrained_network_is_told_so_in_python_too() -> None:
    found = limit(hs.Task(network().eval(), points(), batch_size=32), **CHEAP)
    (warning,) = (w for w in found.warnings if "limits belong to trained networks" in w)
    loss = found.details["loss"]
    assert f"the training loss, {loss['compared']:.4g}, is no better than" in warning
    assert f"({loss['constant']:.4g})" in warning
    assert not any("minimum" in w for w in found.warnings)
    assert not any("trained networks" in w for w in limit(make(), **CHEAP).warnings)


def test_a_network_away_from_a_minimum_is_told_so_once() -> None:
    """Slope, mismatch and negative curvature at once give one warning with their numbers."""
    x, y = points().tensors
    model = network(batch_norm=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(12):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    found = limit(hs.Task(model, points(), val_share=0), RECIPE, race_epochs=0, curvature_epochs=1, steps=8)
    doubts = [w for w in found.warnings if any(word in w for word in ("minimum", "slope", "quadratic", "negative"))]
    assert len(doubts) == 1
    assert "not at a minimum of this loss (the slope along pruning alone gives" in doubts[0]


def test_more_racing_than_asked_for_is_said() -> None:
    asked = limit(make(), RECIPE, race_epochs=4, curvature_epochs=0)
    assert (
        "race_epochs = 4 was raised to 15: three laps of 5 epochs are the least that a race needs here"
        in asked.warnings
    )
    enough = limit(make(), RECIPE, race_epochs=15, curvature_epochs=0)
    assert not any("raised" in w for w in enough.warnings)
