"""The mean loss over fixed data: values, coordinates, and what makes data or network unfit."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from howsparse import Task
from howsparse.batches import Batches
from howsparse.curvature import GaussNewton, Hessian, Objective
from howsparse.curvature.repeatable import checksum
from howsparse.errors import HowsparseError
from howsparse.masks import prunable_parameters

from .networks import PROBLEMS, labels, least_memory, normal, problem


# --- values -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("name", PROBLEMS)
def test_loss_losses_and_gradient(name, batch_size) -> None:
    made = problem(name)
    objective = made.objective(batch_size)
    weights = objective.weights().requires_grad_()
    output, target = made.output(objective, weights)
    losses = made.loss(output, target).reshape(len(target), -1).mean(dim=1)
    (expected,) = torch.autograd.grad(losses.mean(), weights)
    loss, gradient = objective.gradient()
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(objective.sample_losses(), losses.detach())
    assert loss == pytest.approx(losses.mean().item())
    assert objective.loss() == pytest.approx(losses.mean().item())
    assert objective.samples == len(losses)


def test_a_sample_is_an_entry_of_the_first_dimension() -> None:
    """(B, T) losses: the mean over T is the sample's."""
    made = problem("attention")
    flat = made.objective(forward=lambda m, b: (m(b[0]).transpose(1, 2).reshape(-1, 5), b[1].reshape(-1)))
    whole = made.objective()
    assert whole.samples == 6
    assert flat.samples == 18
    assert flat.loss() == pytest.approx(whole.loss())
    torch.testing.assert_close(flat.sample_losses().view(6, 3).mean(dim=1), whole.sample_losses())
    v = normal(whole.size)
    torch.testing.assert_close(Hessian(flat) @ v, Hessian(whole) @ v)


def test_another_divisor() -> None:
    made = problem("mlp")
    plain, scaled = made.objective(), made.objective(divide_by=30)
    assert scaled.loss() == pytest.approx(plain.loss() / 2)
    torch.testing.assert_close(scaled.gradient()[1], plain.gradient()[1] / 2)
    torch.testing.assert_close(scaled.sample_losses(), plain.sample_losses())
    assert scaled.samples == 15
    with pytest.raises(HowsparseError, match="divide_by = 0 is not allowed"):
        made.objective(divide_by=0)


def test_batches_of_any_structure() -> None:
    x, y = normal(10, 4), labels(10, 3)
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    plain = Objective(model, [(x, y)])
    parts = zip(x.split(3), y.split(3), strict=True)
    nested = [{"input": [part], "meta": ("text", None), "label": label} for part, label in parts]
    objective = Objective(model, nested, forward=lambda model, batch: (model(batch["input"][0]), batch["label"]))
    v = normal(objective.size)
    for memory in (None, 3_000):
        torch.testing.assert_close(Hessian(objective, memory) @ v, Hessian(plain) @ v)
        torch.testing.assert_close(GaussNewton(objective, memory) @ v, GaussNewton(plain) @ v)
    assert objective.loss() == pytest.approx(plain.loss())


def test_the_network_is_read_in_evaluation_mode_and_left_as_it_was() -> None:
    made = problem("convolutions")
    expected = made.objective().loss()
    made.model.train()
    made.model[1].eval()
    modes = [module.training for module in made.model.modules()]
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    objective = made.objective()
    assert objective.loss() == expected
    objective.gradient()
    objective.sample_losses()
    objective.check_repeatable()
    assert [module.training for module in made.model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.model.state_dict().items())
    assert all(parameter.grad is None for parameter in made.model.parameters())


def test_the_mode_comes_back_after_an_error() -> None:
    made = problem("mlp")
    made.model.train()
    with pytest.raises(RuntimeError):
        made.objective(forward=lambda m, b: (m(b[0][:, :2]), b[1])).loss()
    assert made.model.training


# --- coordinates ------------------------------------------------------------------------------------------------------
def test_coordinates_are_the_prunable_weights_in_order() -> None:
    made = problem("convolutions")
    objective = made.objective()
    weights = prunable_parameters(made.model)
    assert list(objective.parameters) == list(weights)
    flat = objective.weights()
    torch.testing.assert_close(flat, torch.cat([p.detach().flatten() for p in weights.values()]), rtol=0, atol=0)
    views = objective.unflatten(flat)
    assert all(torch.equal(views[name], p) for name, p in weights.items())
    assert torch.equal(objective.flatten(views), flat)
    views["0.weight"].zero_()
    assert not flat[: weights["0.weight"].numel()].any()  # views of the vector ...
    assert made.model[0].weight.any()  # ... which is a copy of the weights
    with pytest.raises(HowsparseError, match=rf"shape \({objective.size},\) is needed, got \(3,\)"):
        objective.unflatten(torch.ones(3))


