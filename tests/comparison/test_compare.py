import csv
import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from howsparse import HowsparseError, RunMismatchError, Task
from howsparse.comparison import Watch, read_comparison, write
from howsparse.comparison.cells import plan
from howsparse.comparison.watch import Clock
from howsparse.methods import LotteryTicket, OneShot

from .small import RECIPE, Deadly, Faulty, make_task, small

SAME = ("state", "value", "dense", "achieved", "epochs", "start")


def facts(found) -> dict[str, list[object]]:
    """What cells found, without times."""
    return {row.run: [getattr(row, name) for name in SAME] for row in found.rows}


class Seen(Watch):
    def __init__(self) -> None:
        self.cells: list[str] = []
        self.left: list[float | None] = []
        self.planned: list[int] = []

    def on_plan(self, cells, done, epochs) -> None:
        self.planned += [len(cells), len(done), epochs]

    def on_cell(self, row, done, total, seconds_left) -> None:
        self.cells.append(row.run)
        self.left.append(seconds_left)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Five methods, one sparsity, two seeds."""
    out = tmp_path_factory.mktemp("compare") / "grid"
    methods = ["one-shot", "imp", "one-shot-ladder", "lomp", "sap"]
    return small(out, methods, (0.5,), 2, epochs=3)


def test_every_cell_is_a_run_under_the_budget(grid) -> None:
    assert len(grid.rows) == 10
    for row in grid.rows:
        folder = grid.out / row.run
        assert row.run == f"make_task/{row.method}/0.5/seed{row.seed}"
        assert {"config.json", "result.json", "masks.safetensors", "model.safetensors"} <= {
            p.name for p in folder.iterdir()
        }
        assert row.epochs == sum(row.trainings) == 3
        assert row.achieved == pytest.approx(0.5, abs=0.01)
        settings = json.loads((folder / "config.json").read_text())["settings"]
        assert settings["recipe"]["keep"] == "last"
        assert settings["seed"] == row.seed


def test_methods_start_alike_and_seeds_do_not(grid) -> None:
    starts = {seed: {row.start for row in grid.rows if row.seed == seed} for seed in (0, 1)}
    assert all(len(found) == 1 for found in starts.values())
    assert starts[0] != starts[1]
    assert grid.warnings == []


def test_methods_with_the_same_first_training_see_the_same_data(grid) -> None:
    """One-shot's dense training has two epochs and LOMP another loss; IMP, ladder and SAP begin with the same epoch."""
    dense = {row.method: row.dense for row in grid.rows if row.seed == 0}
    assert dense["imp"] == dense["one-shot-ladder"] == dense["sap"]


def test_files_agree(grid) -> None:
    plain = json.loads((grid.out / "comparison.json").read_text())
    assert plain == json.loads(json.dumps(grid.to_plain()))
    lines = list(csv.DictReader(io.StringIO((grid.out / "comparison.csv").read_text())))
    page = (grid.out / "comparison.html").read_text()
    markdown = (grid.out / "comparison.md").read_text()
    for line, found in zip(lines, plain["summary"], strict=True):
        assert {k: str(v) if v is not None else "" for k, v in found.items()} == line
        shown = f"{found['mean']:.4f} ± {found['deviation']:.4f}"
        assert shown in markdown
        assert f"{found['mean']:.4f}<" in page
    cells = list(csv.DictReader(io.StringIO((grid.out / "cells.csv").read_text())))
    assert [float(cell["value"]) for cell in cells] == [row["value"] for row in plain["rows"]]
    assert "<svg" in page
    for file in ("comparison.html", "comparison.md", "comparison.json", "cells.csv", "config.json"):
        assert str(grid.out.parent) not in (grid.out / file).read_text()


def test_summary_is_that_of_the_rows(grid) -> None:
    values = {method: [row.value for row in grid.rows if row.method == method] for method in grid.methods}
    best = max(values, key=lambda method: sum(values[method]))
    for line in grid.summary:
        assert line.mean == pytest.approx(sum(values[line.method]) / 2)
        assert line.n == 2
        assert line.reference == best
        differences = [a - b for a, b in zip(values[line.method], values[best], strict=True)]
        assert line.difference == (None if line.method == best else pytest.approx(sum(differences) / 2))


