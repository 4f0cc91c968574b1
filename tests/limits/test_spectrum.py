import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import howsparse as hs
from howsparse.curvature.probes import rademacher
from howsparse.errors import HowsparseError

NAMES = ("0.weight", "2.weight")


def make(samples: int = 40, **changes) -> hs.Task:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (samples,), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    return hs.Task(model, TensorDataset(x, y), val_share=0, **changes)


def hessian(task: hs.Task, names=NAMES, positions=None) -> torch.Tensor:
    """The Hessian in the named weights, by differentiating the mean loss twice."""
    x, y = task.train.dataset.tensors if positions is None else (t[positions] for t in task.train.dataset.tensors)
    known = dict(task.model.named_parameters())
    sizes = [known[name].numel() for name in names]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        pieces = zip(names, flat.split(sizes), strict=True)
        state = {name: piece.view_as(known[name]) for name, piece in pieces}
        return nn.functional.cross_entropy(torch.func.functional_call(task.model, state, (x,)), y)

    weights = torch.cat([known[name].detach().flatten() for name in names])
    return torch.autograd.functional.hessian(loss, weights)


def traces(matrix: torch.Tensor, probes: int = 4) -> list[float]:
    signs = rademacher(probes, len(matrix), dtype=torch.float64)
    return ((signs @ matrix) * signs).sum(dim=1).tolist()


@pytest.mark.parametrize("layer", [None, "0.weight", "2.weight"])
def test_whole_and_layers_against_the_matrix_itself(layer) -> None:
    task = make()
    matrix = hessian(task, NAMES if layer is None else (layer,))
    found = hs.spectrum(task, "hessian", layer)
    values = torch.linalg.eigvalsh(matrix)
    assert len(matrix) == found.D
    assert found.largest == pytest.approx(float(values[-1]), rel=1e-8)
    assert found.smallest == pytest.approx(float(values[0]), abs=1e-8 * float(values[-1]))
    assert found.traces == pytest.approx(traces(matrix), rel=1e-10)
    assert found.samples == 40


def test_gauss_newton_of_the_last_layer_is_its_hessian() -> None:
    task = make()
    found = hs.spectrum(task, layer="2.weight")
    assert found.kind == "psd"
    assert found.traces == pytest.approx(traces(hessian(task, ("2.weight",))), rel=1e-10)


def test_a_part_of_the_samples_stands_for_their_mean() -> None:
    task = make()
    chosen = torch.randperm(40, generator=torch.Generator().manual_seed(3))[:25].sort().values
    found = hs.spectrum(task, "hessian", samples=25, seed=3)
    signs = rademacher(4, found.D, seed=3, dtype=torch.float64)
    expected = ((signs @ hessian(task, positions=chosen)) * signs).sum(dim=1)
    assert found.traces == pytest.approx(expected.tolist(), rel=1e-10)
    assert found.samples == 25


def test_nothing_else_is_disturbed_and_the_seed_decides() -> None:
    task = make()
    task.model.train()
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    state = torch.get_rng_state()
    seen: list[tuple[int, int]] = []
    first = hs.spectrum(task, samples=30, steps=5, on_step=lambda done, most: seen.append((done, most)))
    assert seen == [(i, 5) for i in range(1, 6)]
    assert torch.equal(torch.get_rng_state(), state)
    assert task.model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())
    assert hs.spectrum(task, samples=30, steps=5).to_plain() == first.to_plain()
    assert not np.allclose(hs.spectrum(task, samples=30, steps=5, seed=1).traces, first.traces)


def test_patterns_choose_the_coordinates() -> None:
    assert hs.spectrum(make(), include=["2*"]).D == 9
    with pytest.raises(HowsparseError, match=r"layer '0.weight' is not among the prunable parameters: 2\.weight"):
        hs.spectrum(make(), layer="0.weight", exclude=["0*"])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(HowsparseError, match="curvature = 'fisher' is unknown: it is one of ggn, hessian"):
        hs.spectrum(make(), "fisher")
    for wrong in ({"samples": 0}, {"probes": 0}, {"steps": 0}):
        with pytest.raises(HowsparseError, match="at least"):
            hs.spectrum(make(), **wrong)
    batches = [(torch.zeros(2, 4, dtype=torch.float64), torch.tensor([0, 1]))]
    iterable = hs.Task(make().model, batches, val_share=0)
    with pytest.raises(HowsparseError, match="calib="):
        hs.spectrum(iterable)
    with pytest.raises(HowsparseError, match="linear in the network's output"):
        hs.spectrum(make(loss=lambda output, target: output.abs().sum(dim=1)))
