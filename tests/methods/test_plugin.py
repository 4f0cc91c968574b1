"""A method in somebody else's package: found by entry point, in the listing, the command line and the battery."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_method"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment in which the example, and a broken plug-in beside it, look installed."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["howsparse.methods"] | {
        "broken": "no_such_module:Thing",
        "colliding": "colliding:Colliding",
    }
    info = site / "random_pruning-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(
        "[howsparse.methods]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
    )
    (site / "random_pruning.py").write_text((EXAMPLE / "random_pruning.py").read_text())
    (site / "colliding.py").write_text(
        "from dataclasses import dataclass\nfrom howsparse import SAP\nfrom howsparse.settings import setting\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Colliding(SAP):\n"
        "    name = 'colliding'\n    lr: float = setting(0.5, 'a rate')\n"
    )
    return {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}


def call(environment, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, cwd=ROOT, timeout=240
    )


def test_listed_beside_the_built_in_ones(installed) -> None:
    done = call(installed, "howsparse", "methods")
    assert done.returncode == 0
    assert "train, remove a random share, rewind, repeat" in done.stdout
    assert "warning: the plug-in broken could not be loaded: ModuleNotFoundError" in done.stderr
    assert "settings named lr mean something else in a run" in done.stderr


def test_on_the_command_line_with_its_own_flags(installed, tmp_path) -> None:
    command = ["howsparse", "prune", "--model", "linear", "--data", "digits", "--method", "random"]
    flags = ["--draw", "3", "--fraction", "0.5", "--cycles", "1", "--epochs", "1", "--out", str(tmp_path / "run")]
    done = call(installed, *command, *flags)
    assert done.returncode == 0, done.stderr
    assert "sparsity 0.5000" in done.stdout


def test_passes_the_common_battery(installed) -> None:
    done = call(installed, "pytest", "tests/methods/test_battery.py", "-k", "random")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b1\d passed", done.stdout), done.stdout  # the whole battery, not a part of it
