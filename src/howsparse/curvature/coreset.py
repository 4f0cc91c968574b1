"""Coresets: a few samples that hold most of the curvature, and what the others can add at most.

The Gauss-Newton matrix is a sum over samples, G = G_top + G_rest, both positive semidefinite when sums over either part
are divided by the number of all samples. So G_top lies below G, and for every mu > 0 the effective number of parameters
dof(A) = tr A (A + mu)^-1 obeys dof(G_top) <= dof(G) <= dof(G_top) + tr(G_rest) / mu.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from howsparse import processes
from howsparse.curvature.gauss_newton import GaussNewton
from howsparse.curvature.objective import Objective
from howsparse.curvature.probes import rademacher
from howsparse.errors import HowsparseError
from howsparse.task import cross_entropy


@dataclass(frozen=True, eq=False)
class Coreset:
    """Some samples of an objective and the others.

    Attributes:
        top: the objective over the chosen samples; divided by the number of *all* samples when ``certified``.
        rest: the objective over the others, divided likewise; None when all samples were chosen.
        positions: places of the chosen samples in the data's order, ascending int64.
        share: of the sum of 1 - Σp² that the chosen samples hold; None where uncertainty is not defined.
        certified: whether the Gauss-Newton matrix of ``top`` lies below the full one.
    """

    top: Objective
    rest: Objective | None
    positions: Tensor
    share: float | None
    certified: bool

    @property
    def count(self) -> int:
        """Samples chosen."""
        return len(self.positions)


@dataclass(frozen=True)
class RemainderTrace:
    """An estimate of a trace.

    Attributes:
        mean: the estimate, unbiased.
        error: its standard error.
        low: lower end of the 95 % interval, not below 0.
        high: its upper end.
    """

    mean: float
    error: float
    low: float
    high: float


def most_uncertain(objective: Objective, count: int) -> Coreset:
    """The samples with the largest 1 - Σ_c p_c², p the softmax of the output: one forward pass.

    That number is the trace of the cross-entropy's second derivative in a sample's output (averaged over positions
    where the output has more dimensions than the classes).

    Args:
        objective: over map-style data, with `howsparse.task.cross_entropy`.
        count: samples to choose, at least 1; from n on all are.

    Returns:
        A `Coreset`, certified.

    Raises:
        HowsparseError: another loss, a count below 1, or data from which samples cannot be picked.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.tensor([[9.0], [0.0], [5.0]]), torch.tensor([0, 0, 0]))
        >>> model = torch.nn.Linear(1, 2)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0], [0.0]])), model.bias.data.zero_()
        >>> found = most_uncertain(Objective(model, data), 1)
        >>> found.positions.tolist(), round(found.share, 3)
        ([1], 0.974)
    """
    if objective.loss_of is not cross_entropy:
        raise HowsparseError(
            "uncertainty is that of a softmax and belongs to howsparse.task.cross_entropy; for other losses take "
            "uniform(objective, count, seed)"
        )
    _check(objective, count)
    uncertainty = objective.per_sample(_uncertainty)
    n, total = len(uncertainty), float(uncertainty.sum())
    chosen = uncertainty.argsort(descending=True, stable=True)[:count].sort().values
    share = float(uncertainty[chosen].sum()) / total if total > 0 else 1.0
    others = torch.ones(n, dtype=torch.bool)
    others[chosen] = False
    rest = _part(objective, others.nonzero().flatten(), objective.divisor) if len(chosen) < n else None
    return Coreset(_part(objective, chosen, objective.divisor), rest, chosen, share, certified=True)


def uniform(objective: Objective, count: int, seed: int = 0) -> Coreset:
    """Samples drawn once, uniformly without replacement; their mean estimates the mean over all.

    Args:
        objective: over map-style data.
        count: samples to choose, at least 1; from n on all are.
        seed: of the draw.

    Returns:
        A `Coreset` without ``rest``; certified only when all samples were chosen.

    Raises:
        HowsparseError: a count below 1, or data from which samples cannot be picked.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.zeros(8, 3), torch.zeros(8, dtype=torch.int64))
        >>> found = uniform(Objective(torch.nn.Linear(3, 2), data), 2)
        >>> found.top.samples, found.certified
        (2, False)
    """
    n = objective.samples
    if count >= n:
        return Coreset(objective, None, torch.arange(n), None, certified=True)
    _check(objective, count)
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:count].sort().values
    return Coreset(_part(objective, chosen, None), None, chosen, None, certified=False)


def remainder_trace(coreset: Coreset, *, probes: int = 2, seed: int = 0, memory: int | None = None) -> RemainderTrace:
    """Tr G_rest, the trace of the Gauss-Newton matrix of the samples that were not chosen.

    The sum over batches of the mean over random signs v of Σ_i (J_i v)ᵀ S_i (J_i v), which takes no pass back through
    the network for each v (Hutchinson 1990). Every batch has signs of its own: errors of batches then cancel instead of
    adding up, and their spread says how large they are. Signs go by the number of the batch, whatever the memory. The
    interval is Student's, with the degrees of freedom of Welch and Satterthwaite.

    Args:
        coreset: of `most_uncertain`.
        probes: vectors for each batch, 2 or more.
        seed: of the vectors.
        memory: bytes, see `GaussNewton`.

    Returns:
        A `RemainderTrace`; all zero when all samples were chosen.

    Raises:
        HowsparseError: fewer than two probes, a coreset that is not certified; otherwise as a product with
            `GaussNewton`.
    """
    from scipy.special import stdtrit

    if probes < 2:
        raise HowsparseError(f"probes = {probes}: two vectors a batch at least, or their spread says nothing")
    if not coreset.certified:
        raise HowsparseError("a uniform draw stands for all samples: it leaves no remainder whose trace could be added")
    if coreset.rest is None:
        return RemainderTrace(0.0, 0.0, 0.0, 0.0)
    rest = coreset.rest

    def draw(batch: int) -> Tensor:
        return rademacher(probes, rest.size, seed=seed, first=batch * probes, dtype=rest.dtype)

    forms = GaussNewton(rest, memory).forms_apart(draw)
    variances = forms.var(dim=1) / probes if len(forms) else forms[:, 0]
    sums = torch.stack([forms.mean(dim=1).sum(), variances.sum(), variances.square().sum()])
    mean, variance, squares = processes.sum_over_processes(sums).tolist()
    freedom = (probes - 1) * variance**2 / squares if squares > 0 else 1.0
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
    return RemainderTrace(mean, math.sqrt(variance), max(mean - half, 0.0), mean + half)


def _uncertainty(output: Tensor, target: Tensor) -> Tensor:  # noqa: ARG001 - the same for every label
    """1 - Σ p², shape (B,)."""
    probabilities = (output if output.dtype == torch.float64 else output.float()).softmax(dim=1)
    return (1 - probabilities.square().sum(dim=1)).reshape(len(output), -1).mean(dim=1)


def _check(objective: Objective, count: int) -> None:
    if count < 1:
        raise HowsparseError(f"a coreset of {count} samples: at least 1 is needed")
    if objective.data.dataset is None:
        raise HowsparseError(
            f"{objective.data.name}: samples can be picked from a map-style dataset only; give a Dataset, or a "
            "DataLoader over one without a sampler of its own"
        )


def _part(objective: Objective, positions: Tensor, divide_by: float | None) -> Objective:
    return objective.subset(positions.tolist(), divide_by=divide_by)
