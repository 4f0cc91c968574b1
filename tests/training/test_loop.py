import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import howsparse as hs
from howsparse.training import Evaluation, Training


def trained(task: hs.Task, recipe: hs.Recipe, **kw) -> Training:
    training = Training(task, recipe, recipe.epochs, epoch_seed=lambda epoch: epoch, **kw)
    list(training.run())
    return training


def test_course_of_the_learning_rate() -> None:
    def rates(**kw):
        recipe = hs.Recipe(epochs=4, **kw)
        return [recipe.factor(step, 10) for step in range(0, 40, 5)]

    cosine = [0.5 * (1 + math.cos(math.pi * e / 4)) for e in range(4)]
    assert rates() == pytest.approx([c for c in cosine for _ in range(2)])
    assert rates(per="step") == pytest.approx([0.5 * (1 + math.cos(math.pi * s / 40)) for s in range(0, 40, 5)])
    assert rates(schedule="linear", per="step") == pytest.approx([1 - s / 40 for s in range(0, 40, 5)])
    assert rates(schedule="milestones") == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rates(schedule="constant", warmup=1) == pytest.approx([0.1, 0.6, 1, 1, 1, 1, 1, 1])


def test_equals_pytorch_by_hand(make_task) -> None:
    """Clipping, Nesterov momentum, weight decay and cosine as torch does them."""
    recipe = hs.Recipe(epochs=3, lr=0.2, keep="last", clip=0.5)
    task, other = make_task(), make_task()
    trained(task, recipe)
    model = other.model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    for epoch in range(3):
        model.train()
        for share in other.train.shuffled(epoch):
            x, y = share.batch
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
        schedule.step()
        model.eval()
    for a, b in zip(task.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_l1_is_a_term_of_the_loss(make_task) -> None:
    recipe = hs.Recipe(epochs=1, l1=0.01, keep="last", clip=1.0)
    task, other = make_task(), make_task()
    trained(task, recipe, l1_weights=[task.model[0].weight])
    model = other.model.train()
    optimizer = recipe.build_optimizer(model.parameters())
    for share in other.train.shuffled(0):
        x, y = share.batch
        optimizer.zero_grad()
        (nn.functional.cross_entropy(model(x), y) + 0.01 * model[0].weight.abs().sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert torch.allclose(task.model[0].weight, model[0].weight, atol=1e-6)


def test_best_epoch_is_kept_and_first_of_equals(make_task) -> None:
    task = make_task()
    training = Training(task, hs.Recipe(epochs=5, lr=0.3), 5, epoch_seed=lambda epoch: epoch)
    records, states = [], []
    for record in training.run():
        records.append(record)
        states.append({k: v.clone() for k, v in task.model.state_dict().items()})
    training.restore_best()
    best = max(range(5), key=lambda e: records[e]["val_metric"])
    assert training.best_epoch == best
    assert all(torch.equal(v, states[best][k]) for k, v in task.model.state_dict().items())


def test_without_a_metric_the_loss_decides(points) -> None:
    torch.manual_seed(0)
    data = TensorDataset(points.tensors[0], points.tensors[0][:, :2] * 2)
    task = hs.Task(nn.Linear(12, 2), data, loss=lambda o, t: (o - t).square().mean(1))
    training = Training(task, hs.Recipe(epochs=4, lr=0.1), 4, epoch_seed=lambda e: e)
    losses = [record["val_loss"] for record in training.run()]
    assert training.best_epoch == losses.index(min(losses))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_resumes_bitwise_from_any_epoch(precision, optimizer, make_task) -> None:
    recipe = hs.Recipe(epochs=3, lr=0.01, precision=precision, optimizer=optimizer)
    whole = make_task()
    training = Training(whole, recipe, 3, epoch_seed=lambda e: e)
    saved = []
    for _ in training.run():
        saved.append((copied(whole.model.state_dict()), copied(training.state_dict())))
    training.restore_best()
    for model_state, training_state in saved[:-1]:
        part = make_task(seed=5)
        part.model.load_state_dict(model_state)
        again = Training(part, recipe, 3, epoch_seed=lambda e: e)
        again.load_state_dict(training_state)
        list(again.run())
        again.restore_best()
        pairs = zip(part.model.state_dict().values(), whole.model.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def copied(state):
    import copy

    return copy.deepcopy(state)


def test_starting_at_a_later_step(make_task) -> None:
    steps = []

    class Watch(hs.Callback):
        def on_step(self, epoch, step, steps_):
            steps.append((epoch, step))

    task = make_task()
    n = len(task.train)
    trained(task, hs.Recipe(epochs=2), first_step=n + 2, callbacks=[Watch()])
    assert steps == [(1, s) for s in range(3, n + 1)]


def test_divergence_is_stopped_and_located(make_task) -> None:
    with pytest.raises(hs.DivergedError, match=r"epoch \d+, step \d+ of 6, learning rate 1e\+20"):
        trained(make_task(), hs.Recipe(epochs=3, lr=1e20, clip=None))


def test_best_needs_held_out_data(make_task) -> None:
    with pytest.raises(hs.HowsparseError, match="needs held-out data"):
        trained(make_task(val_share=0), hs.Recipe(epochs=1))
    trained(make_task(val_share=0), hs.Recipe(epochs=1, keep="last"))


def test_own_optimizer(make_task) -> None:
    def rms(parameters):
        return torch.optim.RMSprop(parameters, lr=0.01)

    trained(make_task(), hs.Recipe(epochs=1, optimizer=rms))
    assert "rms" in hs.Recipe(optimizer=rms).to_plain()["optimizer"]


def test_anything_is_better_than_nan(make_task) -> None:
    training = Training(make_task(), hs.Recipe(), 1, epoch_seed=lambda epoch: epoch)
    training.task.metric = None
    nan, one, two = (Evaluation(loss, math.nan, 1) for loss in (math.nan, 1.0, 2.0))
    assert [training._better(*pair) for pair in ((one, nan), (nan, one), (one, two), (two, one), (one, one))] == [
        True, False, True, False, False,
    ]  # fmt: skip
