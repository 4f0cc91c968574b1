import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from howsparse import HowsparseError, Metric, Task
from howsparse.batches import Batches
from howsparse.task import squared_error, to_device
from howsparse.training import evaluate
from howsparse.training.backprop import backprop


class Plain(Dataset):
    """A dataset with augmentation that can be switched off."""

    def __init__(self, noisy: bool = True) -> None:
        self.noisy = noisy

    def __len__(self) -> int:
        return 50

    def __getitem__(self, i: int):
        return torch.tensor([float(i) + (torch.rand(1).item() if self.noisy else 0)]), i % 2

    def plain(self) -> "Plain":
        return Plain(noisy=False)


def seen(batches) -> list[int]:
    return [int(v) for batch in batches for v in batch[0].reshape(-1).tolist()]


def order(data: Batches, seed: int, **kw) -> list[list[int]]:
    return [[int(v) for v in share.batch[0].reshape(-1).tolist()] for share in data.shuffled(seed, **kw)]


LOADERS = {
    "dataset": lambda: TensorDataset(torch.arange(50.0)),
    "own dataset": Plain,
    "shuffling loader": lambda: DataLoader(TensorDataset(torch.arange(50.0)), batch_size=8, shuffle=True),
    "workers": lambda: DataLoader(Plain(), batch_size=8, shuffle=True, num_workers=1),
    "own sampler": lambda: DataLoader(Plain(), batch_size=8, sampler=SubsetRandomSampler(range(50))),
    "own batch sampler": lambda: DataLoader(
        Plain(), batch_sampler=BatchSampler(SubsetRandomSampler(range(50)), 8, drop_last=False)
    ),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_order_follows_from_the_seed(kind) -> None:
    data = Batches(LOADERS[kind](), batch_size=8)
    first, again, other = (list(data.shuffled(s)) for s in (3, 3, 4))
    assert [torch.equal(a.batch[0], b.batch[0]) for a, b in zip(first, again, strict=True)] == [True] * 7
    assert any(not torch.equal(a.batch[0], b.batch[0]) for a, b in zip(first, other, strict=True))
    assert sorted(seen(share.batch for share in first)) == list(range(50))
    assert len(data) == 7


@pytest.mark.parametrize("draw", [lambda: random.random(), lambda: np.random.rand(), lambda: torch.rand(1).item()])  # noqa: NPY002
def test_augmentation_by_any_generator_follows_from_the_seed(draw) -> None:
    class Noisy(Plain):
        def __getitem__(self, i: int):
            return torch.tensor([i + draw()]), 0

    data = Batches(Noisy(), batch_size=8)
    first, again, other = (torch.cat([s.batch[0] for s in data.shuffled(seed)]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first.sort(0).values, other.sort(0).values)


def test_a_loader_that_does_not_shuffle_is_read_in_order() -> None:
    loader = DataLoader(TensorDataset(torch.arange(20.0)), batch_size=6, drop_last=True)
    assert order(Batches(loader), 1) == [list(range(6)), list(range(6, 12)), list(range(12, 18))]


def test_a_single_sample_left_over_joins_the_batch_before_it() -> None:
    data = Batches(TensorDataset(torch.arange(9.0)), batch_size=4)
    assert [len(share.batch[0]) for share in data.shuffled(0)] == [4, 5]
    assert len(data) == 2
    assert [len(batch[0]) for batch in Batches(TensorDataset(torch.arange(1.0)), batch_size=4).ordered()] == [1]


def test_loaders_with_samplers_of_their_own_are_passed_through() -> None:
    data = TensorDataset(torch.arange(50.0))
    few = DataLoader(data, batch_size=8, sampler=SubsetRandomSampler(range(20)))
    drawn = DataLoader(data, batch_size=10, sampler=RandomSampler(data, replacement=True, num_samples=30))
    single = DataLoader(data, batch_size=None)
    assert [len(Batches(loader)) for loader in (few, drawn, single)] == [3, 3, 50]
    with pytest.raises(HowsparseError, match="a sampler of its own, cannot be split"):
        Task(nn.Linear(1, 2), few)
    assert Task(nn.Linear(1, 2), few, val=few).calib is None


def test_own_collation_is_kept_for_held_out_data() -> None:
    class Ragged(Dataset):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, i: int):
            return torch.ones(1 + i % 3), i % 2

    def pad(samples):
        x, y = zip(*samples, strict=True)
        return nn.utils.rnn.pad_sequence(x, batch_first=True), torch.tensor(y)

    task = Task(nn.Identity(), DataLoader(Ragged(), batch_size=4, collate_fn=pad), val_share=0.5)
    assert [data.name for data in (task.train, task.val, task.calib)] == ["train", "val", "calib"]
    for data in (task.train, task.val, task.calib):
        assert next(iter(data.ordered()))[0].dim() == 2


def test_skipping_resumes_the_same_pass() -> None:
    data = Batches(LOADERS["dataset"](), batch_size=8)
    assert order(data, 5, skip=3) == order(data, 5)[3:]


@pytest.mark.parametrize("world", [2, 3, 5])
def test_shares_make_up_each_batch(world) -> None:
    data = Batches(TensorDataset(torch.arange(17.0)), batch_size=4)
    whole = order(data, 2)
    shares = [list(data.shuffled(2, rank=r, world=world)) for r in range(world)]
    for step, batch in enumerate(whole):
        parts = [shares[r][step] for r in range(world)]
        real = {int(v) for s in parts if s.weight for v in s.batch[0].tolist()}
        assert real == set(batch)
        assert all(len(s.batch[0]) > 1 for s in parts)  # batch statistics need two
        total = sum(float(s.batch[0].mean()) * s.weight for s in parts) / world  # averaging gradients over processes
        assert total == pytest.approx(sum(batch) / len(batch))


def test_hold_out_is_disjoint_seeded_and_plain() -> None:
    rest, held = Batches(Plain(), batch_size=8).hold_out(0.2, seed=1)
    val = seen(held.ordered())
    assert len(val) == 10
    assert val == sorted(val)
    assert not set(val) & set(seen(share.batch for share in rest.shuffled(0)))
    again = seen(Batches(Plain(), batch_size=8).hold_out(0.2, seed=1)[1].ordered())
    assert again == val
    other = seen(Batches(Plain(), batch_size=8).hold_out(0.2, seed=2)[1].ordered())
    assert other != val
    values = torch.cat([batch[0] for batch in held.ordered()])
    assert torch.equal(values, values.round())  # no augmentation


def test_calibration_pass_is_frozen_and_covers_the_training_samples() -> None:
    task = Task(nn.Linear(1, 2), Plain(), batch_size=8)
    a, b = (torch.cat([batch[0] for batch in task.calib.ordered()]) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(a, a.round())
    assert len(a) == task.train.samples == 45


def test_iterables_must_bring_val() -> None:
    batches = [(torch.randn(4, 3), torch.randint(0, 2, (4,))) for _ in range(3)]
    with pytest.raises(HowsparseError, match="bring held-out data"):
        Task(nn.Linear(3, 2), batches)
    task = Task(nn.Linear(3, 2), batches, val=batches)
    assert evaluate(task, task.val).samples == 12

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(batches)

    with pytest.raises(HowsparseError, match="needs a length"):
        len(Batches(Stream()))
    with pytest.raises(HowsparseError, match="read only once"):
        Task(nn.Linear(3, 2), iter(batches))
    with pytest.raises(HowsparseError, match="the data set is empty"):
        Batches(TensorDataset(torch.zeros(0)))
    with pytest.raises(HowsparseError, match=r"val_share = 1\.5"):
        Task(nn.Linear(3, 2), batches, val_share=1.5)


def test_regression_restoration_and_ratios() -> None:
    """Nothing assumes class labels: squared error, and a metric that is a ratio of sums."""
    torch.manual_seed(0)
    x = torch.randn(30, 5)
    y = 2 * x
    nmse = Metric(
        "nmse",
        lambda out, t: torch.stack([((out - t) ** 2).sum(1), (t**2).sum(1)], dim=1),
        higher_is_better=False,
        finish=lambda mean: float(mean[0] / mean[1]),
    )
    task = Task(nn.Identity(), TensorDataset(x, y), loss=squared_error, metric=nmse, batch_size=7)
    found = evaluate(task, Batches(TensorDataset(x, y), batch_size=7))
    assert found.metric == pytest.approx(0.25)
    assert found.loss == pytest.approx(float(x.square().mean()), rel=1e-6)
    assert nmse.better(0.1, 0.2)
    assert not nmse.better(0.2, 0.2)
    assert nmse.better(0.2, float("nan"))


def test_language_model_batches() -> None:
    """Logits (B, V, T), targets (B, T), batches as dictionaries."""
    tokens = torch.randint(0, 7, (6, 9))
    batches = [{"ids": tokens[:4]}, {"ids": tokens[4:]}]
    model = nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 7))
    task = Task(
        model, batches, val=batches, forward=lambda m, b: (m(b["ids"][:, :-1]).transpose(1, 2), b["ids"][:, 1:])
    )  # fmt: skip
    logits = model(tokens[:, :-1]).detach()
    expected = nn.functional.cross_entropy(logits.reshape(-1, 7), tokens[:, 1:].reshape(-1))
    found = evaluate(task, task.val)
    assert found.loss == pytest.approx(float(expected), rel=1e-6)
    assert found.metric == pytest.approx(float((logits.argmax(-1) == tokens[:, 1:]).double().mean()))
    assert found.samples == 6


