"""What a task is, in plain values: a run on disk knows its task by these and refuses another."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from howsparse.masks.prunable import Pattern
from howsparse.settings import function_name
from howsparse.task import Task
from howsparse.training.randomness import randomness_of_its_own


def describe(task: Task) -> dict[str, Any]:
    """What a task is, so that a run can refuse another one.

    Weights are left out: a run begins from those in its first checkpoint, also when it is resumed by a script that does
    not seed its network's initialisation.
    """
    return {
        "name": task.name,
        "metric": None if task.metric is None else task.metric.name,
        "samples": {
            split: None if data is None else data.samples
            for split, data in (("train", task.train), ("val", task.val), ("test", task.test))
        },
        "held_out": task.held_out,
        "batch_size": getattr(task.train, "batch_size", None),
        "parameters": {name: list(p.shape) for name, p in task.model.named_parameters()},
        "modules": {n: f"{type(m).__name__}({m.extra_repr()})" for n, m in task.model.named_modules() if n},
        "loss": function_name(task.loss),
        "forward": function_name(task.forward),
        "first_batch": _first_batch(task),
    }


def _first_batch(task: Task) -> str | None:
    """A digest of the first training batch that a fixed seed gives."""
    with randomness_of_its_own(task.device):
        batch = next(iter(task.train.shuffled(0))).batch
    digest = hashlib.sha256()
    for tensor in _tensors(batch):
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _tensors(batch: Any) -> Iterator[torch.Tensor]:
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, dict | list | tuple):
        for item in batch.values() if isinstance(batch, dict) else batch:
            yield from _tensors(item)


def pattern_names(patterns: Sequence[Pattern] | None) -> list[str] | None:
    """Patterns as they are recorded: module types by name."""
    return None if patterns is None else [p if isinstance(p, str) else p.__qualname__ for p in patterns]
