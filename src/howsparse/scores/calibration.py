"""The data that scores read: a few batches of a task's frozen pass, or all of it."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from torch import nn

from howsparse.batches import Batches
from howsparse.curvature import Objective
from howsparse.errors import HowsparseError
from howsparse.task import Loss, Task


def calibration(task: Task | None, score: str) -> Batches:
    """The frozen pass over a task's training samples.

    Args:
        task: the network with its data.
        score: what needs the data, for the message.

    Returns:
        ``task.calib``.

    Raises:
        HowsparseError: there is no task, or it has no such pass.
    """
    if task is None:
        raise HowsparseError(
            f"{score} needs data: pass task=Task(model, train), whose training samples it reads. Scores without data "
            "are magnitude, random_scores and synaptic_flow"
        )
    if task.calib is None:
        raise HowsparseError(
            f"{score} needs training samples in a fixed order without augmentation, which cannot be made from iterable "
            "training data: give the task such batches with Task(..., calib=[...])"
        )
    return task.calib


def loss_on_few_batches(
    task: Task | None,
    parameters: Mapping[str, nn.Parameter],
    score: str,
    *,
    batches: int,
    loss: Loss | None = None,
    generator: torch.Generator | None = None,
) -> Objective:
    """The mean loss over a few batches of a task's frozen pass, in evaluation mode.

    Of map-style data the samples are drawn at random, because data sets are often sorted by class; of batches that the
    task was given as such the first are taken.

    Args:
        task: the network with its data.
        parameters: the weights to be scored, under their names in the network.
        score: what needs it, for messages.
        batches: how many batches, at least 1; fewer when there are no more.
        loss: by default the task's.
        generator: draws the samples, on the CPU; by default one seeded by 0.

    Raises:
        HowsparseError: no data, or no batches asked for.
    """
    data = calibration(task, score)
    assert task is not None  # calibration has refused it
    if batches < 1:
        raise HowsparseError(f"batches = {batches} is not allowed: {score} needs at least 1")
    few = _few(data, batches, torch.Generator().manual_seed(0) if generator is None else generator)
    return Objective(task.model, few, loss=loss or task.loss, forward=task.forward, parameters=parameters)


def _few(data: Batches, batches: int, generator: torch.Generator) -> list[Any]:
    if data.samples is None:
        return list(islice(data.ordered(), batches))
    drawn = torch.randperm(data.samples, generator=generator)[: batches * data.batch_size]
    return list(data.subset(drawn.tolist()).ordered())
