"""A limit killed at any piece of its work resumes, ends with the same bits, and does no piece twice."""

import json
import multiprocessing
import signal
from collections import Counter

import pytest
import torch

import howsparse as hs
from howsparse.limits import sharpness
from howsparse.limits.limit import limit
from howsparse.limits.racer import Racer
from howsparse.limits.search import Watch
from howsparse.limits.yardstick import Yardstick
from howsparse.training import Run
from tests.limits import small_limit
from tests.limits.small_limit import QUICK, RECIPE, comparable, make

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.limits.small_limit"])
SMALL = {**QUICK, "curvature_epochs": 0.5, "steps": 4}


class KilledError(Exception):
    """Stands in for a kill."""


class StopAfter(Watch):
    """Raises as soon as the history has so many lines."""

    def __init__(self, pieces: int, out) -> None:
        self.pieces, self.out = pieces, out

    def on_note(self, key: str, value: object) -> None:
        if len(lines(self.out)) >= self.pieces:
            raise KilledError


def run(out, **changes):
    return limit(make(width=6), RECIPE, out, **SMALL, **changes)


def lines(out) -> list[str]:
    return [json.loads(line)["key"] for line in (out / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted limit and its notes."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    return run(out), lines(out)


def test_the_example_has_all_pieces(whole) -> None:
    found, keys = whole
    kinds = Counter(key.split()[0] for key in keys)
    assert kinds.keys() >= {"eps", "plan", "one-shot", "quadratic", "race", "hessian", "paper", "retrained", "dense"}
    longer = Counter(key.split(" epochs")[0] for key in keys if key.startswith("race"))
    assert len(longer) >= 2
    assert len(keys) == len(set(keys))
    assert found.details["verified"]["retuned"] is not None or len(found.details["verified"]["points"]) == 2


def test_stopped_after_every_piece(whole, tmp_path) -> None:
    found, keys = whole
    out = tmp_path / "run"
    for known in range(len(keys)):  # every start adds one piece, then is stopped
        with pytest.raises(KilledError):
            run(out, watch=StopAfter(known + 1, out))
        assert lines(out) == keys[: known + 1]
    resumed = run(out)
    assert lines(out) == keys
    assert comparable(resumed.details) == comparable(found.details)


def test_stopped_before_every_piece_is_written(whole, tmp_path, monkeypatch) -> None:
    """The worst instant: the work is done, a racer is on disk, and the piece is not in the notebook yet."""
    found, keys = whole
    out, real = tmp_path / "run", Run.append

    def deadly(self, record) -> None:
        if record["key"] not in stopped:
            stopped.add(record["key"])
            raise KilledError
        real(self, record)

    stopped: set[str] = set()
    monkeypatch.setattr(Run, "append", deadly)
    for _ in range(len(keys)):
        with pytest.raises(KilledError):
            run(out)
    resumed = run(out)
    assert stopped == set(keys)
    assert lines(out) == keys
    assert comparable(resumed.details) == comparable(found.details)


def test_what_is_known_is_not_computed_again(whole, tmp_path, monkeypatch) -> None:
    keys = whole[1]
    last_race = max(i for i, key in enumerate(keys) if key.startswith("race"))
    with pytest.raises(KilledError):
        run(tmp_path / "run", watch=StopAfter(last_race + 1, tmp_path / "run"))
    done: list[str] = []

    def counted(cls, name):
        real = getattr(cls, name)

        def call(self, *args, **kwargs):
            done.append(name)
            return real(self, *args, **kwargs)

        monkeypatch.setattr(cls, name, call)

    for cls, name in ((Racer, "run"), (Yardstick, "increase"), (sharpness.Sharpness, "increases")):
        counted(cls, name)
    run(tmp_path / "run")
    assert Counter(done) == Counter({"increase": 2})  # the two retrainings


def test_the_same_network_goes_on_after_an_interruption(whole, tmp_path) -> None:
    """In a notebook the interrupted cell is run again, on the network as the interruption left it."""

    class Impatient(Watch):
        def on_step(self, epoch: int, step: int, steps: int) -> None:
            if epoch == 1 and step == 3:
                raise KeyboardInterrupt

    task = make(width=6)
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt):
        limit(task, RECIPE, tmp_path / "run", watch=Impatient(), **SMALL)
    assert all(torch.equal(before[n], t) for n, t in task.model.state_dict().items())
    resumed = limit(task, RECIPE, tmp_path / "run", **SMALL)
    assert comparable(resumed.details) == comparable(whole[0].details)


def test_a_retraining_that_is_interrupted_leaves_the_network_alone(tmp_path) -> None:
    class Impatient(Watch):
        verifying = False

        def on_stage(self, stage: str, done: float, total: float) -> None:
            self.verifying = stage == "verify"

        def on_step(self, epoch: int, step: int, steps: int) -> None:
            if self.verifying and step == 3:
                raise KeyboardInterrupt

    task = make(width=6)
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt):
        limit(task, RECIPE, tmp_path / "run", watch=Impatient(), **SMALL)
    assert all(torch.equal(before[n], t) for n, t in task.model.state_dict().items())


def test_a_spectrum_goes_on_from_its_last_step(whole, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sharpness, "SAVE_EVERY", 0.0)
    steps: list[float] = []

    class Stopped(Watch):
        def __init__(self, last: float) -> None:
            self.last = last

        def on_stage(self, stage: str, done: float, total: float) -> None:
            if stage == "curvature":
                steps.append(done)
                if done == self.last:
                    raise KilledError

    out = tmp_path / "run"
    with pytest.raises(KilledError):
        run(out, watch=Stopped(2))
    assert (out / "lanczos.pt").exists()
    resumed = run(out, watch=Stopped(10**9))
    assert steps == [1, 2, 3, 4]
    assert not (out / "lanczos.pt").exists()
    assert comparable(resumed.details) == comparable(whole[0].details)


def test_a_line_that_was_cut_short_is_written_again(whole, tmp_path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KilledError):
        run(out, watch=StopAfter(6, out))
    history = out / "history.jsonl"
    history.write_bytes(history.read_bytes()[:-9])  # killed in the middle of a write
    with pytest.raises(KilledError):
        run(out, watch=StopAfter(9, out))
    resumed = run(out)
    assert lines(out) == whole[1]
    assert comparable(resumed.details) == comparable(whole[0].details)
    masks = hs.Masks({"0.weight": torch.arange(96).view(6, 16) % 3 > 0, "4.weight": torch.arange(30).view(5, 6) > 9})
    assert run(out).predict(masks) == whole[0].predict(masks)


def start(*args):
    process = CONTEXT.Process(target=small_limit.run, args=args)
    process.start()
    process.join()
    return process.exitcode


def test_killed_without_warning(tmp_path) -> None:
    for note in (5, 14):  # in the bisection, and between two laps of the race
        assert start(str(tmp_path / "run"), note) == -signal.SIGKILL
    assert start(str(tmp_path / "run")) == 0
    small_limit.run(str(tmp_path / "whole"))
    a, b = (comparable(json.loads((tmp_path / x / "result.json").read_text())) for x in ("run", "whole"))
    assert a == b
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")
    racers = sorted(
        p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole" / "race").glob("*/model.safetensors")
    )
    assert racers
    for path in racers:
        assert (tmp_path / "run" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()
