"""One battery for all methods: whatever is registered, plug-ins included, must pass it."""

import dataclasses
import functools
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse.masks import SCOPES
from howsparse.methods import CyclicMethod, CyclicPruner, RewindingMethod, StepwiseMethod, registered
from howsparse.scores import SurvivalPredictor
from howsparse.settings import settings_of

METHODS = {name: cls for name, cls in registered()[0].items() if issubclass(cls, CyclicMethod)}
SCOPED = [name for name, cls in METHODS.items() if issubclass(cls, RewindingMethod)]
LOOP = hs.Recipe(
    epochs=2, lr=0.1, momentum=0.9, nesterov=False, weight_decay=5e-3, clip=None, keep="last", schedule="constant"
)


def short(name: str, **changes) -> CyclicMethod:
    """The method with few cycles, so that a run takes no time."""
    cls = METHODS[name]
    known = settings_of(cls)
    own = {"cycles": 3} if "cycles" in known else {}
    if name == "lomp":  # a limit needs a trained network; its recipe is that of the loops here
        own |= {"sparsity": 0.8, "penalty": 0.0, "fine_tune": 2}
    if name == "rare-gems":
        own |= {"search_lr": LOOP.lr}  # loops of one's own set the rate of their optimizer themselves
    if name == "smart-ratio":
        own |= {"sparsity": 0.8, "linear_density": 0.1}
    if name == "autosparse":
        own |= {"predictor": predictor()}
    return cls(**own | changes)


@functools.cache
def predictor() -> str:
    """A file with a survival predictor, learned from a run of chance."""
    torch.manual_seed(0)
    model = nn.Linear(12, 2)
    data = torch.utils.data.TensorDataset(torch.randn(20, 12), torch.randint(0, 2, (20,)))
    rounds = [hs.Masks({"weight": model.weight.detach().abs() > size}) for size in (0.1, 0.2)]
    path = Path(tempfile.mkdtemp()) / "survival.safetensors"
    SurvivalPredictor.from_run(hs.Task(model, data), model.state_dict(), rounds).save(path)
    return str(path)


@pytest.fixture
def make_task(make_task, request):
    """The usual small network, or one with convolutions where a method needs them."""
    network = "conv" if request.node.callspec.params["name"] == "smart-ratio" else "mlp"
    return functools.partial(make_task, network=network)


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


def attached(
    method: CyclicMethod, task: hs.Task, optimizer: torch.optim.Optimizer | None = None, *, epochs: int = 2, **options
):
    optimizer = sgd(task.model) if optimizer is None else optimizer
    steps = method.training_steps(dataclasses.replace(LOOP, epochs=epochs), len(task.train))
    return method.attach(task.model, optimizer, total_steps=steps, task=task, **options)


def by_hand(task: hs.Task, pruner: CyclicPruner, optimizer: torch.optim.Optimizer) -> Iterator[int]:
    """Train as `hs.prune` does by the recipe LOOP; yields after every epoch."""
    trained = 0
    for cycle in pruner.cycles():
        epochs = pruner.method.recipe_in(LOOP, cycle).epochs_of(cycle)
        for epoch in range(epochs):
            # a rewound network reads the dense network's order, others go on
            train(task, pruner, optimizer, seed=epoch if pruner.method.rewind != "none" else trained + epoch)
            yield cycle
        trained += epochs


@pytest.mark.parametrize(("name", "scope"), [(n, s) for n in METHODS for s in (SCOPES if n in SCOPED else [None])])
def test_zeros_stay_zero_and_counts_are_exact(name, scope, make_task) -> None:
    task = make_task()
    method = short(name, **({} if scope is None else {"scope": scope}))
    optimizer = sgd(task.model)
    pruner = attached(method, task, optimizer)
    seen = {0: pruner.masks}
    for cycle in by_hand(task, pruner, optimizer):
        if not getattr(method, "moving", False):
            assert pruner.masks <= seen[max(seen)]
        seen[cycle] = pruner.masks
        for weight_name, weight in pruner.weights.items():
            assert bool((weight[~pruner.masks[weight_name]] == 0).all())
    masks = pruner.finish()
    assert masks.active < masks.total
    living = sum(int((w != 0).sum()) for w in pruner.weights.values())
    # no weight is zero by accident, none lives that should not; one that was grown last may not have moved yet
    assert living <= masks.active if getattr(method, "moving", False) else living == masks.active
    asked = getattr(method, "sparsity", None)
    if asked is not None:
        assert masks.total - masks.active == math.floor(asked * masks.total + 0.5)
    assert pruner.records[-1]["active"] == masks.active