def test_a_loss_that_averages_is_refused(points) -> None:
    task = Task(nn.Linear(12, 2), points, loss=nn.functional.cross_entropy)
    with pytest.raises(HowsparseError, match="one value per sample"):
        evaluate(task, task.train)


def test_flattened_tokens_give_the_same_gradients() -> None:
    """(B*T, V) logits or (B, V, T): the mean is the mean."""
    tokens = TensorDataset(torch.randint(0, 7, (12, 9)))
    norms = []
    for flat in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 7))

        def forward(m, batch, flat=flat):
            logits, target = m(batch[0][:, :-1]), batch[0][:, 1:]
            return (logits.reshape(-1, 7), target.reshape(-1)) if flat else (logits.transpose(1, 2), target)

        task = Task(model, tokens, val=tokens, forward=forward, batch_size=4)
        backprop(task, model, next(task.train.shuffled(0)), "float32", None)
        norms.append(float(model[1].weight.grad.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_a_metric_that_averages_fails_before_the_work(points) -> None:
    wrong = Metric("wrong", lambda output, target: (output.argmax(1) == target).double().mean())
    with pytest.raises(HowsparseError, match="metric wrong gave values of shape"):
        Task(nn.Linear(12, 2), points, metric=wrong).probe()


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (Pair(12, 2), {}, "does not go through forward, loss and metric: .*tuple"),
        (nn.Linear(5, 2), {}, r"float32 \(128, 12\), int64 \(128,\).*RuntimeError: mat1 and mat2"),
        (
            nn.Linear(12, 2),
            {"loss": squared_error},
            r"output has shape \(128, 2\), target \(128,\); they must be equal",
        ),
        (nn.Linear(12, 2), {"loss": lambda o, t: o.sum(1)[:3]}, "the loss gave 3 values for 128 targets"),
        (nn.Linear(12, 2), {"metric": Metric("m", lambda o, t: o / 0)}, None),
        (nn.Linear(12, 2), {"metric": Metric("m", lambda o, t: o[:, 7])}, "IndexError"),
    ],
)
def test_the_first_batch_explains_what_does_not_fit(model, changes, message, points) -> None:
    task = Task(model, points, **changes)
    if message is None:
        task.probe()
        return
    with pytest.raises(HowsparseError, match=message):
        task.probe()


