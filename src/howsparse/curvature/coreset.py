"""Which samples carry the curvature: the least certain ones, or a fixed draw."""

from dataclasses import dataclass

import torch
from torch import Tensor

from howsparse.curvature.gauss_newton import GaussNewton
from howsparse.curvature.objective import Objective
from howsparse.curvature.probes import Interval, rademacher


@dataclass(frozen=True)
class Coreset:
    """Samples chosen from an objective's.

    Attributes:
        top: the objective over the chosen samples; divided by the number of *all* samples when ``certified``.
        rest: the objective over the others, divided likewise; None when all samples were chosen.
        count: how many were chosen.
        share: their share of the sum of 1 - Σp²; None where uncertainty is not defined.
        certified: whether the Gauss-Newton matrix of ``top`` lies below the full one.
    """

    top: Objective
    rest: Objective | None
    count: int
    share: float | None
    certified: bool


def most_uncertain(objective: Objective, count: int) -> Coreset:
    """The ``count`` samples with the largest 1 - Σp² of the softmax."""
    doubt = objective.per_sample(_doubt)
    order = doubt.argsort(descending=True, stable=True)
    n = len(doubt)
    top = _part(objective, order[:count], n)
    rest = _part(objective, order[count:], n) if count < n else None
    share = float(doubt[order[:count]].sum() / doubt.sum()) if float(doubt.sum()) > 0 else 1.0
    return Coreset(top, rest, min(count, n), share, certified=True)


def uniform(objective: Objective, count: int, seed: int) -> Coreset:
    """``count`` samples drawn once from a seed; their mean estimates the whole mean."""
    n = objective.samples
    if count >= n:
        return Coreset(objective, None, n, None, certified=True)
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:count]
    return Coreset(_part(objective, chosen, None), None, count, None, certified=False)


def remainder_trace(coreset: Coreset, *, probes: int, seed: int) -> Interval:
    """Trace of the Gauss-Newton matrix of ``coreset.rest`` (Hutchinson), with a 95 % interval."""
    assert coreset.rest is not None
    vectors = rademacher(probes, coreset.rest.size, seed=seed, dtype=coreset.rest.dtype)
    forms = ((GaussNewton(coreset.rest) @ vectors).double() * vectors.double()).sum(dim=1)
    mean, spread = float(forms.mean()), float(forms.std(correction=1)) if probes > 1 else float(forms.mean())
    half = 4.3 * spread / probes**0.5
    return Interval(mean, max(mean - half, 0.0), mean + half, "t")


def _part(objective: Objective, positions: Tensor, n: int | None) -> Objective:
    data = objective.data.subset(positions.sort().values.tolist())
    return Objective(
        objective.model,
        data,
        loss=objective.loss_of,
        forward=objective.forward,
        parameters=objective.parameters,
        divide_by=n,
    )


def _doubt(output: Tensor, target: Tensor) -> Tensor:  # noqa: ARG001 - the same for every label
    return 1 - output.softmax(dim=1).square().sum(dim=1)