@pytest.mark.parametrize("name", METHODS)
def test_the_model_and_the_optimizer_stay_the_users(name, make_task) -> None:
    task = make_task()
    keys, modules = list(task.model.state_dict()), list(task.model.modules())
    optimizer = sgd(task.model)
    pruner = attached(short(name), task, optimizer)
    for _ in by_hand(task, pruner, optimizer):
        assert list(task.model.state_dict()) == keys
    pruner.finish()
    assert list(task.model.modules()) == modules
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in task.model.modules())
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


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
    method = short(name)
    # what needs a trained network but prunes in steps begins in a loop of one's own where prune() has trained it
    recipe = dataclasses.replace(LOOP, dense_epochs=0) if isinstance(method, StepwiseMethod) else LOOP
    expected = hs.prune(make_task(), method, recipe, seed=0)
    optimizer = sgd(task.model)
    pruner = attached(method, task, optimizer)
    for _ in by_hand(task, pruner, optimizer):
        pass
    assert pruner.finish() == expected.masks
    assert same_state(task.model, expected.model)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("at", "attach_last"), [(1, True), (3, False)])
def test_state_dict_restores_mid_schedule(name, at, attach_last, make_task, tmp_path) -> None:
    """The model and the optimizer may be loaded before attach or after it; the seed of a resumed run is the old one."""

    def begin(*loaded, seed=0):
        task = make_task()
        optimizer = sgd(task.model)
        for part, state in zip((task.model, optimizer), loaded, strict=False):
            part.load_state_dict(state)
        return task, optimizer, attached(short(name), task, optimizer, epochs=4, seed=seed)

    def go_on(task, optimizer, pruner, epochs=0):
        for cycle in pruner.cycles():
            while epochs < 2 * (cycle + 1):
                train(task, pruner, optimizer, seed=epochs)
                epochs += 1
                if epochs == at:
                    state = {"model": task.model.state_dict(), "optimizer": optimizer.state_dict()}
                    torch.save({**state, "p": pruner.state_dict()}, tmp_path / "mid.pt")
        return pruner.finish()

    task, optimizer, pruner = begin()
    expected = go_on(task, optimizer, pruner)

    loaded = torch.load(tmp_path / "mid.pt", weights_only=True)
    states = loaded["model"], loaded["optimizer"]
    other, second, resumed = begin(*states if attach_last else (), seed=5)
    if not attach_last:
        other.model.load_state_dict(states[0])
        second.load_state_dict(states[1])
    resumed.load_state_dict(loaded["p"])
    assert go_on(other, second, resumed, epochs=at) == expected
    assert same_state(task.model, other.model)


@pytest.mark.parametrize("name", METHODS)
def test_configuration_is_plain_and_repeats(name) -> None:
    import json

    method = short(name)
    plain = json.loads(json.dumps(method.to_plain()))
    assert plain.pop("name") == name
    assert METHODS[name](**plain).to_plain() == method.to_plain()
    assert METHODS[name].about
    assert METHODS[name].source
    assert METHODS[name].__doc__


@pytest.mark.parametrize("name", METHODS)
def test_masks_given_at_the_start_are_respected(name, make_task) -> None:
    task = make_task()
    start = hs.Masks({n: torch.rand_like(w) < 0.7 for n, w in attached(short(name), make_task()).weights.items()})
    optimizer = sgd(task.model)
    pruner = attached(short(name), task, optimizer, masks=start)
    for _ in by_hand(task, pruner, optimizer):
        assert pruner.masks <= start
    masks = pruner.finish()
    assert masks <= start
    asked = getattr(pruner.method, "sparsity", None)
    if asked is not None:
        assert masks.total - masks.active == math.floor(asked * masks.total + 0.5)


def same_state(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(n == m and torch.equal(x, y) for (n, x), (m, y) in pairs)


def without_times(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]
