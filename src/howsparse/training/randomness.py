"""Work that gives the same bits every time, and draws random numbers without disturbing anybody else's."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def randomness_of_its_own(device: torch.device) -> Iterator[None]:
    """Leave the global generators as they were: networks made after a run must not all start alike."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)  # noqa: NPY002


@contextmanager
def repeatable_kernels(device: torch.device) -> Iterator[None]:
    """On a GPU, let cuDNN use only algorithms that give the same bits every time; afterwards as before.

    Example:
        >>> with repeatable_kernels(torch.device("cuda")):
        ...     torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
        (True, False)
    """
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
