"""The data that scores read: the first batches of a task's frozen pass, or all of it."""

from collections.abc import Mapping
from itertools import islice

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


def loss_on_first_batches(
    task: Task | None, parameters: Mapping[str, nn.Parameter], score: str, *, batches: int, loss: Loss | None = None
) -> Objective:
    """The mean loss over the first batches of a task's frozen pass, in evaluation mode.

    Args:
        task: the network with its data.
        parameters: the weights to be scored, under their names in the network.
        score: what needs it, for messages.
        batches: how many batches, at least 1; fewer when there are no more.
        loss: by default the task's.

    Raises:
        HowsparseError: no data, or no batches asked for.
    """
    data = calibration(task, score)
    assert task is not None  # calibration has refused it
    if batches < 1:
        raise HowsparseError(f"batches = {batches} is not allowed: {score} needs at least 1")
    first = list(islice(data.ordered(), batches))
    return Objective(task.model, first, loss=loss or task.loss, forward=task.forward, parameters=parameters)
