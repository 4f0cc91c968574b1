"""The tasks of benchmarks/limit_tasks.py: networks that do what their weights' documentation says, and the table."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from howsparse.errors import HowsparseError
from howsparse.masks import prunable_parameters
from howsparse.training import evaluate
from howsparse.weights import load_weights

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def limit_tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("limit_tasks")


def test_kept_keys_and_values_change_nothing(limit_tasks: ModuleType) -> None:
    torch.manual_seed(0)
    model = limit_tasks.networks.Llama(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, pieces=11).double()
    ids = torch.randint(0, 11, (3, 7))
    past: list[list[torch.Tensor]] = [[], []]
    with torch.no_grad():
        one_by_one = torch.cat([model(ids[:, i : i + 1], past) for i in range(7)], dim=1)
        torch.testing.assert_close(one_by_one, model(ids))


def test_drawn_sequences_follow_the_model(limit_tasks: ModuleType) -> None:
    model = limit_tasks.networks.Llama(dim=8, hidden=8, layers=1, heads=2, kv_heads=1, pieces=5)
    torch.nn.init.zeros_(model.norm.weight)  # all logits zero: every piece is equally likely
    ids = limit_tasks.networks.sampled(model, 400, 21, begin=3, seed=1)
    assert ids[:, 0].eq(3).all()
    shares = ids[:, 1:].flatten().bincount(minlength=5) / 8000
    assert (shares - 0.2).abs().max() < 0.02  # more than four standard deviations
    assert torch.equal(ids, limit_tasks.networks.sampled(model, 400, 21, begin=3, seed=1))


def test_epsilon_of_half_the_samples_is_exact(limit_tasks: ModuleType) -> None:
    losses = torch.tensor([1.0, 2.0, 4.0, 9.0])
    means = torch.tensor([pair.mean() for pair in losses[torch.combinations(torch.arange(4))]])
    assert limit_tasks.epsilon(losses, batch=2) == pytest.approx(float(means.std(correction=0)))


def test_another_recipe_is_refused(limit_tasks: ModuleType, tmp_path: Path) -> None:
    import safetensors.torch

    recipe = limit_tasks.PLAIN.to_plain() | {"lr": 7.0}
    file = tmp_path / "dense.safetensors"
    note = {"recipe": limit_tasks.json.dumps(recipe)}
    safetensors.torch.save_file({"w": torch.zeros(1)}, file, metadata=note)
    with pytest.raises(HowsparseError, match="another recipe"):
        limit_tasks._refuse_other_recipe(file, limit_tasks.PLAIN)


def test_the_storyteller_is_as_good_as_documented(limit_tasks: ModuleType, shared: Path, tmp_path: Path) -> None:
    data = limit_tasks.shared_data.stories(count=2, length=8, folder=tmp_path)
    model = limit_tasks.networks.stories260k()
    load_weights(model, shared / "data" / "stories260k.safetensors")
    task = limit_tasks.Task(
        model, data.train, test=data.test, loss=data.loss, forward=data.forward, metric=data.metric, val_share=0
    )
    assert evaluate(task, task.test).metric == pytest.approx(1.2664, abs=5e-5)
    assert sum(p.numel() for p in prunable_parameters(model).values()) == 260_032 - 512 * 64 - 11 * 64  # no embedding


def test_the_denoiser_is_as_good_as_documented(limit_tasks: ModuleType, shared: Path) -> None:
    data = limit_tasks.shared_data.grey_patches(per_image=1)
    model = limit_tasks.networks.dncnn()
    load_weights(model, shared / "data" / "dncnn_gray_sigma25.safetensors")
    noisy, clean = data.test[limit_tasks.shared_data.HELD_OUT_IMAGES.index("chelsea")]
    with torch.no_grad():
        assert float(limit_tasks.shared_data.psnr(model(noisy), clean)) == pytest.approx(31.24, abs=0.005)
    assert data.train[0][0].shape == (1, 40, 40)
