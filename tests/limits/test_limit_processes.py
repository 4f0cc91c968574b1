"""Two processes give the limits of one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("small_limit.py")


def test_two_processes_equal_one(tmp_path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}
    for folder, launcher in (("one", []), ("two", ["-m", "torch.distributed.run", "--nproc-per-node=2"])):
        (tmp_path / folder).mkdir()
        command = [sys.executable, *launcher, str(SCRIPT), str(tmp_path / folder)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=240)
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
