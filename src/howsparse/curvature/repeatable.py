"""Whether two passes over the data are the same, and if not, what makes them differ."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from howsparse.curvature.chunks import tensors
from howsparse.errors import HowsparseError
from howsparse.task import Batch

_RTOL = 1e-5  # far above the rounding of a sum in another order, far below any noise
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
Sums = list[tuple[str, int, int]]  # module name, checksums of its inputs and outputs


def checksum(batch: Batch) -> int:
    """A number that changes with any bit of any tensor in a batch, and with their order."""
    total = 0
    for tensor in tensors(batch):
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        total = zlib.crc32(raw.cpu().numpy().data, zlib.crc32(str(tuple(tensor.shape)).encode(), total))
    return total


def changed(name: str, number: int) -> HowsparseError:
    """The error for a batch that differs between two passes."""
    return HowsparseError(
        f"{name}: batch {number} is not the same in two passes over the data: the loader shuffles or augments. "
        "Curvature is a property of fixed data: give batches in a fixed order without augmentation, for example a list "
        "of batches, a map-style dataset, or a loader with shuffle=False and no random transform"
    )


def check_noise(model: nn.Module, losses: Callable[[], Tensor]) -> None:
    """Compare two evaluations of the losses of one batch.

    Args:
        model: the network they go through.
        losses: evaluates them.

    Raises:
        HowsparseError: they differ, or batch norm takes statistics from the batch; names the module.
    """
    with _watched(model) as active:
        first, second = losses(), losses()
    if not torch.allclose(first, second, rtol=_RTOL, atol=_RTOL, equal_nan=True):
        name, kind = _culprit(model, losses)
        gap = float((first - second).abs().max())
        raise HowsparseError(
            f"two passes over the same batch give different losses, by up to {gap:.2g}: the output of {name} ({kind}) "
            "changes although its input does not. Curvature is that of a fixed function: let dropout and other noise "
            "rest in evaluation mode (F.dropout(x, training=self.training))"
        )
    if active:
        raise HowsparseError(
            f"batch norm {', '.join(active[:3])} uses the batch's own statistics although the network was put in "
            "evaluation mode: samples then are not independent. Do not call .train() inside forward; give it running "
            "statistics"
        )


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    """Collects the names of the batch norms that run on the statistics of their batch."""
    active: list[str] = []

    def look(module: Any, _: Any, name: str) -> None:
        if (module.training or module.running_mean is None) and name not in active:
            active.append(name)

    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, _BATCH_NORMS)]
    hooks = [m.register_forward_pre_hook(lambda m, x, name=name: look(m, x, name)) for name, m in norms]
    try:
        yield active
    finally:
        for hook in hooks:
            hook.remove()


def _culprit(model: nn.Module, losses: Callable[[], Tensor]) -> tuple[str, str]:
    """The first module whose output differs between two evaluations though its input does not; children come first."""
    first, second = _sums(model, losses), _sums(model, losses)
    for (name, before, after), (_, before2, after2) in zip(first, second, strict=False):
        if before == before2 and after != after2:
            module = model.get_submodule(name)
            kind = type(module).__name__ + (", in training mode" if isinstance(module, _DROPOUTS) else "")
            return (f"module {name}" if name else "the network"), kind
    return "forward or loss", "outside the network"


def _sums(model: nn.Module, losses: Callable[[], Tensor]) -> Sums:
    """Checksums of what went into and came out of every module, in the order in which they finished."""
    found: Sums = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _, inputs, output: found.append((name, checksum(inputs), checksum(output)))

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    try:
        losses()
    finally:
        for hook in hooks:
            hook.remove()
    return found
