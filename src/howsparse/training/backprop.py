"""Backpropagation: fill the gradients of one step, say what each sample lost."""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from howsparse.batches import Share
from howsparse.task import Task
from howsparse.training.recipe import Precision

Scaler = torch.amp.GradScaler
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def backprop(task: Task, model: nn.Module, share: Share, precision: Precision, scaler: Scaler | None) -> Tensor:
    """Ordinary gradients of the mean loss of a batch.

    Args:
        task: forward and loss.
        model: the network to call, possibly wrapped for several processes.
        share: this process's part of the batch.
        precision: ``float32``, ``bfloat16`` or ``float16`` for the forward pass.
        scaler: loss scaling, needed by float16 only.

    Returns:
        The losses of this share's samples, detached, shape (B,).
    """
    with _arithmetic(precision, task.device.type):
        output, target = task.outputs(model, share.batch)
        losses = task.sample_losses(output, target)
    mean = losses.mean() * share.weight
    (mean if scaler is None else scaler.scale(mean)).backward()
    return losses.detach() if share.weight != 0 else losses.detach()[:0]


def _arithmetic(precision: str, device_type: str) -> contextlib.AbstractContextManager[Any]:
    if precision == "float32":
        return contextlib.nullcontext()  # the parameters' own type: float64 networks stay float64
    return torch.autocast(device_type, dtype=_DTYPES[precision])
