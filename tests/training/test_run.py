import errno
import json
import os
import random
import zlib

import numpy as np
import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse import files
from howsparse.training import Run, evaluate
from howsparse.training.run import read_history

RECIPE = hs.Recipe(epochs=1, lr=0.1)


def test_directory_holds_what_a_user_expects(make_task, tmp_path) -> None:
    result = hs.prune(make_task(), hs.SAP(cycles=2), RECIPE, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.json", "history.jsonl", "masks.safetensors", "model.safetensors", "report.html", "result.json",
        "start.safetensors", "cycles",
    }  # fmt: skip
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"]["method"]["name"] == "sap"
    assert config["settings"]["seed"] == 0
    assert config["environment"]["torch"] == str(torch.__version__)
    text = "".join(p.read_text() for p in (tmp_path / "run").iterdir() if p.suffix in (".json", ".jsonl", ".html"))
    assert str(tmp_path) not in text
    from safetensors.torch import load_file

    plain = make_task(seed=9).model
    plain.load_state_dict(load_file(tmp_path / "run" / "model.safetensors"))
    assert all(
        torch.equal(a, b) for a, b in zip(plain.state_dict().values(), result.model.state_dict().values(), strict=True)
    )
    assert hs.Masks.load(tmp_path / "run" / "masks.safetensors") == result.masks
    assert hs.Masks.from_zeros({n: plain.get_parameter(n).detach() for n in result.masks}) == result.masks


def test_tied_weights_load_plainly(points, tmp_path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 2)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.c(torch.relu(self.b(torch.relu(self.a(x)))))

    hs.prune(hs.Task(Tied(), points, test=points), hs.OneShot(sparsity=0.5), RECIPE, tmp_path / "run")
    from safetensors.torch import load_file

    Tied().load_state_dict(load_file(tmp_path / "run" / "model.safetensors"))


def test_other_settings_are_refused_with_the_difference(make_task, tmp_path) -> None:
    hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    with pytest.raises(hs.RunMismatchError, match=r"method\.cycles: 1 there, 2 asked for"):
        hs.prune(make_task(), hs.SAP(cycles=2), RECIPE, tmp_path / "run")
    with pytest.raises(hs.RunMismatchError, match=r"seed: 0 there, 1 asked for"):
        hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run", seed=1)
    with pytest.raises(hs.RunMismatchError, match=r"samples\.train: 180 there, 160 asked for"):
        hs.prune(make_task(val_share=0.2), hs.SAP(cycles=1), RECIPE, tmp_path / "run")


def test_a_folder_with_something_else_is_left_alone(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(hs.HowsparseError, match="not empty and holds no run"):
        Run(tmp_path, {})
    with pytest.raises(hs.HowsparseError, match="cannot make the run directory"):
        Run(tmp_path / "thesis.tex" / "run", {})


def test_full_disk_loses_nothing(make_task, tmp_path, monkeypatch) -> None:
    task, out = make_task(), tmp_path / "run"
    real, left = os.fsync, [4]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(hs.HowsparseError, match=r"No space left on device. Free some space"):
        hs.prune(task, hs.SAP(cycles=3), RECIPE, out, checkpoint_every=0)
    assert not list(out.glob(".*.part"))
    monkeypatch.undo()
    resumed = hs.prune(make_task(), hs.SAP(cycles=3), RECIPE, out, checkpoint_every=0)
    whole = hs.prune(make_task(), hs.SAP(cycles=3), RECIPE)
    assert resumed.masks == whole.masks
    assert all(
        torch.equal(a, b)
        for a, b in zip(resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True)
    )


def test_divergence_keeps_the_last_good_checkpoint(make_task, tmp_path) -> None:
    with pytest.raises(hs.DivergedError, match=r"cycle 0: training diverged in epoch .* last good checkpoint is in"):
        hs.prune(make_task(), hs.SAP(), hs.Recipe(epochs=2, lr=1e25, clip=None), tmp_path / "run")
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert all(bool(t.isfinite().all()) for t in state["model"].values())


def test_an_unreadable_checkpoint_is_explained(make_task, tmp_path) -> None:
    with pytest.raises(hs.DivergedError):
        hs.prune(make_task(), hs.SAP(), hs.Recipe(epochs=2, lr=1e25, clip=None), tmp_path / "run")
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"gone")
    with pytest.raises(hs.HowsparseError, match="delete it to start this run afresh"):
        hs.prune(make_task(), hs.SAP(), hs.Recipe(epochs=2, lr=1e25, clip=None), tmp_path / "run")


