"""The one exact selector: which weights go, to the weight, with ties broken by position."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.masks.masks import Masks

Scope = Literal["neuron", "layer", "global"]
Ties = Literal["exact", "keep"]
SCOPES: tuple[Scope, ...] = ("neuron", "layer", "global")
GLOBAL = "global"  # the one group of the global scope

Counts = Mapping[str, Tensor]
"""One int64 number per group. Global scope: {"global": ()}; layer: {tensor: ()}; neuron: {tensor: (out,)}."""


def group_sizes(masks: Masks, scope: Scope) -> dict[str, Tensor]:
    """How many weights live in each group of a scope.

    Args:
        masks: the weights that live.
        scope: ``neuron`` (each index of dimension 0), ``layer`` (each tensor) or ``global`` (all together).

    Returns:
        int64 counts by group, see `Counts`.

    Example:
        >>> masks = Masks({"a": torch.tensor([[1, 0], [1, 1]]), "b": torch.ones(1, 3)})
        >>> group_sizes(masks, "neuron")["a"].tolist(), int(group_sizes(masks, "global")["global"])
        ([1, 2], 6)
    """
    check_scope(scope)
    if scope == "neuron":
        return {name: mask.flatten(1).sum(dim=1).cpu() for name, mask in masks.items()}
    if scope == "layer":
        return {name: mask.count_nonzero().cpu() for name, mask in masks.items()}
    return {GLOBAL: torch.tensor(masks.active)}


def check_scope(scope: str) -> None:
    """Refuse a scope that is not one of the three."""
    if scope not in SCOPES:
        raise HowsparseError(f"scope {scope!r} is unknown; it is one of {', '.join(SCOPES)}")


def remove_smallest(
    masks: Masks, scores: Mapping[str, Tensor], counts: Counts, *, scope: Scope, ties: Ties = "exact"
) -> Masks:
    """Remove the ``counts`` living weights with the smallest scores of each group.

    With ``ties="exact"`` exactly the asked-for number goes: equal scores are ordered by position (tensors in order,
    row-major inside). With ``ties="keep"`` only scores strictly below the first survivor's go, so that ties at the edge
    all stay, as in the SAP authors' code.

    Args:
        masks: the weights that live now.
        scores: importance of each weight, higher stays; shapes as in ``masks``; only living entries are looked at.
        counts: how many to remove per group, 0 <= count <= living entries of the group; see `Counts`.
        scope: the pool in which weights compete.
        ties: ``exact`` or ``keep``.

    Returns:
        New masks, nested in the old ones.

    Raises:
        HowsparseError: scores that do not fit or hold NaN, or a count that a group cannot give.

    Example:
        >>> masks = Masks.dense({"w": torch.zeros(1, 4)})
        >>> scores = {"w": torch.tensor([[3.0, 1.0, 2.0, 1.0]])}
        >>> remove_smallest(masks, scores, {"global": torch.tensor(1)}, scope="global")["w"].tolist()
        [[True, False, True, True]]
    """
    masks.check(scores)
    _check_counts(group_sizes(masks, scope), counts)
    if ties not in ("exact", "keep"):
        raise HowsparseError(f"ties {ties!r} is unknown; it is exact or keep")
    if scope == "neuron":
        return Masks({name: _shrink_rows(mask, scores[name], counts[name], ties) for name, mask in masks.items()})
    if scope == "layer":
        return Masks({n: _shrink_pool({n: m}, scores, int(counts[n]), ties)[n] for n, m in masks.items()})
    return Masks(_shrink_pool(masks, scores, int(counts[GLOBAL]), ties))


def kth_smallest(values: Tensor, k: int) -> Tensor:
    """The k-th smallest entry, k from 1, exactly; no size limit.

    Args:
        values: one dimension, not empty, no NaN. On the CPU the buffer is reordered: pass one you own.
        k: 1 <= k <= number of entries.

    Returns:
        A 0-dimensional tensor of the same type.

    Example:
        >>> float(kth_smallest(torch.tensor([5.0, 1.0, 3.0]), 2))
        3.0
    """
    if values.is_cuda:
        return values.kthvalue(k).values
    buffer = values.cpu().numpy()
    buffer.partition(k - 1)  # introselect in place: several times faster than torch's kthvalue, no copy
    return values.new_tensor(buffer[k - 1])


def _shrink_pool(
    masks: Mapping[str, Tensor], scores: Mapping[str, Tensor], count: int, ties: Ties
) -> dict[str, Tensor]:
    """Remove ``count`` entries from several tensors that compete with each other."""
    pool = torch.cat([_living(mask, _comparable(name, scores[name])) for name, mask in masks.items()])
    _refuse_nan(pool)
    if count == 0 or (ties == "keep" and count == pool.numel()):
        # strict comparison needs a first survivor; without one everything goes
        return {name: mask.clone() if count == 0 else torch.zeros_like(mask) for name, mask in masks.items()}
    edge = kth_smallest(pool, count if ties == "exact" else count + 1)
    below = {name: mask & (_comparable(name, scores[name]).to(edge) < edge) for name, mask in masks.items()}
    kept = {name: (mask & ~below[name]).contiguous() for name, mask in masks.items()}  # row-major, any layout
    if ties == "exact":
        _remove_ties(kept, scores, edge, count - sum(int(b.count_nonzero()) for b in below.values()))
    return kept


def _remove_ties(kept: dict[str, Tensor], scores: Mapping[str, Tensor], edge: Tensor, count: int) -> None:
    """Take ``count`` entries that equal the edge out of ``kept``, first positions first, in place."""
    for name, mask in kept.items():
        if count == 0:
            return
        tied = (mask & (_comparable(name, scores[name]).to(edge) == edge)).reshape(-1).nonzero().squeeze(1)[:count]
        mask.view(-1)[tied] = False
        count -= tied.numel()


def _shrink_rows(mask: Tensor, scores: Tensor, counts: Tensor, ties: Ties) -> Tensor:
    """Remove ``counts[i]`` entries from row i of one tensor."""
    rows = mask.flatten(1)
    values = _comparable("scores", scores).flatten(1)
    # entries that are gone come last, even behind infinite scores
    values = values.clamp(max=torch.finfo(values.dtype).max).masked_fill(~rows, torch.inf)
    _refuse_nan(values)
    asked = counts.to(mask.device).unsqueeze(1)  # (out, 1)
    ordered, order = values.sort(dim=1, stable=True)
    if ties == "exact":
        gone = torch.zeros_like(rows).scatter_(1, order, torch.arange(rows.shape[1], device=mask.device) < asked)
    else:
        edge = ordered.gather(1, asked.clamp(max=rows.shape[1] - 1))
        gone = (values < edge) | (asked == rows.sum(dim=1, keepdim=True))
    return (rows & ~gone).view_as(mask)


def _living(mask: Tensor, values: Tensor) -> Tensor:
    """The living entries in row-major order; a dense mask needs no gather."""
    if bool(mask.all()):
        return values.reshape(-1)
    if values.device.type != "cpu":
        return values[mask]
    # a tenth of the time of torch's boolean index
    return torch.from_numpy(np.compress(mask.numpy().reshape(-1), values.numpy().reshape(-1)))


def _comparable(name: str, scores: Tensor) -> Tensor:
    """Scores in a type that numpy can order; float16 and bfloat16 widen exactly."""
    if not scores.is_floating_point():
        raise HowsparseError(f"scores of {name} have type {scores.dtype}; floating point is needed")
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores


def _refuse_nan(values: Tensor) -> None:
    if values.numel() and bool(values.amax().isnan()):  # the maximum hands NaN on and needs no second buffer
        raise HowsparseError("scores hold NaN; were the weights trained to a finite loss?")


def _check_counts(sizes: Mapping[str, Tensor], counts: Counts) -> None:
    if set(sizes) != set(counts):
        raise HowsparseError(f"counts are for groups {sorted(counts)[:5]}, the masks have {sorted(sizes)[:5]}")
    for group, size in sizes.items():
        count = counts[group].cpu()
        if bool((count < 0).any()) or bool((count > size).any()):
            worst = int(np.argmax((count - size).numpy()))
            asked, there = int(count.reshape(-1)[worst]), int(size.reshape(-1)[worst])
            raise HowsparseError(f"group {group}: asked to remove {asked} of {there} weights")
