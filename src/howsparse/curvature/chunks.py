"""Batches cut into chunks of samples, whatever their structure."""

from collections.abc import Callable, Iterable, Iterator
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

    def part(start: int) -> Batch:
        return _mapped(batch, lambda t: t[start : start + size] if t.dim() and len(t) == samples else t)

    return list(map(part, range(0, samples, size)))


def first(batch: Batch, size: int) -> Batch:
    """A copy of the first samples, which does not hold on to the others."""
    return _mapped(cut(batch, size)[0], Tensor.clone)


def _mapped(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The same structure with every tensor changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, dict):
        return {key: _mapped(value, change) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [_mapped(item, change) for item in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch
