"""SAP's allocation: each group gives what its PQ Index says it can spare (Diao et al., ICLR 2023, arXiv 2302.05601)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.masks import Masks, Scope, group_sizes
from howsparse.masks.select import GLOBAL
from howsparse.measures import pqi, retained_bound

Rounding = Literal["code", "paper"]


@dataclass(frozen=True)
class Spare:
    """What the PQ Index says of each group; the dictionaries have one entry per group, as the counts of a scope do."""

    sizes: dict[str, Tensor]  # int64: living weights d
    index: dict[str, Tensor]  # float64: PQ Index, NaN where undefined
    bound: dict[str, Tensor]  # float64: retained bound r, NaN where undefined

    def counts(self, *, gamma: float = 1.0, beta: float = 0.9, rounding: Rounding = "code") -> dict[str, Tensor]:
        """How many weights each group can spare: `prune_count` of every group."""
        return {
            group: prune_count(size, self.bound[group], gamma=gamma, beta=beta, rounding=rounding)
            for group, size in self.sizes.items()
        }


def pqi_adaptive(
    weights: Mapping[str, Tensor], masks: Masks, *, scope: Scope, p: float = 0.5, q: float = 1.0, eta: float = 0.0
) -> Spare:
    """How many weights must stay in each group by its PQ Index, and so how many it can spare.

    Per group of d living weights with index I: ``r = d (1 + eta)^(-q/(q-p)) (1 - I)^(pq/(q-p))``. A group whose index
    is undefined (all zero, or empty) can spare nothing.

    Args:
        weights: trained weights by name; entries outside the masks are not looked at.
        masks: the weights that live.
        scope: what a group is: ``neuron``, ``layer`` or ``global``.
        p: order of the smaller norm, 0 < p < q.
        q: order of the larger norm.
        eta: tolerated share of p-energy in what is dropped, >= 0.

    Returns:
        Sizes, indices and bounds; ``.counts()`` gives how many weights to remove.

    Example:
        >>> w = {"w": torch.tensor([[9.0, 1.0, 1.0, 1.0]])}
        >>> spare = pqi_adaptive(w, Masks.dense(w), scope="layer")
        >>> round(float(spare.index["w"]), 4), int(spare.counts()["w"])  # with (0.5, 1) the share is the index
        (0.25, 1)
    """
    sizes = group_sizes(masks, scope)
    index = _index_of_groups(weights, masks, scope, p, q)
    bound = {group: retained_bound(size.double(), index[group], p=p, q=q, eta=eta) for group, size in sizes.items()}
    return Spare(sizes, index, bound)


def prune_count(
    size: Tensor, bound: Tensor, *, gamma: float = 1.0, beta: float = 0.9, rounding: Rounding = "code"
) -> Tensor:
    """SAP's count ``c`` from the retained bound ``r``, without rounding accidents.

    ``code``: ``c = floor(min(gamma (d - ceil r), beta d))``, the rule of the authors' code in exact arithmetic.
    ``paper``: ``c = floor(min(gamma (d - r), beta d))``. They agree for gamma = 1. Never below 0; beta < 1 leaves at
    least one weight in every group.

    Args:
        size: living weights d, int64.
        bound: retained bound r, float64, same shape; NaN gives 0.
        gamma: factor, > 0.
        beta: cap, in (0, 1).
        rounding: ``code`` or ``paper``.

    Returns:
        int64 counts of the same shape.

    Raises:
        HowsparseError: gamma, beta or rounding out of range.

    Example:
        >>> prune_count(torch.tensor(78), torch.tensor(65.32, dtype=torch.float64)).item()
        12
    """
    if not gamma > 0 or not 0 < beta < 1:
        raise HowsparseError(f"gamma = {gamma}, beta = {beta}: gamma must be above 0 and beta between 0 and 1")
    if rounding not in ("code", "paper"):
        raise HowsparseError(f"rounding {rounding!r} is unknown; it is code or paper")
    d = size.double()
    # the guards keep an integer r an integer: flat groups have r = d exactly
    kept = torch.ceil(bound - 1e-9 * d.clamp(min=1)) if rounding == "code" else bound
    removed = torch.floor(torch.minimum(gamma * (d - kept), beta * d) + 1e-9)
    return removed.nan_to_num(nan=0.0).clamp(min=0).long()


def _index_of_groups(
    weights: Mapping[str, Tensor], masks: Masks, scope: Scope, p: float, q: float
) -> dict[str, Tensor]:
    if scope == "global":
        return {GLOBAL: pqi([weights[n] for n in masks], list(masks.values()), p=p, q=q).cpu()}
    if scope == "layer":
        return {name: pqi(weights[name], mask, p=p, q=q).cpu() for name, mask in masks.items()}
    return {n: pqi(weights[n].flatten(1), mask.flatten(1), p=p, q=q, dim=1).cpu() for n, mask in masks.items()}
