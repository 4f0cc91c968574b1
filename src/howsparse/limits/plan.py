"""What a limit will cost, said before the work: gradients per sample, epochs' worth, minutes, memory."""

import dataclasses
import math
import time
from dataclasses import dataclass

import torch

from howsparse.errors import HowsparseError
from howsparse.limits.extrapolation import T_EFF
from howsparse.limits.settings import LimitSettings
from howsparse.task import Task
from howsparse.training import Recipe

FORWARD = 1 / 3  # a forward pass in gradients
PRODUCT = 2.5  # a product with the curvature in gradients, at worst
BISECTION = 10  # forward passes of the one-shot limit
FEWEST_STEPS = 128  # optimizer steps below which a racer says nothing
MANY_STEPS = 1000  # optimizer steps an epoch from which one epoch is a lap
LEAST_CORESET = 64  # samples
TRAINING = 1.25  # time of an epoch of training in epochs' worth of gradients: augmentation, optimizer, averaging
LEAST_STEPS = 16  # Lanczos steps
REST = 1.6  # gradients a sample for the trace of what a coreset leaves out


@dataclass(frozen=True)
class Plan:
    """How much of what will be done; epochs are epochs' worth of gradients over all training samples.

    Attributes:
        samples: n, training samples of the frozen pass.
        compared: samples on which losses are compared.
        lap: epochs a racer runs at first.
        race: epochs of all racers.
        coreset: samples of the curvature of the paper's limit.
        steps: Lanczos steps a probe.
        epochs: everything together.
        seconds: expected time on this machine.
        bytes: expected memory beyond the network's own and its training's.
    """

    samples: int
    compared: int
    lap: int
    race: int
    coreset: int
    steps: int
    epochs: float
    seconds: float
    bytes: int

    def __str__(self) -> str:
        took = f"{self.seconds / 60:.1f} minutes" if self.seconds >= 60 else f"{self.seconds:.0f} seconds"
        return (
            f"about {self.epochs:.1f} gradients per training sample ({self.race} of them masked training), "
            f"{took}, {self.bytes / 2**20:,.0f} MiB beside the network"
        )


def make_plan(task: Task, recipe: Recipe, settings: LimitSettings, samples: int, weights: int) -> Plan:
    """Share the effort out.

    Args:
        task: timed on its first batch.
        recipe: the retraining that is predicted.
        settings: efforts, or the minutes to share out.
        samples: training samples of the frozen pass.
        weights: prunable weights.

    Returns:
        The `Plan`.
    """
    per_epoch = seconds_of_gradient(task) * samples
    compared = settings.compared(samples)
    lap, share = lap_of(recipe, len(task.train)), compared / samples
    fixed, verified = _fixed(share), settings.verify * recipe.epochs
    if settings.minutes is not None:
        # time, not effort: an epoch of training takes longer than its gradients
        taken, of_race = fixed + TRAINING * verified, _race_cost(lap, share) + TRAINING - 1
        settings = _within(settings, recipe, per_epoch, fixed=taken, race_cost=of_race)
    race = max(settings.race_epochs, 3 * lap) if settings.race_epochs and recipe.epochs else 0
    coreset, steps = _curvature(settings, samples)
    epochs = fixed + verified + race * _race_cost(lap, share) + _curvature_cost(settings, coreset / samples, steps)
    vectors = 4 + settings.probes * 3 + (3 * settings.deflate if settings.curvature_epochs else 0)
    seconds = (epochs + (TRAINING - 1) * (race + verified)) * per_epoch
    return Plan(samples, compared, lap, race, coreset, steps, epochs, seconds, 4 * weights * vectors)


def _race_cost(lap: int, share: float) -> float:
    """What an epoch of the race costs with its share of the three looks that each lap takes."""
    return 1 + 3 * FORWARD * share / lap


def lap_of(recipe: Recipe, steps: int) -> int:
    """Epochs a racer runs at first: one of very many steps, else two or more; no longer than what is predicted."""
    enough = 1 if steps >= MANY_STEPS else max(2, math.ceil(FEWEST_STEPS / steps))
    return max(1, min(enough, math.ceil(T_EFF * recipe.epochs)))


def _fixed(compared: float) -> float:
    """Epochs' worth of what is always done: dense pass, bisection, quadratic check."""
    return FORWARD * (1 + (BISECTION + 1) * compared) + 1 + 0.1 * 3 * PRODUCT + 0.5


def _within(
    settings: LimitSettings, recipe: Recipe, per_epoch: float, *, fixed: float, race_cost: float
) -> LimitSettings:
    """The efforts that fit into the minutes, three fifths of them for the race."""
    assert settings.minutes is not None
    left = settings.minutes * 60 / per_epoch - fixed
    if left < 2:
        raise HowsparseError(
            f"{settings.minutes:g} minutes are too few here: one epoch's worth of gradients takes {per_epoch:.2g} s, "
            f"and the least that says anything is {per_epoch * (fixed + 2) / 60:.2g} minutes; compare losses on fewer "
            "samples, or give more time"
        )
    races = bool(settings.race_epochs and recipe.epochs)
    part = 0.6 if races and settings.curvature_epochs else float(races)
    race = max(int(part * left / race_cost), 2) if races else 0
    curvature = left - race * race_cost if settings.curvature_epochs else 0.0
    return dataclasses.replace(settings, race_epochs=race, curvature_epochs=max(curvature, 0.0))


def _curvature(settings: LimitSettings, samples: int) -> tuple[int, int]:
    """Samples and Lanczos steps for the effort; steps go before samples below the least that says anything."""
    if not settings.curvature_epochs:
        return 0, 0
    left = max(settings.curvature_epochs - REST, settings.curvature_epochs / 2) / PRODUCT
    besides = 3 * settings.deflate + 2
    count = min(int(left / (settings.probes * settings.steps + besides) * samples), samples)
    if 2 * count >= samples:  # all of few samples cost little more
        return samples, settings.steps
    if count >= LEAST_CORESET:
        return count, settings.steps
    count = min(LEAST_CORESET, samples)
    steps = int((left * samples / count - besides) / settings.probes)
    return count, min(max(steps, LEAST_STEPS), settings.steps)


def _curvature_cost(settings: LimitSettings, part: float, steps: int) -> float:
    """Gradients per sample that the curvature of that part of the samples takes."""
    if not settings.curvature_epochs:
        return 0.0
    products = settings.probes * steps + 3 * settings.deflate + 2
    return FORWARD + PRODUCT * part * products + REST * (1 - part)


def seconds_of_gradient(task: Task) -> float:
    """Seconds a sample that a forward and backward pass takes, measured on the first batch, twice."""
    assert task.calib is not None
    batch = next(iter(task.calib.ordered()))
    wanted = [p for p in task.model.parameters() if p.requires_grad]
    forward_only = 1.0 if wanted else 1 / FORWARD
    took = []
    was_training = task.model.training
    task.model.eval()
    for _ in range(3):
        started = time.perf_counter()
        losses = task.sample_losses(*task.outputs(task.model, batch))
        if wanted:
            torch.autograd.grad(losses.mean(), wanted, allow_unused=True)
        if task.device.type == "cuda":
            torch.cuda.synchronize(task.device)
        took.append(forward_only * (time.perf_counter() - started) / len(losses))
    task.model.train(was_training)
    return min(took)
