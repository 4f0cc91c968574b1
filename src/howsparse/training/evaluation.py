"""Loss and metric of a network over one ordered pass of data."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from howsparse import processes
from howsparse.batches import Batches
from howsparse.task import Task


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and metric over ``samples`` samples; the metric is NaN where the task has none."""

    loss: float
    metric: float
    samples: int


@torch.no_grad()
def evaluate(task: Task, data: Batches) -> Evaluation:
    """Evaluate in evaluation mode, summed in float64, shared out over processes.

    Args:
        task: supplies the network, which is left in the mode it was in, and forward, loss and metric.
        data: what to read, in its own order.

    Returns:
        The `Evaluation`.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.eye(2).repeat(10, 1), torch.tensor([0, 1] * 10))
        >>> evaluate(Task(nn.Identity(), data, val=data), Batches(data)).metric
        1.0
    """
    model = task.model
    was_training = model.training
    model.eval()
    sums: torch.Tensor | None = None  # [samples, sum of losses, sums of metric columns...]
    for batch in data.ordered(rank=processes.rank(), world=processes.world()):
        row = _sums_of(task, model, batch)
        sums = row if sums is None else sums + row
    model.train(was_training)
    total = _over_processes(sums)
    columns = total[2:]
    mean = (columns / total[0]).squeeze(0) if columns.numel() == 1 else columns / total[0]
    metric = task.metric.finish(mean) if task.metric is not None and columns.numel() else math.nan
    return Evaluation(loss=float(total[1] / total[0]), metric=float(metric), samples=int(total[0]))


def _sums_of(task: Task, model: nn.Module, batch: object) -> torch.Tensor:
    output, target = task.outputs(model, batch)
    losses = task.sample_losses(output, target).double()
    parts = [torch.tensor([len(losses)], dtype=torch.float64), losses.sum().reshape(1).cpu()]
    if task.metric is not None:
        values = task.metric.values(output, target).double()
        parts.append(values.reshape(len(losses), -1).sum(dim=0).cpu())
    return torch.cat(parts)


def _over_processes(sums: torch.Tensor | None) -> torch.Tensor:
    if processes.world() > 1:
        columns = processes.agree_on(None if sums is None else len(sums))
        sums = torch.zeros(columns, dtype=torch.float64) if sums is None else sums
        return processes.sum_over_processes(sums)
    assert sums is not None
    return sums