def test_a_finished_comparison_returns_at_once_and_may_grow(grid) -> None:
    seen = Seen()
    before = {row.run: (grid.out / row.run / "result.json").stat().st_mtime_ns for row in grid.rows}
    again = small(grid.out, ["imp", "one-shot"], (0.5, 0.75), 1, epochs=3, watch=seen, against="imp")
    assert seen.planned == [4, 2, 3]
    assert seen.cells == ["make_task/imp/0.75/seed0", "make_task/one-shot/0.75/seed0"]
    assert seen.left[-1] == 0
    assert all((grid.out / run).joinpath("result.json").stat().st_mtime_ns == time for run, time in before.items())
    assert {line.reference for line in again.summary} == {"imp"}
    assert "one seed" in str(again)
    write(grid)


def test_other_settings_are_refused_before_any_work(grid) -> None:
    with pytest.raises(RunMismatchError, match=r"epochs: 3 there, 4 asked for"):
        small(grid.out, ["one-shot"], (0.9,), epochs=4)
    with pytest.raises(RunMismatchError, match=r"recipe.lr: 0.1 there, 0.2 asked for"):
        small(grid.out, epochs=3, recipe=replace(RECIPE, lr=0.2))
    with pytest.raises(RunMismatchError, match=r"method.scope: 'global' there, 'layer' asked for"):
        small(grid.out, [OneShot(scope="layer")], epochs=3)
    assert not (grid.out / "make_task" / "one-shot" / "0.9").exists()


def test_two_jobs_equal_one(grid, tmp_path) -> None:
    pytest.importorskip("joblib")
    found = small(tmp_path / "two", ["one-shot", "sap"], (0.5,), 2, epochs=3, engine="joblib", jobs=2)
    alone = facts(grid)
    assert facts(found) == {run: alone[run] for run in facts(found)}


def test_failures_are_reported_and_the_rest_goes_on(tmp_path) -> None:
    seen = Seen()
    found = small(tmp_path, [Faulty(), OneShot()], watch=seen)
    assert [row.state for row in found.rows] == ["failed", "done"]
    assert len(seen.cells) == 2
    (failed,) = found.failures
    assert (failed.error, failed.message) == ("RuntimeError", "no such thing in place.py")
    kept = json.loads((tmp_path / failed.run / "failed.json").read_text())
    assert kept["trace"][-1].endswith(" shrink")
    assert "no such thing in place.py" in str(found)
    assert "no such thing in place.py" in (tmp_path / "comparison.html").read_text()
    assert "1 failed" in (tmp_path / "comparison.md").read_text()
    seen = Seen()
    small(tmp_path, [Faulty(), OneShot()], watch=seen)
    assert seen.cells == [failed.run]  # only what failed is tried again


@pytest.mark.slow
def test_a_dead_worker_costs_its_own_cell(tmp_path) -> None:
    pytest.importorskip("joblib")
    found = small(tmp_path, [OneShot(), Deadly(), LotteryTicket()], engine="joblib", jobs=2)
    assert {row.method: row.state for row in found.rows} == {"one-shot": "done", "deadly": "failed", "imp": "done"}
    assert "died without a word" in found.failures[0].message


@pytest.mark.parametrize("write_number", [8, pytest.param(15, marks=pytest.mark.slow)])
def test_killed_comparisons_resume(write_number, tmp_path) -> None:
    code = f"from tests.comparison.small import killed; killed({str(tmp_path / 'killed')!r}, {write_number})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    states = [row.state for row in read_comparison(tmp_path / "killed").rows]
    assert "waiting" in states
    assert facts(small(tmp_path / "killed")) == facts(small(tmp_path / "whole"))


def test_unlike_starts_are_noticed(tmp_path) -> None:
    calls = []

    def careless(seed: int) -> Task:
        calls.append(seed)
        return make_task(len(calls))

    from howsparse.comparison import compare

    found = compare(careless, ["one-shot", "imp"], [0.5], 1, epochs=2, out=tmp_path, recipe=RECIPE)
    assert any("did not start from the same weights (careless, seed 0)" in warning for warning in found.warnings)


