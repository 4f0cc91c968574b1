"""Task: a network with what keeps it honest - data, a loss, a metric - for any kind of problem."""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from howsparse.batches import Batches
from howsparse.errors import HowsparseError

Batch = Any
Forward = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
_IGNORED = -100  # the label that torch's cross-entropy passes over
Loss = Callable[[Tensor, Tensor], Tensor]
Source = DataLoader[Any] | Dataset[Any] | Iterable[Batch]


@dataclass(frozen=True)
class Metric:
    """A number people judge the network by.

    ``values(output, target)`` gives one row per sample, shape (B,) or (B, k); rows are averaged over all samples in
    float64 and ``finish`` turns the mean, shape () or (k,), into the number. A mean of k columns allows ratios of sums.

    Example:
        >>> nmse = Metric(
        ...     "nmse",
        ...     lambda out, x: torch.stack([((out - x) ** 2).sum(1), (x**2).sum(1)], dim=1),
        ...     higher_is_better=False,
        ...     finish=lambda mean: float(10 * torch.log10(mean[0] / mean[1])),
        ... )
    """

    name: str
    values: Callable[[Tensor, Tensor], Tensor]
    higher_is_better: bool = True
    finish: Callable[[Tensor], float] = float

    def better(self, a: float, b: float) -> bool:
        """Whether ``a`` is strictly better than ``b``; anything is better than NaN."""
        if math.isnan(b):
            return not math.isnan(a)
        return a > b if self.higher_is_better else a < b


def accuracy() -> Metric:
    """Share of samples (or tokens) whose largest logit is the target; classes in dimension 1."""
    return Metric("accuracy", _share_right)


def _share_right(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(dim=1) == target).double().reshape(len(target), -1).mean(dim=1)


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy per sample, classes in dimension 1; in float32 at least, shape as ``target``.

    Raises:
        HowsparseError: a label is outside the classes.
    """
    try:
        return F.cross_entropy(output if output.dtype == torch.float64 else output.float(), target, reduction="none")
    except IndexError as error:
        raise HowsparseError(
            f"labels go from {int(target.min())} to {int(target.max())} but the network has {output.shape[1]} outputs; "
            f"labels must be 0 to {output.shape[1] - 1}"
        ) from error


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Squared error per sample, averaged over its entries: shape (B,).

    Raises:
        HowsparseError: output and target differ in shape.
    """
    if output.shape != target.shape:
        raise HowsparseError(
            f"output has shape {tuple(output.shape)}, target {tuple(target.shape)}; they must be equal"
        )
    return (output - target).square().flatten(1).mean(dim=1)


def input_and_target(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """The usual forward: a batch is ``(x, target)`` and the network takes ``x``."""
    x, target = batch
    return model(x), target


class Task:
    """A network with its data, loss and metric.

    Args:
        model: the network; pruned and trained in place.
        train: training data: a DataLoader, a map-style dataset, or an iterable of batches. It may shuffle and augment.
        val: held-out data by which decisions are made. Without it, ``val_share`` of map-style ``train`` is held out.
        test: data that is only ever reported.
        loss: ``loss(output, target) -> per-sample values``; the mean is taken by us. This module has `cross_entropy`
            and `squared_error`.
        forward: ``forward(model, batch) -> (output, target)``.
        metric: the number to judge by; by default accuracy when the loss is cross-entropy, else none.
        calib: one frozen, ordered, un-augmented pass over the training samples; built from map-style data when absent.
        batch_size: used for data given as datasets.
        val_share: share of the training set held out when ``val`` is absent, in [0, 1); 0 holds nothing out.
        seed: chooses the held-out samples.
        name: shown in reports.

    Raises:
        HowsparseError: empty data, or iterable training data without ``val``.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.randn(40, 3), torch.randint(0, 2, (40,)))
        >>> task = Task(nn.Linear(3, 2), data, batch_size=8)
        >>> task.train.samples, task.val.samples
        (36, 4)
    """

    def __init__(  # noqa: PLR0913 - the one noun everything else receives
        self,
        model: nn.Module,
        train: Source,
        val: Source | None = None,
        test: Source | None = None,
        *,
        loss: Loss = cross_entropy,
        forward: Forward = input_and_target,
        metric: Metric | None = None,
        calib: Source | None = None,
        batch_size: int = 128,
        val_share: float = 0.1,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        if not 0 <= val_share < 1:
            raise HowsparseError(f"val_share = {val_share} is not allowed: it must be in [0, 1)")
        self.model = model
        self.loss, self.forward = loss, forward
        self.metric = metric if metric is not None else (accuracy() if loss is cross_entropy else None)
        self.name = name or type(model).__name__
        self.train = Batches(train, batch_size=batch_size, name="train")
        if val is not None:
            self.val: Batches | None = Batches(val, batch_size=batch_size, name="val")
        else:
            self.train, self.val = self.train.hold_out(val_share, seed) if val_share else (self.train, None)
        self.held_out = {"share": val_share, "seed": seed} if val is None and val_share else None
        self.test = None if test is None else Batches(test, batch_size=batch_size, name="test")
        self.calib = self.train.frozen() if calib is None else Batches(calib, batch_size=batch_size, name="calib")

    @property
    def device(self) -> torch.device:
        """Where the network's first parameter lives."""
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """``forward`` on a batch moved to the network's device."""
        return self.forward(model, to_device(batch, self.device))

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """One loss per sample, shape (B,): whatever ``loss`` returns, averaged over all but the first dimension.

        Raises:
            HowsparseError: the loss reduces over the batch.
        """
        values = self.loss(output, target)
        if values.dim() == 0:
            raise HowsparseError(
                "the task's loss returned a single number; it must return one value per sample "
                '(for torch losses: reduction="none") because means over uneven batches are taken by howsparse'
            )
        return values.flatten(1).mean(dim=1) if values.dim() > 1 else values

    @torch.no_grad()
    def probe(self) -> None:
        """Run the first batch of every split through the network, so that what cannot work fails before the work.

        Raises:
            HowsparseError: a split's first batch gives a loss that is not finite, a loss or metric that is one number
                instead of one per sample, or labels outside the classes.
        """
        was_training = self.model.training
        self.model.eval()
        try:
            for data in filter(None, (self.train, self.val, self.test)):
                self._probe_split(data)
        finally:
            self.model.train(was_training)

    def _probe_split(self, data: Batches) -> None:
        batch = next(iter(data.ordered()))
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="Using a target size")  # output and target would broadcast
                output, target = self.outputs(self.model, batch)
                losses = self.sample_losses(output, target)
                self._probe_metric(output, target, len(losses))
        except HowsparseError:
            raise
        except Exception as error:
            raise HowsparseError(
                f"{data.name}: the first batch, {_outline(batch)}, does not go through forward, loss and metric: "
                f"{type(error).__name__}: {error}. Give the task a forward=, loss= or metric= that fits."
            ) from error
        if not bool(losses.isfinite().all()):
            raise HowsparseError(
                f"{data.name}: the loss of the first batch is not finite before any training; "
                "look at the inputs (NaN? not normalised?) and at the weights"
            )
        if self.loss is cross_entropy:
            _check_labels(data, output.shape[1])
        if isinstance(target, Tensor) and target.dim() and len(losses) != len(target):
            raise HowsparseError(
                f"{data.name}: the loss gave {len(losses)} values for {len(target)} targets; one each is needed"
            )

    def _probe_metric(self, output: Tensor, target: Tensor, samples: int) -> None:
        if self.metric is None:
            return
        values = self.metric.values(output, target)
        if values.dim() == 0 or len(values) != samples:
            raise HowsparseError(
                f"the metric {self.metric.name} gave values of shape {tuple(values.shape)} for {samples} samples; it "
                "must give one row per sample, the mean is taken by howsparse"
            )


def _check_labels(data: Batches, classes: int) -> None:
    """Look at all labels where that costs nothing: data sets that hold them in one tensor."""
    dataset: Any = data.dataset
    labels = dataset.tensors[-1] if isinstance(dataset, TensorDataset) else getattr(dataset, "labels", None)
    if not isinstance(labels, Tensor) or labels.is_floating_point() or not labels.numel():
        return
    outside = ((labels < 0) | (labels >= classes)) & (labels != _IGNORED)
    if bool(outside.any()):
        first = int(outside.reshape(-1).nonzero()[0])
        raise HowsparseError(
            f"{data.name}: {int(outside.sum())} labels are outside 0 to {classes - 1}, the first is "
            f"{int(labels.reshape(-1)[first])}; the network has {classes} outputs"
        )


def _outline(batch: Batch) -> str:
    """A batch in a few words."""
    if isinstance(batch, Tensor):
        return f"{str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
    if isinstance(batch, dict):
        return "{" + ", ".join(f"{key}: {_outline(value)}" for key, value in batch.items()) + "}"
    if isinstance(batch, tuple | list):
        return "[" + ", ".join(_outline(item) for item in batch[:6]) + "]"
    return type(batch).__name__


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same structure of tuples, lists and dictionaries with every tensor on ``device``."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        moved = [to_device(item, device) for item in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)
    return batch
