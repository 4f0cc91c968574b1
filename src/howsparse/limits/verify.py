"""Measuring the re-tuned limit after it was predicted: full masked retrainings around the prediction."""

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from howsparse.errors import DivergedError
from howsparse.limits.dense import DenseNetwork
from howsparse.limits.extrapolation import Span, kept_at
from howsparse.limits.yardstick import HOPELESS, Yardstick
from howsparse.masks import Upkeep
from howsparse.masks.prunable import detached
from howsparse.task import Task
from howsparse.training import Callback, Recipe, Training, evaluate

NARROW = 0.01  # difference in ln(kept) below which another retraining says nothing new
STEP = 1.35  # factor between kept fractions while the answer has not been straddled


def retrain(
    task: Task,
    dense: DenseNetwork,
    yardstick: Yardstick,
    recipe: Recipe,
    kept: float,
    *,
    seed: int,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Remove all but ``kept`` of the weights, retrain by the recipe, measure, and put the dense network back.

    The training loss is that of the last epoch's weights, whatever the recipe keeps: choosing by held-out data would
    make the limit jump.

    Returns:
        JSON values: ``kept``, ``loss`` (on the yardstick's samples), ``val`` and ``test`` (metric, None without).
    """
    bare = copy.copy(task)
    bare.val = None
    masks = dense.masks_keeping(kept)
    upkeep = Upkeep(dense.parameters, masks)
    try:
        masks.apply_(detached(dense.parameters))
        training = Training(
            bare,
            dataclasses.replace(recipe, keep="last"),
            recipe.epochs,
            epoch_seed=lambda epoch: 1_000_003 * (seed + 1) + epoch,
            after_step=upkeep.step,
            l1_weights=list(dense.parameters.values()),
            callbacks=callbacks,
        )
        for _ in training.run():
            pass
        loss = min(yardstick.dense + yardstick.increase().mean, HOPELESS)
        splits = (("val", task.val), ("test", task.test))
        metrics = {name: None if data is None else evaluate(task, data).metric for name, data in splits}
    except DivergedError:
        return {"kept": kept, "loss": HOPELESS, "val": None, "test": None}
    finally:
        dense.restore()
    return {"kept": kept, "loss": max(loss, 0.0), **{k: v if v == v else None for k, v in metrics.items()}}


def measure_retuned(
    retrain_at: Callable[[float], dict[str, Any]], start: float, target: float, trainings: int, *, densest: float = 1.0
) -> tuple[Span | None, list[dict[str, Any]]]:
    """Look for the kept fraction at which retraining just reaches the target, starting from the prediction.

    Args:
        retrain_at: see `retrain`.
        start: predicted kept fraction.
        target: dense loss + ε.
        trainings: how many retrainings may be run.
        densest: largest kept fraction tried.

    Returns:
        The measured kept fraction, bracketed by the nearest two retrainings (None when not straddled), and all points.

    Example:
        >>> found, points = measure_retuned(lambda k: {"kept": k, "loss": 0.01 / k}, 0.05, 0.1, 4)
        >>> round(found.value, 2), len(points)
        (0.1, 4)
    """
    points: list[dict[str, Any]] = []
    kept = start
    for _ in range(trainings):
        points.append(retrain_at(kept))
        missed = [p["kept"] for p in points if p["loss"] > target]
        reached = [p["kept"] for p in points if p["loss"] <= target]
        if missed and reached:
            above = [k for k in reached if k > max(missed)]
            kept = math.sqrt(max(missed) * min(above)) if above else kept
        else:
            kept = min(kept * STEP, densest) if missed else kept / STEP
        if any(abs(math.log(p["kept"] / kept)) < NARROW for p in points):
            break  # seen already, or as good as
    points.sort(key=lambda p: float(p["kept"]))
    return _bracket(points, target), points


def _bracket(points: Sequence[dict[str, Any]], target: float) -> Span | None:
    """The answer between the densest retraining that missed and the next denser one, which reached."""
    missed = [p["kept"] for p in points if p["loss"] > target]
    reached = [p["kept"] for p in points if p["loss"] <= target]
    above = [kept for kept in reached if not missed or kept > max(missed)]
    if not missed or not above:
        return None
    losses = {p["kept"]: p["loss"] for p in points if p["kept"] in (max(missed), min(above))}
    value = kept_at(losses, target)
    return None if value is None else Span(min(max(value, max(missed)), min(above)), max(missed), min(above))
