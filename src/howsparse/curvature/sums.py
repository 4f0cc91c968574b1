"""Sums over batches and over processes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from howsparse import processes


def accumulate(flat: Tensor, parts: Sequence[Tensor], factor: float, *, first: bool) -> None:
    """Add ``factor`` times tensors, one after the other, to a vector, or write them into it."""
    views = flat.split([part.numel() for part in parts])
    for view, part in zip(views, parts, strict=True):
        if first:
            torch.mul(part, factor, out=view.view_as(part))
        else:
            view.view_as(part).add_(part, alpha=factor)


def over_processes(flat: Tensor) -> Tensor:
    """The sum of all processes' vectors."""
    return processes.sum_over_processes(flat.cpu()).to(flat.device)


def interleaved(mine: list[Tensor]) -> Tensor:
    """All processes' vectors, one for each batch, put together in the order of the batches; float64 on the CPU."""
    rank, world = processes.rank(), processes.world()
    counts = torch.zeros(world, dtype=torch.int64)
    counts[rank] = len(mine)
    sizes = torch.zeros(int(processes.sum_over_processes(counts).sum()), dtype=torch.int64)
    sizes[rank::world] = torch.tensor([len(values) for values in mine], dtype=torch.int64)
    ends = processes.sum_over_processes(sizes).cumsum(0)
    everything = torch.zeros(int(ends[-1]) if len(ends) else 0, dtype=torch.float64)
    for end, values in zip(ends[rank::world].tolist(), mine, strict=True):
        everything[end - len(values) : end] = values
    return processes.sum_over_processes(everything)
