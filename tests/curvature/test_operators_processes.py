"""Two processes give the curvature that one gives, and agree with each other to the bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("curvature_run.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> tuple[dict, dict, dict]:
    """What one process found, and each of two."""
    out = tmp_path_factory.mktemp("processes")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for folder, launcher in (("one", []), ("two", ["-m", "torch.distributed.run", "--nproc-per-node=2"])):
        (out / folder).mkdir()
        command = [sys.executable, *launcher, str(SCRIPT), str(out / folder)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=240)
    names = ("one/rank0.pt", "two/rank0.pt", "two/rank1.pt")
    return tuple(torch.load(out / name, weights_only=True) for name in names)


@pytest.mark.parametrize("data", ["three", "one", "coreset"])
def test_two_processes_equal_one(results, data) -> None:
    alone, first, second = (found[data] for found in results)
    for key, value in alone.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(
            first[key], value, rtol=1e-12, atol=1e-14, msg=lambda text, key=key: f"{key}: {text}"
        )
        assert value.any()
