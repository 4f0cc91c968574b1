"""Methods that prune while they train: static, GMP, SET, RigL, GraNet and AC/DC."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse import HowsparseError, Masks
from howsparse.methods.acdc import ACDC
from howsparse.methods.gmp import GMP
from howsparse.methods.granet import GraNet
from howsparse.methods.granet_st import GraNetST
from howsparse.methods.rigl import RigL
from howsparse.methods.set import SET
from howsparse.methods.static import Static
from howsparse.pruners.stepwise import StepwiseMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.settings import settings_of
from howsparse.training import Recipe
from tests.methods.test_battery import same_state

EVERY = [Static, GMP, SET, RigL, GraNet, GraNetST, ACDC]
TIMED = [GMP, SET, RigL, GraNet, GraNetST, ACDC]
CONSTANT = [SET, RigL]
SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-3}
RECIPE = Recipe(epochs=5, nesterov=False, clip=None, schedule="constant", keep="last", **SETTINGS)
STEPS = 30  # 180 points in batches of 32, five times


def method(cls: type[StepwiseMethod], **changes) -> StepwiseMethod:
    own = {"every": 3} if "every" in settings_of(cls) else {}
    return cls(**{"sparsity": 0.8, **own, **changes})


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), **SETTINGS)


def steps(task: hs.Task, pruner: StepwisePruner, optimizer: torch.optim.Optimizer, upto: int = STEPS) -> Iterator[int]:
    """A user's own loop; yields after every step, and can be taken up at any step."""
    task.model.train()
    while pruner.steps < upto:
        epoch, skip = divmod(pruner.steps, len(task.train))
        for share in task.train.shuffled(epoch, skip=skip):
            output, target = task.outputs(task.model, share.batch)
            optimizer.zero_grad()
            task.sample_losses(output, target).mean().backward()
            optimizer.step()
            pruner.step()
            yield pruner.steps
            if pruner.steps == upto:
                return


def attached(chosen: StepwiseMethod, task: hs.Task, **options) -> tuple[StepwisePruner, torch.optim.Optimizer]:
    optimizer = sgd(task.model)
    return chosen.attach(task.model, optimizer, total_steps=STEPS, **options), optimizer


def counts(masks: Masks) -> list[int]:
    return [int(mask.sum()) for mask in masks.values()]


def flat(masks: Masks) -> torch.Tensor:
    return torch.cat([mask.view(-1) for mask in masks.values()])


ASKED = [(cls, sparsity) for cls in EVERY for sparsity in (0.0, 0.37, 0.5, 0.805, 0.97)]


@pytest.mark.parametrize(("cls", "sparsity"), [(c, s) for c, s in ASKED if c is not GraNetST or s >= 0.5])
def test_the_sparsity_asked_for_is_met_to_the_weight(cls, sparsity, make_task) -> None:
    task = make_task()
    pruner, optimizer = attached(method(cls, sparsity=sparsity), task)
    for _ in steps(task, pruner, optimizer):
        pass
    masks = pruner.finish()
    assert masks.total - masks.active == math.floor(sparsity * masks.total + 0.5)


@pytest.mark.parametrize("cls", EVERY)
def test_zeros_stay_zero_after_every_step(cls, make_task) -> None:
    task = make_task()
    pruner, optimizer = attached(method(cls), task)
    for _ in steps(task, pruner, optimizer):
        for name, weight in pruner.weights.items():
            assert not bool(weight[~pruner.masks[name]].any())


@pytest.mark.parametrize("cls", EVERY)
def test_what_was_gone_at_the_start_never_comes_back(cls, make_task) -> None:
    task = make_task()
    given = Masks({n: torch.rand_like(w) < 0.7 for n, w in attached(method(cls), make_task())[0].weights.items()})
    pruner, optimizer = attached(method(cls), task, masks=given)
    for _ in steps(task, pruner, optimizer):
        assert pruner.masks <= given
    masks = pruner.finish()
    assert masks.total - masks.active == math.floor(0.8 * masks.total + 0.5)


