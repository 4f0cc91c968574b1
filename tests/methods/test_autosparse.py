"""AutoSparse: which predictor a run was made with."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import howsparse as hs
from howsparse.report.reading import read_run
from howsparse.scores import SurvivalPredictor

RECIPE = hs.Recipe(epochs=1, keep="last")


def write(path: Path, seed: int) -> Path:
    """A predictor that has learned from chance."""
    torch.manual_seed(0)
    model = nn.Linear(12, 2)
    data = TensorDataset(torch.randn(20, 12), torch.randint(0, 2, (20,)))
    rounds = [hs.Masks({"weight": model.weight.detach().abs() > size}) for size in (0.1, 0.2)]
    path.parent.mkdir(exist_ok=True)
    SurvivalPredictor.from_run(hs.Task(model, data), model.state_dict(), rounds, seed=seed).save(path)
    return path


def test_another_file_of_the_same_name_is_another_run(make_task, tmp_path) -> None:
    here, elsewhere, other = (
        write(tmp_path / folder / "survival.safetensors", seed) for folder, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert here.read_bytes() == elsewhere.read_bytes() != other.read_bytes()
    methods = [hs.AutoSparse(sparsity=0.5, predictor=str(path)) for path in (here, elsewhere, other)]
    plain = [method.to_plain()["predictor"] for method in methods]
    assert plain[0] == plain[1] != plain[2]
    assert all(name.startswith("survival.safetensors#") for name in plain)
    run = tmp_path / "run"
    hs.prune(make_task(), methods[0], RECIPE, run)
    again = hs.prune(make_task(), methods[1], RECIPE, run)
    assert again.run == run
    with pytest.raises(hs.errors.RunMismatchError, match=r"method\.predictor"):
        hs.prune(make_task(), methods[2], RECIPE, run)
    method = read_run(run).method
    assert isinstance(method, hs.AutoSparse)
    assert method.to_plain() == methods[0].to_plain()


def test_a_file_that_is_not_there_goes_by_its_name() -> None:
    assert hs.AutoSparse(predictor="folder/survival.safetensors").to_plain()["predictor"] == "survival.safetensors"
