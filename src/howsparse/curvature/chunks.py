"""Batches cut into chunks of samples, whatever their structure."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from howsparse.task import Batch


def tensors(batch: Batch) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dictionaries.

    Example:
        >>> import torch
        >>> [len(tensor) for tensor in tensors({"a": torch.ones(2), "b": [torch.ones(3), "text"]})]
        [2, 3]
    """
    if isinstance(batch, Tensor):
        yield batch
        return
    items: Iterable[Any] = ()
    if isinstance(batch, dict):
        items = batch.values()
    elif isinstance(batch, tuple | list):
        items = batch
    for item in items:
        yield from tensors(item)


def length(batch: Batch) -> int:
    """Samples in a batch: the first dimension of its first tensor, 1 when there is none."""
    return next((len(tensor) for tensor in tensors(batch) if tensor.dim()), 1)


def signature(batch: Batch) -> tuple[tuple[int, ...], ...]:
    """The shapes of one sample's tensors: what decides how much memory it needs."""
    return tuple(tuple(tensor.shape[1:]) for tensor in tensors(batch))


def cut(batch: Batch, size: int) -> list[Batch]:
    """The batch in chunks of at most ``size`` samples; tensors of another length are shared by all chunks.

    Example:
        >>> import torch
        >>> [chunk["x"].tolist() for chunk in cut({"x": torch.arange(5)}, 2)]
        [[0, 1], [2, 3], [4]]
    """
    samples = length(batch)
    if samples <= size:
        return [batch]
    return [_part(batch, slice(start, start + size), samples) for start in range(0, samples, size)]


def _part(batch: Batch, chosen: slice, samples: int) -> Batch:
    if isinstance(batch, Tensor):
        return batch[chosen] if batch.dim() and len(batch) == samples else batch
    if isinstance(batch, dict):
        return {key: _part(value, chosen, samples) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [_part(item, chosen, samples) for item in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch
