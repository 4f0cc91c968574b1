"""Objective: the mean loss over fixed data as a function of chosen parameters."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from howsparse import processes
from howsparse.batches import Batches
from howsparse.curvature import repeatable
from howsparse.curvature.as_function import AsFunction, State
from howsparse.curvature.sums import accumulate, interleaved, over_processes
from howsparse.errors import HowsparseError, near
from howsparse.masks import prunable_parameters
from howsparse.task import Batch, Forward, Loss, Source, Task, cross_entropy, input_and_target, to_device


class Objective:
    """The mean loss over fixed data, L(w) = (1/n) Σ_i l_i(w), as a function of chosen parameters w in R^D.

    The network is read in evaluation mode (running statistics, no dropout) and handed back in the mode it was in. Its
    other parameters are constants. A sample is one entry of the loss's first dimension. With several processes each
    reads its share of the batches; every process gets the same results, those of one process to rounding.

    The data must be the same at every pass: every batch carries a checksum from its first reading on.

    Args:
        model: the network. Its weights are read when something is computed.
        data: batches that can be read again and again, a map-style dataset, or `Batches`. Map-style data are read in
            order, unaugmented where the data set offers ``plain()``.
        loss: ``loss(output, target)`` -> one value per sample, or more, whose mean is the sample's.
        forward: ``forward(model, batch) -> (output, target)``.
        parameters: names to parameters of the model, the coordinates in this order; by default the prunable ones.
        divide_by: a number to divide the sum over samples by instead of their number, above 0.

    Raises:
        HowsparseError: parameters that are not the model's, no data.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1)
        >>> objective = Objective(model, [(x, y)], loss=lambda output, target: (output - target).square())
        >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 1.0]]))
        >>> objective.size, objective.loss()
        (2, 6.5)
    """

    def __init__(
        self,
        model: nn.Module,
        data: Source | Batches,
        *,
        loss: Loss = cross_entropy,
        forward: Forward = input_and_target,
        parameters: Mapping[str, nn.Parameter] | None = None,
        divide_by: float | None = None,
    ) -> None:
        if divide_by is not None and not divide_by > 0:
            raise HowsparseError(f"divide_by = {divide_by} is not allowed: it must be above 0")
        self.model, self.data = model, _frozen(data)
        self.loss_of, self.forward, self.divide_by = loss, forward, divide_by
        self.parameters = dict(prunable_parameters(model) if parameters is None else _owned(model, parameters))
        self._function = AsFunction(model, forward)
        self._checksums: list[int] = []
        self._samples: int | None = None

    @classmethod
    def of(
        cls, task: Task, parameters: Mapping[str, nn.Parameter] | None = None, data: Batches | None = None
    ) -> "Objective":
        """The objective of a task.

        Args:
            task: supplies the network, loss and forward.
            parameters: as above.
            data: what to read; by default the task's frozen pass over its training samples, ``task.calib``.

        Raises:
            HowsparseError: the task has no such pass.
        """
        data = task.calib if data is None else data
        if data is None:
            raise HowsparseError(
                "curvature needs the training samples in a fixed order without augmentation, which cannot be made from "
                "iterable training data: give the task such batches with Task(..., calib=...)"
            )
        return cls(task.model, data, loss=task.loss, forward=task.forward, parameters=parameters)

    # --- coordinates ----------------------------------------------------------------------------------------------
    @property
    def size(self) -> int:
        """D, the number of coordinates."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def dtype(self) -> torch.dtype:
        """The type sums are kept in: float64 when a parameter is float64, else float32."""
        double = any(parameter.dtype == torch.float64 for parameter in self.parameters.values())
        return torch.float64 if double else torch.float32

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next(iter(self.parameters.values())).device

    def weights(self) -> Tensor:
        """A copy of the parameters as one vector, shape (D,)."""
        return self.flatten({name: parameter.detach() for name, parameter in self.parameters.items()}).clone()

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Tensors shaped as the parameters, by name, as one vector, shape (D,)."""
        return torch.cat([tensors[name].reshape(-1).to(self.dtype) for name in self.parameters])

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of a vector of shape (D,), shaped as the parameters, by name.

        Raises:
            HowsparseError: another shape.
        """
        if flat.shape != (self.size,):
            raise HowsparseError(f"a vector of shape ({self.size},) is needed, got {tuple(flat.shape)}")
        pieces = flat.split([parameter.numel() for parameter in self.parameters.values()])
        return {n: piece.view_as(p) for (n, p), piece in zip(self.parameters.items(), pieces, strict=True)}

    # --- passes over the data -------------------------------------------------------------------------------------
    @property
    def samples(self) -> int:
        """n, the number of samples, over all processes; the first time it may take a pass over the data."""
        if self._samples is None:
            self.loss()
        assert self._samples is not None
        return self._samples

    @property
    def divisor(self) -> float:
        """What sums over samples are divided by: n, unless it was given."""
        return self.samples if self.divide_by is None else self.divide_by

    def batches(self) -> Iterator[Batch]:
        """One pass over this process's batches, on the network's device.

        Raises:
            HowsparseError: a batch is not what it was in an earlier pass.
        """
        first = not self._checksums
        seen: list[int] = []
        for number, batch in enumerate(self._read()):
            seen.append(repeatable.checksum(batch))
            if not first and (number >= len(self._checksums) or seen[-1] != self._checksums[number]):
                raise repeatable.changed(self.data.name, number)
            yield to_device(batch, self.device)
        if not first and len(seen) != len(self._checksums):
            raise repeatable.changed(self.data.name, len(seen))
        self._checksums = seen

    def losses(self, batch: Batch) -> Tensor:
        """The samples' losses on a batch of `batches` at the network's present weights, shape (B,)."""
        return self.losses_of(*self.outputs(batch))

    def outputs(self, batch: Batch, state: State | None = None) -> tuple[Tensor, Tensor]:
        """Output and target of a batch, differentiable in ``state``: tensors in place of those of the same names."""
        return self._function.at(state or {}, batch)

    def losses_of(self, output: Tensor, target: Tensor) -> Tensor:
        """The samples' losses, shape (B,), from output and target.

        Raises:
            HowsparseError: the loss reduces over the batch.
        """
        values = self.loss_of(output, target)
        if values.dim() == 0:
            raise HowsparseError(
                "the loss returned a single number; it must return one value per sample "
                '(for torch losses: reduction="none") because the mean is taken by howsparse'
            )
        return values.flatten(1).mean(dim=1) if values.dim() > 1 else values

    def loss(self) -> float:
        """The mean loss, summed in float64.

        Raises:
            HowsparseError: it is not finite.
        """
        with torch.no_grad():
            per_batch = [self.losses(batch).double() for batch in self.batches()]
        return self.settle(sum(map(len, per_batch)), sum(float(losses.sum()) for losses in per_batch))

    def sample_losses(self) -> Tensor:
        """Every sample's loss in the data's order, float64 on the CPU, shape (n,); all processes' together.

        Raises:
            HowsparseError: one is not finite.
        """
        return self.per_sample(self.losses_of)

    @torch.no_grad()
    def per_sample(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """``values(output, target)``, shape (B,), of every sample; otherwise as `sample_losses`.

        Raises:
            HowsparseError: a value is not finite.
        """
        found = [values(*self.outputs(batch)).double().cpu() for batch in self.batches()]
        everything = interleaved(found)
        self.settle(len(everything), float(everything.sum()), shared=True)
        return everything

    def gradient(self) -> tuple[float, Tensor]:
        """The mean loss and its gradient, shape (D,).

        Raises:
            HowsparseError: the loss is not finite.
        """
        state, factor = self.snapshot(), 1 / self.divisor
        flat = torch.zeros(self.size, dtype=self.dtype, device=self.device)
        samples, total = 0, 0.0
        for batch in self.batches():
            leaves, output, target = self.differentiable(state, batch)
            with torch.enable_grad():
                losses = self.losses_of(output, target)
            parts = torch.autograd.grad(losses.sum(), leaves, materialize_grads=True)
            accumulate(flat, parts, factor, first=samples == 0)
            samples, total = samples + len(losses), total + float(losses.detach().double().sum())
        return self.settle(samples, total), over_processes(flat)

    def subset(self, positions: Sequence[int], *, divide_by: float | None = None) -> "Objective":
        """The objective over some of the samples.

        Args:
            positions: places of the samples in the data's order.
            divide_by: as above.

        Raises:
            HowsparseError: data that are not map-style, or positions out of range.
        """
        return Objective(
            self.model,
            self.data.subset(positions),
            loss=self.loss_of,
            forward=self.forward,
            parameters=self.parameters,
            divide_by=divide_by,
        )

    # --- for operators --------------------------------------------------------------------------------------------
    def snapshot(self) -> dict[str, Tensor]:
        """A copy of all of the model's parameters and buffers, outside autograd."""
        return self._function.snapshot()

    def differentiable(self, state: State, batch: Batch) -> tuple[list[Tensor], Tensor, Tensor]:
        """The chosen parameters as leaves of a new graph at ``state``; output, differentiable in them, and target."""
        with torch.enable_grad():
            leaves = {name: state[name].detach().requires_grad_() for name in self.parameters}
            return list(leaves.values()), *self.outputs(batch, {**state, **leaves})

    def settle(self, samples: int, total: float, *, shared: bool = False) -> float:
        """The mean loss from a pass's sums; remembers the number of samples.

        Args:
            samples: samples seen.
            total: sum of their losses.
            shared: whether these are already sums over all processes.

        Raises:
            HowsparseError: there are no samples, or the loss is not finite.
        """
        sums = torch.tensor([float(samples), total], dtype=torch.float64)
        sums = sums if shared else processes.sum_over_processes(sums)
        count, whole = float(sums[0]), float(sums[1])
        if count == 0:
            raise HowsparseError(f"{self.data.name}: there are no samples")
        self._samples = int(count)
        mean = whole / (self.divide_by or count)
        if not math.isfinite(mean):
            raise HowsparseError(
                f"the loss over {self.data.name} is {mean}, not a finite number: look at the inputs (NaN? not "
                "normalised?), at the labels and at the weights (diverged?)"
            )
        return mean

    # --- checks ---------------------------------------------------------------------------------------------------
    def check_repeatable(self, batches: int = 3) -> None:
        """Read the first batches twice and compare inputs and losses.

        Args:
            batches: how many batches to compare.

        Raises:
            HowsparseError: they differ; names what makes them.
        """
        first, again = (list(islice(self._read(), batches)) for _ in range(2))
        for number, (a, b) in enumerate(zip(first, again, strict=True)):
            if repeatable.checksum(a) != repeatable.checksum(b):
                raise repeatable.changed(self.data.name, number)
        for batch in first:
            self.check_noise(to_device(batch, self.device))

    @torch.no_grad()
    def check_noise(self, batch: Batch) -> None:
        """Compare two evaluations of a batch's losses.

        Raises:
            HowsparseError: they differ; names the module that makes them.
        """
        repeatable.check_noise(self.model, partial(self.losses, batch))

    def _read(self) -> Iterator[Batch]:
        return self.data.ordered(rank=processes.rank(), world=processes.world())


def _frozen(data: Source | Batches) -> Batches:
    """Batches in a fixed order, unaugmented where the data set can promise it."""
    if isinstance(data, Batches):
        return data
    batches = Batches(data)
    return batches.frozen("data") or batches


def _owned(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, nn.Parameter]:
    """The parameters, once it is sure that they are the model's under these names."""
    known = dict(model.named_parameters())
    if not parameters:
        raise HowsparseError("there are no parameters: an objective needs at least one coordinate")
    for name, parameter in parameters.items():
        if known.get(name) is not parameter:
            raise HowsparseError(f"{name} is not the name of this parameter in the model{near(name, known)}")
    return parameters
