"""howsparse compact, from a run and from weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from howsparse import Masks
from howsparse.structured import channel_groups, unit_masks
from howsparse.zoo.models import MODELS
from tests.cli.commands import bad, good


@pytest.fixture
def thin(tmp_path: Path) -> Path:
    """Weights of a cnn for the digits with half the channels of its first layers zero."""
    torch.manual_seed(0)
    network = MODELS["lenet-300-100"].build((1, 8, 8), 10)
    groups = channel_groups(network, torch.randn(2, 1, 8, 8))
    units = [unit for group in groups for unit in group.units[::2]]
    masks = unit_masks(network, units)
    masks.apply_({name: network.get_parameter(name).detach() for name in masks})
    masks.save(tmp_path / "masks.safetensors")
    save_file(network.state_dict(), tmp_path / "thin.safetensors")
    return tmp_path


def test_weights_with_zeros_become_a_small_network(thin: Path) -> None:
    weights, out = thin / "thin.safetensors", thin / "small"
    arguments = ("compact", "lenet-300-100", "--weights", weights, "--data", "digits", "--out", out)
    answer = json.loads(good(*arguments, "--json").stdout)
    assert answer["schema"] == "howsparse/compact/1"
    assert answer["channels"] == 200
    assert answer["difference"] <= 1e-5
    assert answer["samples"] >= 300
    assert answer["parameters"]["compact"] < answer["parameters"]["dense"] / 1.9
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "plan.json", "rebuild.py"}
    told = good(*arguments, "--masks", thin / "masks.safetensors").stdout
    assert "200 channels removed; largest difference to the masked network" in told


def test_a_run_directory_knows_its_network(tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = ("--method", "one-shot", "--sparsity", 0.3, "--dense-epochs", 1, "--epochs", 1)
    good("prune", "--model", "lenet-300-100", "--data", "digits", *flags, "--out", run)
    masks = Masks.load(run / "masks.safetensors")
    masks["fc1.weight"][:7] = False
    masks.save(run / "masks.safetensors")
    told = good("compact", run, "--data", "digits", "--out", tmp_path / "small").stdout
    assert "7 channels removed" in told
    assert "norms and biases that followed their channels moved outputs" in told  # the biases of seven units


def test_bad_requests(thin: Path) -> None:
    weights, data = ("--weights", thin / "thin.safetensors"), ("--data", "digits")
    assert "holds something else" in bad("compact", "lenet-300-100", *weights, *data, "--out", thin)
    assert "not a run directory" in bad("compact", thin, *data, "--out", thin / "a")
    assert "masks are for another network" in bad(
        *("compact", "linear", *data, "--masks", thin / "masks.safetensors", "--out", thin / "b")
    )
    assert "leave --model out" in bad("compact", "mlp", "--model", "mlp", *data, "--out", thin / "c")
    assert not any((thin / name).exists() for name in "abc")
