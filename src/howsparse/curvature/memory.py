"""How much memory there is, and how much a recorded computation holds on to."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

_UNKNOWN = 4 * 1024**3  # where the system does not tell
_CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; of the CPU's memory, this process's share on this machine."""
    if device.type == "cuda":  # what PyTorch holds but does not use is free for PyTorch
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(_free_in_system(), _free_in_container()) // processes


def _free_in_system() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return _UNKNOWN
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), _UNKNOWN)


def _free_in_container() -> int:
    """What the control group leaves, or a number that does not matter."""
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return 2**62
    return 2**62 if limit == "max" else max(int(limit) - int(used), 0)


class Held:
    """The bytes that recorded operations keep for their derivatives; every storage counts once."""

    def __init__(self, besides: Iterable[Tensor]) -> None:
        self._known = {_where(tensor) for tensor in besides}
        self._storages: list[torch.UntypedStorage] = []  # kept alive, so that no address is given out twice
        self.bytes = 0

    def note(self, tensor: Tensor) -> Tensor:
        """Count a tensor unless its storage is known already."""
        where = _where(tensor)
        if where not in self._known:
            self._known.add(where)
            self._storages.append(tensor.untyped_storage())
            self.bytes += self._storages[-1].nbytes()
        return tensor


@contextmanager
def counted(besides: Iterable[Tensor]) -> Iterator[Held]:
    """Counts what autograd saves inside, except for the given tensors, which are there anyway."""
    held = Held(besides)
    with saved_tensors_hooks(held.note, lambda tensor: tensor):
        yield held


def _where(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