def test_labels_outside_the_classes_are_found_before_the_work(points) -> None:
    """Also those that the first batch does not hold."""
    x, y = points.tensors
    late = y.clone()
    late[-1] = 7
    with pytest.raises(HowsparseError, match="train: 1 labels are outside 0 to 1, the first is 7; the network has 2"):
        Task(nn.Linear(12, 2), TensorDataset(x, late), batch_size=8).probe()
    Task(nn.Linear(12, 8), TensorDataset(x, late), batch_size=8).probe()


def test_what_cannot_work_fails_before_the_work(points) -> None:
    few = Task(nn.Linear(12, 1), points, test=points)
    with pytest.raises(HowsparseError, match="labels go from 0 to 1 but the network has 1 outputs"):
        few.probe()
    x, y = points.tensors
    holes = TensorDataset(torch.where(x > 2, torch.nan, x), y)
    with pytest.raises(HowsparseError, match="test: the loss of the first batch is not finite"):
        Task(nn.Linear(12, 2), points, test=holes).probe()
    fine = Task(nn.Sequential(nn.Linear(12, 2), nn.BatchNorm1d(2)), points)
    before = {k: v.clone() for k, v in fine.model.state_dict().items()}
    fine.probe()
    assert fine.model.training
    assert all(torch.equal(v, before[k]) for k, v in fine.model.state_dict().items())


def test_evaluation_does_not_depend_on_batches_and_restores_the_mode(points) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    found = [evaluate(Task(model, points, batch_size=b), Batches(points, batch_size=b)) for b in (3, 64, 200)]
    assert model.training
    assert found[0].metric == found[1].metric == found[2].metric
    assert found[0].loss == pytest.approx(found[2].loss, rel=1e-6)


def test_to_device_keeps_structure() -> None:
    from collections import namedtuple

    Pair = namedtuple("Pair", "x y")
    moved = to_device({"a": [torch.ones(1), "text"], "b": Pair(torch.zeros(1), 3)}, torch.device("meta"))
    assert moved["a"][0].is_meta
    assert moved["a"][1] == "text"
    assert moved["b"].x.is_meta
    assert moved["b"].y == 3