def test_chosen_parameters_are_the_models_own() -> None:
    model = problem("mlp").model
    data = [(normal(4, 4), labels(4, 3))]
    chosen = Objective(model, data, parameters={"3.weight": model[3].weight})
    assert chosen.size == 20
    for wrong, message in (
        ({}, "at least one coordinate"),
        ({"3.wieght": model[3].weight}, "3.wieght is not the name of this parameter.*did you mean 3.weight"),
        ({"3.weight": nn.Parameter(torch.ones(4, 5))}, "3.weight is not the name of this parameter"),
    ):
        with pytest.raises(HowsparseError, match=message):
            Objective(model, data, parameters=wrong)


def test_tied_weights_are_one_coordinate_each() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False)).double()
    model[2].weight = model[0].weight
    x, y = normal(8, 3), labels(8, 3)
    objective = Objective(model, [(x, y)])

    def loss(flat):
        w = flat.view(3, 3)
        return F.cross_entropy(torch.tanh(x @ w.T) @ w.T, y)

    assert objective.size == 9
    expected = torch.autograd.functional.hessian(loss, objective.weights())
    torch.testing.assert_close(Hessian(objective) @ torch.eye(9).double(), expected)


# --- where data come from ---------------------------------------------------------------------------------------------
def test_an_objective_of_a_task(make_task) -> None:
    task = make_task()
    objective = Objective.of(task)
    assert objective.samples == task.train.samples
    assert list(objective.parameters) == list(prunable_parameters(task.model))
    assert Objective.of(task, data=task.test).samples == 200
    one = {"0.weight": task.model[0].weight}
    assert Objective.of(task, one).size == 12 * 16


def test_a_task_without_a_frozen_pass_says_what_to_give(points) -> None:
    batches = [points[:50], points[50:]]
    task = Task(nn.Linear(12, 2), batches, val=batches)
    with pytest.raises(HowsparseError, match="Task.*calib="):
        Objective.of(task)
    assert Objective.of(task, data=Batches(batches)).samples == 200


