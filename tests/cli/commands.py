"""Calling the command line in tests, and a small trained network to call it on."""

from pathlib import Path

import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

import howsparse as hs
from howsparse.cli import main
from howsparse.training import Training
from howsparse.zoo import build_model, load_data


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def good(*arguments: object) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output + str(result.exception)
    return result


def bad(*arguments: object) -> str:
    """The error message of a request that must be refused, with exit code 2 and no traceback."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output + str(result.exception)
    assert "Traceback" not in result.output
    return result.stderr


def save_trained(file: Path) -> Path:
    """The weights of ``--model linear`` after a short training on ``--data digits``."""
    torch.manual_seed(0)
    data = load_data("digits")
    task = hs.Task(build_model("linear", data.shape, data.classes), data.train)
    recipe = hs.Recipe(epochs=8, lr=0.1, keep="last")
    for _ in Training(task, recipe, recipe.epochs, epoch_seed=lambda epoch: epoch).run():
        pass
    save_file(task.model.state_dict(), file)
    return file
