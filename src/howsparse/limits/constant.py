"""The loss of the best predictor that does not look at its input: what a network has learnt is measured from there."""

import torch
from torch import Tensor

from howsparse.batches import Batches
from howsparse.task import Task, cross_entropy, input_and_target

_IGNORED = -100  # the label that torch's cross-entropy passes over


def constant_loss(task: Task, data: Batches) -> float | None:
    """The smallest mean cross-entropy that the same probabilities for every sample can have: the labels' entropy.

    Args:
        task: with `howsparse.task.cross_entropy` and batches of (input, labels).
        data: whose labels are counted; one pass that does not run the network.

    Returns:
        The loss; None for other losses and batches.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.zeros(8, 3), torch.tensor([0, 1] * 4))
        >>> task = Task(torch.nn.Linear(3, 2), data, val_share=0)
        >>> round(constant_loss(task, task.train), 4)
        0.6931
    """
    if task.loss is not cross_entropy or task.forward is not input_and_target:
        return None
    counts: dict[int, int] = {}
    for _, labels in data.ordered():
        if not isinstance(labels, Tensor) or labels.is_floating_point():
            return None
        for label, count in zip(*(part.tolist() for part in labels.unique(return_counts=True)), strict=True):
            counts[label] = counts.get(label, 0) + count
    everything = sum(counts.values())
    counts.pop(_IGNORED, None)
    labelled = torch.tensor(list(counts.values()), dtype=torch.float64)
    return float(-(labelled * (labelled / labelled.sum()).log()).sum()) / everything if counts else None
