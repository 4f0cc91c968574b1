"""The limits of a comparison's tasks, predicted before the cells are run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from howsparse.comparison.cells import Maker
from howsparse.comparison.options import Options
from howsparse.comparison.work import origin_of
from howsparse.limits.limit import limit
from howsparse.report import write_report
from howsparse.training import Recipe
from howsparse.training.randomness import randomness_of_its_own

FOLDER = "limit"


def predict_limits(
    makers: Mapping[str, Maker], out: Path, recipe: Recipe, seed: int, options: Options
) -> dict[str, dict[str, Any]]:
    """Compute or read the limits of every task, into ``out/<task>/limit``.

    Args:
        makers: tasks by label; they start from trained weights.
        out: directory of the comparison.
        recipe: the retraining that the re-tuned limit belongs to: the whole budget after one pruning.
        seed: decides samples, probes and data order.
        options: of the comparison.

    Returns:
        What ``result.json`` holds, by task.
    """
    found = {}
    for name, maker in makers.items():
        folder = out / name / FOLDER
        with randomness_of_its_own(torch.device("cpu")):
            predicted = limit(
                maker(seed),
                recipe,
                folder,
                seed=seed,
                include=options.include,
                exclude=options.exclude,
                watch=options.watch.on_limit(name, recipe),
                origin=origin_of(maker),
            )
        write_report(folder)
        found[name] = dict(predicted.details)
    return found