@pytest.mark.parametrize("cls", TIMED)
def test_weights_come_to_life_at_zero_and_without_momentum(cls, make_task) -> None:
    task = make_task()
    pruner, optimizer = attached(method(cls), task)
    before, grown = pruner.masks, 0
    for _ in steps(task, pruner, optimizer):
        for name, mask in pruner.masks.items():
            changed = mask ^ before[name]
            momentum = optimizer.state[pruner.parameters[name]]["momentum_buffer"]
            assert not bool(pruner.weights[name][changed].any())
            assert not bool(momentum[changed].any())
            grown += int((mask & ~before[name]).sum())
            assert bool(momentum[mask & before[name]].any()) or not bool((mask & before[name]).any())
        before = pruner.masks
    assert (grown > 0) == (cls is not GMP)


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("stop", [1, 8, 15])
def test_a_run_killed_at_any_step_goes_on_as_if_nothing_had_happened(cls, stop, make_task, tmp_path) -> None:
    def begin():
        task = make_task()
        pruner, optimizer = attached(method(cls), task, seed=5)
        torch.manual_seed(0)  # dropout's draws are not ours to keep
        task.model[3].p = 0.0
        return task, pruner, optimizer

    task, pruner, optimizer = begin()
    for step in steps(task, pruner, optimizer):
        if step == stop:
            state = {"model": task.model.state_dict(), "optimizer": optimizer.state_dict(), "p": pruner.state_dict()}
            torch.save(state, tmp_path / "mid.pt")
    other, resumed, second = begin()
    loaded = torch.load(tmp_path / "mid.pt", weights_only=True)
    other.model.load_state_dict(loaded["model"])
    second.load_state_dict(loaded["optimizer"])
    resumed.load_state_dict(loaded["p"])
    assert resumed.steps == stop
    for _ in steps(other, resumed, second):
        pass
    assert resumed.finish() == pruner.finish()
    assert same_state(task.model, other.model)


@pytest.mark.parametrize("cls", EVERY)
def test_prune_equals_an_own_loop_and_writes_a_run(cls, make_task, tmp_path) -> None:
    result = hs.prune(make_task(), method(cls), RECIPE, tmp_path / "run")
    task = make_task()
    pruner, optimizer = attached(method(cls), task)
    for _ in steps(task, pruner, optimizer):
        pass
    assert pruner.finish() == result.masks
    assert same_state(task.model, result.model)
    assert result.achieved == result.masks.sparsity == pytest.approx(0.8, abs=0.5 / result.masks.total)
    assert (tmp_path / "run" / "report.html").stat().st_size > 0
    again = hs.prune(make_task(), method(cls), RECIPE, tmp_path / "run")
    assert again.masks == result.masks


class KilledError(Exception):
    """Ends a run as a power cut would."""


class Killer(hs.Callback):
    def on_epoch(self, record) -> None:
        if record["epoch"] == 2:
            raise KilledError


@pytest.mark.parametrize("cls", TIMED)
def test_a_killed_run_on_disk_is_taken_up(cls, make_task, tmp_path) -> None:
    expected = hs.prune(make_task(), method(cls), RECIPE, seed=2)
    with pytest.raises(KilledError):
        hs.prune(
            make_task(), method(cls), RECIPE, tmp_path, seed=2, callbacks=[Killer()], checkpoint_every=0, report=False
        )
    result = hs.prune(make_task(), method(cls), RECIPE, tmp_path, seed=2, report=False)
    assert result.masks == expected.masks
    assert same_state(result.model, expected.model)


@pytest.mark.parametrize("cls", EVERY)
def test_the_best_epoch_counts_only_where_masks_stay(cls) -> None:
    best = Recipe(epochs=2, keep="best")
    assert method(cls).recipe_in(best, 1).keep == ("best" if cls is Static else "last")


@pytest.mark.parametrize("cls", TIMED)
def test_the_length_of_the_training_must_be_known_and_enough(cls, make_task) -> None:
    task = make_task()
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    with pytest.raises(HowsparseError, match=rf"{cls.__name__} .*total_steps="):
        method(cls).attach(task.model)
    with pytest.raises(HowsparseError, match="train longer"):
        method(cls).attach(task.model, total_steps=2)
    with pytest.raises(HowsparseError, match="total_steps|train longer"):
        hs.prune(task, method(cls), Recipe(epochs=0, keep="last"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())


@pytest.mark.parametrize("cls", EVERY)
def test_masks_change_at_the_listed_steps_only(cls, make_task) -> None:
    task = make_task()
    chosen = method(cls)
    pruner, optimizer = attached(chosen, task)
    before = pruner.masks
    for step in steps(task, pruner, optimizer):
        if cls is Static or step not in chosen.events(STEPS):
            assert pruner.masks is before
        before = pruner.masks


def test_settings_that_methods_share_have_one_type() -> None:
    kinds: dict[str, set] = {}
    for cls in EVERY:
        for name, known in settings_of(cls).items():
            kinds.setdefault(name, set()).add((known.kinds, known.choices, known.optional))
    assert all(len(found) == 1 for found in kinds.values())
    assert not set(kinds) & set(settings_of(Recipe))


@pytest.mark.parametrize("cls", EVERY)
def test_the_seed_decides_what_is_drawn(cls, make_task) -> None:
    first, again, other = (counts_of_an_untrained_run(cls, make_task, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (cls in (GMP, GraNet, ACDC))


def counts_of_an_untrained_run(cls, make_task, seed: int) -> torch.Tensor:
    return flat(attached(method(cls), make_task(), seed=seed)[0].masks)
