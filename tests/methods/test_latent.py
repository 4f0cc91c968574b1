"""Latent variables in the user's own optimizer, and what all methods that act inside its step have in common."""

import dataclasses
import itertools
import json

import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse.masks import Masks, prunable_parameters
from howsparse.methods import CyclicMethod
from howsparse.methods.espn import ESPN
from howsparse.methods.greg import GReg1, GReg2
from howsparse.methods.rare_gems import RareGems
from howsparse.methods.ste import STE, STEPruner
from howsparse.training import Callback

METHODS: dict[str, CyclicMethod] = {
    "ste": STE(sparsity=0.7),
    "ste-constant": STE(sparsity=0.7, growth="constant", scope="layer"),
    "rare-gems": RareGems(sparsity=0.7, period=0.2, search_lr=0.1),
    "espn": ESPN(sparsity=0.7, alpha=0.01),
    "espn-rewind": ESPN(sparsity=0.7, alpha=0.01, variant="rewind"),
    "greg1": GReg1(sparsity=0.7),
    "greg2": GReg2(sparsity=0.7, scope="global"),
}
RECIPE = hs.Recipe(epochs=2, lr=0.1, nesterov=False, weight_decay=5e-3, clip=None, schedule="constant")
LATENT = ["ste", "rare-gems", "espn"]