def test_limits_are_predicted_and_drawn(tmp_path) -> None:
    found = small(tmp_path, ["one-shot"], (0.5, 0.75), trained=True, limit=True)
    assert found.limits["make_task"] == json.loads((tmp_path / "make_task" / "limit" / "result.json").read_text())
    assert found.rows[0].trainings == (0, 2)
    page = (tmp_path / "comparison.html").read_text()
    assert "one-shot limit" in page
    assert "as given" in page
    assert read_comparison(tmp_path).to_plain() == json.loads(json.dumps(found.to_plain()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["one-shot", "ipm"]}, "unknown method 'ipm'.*did you mean imp"),
        ({"methods": ["imp", LotteryTicket(cycles=2)]}, "two methods are called imp"),
        ({"methods": {"limit": "imp"}}, "no method can be labelled limit"),
        ({"methods": []}, "no method to compare"),
        ({"methods": [3]}, "is no method"),
        ({"sparsities": [90]}, "sparsity 90 is out of range.*90 % is 0.9"),
        ({"sparsities": [1.0]}, "sparsity 1 is out of range"),
        ({"sparsities": [0.5, 0.5]}, "each once"),
        ({"sparsities": [0.9999]}, "leaves none"),
        ({"seeds": 0}, "seeds = 0 is not allowed"),
        ({"seeds": [1, 1]}, "different seeds"),
        ({"epochs": 1}, "takes at least 2 epochs"),
        ({"engine": "jobilb"}, "unknown engine 'jobilb'.*did you mean joblib"),
        ({"jobs": 2}, "serial works on one cell at a time"),
        ({"jobs": 0, "engine": "joblib"}, "at least one cell at a time"),
        ({"cluster": "auto"}, "is for engine ray"),
        ({"cluster": "auto", "engine": "joblib"}, "is for engine ray"),
        ({"threads": 0}, "threads = 0"),
        ({"against": "sap"}, "against = 'sap' is not among the methods one-shot, imp"),
        ({"limit": True}, "limits are those of trained networks"),
        ({"recipe": replace(RECIPE, dense_epochs=2)}, "shares the budget out itself"),
        ({"wathc": 1}, "no option 'wathc'.*did you mean watch"),
        ({"include": ["conv*"]}, "matches no prunable tensor"),
    ],
)
def test_bad_requests_are_refused_before_any_work(changes, message, tmp_path) -> None:
    with pytest.raises(HowsparseError, match=f"(?s){message}"):
        small(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_bad_tasks() -> None:
    from howsparse.comparison import compare

    for tasks, message in ((make_task(0), "not a task"), ([], "no task"), (["mlp"], "is no task")):
        with pytest.raises(HowsparseError, match=message):
            compare(tasks, ["imp"], [0.5], epochs=2, out="nowhere")
    with pytest.raises(HowsparseError, match="gave a int, not a howsparse.Task"):
        compare({"a": lambda seed: seed}, ["imp"], [0.5], epochs=2, out="nowhere")


@pytest.mark.parametrize(("engine", "line"), [("joblib", "howsparse[parallel]"), ("ray", "howsparse[ray]")])
def test_missing_extras_are_named(engine, line, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(HowsparseError, match="pip install") as caught:
        small(tmp_path / "out", engine=engine)
    assert line in str(caught.value)


def test_time_left_is_by_method_where_it_is_known() -> None:
    cells = plan({"t": False}, {"a": OneShot(), "b": LotteryTicket()}, [0.5], seeds=[0, 1], epochs=4, recipe=RECIPE)
    first, *_ = (cell for cell in cells if cell.method == "a")
    clock = Clock(jobs=1)
    assert clock.left(cells) is None
    clock.note(first, 8.0)  # four epochs: two seconds each
    other = next(cell for cell in cells if cell.method == "b")
    assert clock.left([first, other]) == 16.0
    clock.note(other, 20.0)
    assert clock.left([other]) == 20.0
    two = Clock(jobs=2)
    two.note(first, 8.0)
    assert two.left([first, other]) == 8.0


def test_a_cluster_that_is_not_there(tmp_path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(HowsparseError, match=r"no Ray cluster answers at 127.0.0.1:9 .*ray start --head"):
        small(tmp_path / "out", engine="ray", jobs=2, cluster="127.0.0.1:9")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ray_equals_one(grid, tmp_path) -> None:
    pytest.importorskip("ray")
    found = small(tmp_path / "ray", ["one-shot", Faulty()], (0.5,), 1, epochs=3, engine="ray", jobs=2)
    run = "make_task/one-shot/0.5/seed0"
    assert facts(found)[run] == facts(grid)[run]
    assert len(found.failures) == 1
