"""Two processes give the limits of one."""

import multiprocessing
import socket

import pytest
import torch

from tests.limits import small_limit

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.limits.small_limit"])


def test_two_processes_equal_one(tmp_path) -> None:
    (tmp_path / "one").mkdir()
    small_limit.several(str(tmp_path / "one"))
    (tmp_path / "two").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [CONTEXT.Process(target=small_limit.several, args=(str(tmp_path / "two"), r, 2, port)) for r in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    one = torch.load(tmp_path / "one" / "rank0.pt", weights_only=True)
    first, second = (torch.load(tmp_path / "two" / f"rank{r}.pt", weights_only=True) for r in (0, 1))
    assert first["details"] == second["details"]
    for found in (first, second):
        assert all(torch.equal(one["state"][n], found["state"][n]) for n in one["state"])
    a, b = one["details"], first["details"]
    assert a["one_shot"]["measured"] == b["one_shot"]["measured"]
    assert a["eps"] == b["eps"]
    for (_, rise, _), (_, other, _) in zip(a["one_shot"]["points"], b["one_shot"]["points"], strict=True):
        assert other == pytest.approx(rise, rel=1e-9, abs=1e-12)
    for key in ("value", "low", "high"):
        assert b["paper"][key] == pytest.approx(a["paper"][key], abs=1e-6)
        assert b["retuned"][key] == pytest.approx(a["retuned"][key], rel=1e-4)
    for mine, theirs in zip(a["retuned"]["probes"], b["retuned"]["probes"], strict=True):
        assert mine["sparsity"] == pytest.approx(theirs["sparsity"], rel=1e-4)
        for mark, other in zip(mine["marks"], theirs["marks"], strict=True):
            assert mark[0] == other[0]
            assert other[1] == pytest.approx(mark[1], rel=1e-4)
    for mine, theirs in zip(a["verified"]["points"], b["verified"]["points"], strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-4)
    racers = [sorted(p.name for p in (tmp_path / x / "limit" / "race").iterdir()) for x in ("one", "two")]
    assert racers[0] == racers[1]