def sgd(model: nn.Module, **changes) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), **{"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-3, **changes})


def steps_of(method: CyclicMethod, task: hs.Task) -> int:
    return method.training_steps(RECIPE, len(task.train))


def train(task: hs.Task, pruner, optimizer, seed: int = 0) -> None:
    task.model.train()
    for share in task.train.shuffled(seed):
        output, target = task.outputs(task.model, share.batch)
        optimizer.zero_grad()
        task.sample_losses(output, target).mean().backward()
        optimizer.step()
        pruner.step()


def by_hand(task: hs.Task, pruner, optimizer):
    """As hs.prune does by RECIPE with keep="last"; yields after every epoch."""
    trained = 0
    for cycle in pruner.cycles():
        epochs = pruner.method.recipe_in(RECIPE, cycle).epochs_of(cycle)
        for epoch in range(trained, trained + epochs):
            train(task, pruner, optimizer, seed=epoch)
            yield cycle
        trained += epochs


def same_state(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(n == m and torch.equal(x, y) for (n, x), (m, y) in pairs)


@pytest.mark.parametrize("name", METHODS)
def test_own_loop_equals_prune_and_leaves_nothing_behind(name, make_task) -> None:
    method, task = METHODS[name], make_task()
    keys, modules = list(task.model.state_dict()), list(task.model.modules())
    dense = 0 if name.startswith("greg") else None  # in a loop of one's own, they begin with the trained network
    expected = hs.prune(make_task(), method, dataclasses.replace(RECIPE, keep="last", dense_epochs=dense))
    optimizer = sgd(task.model)
    pruner = method.attach(task.model, optimizer, total_steps=steps_of(method, task))
    for _ in by_hand(task, pruner, optimizer):
        assert list(task.model.state_dict()) == keys
        assert all(bool((w[~pruner.masks[n]] == 0).all()) for n, w in pruner.weights.items())
    assert pruner.finish() == expected.masks
    assert same_state(task.model, expected.model)
    assert list(task.model.modules()) == modules
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert [group["weight_decay"] for group in optimizer.param_groups] == [5e-3]
    assert not getattr(pruner, "hidden", {})
    masks = pruner.masks
    assert masks.total - masks.active == int(0.7 * masks.total + 0.5)


@pytest.mark.parametrize("name", METHODS)
def test_a_run_killed_in_the_search_resumes_to_the_same_bits(name, make_task, tmp_path) -> None:
    class Kill(Callback):
        def on_epoch(self, record) -> None:
            if record["cycle"] == 1 and record["epoch"] == 1:
                raise KeyboardInterrupt

    out, method, recipe = tmp_path / "run", METHODS[name], dataclasses.replace(RECIPE, epochs=3)
    with pytest.raises(KeyboardInterrupt):
        hs.prune(make_task(), method, recipe, out, callbacks=[Kill()], checkpoint_every=0, report=False)
    resumed = hs.prune(make_task(), method, recipe, out, checkpoint_every=0, report=False)
    whole = hs.prune(make_task(), method, recipe)
    assert resumed.masks == whole.masks
    assert same_state(resumed.model, whole.model)
    assert resumed.achieved == whole.achieved == pytest.approx(0.7, abs=0.003)
    again = hs.prune(make_task(), method, recipe, out)  # finished: only the report is written
    assert METHODS[name].name in (out / "report.html").read_text()
    assert again.masks == whole.masks
    assert same_state(again.model, whole.model)


@pytest.mark.parametrize("name", METHODS)
def test_state_dict_in_the_middle_of_a_search(name, make_task, tmp_path) -> None:
    method, recipe = METHODS[name], dataclasses.replace(RECIPE, epochs=4)

    def begin():
        task = make_task()
        optimizer = sgd(task.model)
        pruner = method.attach(task.model, optimizer, total_steps=method.training_steps(recipe, len(task.train)))
        return task, optimizer, pruner

    def go_on(task, optimizer, pruner, done: int = 0):
        for cycle in pruner.cycles():
            for epoch in range(done, 2 * cycle + 2):
                train(task, pruner, optimizer, seed=epoch)
                done += 1
                if done == 3:
                    state = {"model": task.model.state_dict(), "optimizer": optimizer.state_dict()}
                    torch.save({**state, "p": pruner.state_dict()}, tmp_path / "mid.pt")
        return pruner.finish()

    task, optimizer, pruner = begin()
    expected = go_on(task, optimizer, pruner)
    other, second, resumed = begin()
    loaded = torch.load(tmp_path / "mid.pt", weights_only=True)
    other.model.load_state_dict(loaded["model"])
    second.load_state_dict(loaded["optimizer"])
    resumed.load_state_dict(loaded["p"])
    assert go_on(other, second, resumed, done=3) == expected
    assert same_state(task.model, other.model)


@pytest.mark.parametrize("name", METHODS)
def test_masks_given_at_the_start_are_respected(name, make_task) -> None:
    task, method = make_task(), METHODS[name]
    generator = torch.Generator().manual_seed(1)
    weights = prunable_parameters(task.model)
    start = Masks({n: torch.rand(w.shape, generator=generator) < 0.7 for n, w in weights.items()})
    optimizer = sgd(task.model)
    pruner = method.attach(task.model, optimizer, total_steps=steps_of(method, task), masks=start)
    for _ in by_hand(task, pruner, optimizer):
        assert pruner.masks <= start
    masks = pruner.finish()
    assert masks.total - masks.active == int(0.7 * masks.total + 0.5)


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_plain(name) -> None:
    plain = json.loads(json.dumps(METHODS[name].to_plain()))
    assert plain.pop("name") == METHODS[name].name
    assert type(METHODS[name])(**plain) == METHODS[name]


# --- the mechanism ----------------------------------------------------------------------------------------------------
def searching(name: str, *, steps: int = 10, **changes):
    """A linear network in the first step of its search."""
    torch.manual_seed(0)
    net = nn.Linear(6, 5)
    optimizer = sgd(net, **changes)
    pruner = METHODS[name].attach(net, optimizer, total_steps=steps)
    while not pruner.latent:
        pruner.observe()
        pruner.prune()
        pruner.treat()
    return net, optimizer, pruner


def backward(net: nn.Module, scale: float = 1.0) -> torch.Tensor:
    net.zero_grad()
    (net(torch.arange(12.0).reshape(2, 6) / 12).square().sum() * scale).backward()
    return net.weight.grad.clone()


@pytest.mark.parametrize("name", LATENT)
@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_scaler_skips_changes_nothing(name, fused) -> None:
    net, optimizer, pruner = searching(name, fused=fused, momentum=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    before = [t.clone() for kind in pruner.hidden.values() for t in kind.values()]
    bias = net.bias.detach().clone()
    scaler.scale(net(torch.full((1, 6), torch.inf)).sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    pruner.step()
    assert pruner.steps == 1
    after = [t for kind in pruner.hidden.values() for t in kind.values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert torch.equal(net.weight, pruner.effective("weight"))
    assert torch.equal(net.bias, bias)
    backward(net)
    optimizer.step()
    pruner.step()
    assert not torch.equal(before[0], pruner.latent["weight"])


@pytest.mark.parametrize("name", ["espn", "greg1"])
def test_scaled_gradients_of_a_fused_optimizer_are_refused(name) -> None:
    net = nn.Linear(6, 5)
    optimizer = sgd(net, fused=True)
    pruner = METHODS[name].attach(net, optimizer, total_steps=10)
    if name == "espn":
        pruner.observe()
        pruner.prune()
        pruner.treat()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(net(torch.ones(1, 6)).sum()).backward()
    with pytest.raises(hs.HowsparseError, match="call scaler.unscale_"):
        scaler.step(optimizer)


@pytest.mark.parametrize("name", METHODS)
def test_without_an_optimizer_the_first_step_is_refused(name) -> None:
    net = nn.Linear(6, 5)
    pruner = METHODS[name].attach(net, total_steps=10)
    while pruner.cycle < 1:
        pruner.observe()
        pruner.prune()
        pruner.treat()
    with pytest.raises(hs.HowsparseError, match="it must know the optimizer"):
        pruner.step()
    pruner.optimizer = sgd(net)
    backward(net)
    pruner.optimizer.step()
    pruner.step()


@pytest.mark.parametrize("name", LATENT)
def test_another_optimizer_is_noticed(name) -> None:
    net, _, pruner = searching(name)
    backward(net)
    sgd(net).step()
    with pytest.raises(hs.HowsparseError, match="weight moved outside the pruner's optimizer"):
        pruner.step()


@pytest.mark.parametrize("name", LATENT)
def test_a_forgotten_pruner_step_is_noticed(name) -> None:
    net, optimizer, _ = searching(name)
    backward(net)
    optimizer.step()
    with pytest.raises(hs.HowsparseError, match="was not called after the last optimizer.step"):
        optimizer.step()


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
@pytest.mark.parametrize("name", LATENT)
def test_other_optimizers_move_latent_variables_too(name, make) -> None:
    torch.manual_seed(0)
    net = nn.Linear(6, 5)
    optimizer = make(net.parameters(), lr=0.01, weight_decay=0.3)
    pruner = METHODS[name].attach(net, optimizer, total_steps=10)
    while not pruner.latent:
        pruner.observe()
        pruner.prune()
        pruner.treat()
    latent = nn.Parameter(pruner.latent["weight"].clone())
    decay = 0.3 if name == "ste" else 0.0
    mirror = make([latent], lr=0.01, weight_decay=decay)
    gradient = backward(net)
    latent.grad = pruner.latent_gradient("weight", gradient).clone()
    optimizer.step()
    mirror.step()
    pruner.step()
    assert torch.equal(pruner.latent["weight"], latent.clamp(0, 1) if name == "rare-gems" else latent)


# --- STE --------------------------------------------------------------------------------------------------------------
def test_ste_trains_dense_weights_by_the_gradient_at_the_masked_ones() -> None:
    """Against the same training written with autograd: w_eff = w + (w mask - w).detach()."""
    torch.manual_seed(0)
    net = nn.Linear(8, 4).double()
    dense = nn.Parameter(net.weight.detach().clone())
    bias = nn.Parameter(net.bias.detach().clone())
    x, y = torch.randn(16, 8, dtype=torch.float64), torch.randn(16, 4, dtype=torch.float64)
    optimizer, mirror = sgd(net), sgd(nn.ParameterList([dense, bias]))
    pruner = STE(sparsity=0.75, growth="constant").attach(net, optimizer, total_steps=12)
    seen = []
    for _ in range(12):
        keep = dense.detach().abs().flatten().topk(8).indices
        mask = torch.zeros(32, dtype=torch.bool).index_fill(0, keep, True).view(4, 8)
        assert torch.equal(pruner.masks["weight"], mask)
        assert torch.equal(net.weight, dense.detach() * mask)
        seen.append(mask)
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
        pruner.step()
        mirror.zero_grad()
        through = dense + (dense * mask - dense).detach()
        (x @ through.T + bias - y).square().mean().backward()
        mirror.step()
    assert torch.allclose(pruner.latent["weight"], dense.detach(), rtol=0, atol=1e-14)
    assert any(bool((later & ~first).any()) for first, later in itertools.pairwise(seen))  # weights did come back


def test_ste_follows_the_cubic_and_ends_exactly() -> None:
    net = nn.Linear(20, 10)
    optimizer = sgd(net)
    pruner = STE(sparsity=0.905, begin=0.2, end=0.6, every=5).attach(net, optimizer, total_steps=50)
    found = {}
    for step in range(1, 51):
        backward_any(net)
        optimizer.step()
        pruner.step()
        found[step] = pruner.masks.total - pruner.masks.active
    expected = {10: 0, 15: 181 * (1 - (2 / 3) ** 3), 20: 181 * (1 - (1 / 3) ** 3), 25: 181, 30: 181, 50: 181}
    assert found[24] == found[20]
    for step, count in expected.items():
        assert found[step] == int(count + 0.5)
    assert pruner.finish().active == 19
    assert int((net.weight != 0).sum()) == 19


def backward_any(net: nn.Module) -> None:
    net.zero_grad()
    net(torch.ones(1, 20)).square().sum().backward()


def test_ste_needs_the_length_of_the_training() -> None:
    with pytest.raises(hs.HowsparseError, match="total_steps=epochs"):
        STE().attach(nn.Linear(4, 4))


def test_ste_without_sparsity_is_plain_training(make_task) -> None:
    plain, task = make_task(), make_task()
    optimizer, other = sgd(plain.model), sgd(task.model)
    pruner = STE(sparsity=0.0).attach(task.model, other, total_steps=12)
    assert isinstance(pruner, STEPruner)

    class Nothing:
        def step(self) -> None:
            pass

    torch.manual_seed(5)
    train(plain, Nothing(), optimizer)
    torch.manual_seed(5)
    train(task, pruner, other)
    assert same_state(plain.model, task.model)
