"""A run killed at any instant resumes and ends with the same bits."""

import json
import multiprocessing
import random
import signal
import time

import pytest
from safetensors.torch import load_file

from howsparse import Masks
from tests.training import small_run

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.training.small_run"])


def start(*args):
    process = CONTEXT.Process(target=small_run.run, args=args)
    process.start()
    return process


def finish(name, out) -> None:
    process = start(name, str(out))
    process.join()
    assert process.exitcode == 0


def content(out):
    """Masks, weights, and the history without its times."""
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    for record in history:
        record.pop("seconds", None)
    result = json.loads((out / "result.json").read_text())
    result.pop("seconds")
    model = {name: tensor.numpy().tobytes() for name, tensor in load_file(out / "model.safetensors").items()}
    return Masks.load(out / "masks.safetensors").packed(), model, history, result


def assert_same(a, b) -> None:
    assert all((a[0][n] == b[0][n]).all() for n in a[0])
    assert a[1] == b[1]
    assert a[2] == b[2]
    assert a[3] == b[3]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Per method: what the run ends with, and how long it takes."""
    found = {}
    for name in small_run.METHODS:
        out = tmp_path_factory.mktemp("whole") / name
        finish(name, out)
        began = time.monotonic()
        finish(name, out.with_name(name + "-timed"))
        found[name] = content(out), time.monotonic() - began
    return found


@pytest.mark.parametrize("moment", range(20))
def test_killed_at_a_random_moment(moment, uninterrupted, tmp_path) -> None:
    dice = random.Random(moment)
    name = dice.choice(sorted(small_run.METHODS))
    expected, seconds = uninterrupted[name]
    for _ in range(dice.choice([1, 1, 2])):
        process = start(name, str(tmp_path / "run"))
        time.sleep(dice.uniform(0.05, seconds))
        process.kill()
        process.join()
    finish(name, tmp_path / "run")
    assert_same(content(tmp_path / "run"), expected)


@pytest.mark.parametrize("write", [1, 2, 3, 4, 5, 9, 14, 17, 22])
def test_killed_while_writing_a_file(write, uninterrupted, tmp_path) -> None:
    """Dies between writing the temporary file and putting it in place."""
    process = start("sap", str(tmp_path / "run"), write)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    finish("sap", tmp_path / "run")
    assert_same(content(tmp_path / "run"), uninterrupted["sap"][0])


def test_a_finished_run_returns_at_once(uninterrupted, tmp_path) -> None:
    finish("sap", tmp_path / "run")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    finish("sap", tmp_path / "run")
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before
