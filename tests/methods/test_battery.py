"""One battery for all methods: whatever is registered, plug-ins included, must pass it."""

import math

import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse.masks import SCOPES
from howsparse.methods import CyclicMethod, CyclicPruner, registered
from howsparse.settings import settings_of

METHODS = {name: cls for name, cls in registered()[0].items() if issubclass(cls, CyclicMethod)}


def short(name: str, **changes) -> CyclicMethod:
    cls = METHODS[name]
    known = settings_of(cls)
    own = {"cycles": 3} if "cycles" in known else {}
    if name == "lomp":  # a limit needs a task, which a loop of one's own has not; its recipe is that of the loops here
        own |= {"sparsity": 0.8, "penalty": 0.0, "fine_tune": 1}
    return cls(**own | changes)


def train(task: hs.Task, pruner: CyclicPruner, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    """A user's own loop, one epoch."""
    task.model.train()
    for share in task.train.shuffled(seed):
        output, target = task.outputs(task.model, share.batch)
        optimizer.zero_grad()
        task.sample_losses(output, target).mean().backward()
        optimizer.step()
        pruner.step()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scope", SCOPES)
def test_zeros_stay_zero_masks_are_nested_and_counts_exact(name, scope, make_task) -> None:
    task = make_task()
    method = short(name, scope=scope)
    optimizer = sgd(task.model)
    pruner = method.attach(task.model, optimizer, total_steps=len(task.train))
    seen = [pruner.masks]
    for cycle in pruner.cycles():
        assert pruner.masks <= seen[-1]
        seen.append(pruner.masks)
        for _ in range(2):
            train(task, pruner, optimizer, seed=cycle)
            for weight_name, weight in pruner.weights.items():
                assert bool((weight[~pruner.masks[weight_name]] == 0).all())
    masks = pruner.finish()
    assert len(seen) - 1 == method.prunings + 1
    assert masks.active < masks.total
    living = sum(int((w != 0).sum()) for w in pruner.weights.values())
    assert living == masks.active  # no weight is zero by accident, none lives that should not
    asked = getattr(method, "sparsity", None)
    if asked is not None:
        assert masks.total - masks.active == math.floor(asked * masks.total + 0.5)
    assert [r["active"] for r in pruner.records] == [m.active for m in seen[1:]]


@pytest.mark.parametrize("name", METHODS)
def test_the_model_stays_the_users(name, make_task) -> None:
    task = make_task()
    keys, modules = list(task.model.state_dict()), list(task.model.modules())
    pruner = short(name).attach(task.model)
    for _ in pruner.cycles():
        pass
    pruner.finish()
    assert list(task.model.state_dict()) == keys
    assert list(task.model.modules()) == modules
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in task.model.modules())


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_answer(name, make_task) -> None:
    recipe = hs.Recipe(epochs=2, lr=0.1)
    first, again = (hs.prune(make_task(), short(name), recipe, seed=3) for _ in range(2))
    other = hs.prune(make_task(), short(name), recipe, seed=4)
    assert first.masks == again.masks
    assert same_state(first.model, again.model)
    assert without_times(first.history) == without_times(again.history)
    assert not same_state(first.model, other.model)


@pytest.mark.parametrize("name", METHODS)
def test_own_loop_equals_prune(name, make_task) -> None:
    """The same training written by hand ends in the same network, bit for bit."""
    task = make_task()
    recipe = hs.Recipe(epochs=1, lr=0.1, momentum=0.9, nesterov=False, weight_decay=5e-3, clip=None, keep="last")
    expected = hs.prune(make_task(), short(name), recipe, seed=0)
    optimizer = sgd(task.model)
    pruner = short(name).attach(task.model, optimizer, total_steps=len(task.train))
    for cycle in pruner.cycles():
        # epoch 0 of a rewound network reads the dense network's order, a fine-tuned one goes on
        train_seed = 0 if pruner.method.rewind != "none" else cycle
        train(task, pruner, optimizer, seed=train_seed)
    masks = pruner.finish()
    assert masks == expected.masks
    assert same_state(task.model, expected.model)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("at", [0, 1])
def test_state_dict_restores_mid_schedule(name, at, make_task, tmp_path) -> None:
    def begin():
        task = make_task()
        optimizer = sgd(task.model)
        return task, optimizer, short(name).attach(task.model, optimizer)

    task, optimizer, pruner = begin()
    for cycle in pruner.cycles():
        if cycle == at:
            state = {"model": task.model.state_dict(), "optimizer": optimizer.state_dict(), "p": pruner.state_dict()}
            torch.save(state, tmp_path / "mid.pt")
        train(task, pruner, optimizer, seed=cycle)
    expected = pruner.finish()

    other, second, resumed = begin()
    loaded = torch.load(tmp_path / "mid.pt", weights_only=True)
    other.model.load_state_dict(loaded["model"])
    second.load_state_dict(loaded["optimizer"])
    resumed.load_state_dict(loaded["p"])
    for cycle in resumed.cycles():
        train(other, resumed, second, seed=cycle)
    assert resumed.finish() == expected
    assert same_state(task.model, other.model)


@pytest.mark.parametrize("name", METHODS)
def test_configuration_is_plain_and_repeats(name) -> None:
    import json

    method = short(name)
    plain = json.loads(json.dumps(method.to_plain()))
    assert plain.pop("name") == name
    assert METHODS[name](**plain) == method
    assert METHODS[name].about
    assert METHODS[name].source
    assert METHODS[name].__doc__


@pytest.mark.parametrize("name", METHODS)
def test_masks_given_at_the_start_are_respected(name, make_task) -> None:
    task = make_task()
    start = hs.Masks({n: torch.rand_like(w) < 0.7 for n, w in short(name).attach(make_task().model).weights.items()})
    pruner = short(name).attach(task.model, masks=start)
    for _ in pruner.cycles():
        assert pruner.masks <= start
    assert pruner.finish() <= start


def same_state(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(n == m and torch.equal(x, y) for (n, x), (m, y) in pairs)


def without_times(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]
