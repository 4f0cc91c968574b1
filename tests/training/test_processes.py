"""Several processes: identical masks on every rank, and ten float64 steps as in one process."""

import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name("small_run.py")


def test_two_processes_equal_one(tmp_path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}
    for folder, launcher in (("one", []), ("two", ["-m", "torch.distributed.run", "--nproc-per-node=2"])):
        (tmp_path / folder).mkdir()
        command = [sys.executable, *launcher, str(SCRIPT), str(tmp_path / folder)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=240)
    one = torch.load(tmp_path / "one" / "rank0.pt", weights_only=True)
    first, second = (torch.load(tmp_path / "two" / f"rank{r}.pt", weights_only=True) for r in (0, 1))
    for key in ("masks", "long"):
        assert all(torch.equal(first[key][n], second[key][n]) for n in first[key])
    for key in ("weights", "long_weights", "unseeded"):
        assert all(torch.equal(first[key][n], second[key][n]) for n in first[key])
    assert all(torch.equal(one["masks"][n], first["masks"][n]) for n in one["masks"])
    worst = max(float((one["weights"][n] - first["weights"][n]).abs().max()) for n in one["weights"])
    assert worst < 1e-10  # 9 + 9 steps in float64, no batch statistics
    assert one["dense"] == first["dense"]
    assert abs(one["unseeded_dense"] - first["unseeded_dense"]) < 1e-6  # every process evaluated process 0's network
