"""One process or several: the little that training needs of ``torch.distributed``."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank() -> int:
    """This process's number, 0 when alone."""
    return dist.get_rank() if _several() else 0


def world() -> int:
    """Number of processes, 1 when alone."""
    return dist.get_world_size() if _several() else 1


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the other processes if ``torchrun`` started this one; yields the device this process should use."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield device
        return
    cuda = device.startswith("cuda")
    mine = f"cuda:{os.environ['LOCAL_RANK']}" if cuda else device
    if cuda:
        torch.cuda.set_device(mine)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield mine
        dist.barrier()  # nobody leaves while process 0 still writes: torchrun would stop it
    finally:
        dist.destroy_process_group()


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of a CPU tensor over all processes; equal bits everywhere."""
    if not _several():
        return values
    shared = values.to(_meeting_place())
    dist.all_reduce(shared)
    return shared.cpu()


@torch.no_grad()
def agree(tensors: Mapping[str, Tensor]) -> None:
    """Overwrite every process's tensors with those of process 0, so that a decision is taken once."""
    if _several():
        for tensor in tensors.values():
            shared = tensor.to(_meeting_place()) if dist.get_backend() == "nccl" else tensor
            dist.broadcast(shared, src=0)
            if shared is not tensor:
                tensor.copy_(shared)


def agree_on(value: Any) -> Any:
    """The object that process 0 holds."""
    if not _several():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def replicated(model: nn.Module) -> nn.Module:
    """The model to call in training: itself, or wrapped so that gradients are averaged over processes."""
    if not _several():
        return model
    device = next(model.parameters()).device
    return nn.parallel.DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def synchronise_buffers(model: nn.Module) -> None:
    """Give every process the running statistics of process 0."""
    agree({name: buffer for name, buffer in model.named_buffers() if torch.is_tensor(buffer)})


def _meeting_place() -> torch.device:
    """Where tensors must be to be exchanged."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
