"""``howsparse predictor``: what it learns from, and what it refuses before it learns."""

import json

import pytest

from tests.cli.commands import bad, good

TASK = ("--model", "linear", "--data", "digits")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of an iterative method."""
    folder = tmp_path_factory.mktemp("predictor") / "run"
    good("prune", *TASK, "--method", "imp", "--cycles", 2, "--epochs", 1, "--out", folder)
    return folder


def test_learns_from_a_finished_run_and_prunes_by_it(run, tmp_path) -> None:
    out = tmp_path / "survival.safetensors"
    answered = json.loads(good("predictor", "--run", run, *TASK, "--out", out, "--json").stdout)
    assert answered["rounds"] == 2
    settings = ("--method", "autosparse", "--predictor", out, "--sparsity", 0.5, "--epochs", 1)
    assert "sparsity 0.5000" in good("prune", *TASK, *settings, "--out", tmp_path / "auto").stdout


def test_another_network_or_other_data_are_refused(run, tmp_path) -> None:
    message = bad("predictor", "--run", run, "--model", "mlp", "--data", "digits", "--out", tmp_path / "p")
    assert "was made with --model linear, not mlp" in message


def test_unfinished_runs_and_folders_that_are_not_there_are_refused(run, tmp_path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in run.iterdir():
        if path.is_file() and path.name != "result.json":
            (copy / path.name).write_bytes(path.read_bytes())
    assert "is not finished" in bad("predictor", "--run", copy, *TASK, "--out", tmp_path / "p")
    assert "a folder that exists" in bad("predictor", "--run", run, *TASK, "--out", tmp_path / "none" / "p")
    assert "a folder that exists" in bad("predictor", "--run", run, *TASK, "--out", tmp_path)
