"""What a coreset promises about the whole, on networks small enough for dense matrices."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from howsparse.curvature import GaussNewton, Objective, most_uncertain, remainder_trace, uniform
from howsparse.errors import HowsparseError
from howsparse.task import squared_error

from .networks import labels, normal, problem


def _objective(batch_size: int = 8) -> Objective:
    made = problem("mlp")
    for parameter in made.model.parameters():
        parameter.data.mul_(2.0)  # some samples are certain, some are not
    data = TensorDataset(normal(60, 4), labels(60, 3))
    return Objective(made.model, DataLoader(data, batch_size=batch_size))


def _dense(objective: Objective) -> torch.Tensor:
    return GaussNewton(objective) @ torch.eye(objective.size, dtype=torch.float64)


def test_the_least_certain_samples_are_chosen() -> None:
    objective = _objective()
    x, _ = objective.data.dataset.tensors
    objective.model.eval()
    p = objective.model(x).softmax(dim=1)
    doubt = (1 - p.square().sum(dim=1)).detach()
    found = most_uncertain(objective, 12)
    assert found.positions.tolist() == doubt.topk(12).indices.sort().values.tolist()
    assert found.share == pytest.approx(float(doubt[found.positions].sum() / doubt.sum()))
    assert found.share > 12 / 60
    assert (found.count, found.top.samples, found.rest.samples) == (12, 12, 48)
    assert found.certified
    torch.testing.assert_close(found.top.sample_losses(), objective.sample_losses()[found.positions])


@pytest.mark.parametrize("count", [1, 12, 59])
def test_a_coreset_lies_below_the_whole_and_what_it_lacks_is_bounded_by_a_trace(count) -> None:
    objective = _objective()
    whole, found = _dense(objective), most_uncertain(objective, count)
    top, rest = _dense(found.top), _dense(found.rest)
    torch.testing.assert_close(top + rest, whole, rtol=1e-10, atol=1e-13)
    assert float(torch.linalg.eigvalsh(whole - top)[0]) > -1e-12
    for mu in (1e-4, 1e-2, 1.0):
        low, middle, spectrum = (_dof(matrix, mu) for matrix in (top, whole, rest))
        assert low <= middle <= low + float(rest.trace()) / mu
        assert spectrum <= float(rest.trace()) / mu


def _dof(matrix: torch.Tensor, mu: float) -> float:
    values = torch.linalg.eigvalsh(matrix).clamp(min=0)
    return float((values / (values + mu)).sum())


def test_all_samples() -> None:
    objective = _objective()
    for found in (most_uncertain(objective, 60), most_uncertain(objective, 100), uniform(objective, 60)):
        assert found.rest is None
        assert found.certified
        assert found.count == 60
        torch.testing.assert_close(_dense(found.top), _dense(objective))
        assert remainder_trace(found).high == 0.0


def test_positions_over_more_dimensions() -> None:
    """(B, C, T) outputs: a sample's uncertainty is the mean over its positions."""
    torch.manual_seed(0)
    model = nn.Conv1d(1, 3, 1).double()
    x = normal(10, 1, 4)
    x[3] = 0.0  # every softmax of this sample is that of the bias
    objective = Objective(model, TensorDataset(x, labels(10, 3, 4)))
    doubt = (1 - model(x).softmax(dim=1).square().sum(dim=1)).mean(dim=1)
    assert most_uncertain(objective, 4).positions.tolist() == doubt.topk(4).indices.sort().values.tolist()


def test_a_uniform_draw_stands_for_the_whole() -> None:
    objective = _objective()
    whole = _dense(objective)
    draws = [uniform(objective, 20, seed) for seed in range(50)]
    assert draws[3].positions.tolist() == uniform(objective, 20, 3).positions.tolist()
    assert len({tuple(draw.positions.tolist()) for draw in draws}) == 50
    assert not draws[0].certified
    assert draws[0].rest is None
    traces = np.array([float(_trace(draw.top)) for draw in draws])
    assert abs(traces.mean() - float(whole.trace())) < 4 * traces.std() / np.sqrt(50)


def _trace(objective: Objective) -> torch.Tensor:
    return GaussNewton(objective).forms(torch.eye(objective.size, dtype=torch.float64)).sum()


# --- the trace of the rest --------------------------------------------------------------------------------------------
def test_the_trace_of_the_rest_and_its_interval() -> None:
    coreset = most_uncertain(_objective(batch_size=6), 12)
    truth = float(_trace(coreset.rest))
    found = [remainder_trace(coreset, seed=seed) for seed in range(100)]
    means, errors = np.array([f.mean for f in found]), np.array([f.error for f in found])
    assert abs(means.mean() - truth) < 4 * means.std() / np.sqrt(100)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(means.std(), rel=0.2)
    covered = np.mean([f.low <= truth <= f.high for f in found])
    assert 0.88 < covered <= 1
    assert all(0 <= f.low <= f.mean <= f.high for f in found)


def test_vectors_of_their_own_make_batches_cancel() -> None:
    """Many small batches give a smaller error than one large one, for the same work."""
    spread = {}
    for batch_size in (4, 48):
        coreset = most_uncertain(_objective(batch_size), 12)
        spread[batch_size] = np.std([remainder_trace(coreset, seed=seed).mean for seed in range(40)])
    assert spread[4] < 0.6 * spread[48]


def test_the_trace_does_not_depend_on_the_memory_in_the_mean() -> None:
    coreset = most_uncertain(_objective(), 12)
    truth = float(_trace(coreset.rest))
    found = remainder_trace(coreset, probes=200, memory=20_000)
    assert abs(found.mean - truth) < 4 * found.error


def test_the_trace_does_not_depend_on_the_memory() -> None:
    """However finely memory cuts the batches, the signs are those of the batches."""
    coreset = most_uncertain(_objective(), 12)
    whole, cut = (remainder_trace(coreset, seed=5, memory=memory) for memory in (None, 4_000))
    pieces = GaussNewton(coreset.rest, 4_000)._pieces
    assert len(list(pieces)) > len(list(coreset.rest.batches()))  # memory did cut
    for a, b in zip(vars(whole).values(), vars(cut).values(), strict=True):
        assert a == pytest.approx(b, rel=1e-9)


# --- what cannot be done ----------------------------------------------------------------------------------------------
def test_other_losses_have_no_uncertainty() -> None:
    data = TensorDataset(normal(9, 3), normal(9, 2))
    objective = Objective(problem("regression").model, data, loss=squared_error)
    with pytest.raises(HowsparseError, match="cross_entropy; for other losses take uniform"):
        most_uncertain(objective, 2)
    assert uniform(objective, 2).top.samples == 2


def test_what_cannot_be_chosen() -> None:
    objective = _objective()
    batches = Objective(objective.model, [objective.data.dataset.tensors])
    for choose in (most_uncertain, uniform):
        with pytest.raises(HowsparseError, match="map-style dataset"):
            choose(batches, 3)
        with pytest.raises(HowsparseError, match="a coreset of 0 samples"):
            choose(objective, 0)
    with pytest.raises(HowsparseError, match="two vectors a batch"):
        remainder_trace(most_uncertain(objective, 3), probes=1)
    with pytest.raises(HowsparseError, match="leaves no remainder"):
        remainder_trace(uniform(objective, 3))
