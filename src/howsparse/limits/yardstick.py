"""The yardstick of every limit: training loss on fixed samples, paired with the dense network's on the same ones."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from howsparse import processes
from howsparse.batches import Batches
from howsparse.curvature import Objective
from howsparse.errors import HowsparseError
from howsparse.task import Task

HOPELESS = 1e12  # stands for a loss that is not a finite number
_STREAM = 0x5EED


@dataclass(frozen=True)
class Increase:
    """How far the mean training loss rose over the dense network's, with the standard error of sampling."""

    mean: float
    error: float


@torch.no_grad()
def sample_losses(task: Task, data: Batches) -> Tensor:
    """Losses of this process's samples in evaluation mode, float64, in the order of the data."""
    shares = data.ordered(rank=processes.rank(), world=processes.world())
    modes = {module: module.training for module in task.model.modules()}
    task.model.eval()
    try:
        found = [task.sample_losses(*task.outputs(task.model, batch)).double().cpu() for batch in shares]
    finally:
        for module, training in modes.items():
            module.training = training
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


class Yardstick:
    """Measures loss increases of ``task.model`` over what it is now.

    Args:
        task: the network as it is now is the dense one.
        parameters: the weights that compete.
        compared: on how many of n training samples to measure, drawn once from the seed; on all by default.
        seed: draws them.

    Attributes:
        whole: the dense network's loss on every training sample, float64, shape (n,).
        loss: its mean.
        data: the samples that increases are measured on.
        dense: the dense network's mean loss on those.

    Raises:
        HowsparseError: no frozen training data, data or a network that change from pass to pass, or a loss that is not
            finite.
    """

    def __init__(
        self,
        task: Task,
        parameters: Mapping[str, nn.Parameter],
        *,
        compared: Callable[[int], int] = lambda n: n,
        seed: int = 0,
    ) -> None:
        self.task = task
        everything = Objective.of(task, parameters)
        everything.check_repeatable()
        self.whole = everything.sample_losses()
        known = everything.data.samples
        if known is not None and len(self.whole) > known:
            raise HowsparseError(
                f"the loss gives {len(self.whole)} values for {known} samples; it must give one for each sample of the "
                "data set (for sequences: leave logits and targets in batch shape, (B, C, T) and (B, T), and the mean "
                "over positions is taken here)"
            )
        self.loss = float(self.whole.mean())
        self.data = _subset(everything.data, compared(len(self.whole)), seed)
        self._dense = sample_losses(task, self.data)
        self.samples, self.dense, _ = _moments(self._dense)

    def increase(self) -> Increase:
        """The increase of ``task.model`` as it is now; infinite where the loss is not a finite number."""
        now = sample_losses(self.task, self.data)
        if len(now) != len(self._dense):
            raise HowsparseError(
                f"{self.data.name}: one pass gave {len(self._dense)} samples, a later one {len(now)}; give data that "
                "are the same at every pass"
            )
        samples, mean, deviation = _moments(now - self._dense)
        if not math.isfinite(mean):
            return Increase(math.inf, 0.0)
        left_out = max(1 - samples / len(self.whole), 0.0)
        return Increase(mean, deviation / math.sqrt(samples) * math.sqrt(left_out))


def _moments(values: Tensor) -> tuple[int, float, float]:
    """Count, mean and population standard deviation over all processes."""
    first = processes.sum_over_processes(torch.tensor([len(values), float(values.sum())], dtype=torch.float64))
    count, mean = int(first[0]), float(first[1] / first[0])
    squares = processes.sum_over_processes((values - mean).square().sum().reshape(1))
    return count, mean, math.sqrt(float(squares[0]) / count)


def _subset(data: Batches, samples: int, seed: int) -> Batches:
    if data.samples is None or data.samples <= samples:
        return data
    # a stream of its own: drawn from the seed itself, these would be the first samples of an epoch's order
    chosen = torch.randperm(data.samples, generator=torch.Generator().manual_seed(seed + _STREAM))[:samples]
    return data.subset(chosen.sort().values.tolist())
