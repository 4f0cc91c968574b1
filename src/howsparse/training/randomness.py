"""Work that draws random numbers without disturbing anybody else's."""

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