def test_map_style_data_are_read_in_order_and_plain() -> None:
    class Augmented(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            x, y = super().__getitem__(index)
            return x + torch.randn_like(x), y

        def plain(self) -> TensorDataset:
            return TensorDataset(*self.tensors)

    x, y = normal(20, 4), labels(20, 3)
    model = nn.Linear(4, 3).double()
    expected = Objective(model, [(x, y)]).sample_losses()
    for data in (
        TensorDataset(x, y),
        Augmented(x, y),
        DataLoader(TensorDataset(x, y), batch_size=6, shuffle=True),
        DataLoader(Augmented(x, y), batch_size=6, shuffle=True),
        Batches(TensorDataset(x, y)),
    ):
        objective = Objective(model, data)
        torch.testing.assert_close(objective.sample_losses(), expected)
        objective.check_repeatable()


# --- data and networks that will not do -------------------------------------------------------------------------------
class Shuffling:
    """Batches in another order at every pass."""

    def __init__(self) -> None:
        self.passes = 0
        self.batches = [(normal(4, 4, seed=i), labels(4, 3)) for i in range(4)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        self.passes += 1
        order = torch.randperm(4, generator=torch.Generator().manual_seed(self.passes)).tolist()
        return iter([self.batches[i] for i in order])


class Noisy(Dataset):
    """Every reading of an image is flipped or not."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int):
        x = normal(4, seed=index)
        return (x if torch.rand(()) < 0.5 else x.flip(0)), index % 3


@pytest.mark.parametrize("data", [Shuffling(), Noisy()], ids=["shuffled", "augmented"])
def test_data_that_change_are_found_before_the_work(data) -> None:
    objective = Objective(nn.Linear(4, 3).double(), data)
    with pytest.raises(HowsparseError, match="data: batch 0 is not the same in two passes.*shuffles or augments"):
        objective.check_repeatable()


def test_data_that_change_are_found_during_the_work() -> None:
    objective = Objective(nn.Linear(4, 3).double(), Shuffling())
    objective.loss()
    with pytest.raises(HowsparseError, match="is not the same in two passes"):
        objective.gradient()
    shrinking = [(normal(4, 4), labels(4, 3)), (normal(4, 4, seed=3), labels(4, 3))]
    objective = Objective(nn.Linear(4, 3).double(), shrinking)
    operator = Hessian(objective, least_memory(Hessian, objective))
    operator @ torch.zeros(12)
    shrinking[1] = (shrinking[1][0].clone(), shrinking[1][1])
    shrinking[1][0][2, 1] += 1e-12
    with pytest.raises(HowsparseError, match="data: batch 1 is not the same in two passes"):
        operator @ torch.zeros(12)
    shrinking.pop()
    with pytest.raises(HowsparseError, match="data: batch 1 is not the same in two passes"):
        operator @ torch.zeros(12)


def test_checksums_see_every_bit_and_its_place() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    variants = [x, x.flip(1), x.T.contiguous(), x.reshape(6), x.double(), x.bfloat16(), x.to(torch.int64), x + 1e-6]
    sums = [checksum({"a": [v, "text"]}) for v in variants]
    assert len(set(sums)) == len(variants)
    assert checksum((x.T,)) == checksum((x.T.contiguous(),))
    assert checksum((torch.zeros(0, 3),)) == checksum((torch.zeros(0, 3),))


class Custom(nn.Module):
    """A network whose forward does what it should not."""

    def __init__(self, vice: str) -> None:
        super().__init__()
        self.inner, self.drop, self.norm, self.vice = nn.Linear(4, 6), nn.Dropout(0.5), nn.BatchNorm1d(6), vice
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        if self.vice == "dropout left on":
            self.drop.train()
        if self.vice == "norm left on":
            self.norm.train()
        x = self.norm(self.drop(self.inner(x)))
        return self.head(F.dropout(x, 0.5) if self.vice == "functional dropout" else x)


@pytest.mark.parametrize(
    ("vice", "message"),
    [
        ("dropout left on", r"module drop \(Dropout, in training mode\) changes although its input does not"),
        ("functional dropout", r"the network \(Custom\) changes although its input does not.*training=self.training"),
        ("norm left on", "batch norm norm uses the batch.s own statistics"),
    ],
)
def test_noise_in_the_network_is_named(vice, message) -> None:
    model = Custom(vice).double()
    objective = Objective(model, [(normal(8, 4), labels(8, 3))])
    with pytest.raises(HowsparseError, match=message):
        objective.check_repeatable()
    assert not model._forward_hooks
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    Objective(Custom("none").double(), [(normal(8, 4), labels(8, 3))]).check_repeatable()


def test_noise_outside_the_network_is_named() -> None:
    def loss(output, target):
        return F.cross_entropy(output + torch.randn_like(output), target, reduction="none")

    objective = Objective(nn.Linear(4, 3).double(), [(normal(8, 4), labels(8, 3))], loss=loss)
    with pytest.raises(HowsparseError, match="forward or loss"):
        objective.check_repeatable()


def test_batch_norm_without_statistics_is_named() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)).double()
    objective = Objective(model, [(normal(8, 4), labels(8, 3))])
    with pytest.raises(HowsparseError, match="batch norm 1 "):
        objective.check_repeatable()


def test_noise_is_found_during_the_work() -> None:
    objective = Objective(Custom("functional dropout").double(), [(normal(64, 4), labels(64, 3))])
    whole = Hessian(objective, memory=20_000)  # enough for the batch, not for keeping it
    whole @ torch.zeros(objective.size)
    with pytest.raises(HowsparseError, match="mean loss of batch 0 changed.*check_repeatable"):
        whole @ torch.zeros(objective.size)
    in_parts = Hessian(objective, least_memory(Hessian, objective))
    with pytest.raises(HowsparseError, match=r"the network \(Custom\) changes although its input does not"):
        in_parts @ torch.zeros(objective.size)


def test_losses_that_will_not_do() -> None:
    made = problem("mlp")
    with pytest.raises(HowsparseError, match="one value per sample"):
        made.objective(loss=F.cross_entropy).loss()
    made.model[0].weight.data[0, 0] = torch.nan
    for compute in (made.objective().loss, made.objective().gradient, made.objective().sample_losses):
        with pytest.raises(HowsparseError, match="the loss over data is nan, not a finite number"):
            compute()


def test_there_must_be_samples() -> None:
    with pytest.raises(HowsparseError, match="data: there are no samples"):
        Objective(nn.Linear(4, 3), []).loss()


# --- parts ------------------------------------------------------------------------------------------------------------
def test_parts_add_up() -> None:
    x, y = normal(20, 4), labels(20, 3)
    whole = Objective(nn.Linear(4, 3).double(), DataLoader(TensorDataset(x, y), batch_size=6))
    some, others = [1, 5, 19], [i for i in range(20) if i not in {1, 5, 19}]
    parts = [whole.subset(chosen, divide_by=20) for chosen in (some, others)]
    assert [part.samples for part in parts] == [3, 17]
    assert sum(part.loss() for part in parts) == pytest.approx(whole.loss())
    torch.testing.assert_close(parts[0].sample_losses(), whole.sample_losses()[some])
    v = normal(whole.size)
    torch.testing.assert_close(Hessian(parts[0]) @ v + Hessian(parts[1]) @ v, Hessian(whole) @ v)


def test_a_part_loses_no_sample_to_incomplete_batches() -> None:
    loader = DataLoader(TensorDataset(normal(20, 4), labels(20, 3)), batch_size=8, drop_last=True)
    whole = Objective(nn.Linear(4, 3).double(), loader)
    assert whole.samples == 16  # as the loader has it
    part = whole.subset(range(11))
    assert part.samples == 11
    torch.testing.assert_close(part.sample_losses(), whole.sample_losses()[:11])
    assert part.subset([10, 0, 3]).samples == 3


@pytest.mark.parametrize("positions", [[], [-1], [20]])
def test_positions_out_of_range(positions) -> None:
    data = Batches(TensorDataset(normal(20, 4)))
    with pytest.raises(HowsparseError, match="at least one position, all of them between 0 and 19"):
        data.subset(positions)


def test_iterable_data_have_no_parts() -> None:
    with pytest.raises(HowsparseError, match="map-style"):
        Batches([(normal(3, 4), labels(3, 3))]).subset([0])