def test_nan_weights_are_refused_before_any_work(make_task, tmp_path) -> None:
    task = make_task()
    with torch.no_grad():
        task.model[0].weight[2, 3] = torch.nan
    with pytest.raises(hs.HowsparseError, match=r"0\.weight holds 1 weights that are NaN"):
        hs.prune(task, hs.SAP(), RECIPE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_history_cut_short_by_a_kill_is_read(tmp_path) -> None:
    (tmp_path / "history.jsonl").write_text('{"kind": "epoch"}\n{"kind": "cy')
    assert read_history(tmp_path) == [{"kind": "epoch"}]


def test_stopping_early_keeps_the_chosen_network(make_task, tmp_path) -> None:
    method = hs.LotteryTicket(cycles=9, fraction=0.6, stop="tolerance", tolerance=0.02, patience=1)
    result = hs.prune(make_task(), method, hs.Recipe(epochs=4, lr=0.1), tmp_path / "run")
    cycles = [r for r in result.history if r["kind"] == "cycle"]
    chosen = result.details["chosen_cycle"]
    assert chosen == len(cycles) - 2
    assert result.achieved == cycles[chosen]["sparsity"]
    assert result.pruned == cycles[chosen]["test"]["metric"]
    task = make_task()
    task.model.load_state_dict(result.model.state_dict())
    assert evaluate(task, task.test).metric == result.pruned


def test_reported_sizes_are_those_of_the_file(make_task, tmp_path) -> None:
    result = hs.prune(make_task(), hs.OneShot(sparsity=0.9), RECIPE, tmp_path / "run")
    file = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert result.details["bytes"]["compressed"] == len(zlib.compress(file))
    weights = [result.model.get_parameter(name).detach() for name in result.masks]
    assert not any(bool((w.signbit() & (w == 0)).any()) for w in weights)  # no -0.0, which compresses worse


def test_randomness_outside_is_left_alone(make_task) -> None:
    """Networks made after a run must not all start alike."""
    task = make_task()
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    hs.prune(task, hs.SAP(cycles=1), RECIPE)
    assert (torch.rand(1), random.random(), np.random.rand()) == expected  # noqa: NPY002


def test_one_process_at_a_time(make_task, tmp_path) -> None:
    hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    held = Run(tmp_path / "run", settings)
    with pytest.raises(hs.HowsparseError, match="another process is working on"):
        hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    held.close()
    hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")


def test_leftovers_of_killed_writes_are_swept(make_task, tmp_path) -> None:
    hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    (tmp_path / "run" / ".checkpoint.pt.abc.part").write_bytes(b"half")
    hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*.part"))


def test_the_turning_point_is_told_with_the_runs_own_patience(make_task, tmp_path) -> None:
    method = hs.SAP(cycles=8, stop="turning-point", patience=1, rewind="none")
    result = hs.prune(make_task(), method, hs.Recipe(epochs=1, lr=0.5), tmp_path / "run")
    assert result.details["cycles"] < 9  # it did stop
    assert result.details["turning_point"]["confirmed"]
    assert result.details["turning_point"]["cycle"] == result.details["chosen_cycle"]
    assert "turning point at sparsity" in (tmp_path / "run" / "report.html").read_text().lower()


@pytest.mark.parametrize(
    ("method", "recipe", "changes", "message"),
    [
        (hs.SAP(stop="tolerance"), hs.Recipe(epochs=1, keep="last"), {"val_share": 0}, "decides by held-out data"),
        (hs.SAP(rewind=2), hs.Recipe(epochs=2, dense_epochs=3), {}, "dense training's schedule"),
        (hs.SAP(rewind=2), hs.Recipe(epochs=0), {}, "has only 0 steps; rewind to init instead"),
        (hs.SAP(), hs.Recipe(epochs=0, dense_epochs=2), {"val_share": 0}, "needs held-out data"),
        (hs.SAP, hs.Recipe(), {}, "give a method such as"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_work(method, recipe, changes, message, make_task, tmp_path):
    with pytest.raises(hs.HowsparseError, match=message):
        hs.prune(make_task(**changes), method, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_held_out_split_is_another_run(make_task, points, tmp_path) -> None:
    hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    other = hs.Task(make_task().model, points, test=points, batch_size=32, seed=9)
    with pytest.raises(hs.RunMismatchError, match=r"held_out\.seed: 0 there, 9 asked for"):
        hs.prune(other, hs.SAP(cycles=1), RECIPE, tmp_path / "run")


def test_another_task_with_the_same_shapes_is_refused(make_task, points, tmp_path) -> None:
    hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    smooth = make_task(loss=lambda o, t: nn.functional.cross_entropy(o, t, reduction="none", label_smoothing=0.3))
    with pytest.raises(hs.RunMismatchError, match=r"task\.loss: "):
        hs.prune(smooth, hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    bent = make_task()
    bent.model[2] = nn.Tanh()
    with pytest.raises(hs.RunMismatchError, match=r"task\.modules\.2: 'ReLU\(\)' there, 'Tanh\(\)' asked for"):
        hs.prune(bent, hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    other = make_task()
    other.train.dataset.tensors[0].add_(1)
    with pytest.raises(hs.RunMismatchError, match=r"task\.first_batch"):
        hs.prune(other, hs.SAP(cycles=1), RECIPE, tmp_path / "run")


def test_damaged_files_of_a_finished_run_are_explained(make_task, tmp_path) -> None:
    hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    whole = (tmp_path / "run" / "model.safetensors").read_bytes()
    (tmp_path / "run" / "model.safetensors").write_bytes(whole[:50])
    with pytest.raises(hs.HowsparseError, match="cannot be read into this network"):
        hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").write_bytes(whole)
    (tmp_path / "run" / "history.jsonl").write_text("nonsense\n")
    with pytest.raises(hs.HowsparseError, match="is damaged"):
        hs.prune(make_task(), hs.SAP(cycles=1), RECIPE, tmp_path / "run")
