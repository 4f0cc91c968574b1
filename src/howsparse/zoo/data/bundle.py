"""What a data source brings to a task."""

from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset


@dataclass(frozen=True)
class Data:
    """Training and test samples under one name, with what is known about them.

    Args:
        name: what reports call it.
        train: training samples.
        test: test samples.
        val: validation samples, or None: a part of train is then held out.
        shape: shape of one input, (C, H, W) for images; None when unknown.
        classes: number of classes; None when unknown or not a classification.
        loss: callable (output, target) -> one loss per sample, or None for cross-entropy.
        forward: callable (model, batch) -> (output, target), or None for the usual pair of input and label.
        metric: the task's metric, or None for accuracy.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> pairs = TensorDataset(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
        >>> Data("zeros", train=pairs, test=pairs, shape=(3,), classes=2).name
        'zeros'
    """

    name: str
    train: Dataset[Any]
    test: Dataset[Any]
    val: Dataset[Any] | None = None
    shape: tuple[int, ...] | None = None
    classes: int | None = None
    loss: Any = None
    forward: Any = None
    metric: Any = None
