"""Masks of whole channels: from units to masks, and from masks to the units that they leave nothing of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from howsparse.errors import HowsparseError
from howsparse.masks import Masks, prunable_parameters
from howsparse.masks.prunable import Pattern
from howsparse.structured.groups import ChannelGroups, Part, Unit


def unit_masks(
    model: nn.Module,
    units: Iterable[Unit],
    *,
    include: Sequence[Pattern] | None = None,
    exclude: Sequence[Pattern] | None = None,
) -> Masks:
    """Masks that remove units: their rows and their columns, in every prunable tensor.

    Norms, biases and other companions of a channel follow when the network is compacted; masks do not count them.

    Args:
        model: the network.
        units: what to remove, see `channel_groups`.
        include: which tensors are prunable, see `howsparse.masks.prunable_parameters`.
        exclude: likewise.

    Returns:
        Masks of all prunable tensors.

    Raises:
        HowsparseError: nothing is prunable.

    Example:
        >>> from howsparse.structured import channel_groups
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> units = channel_groups(net, torch.zeros(1, 4)).units_of({"0.weight": [1]})
        >>> unit_masks(net, units)["2.weight"].tolist()
        [[True, False, True], [True, False, True]]
    """
    prunable = prunable_parameters(model, include=include, exclude=exclude)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable.items()}
    remove_units(masks, units)
    return Masks(masks)


def remove_units(masks: Mapping[str, Tensor], units: Iterable[Unit]) -> None:
    """Set the entries of units to False, in place, in the masks there are."""
    for unit in units:
        for part in unit.parts:
            if part.name in masks:
                masks[part.name].index_fill_(part.dim, _at(part, masks[part.name]), False)


def dead_units(groups: ChannelGroups, masks: Mapping[str, Tensor]) -> list[Unit]:
    """The units of which masks leave nothing that makes them, or nothing that reads them.

    A channel is gone when all rows that make it are masked in full: its norms and biases follow. It is gone as well
    when every column that reads it is masked in full, because nobody would miss it.

    Args:
        groups: the network's units.
        masks: living weights by name; tensors without a mask live.

    Returns:
        The units, in the order of the groups.

    Example:
        >>> from howsparse.structured import channel_groups
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> masks = Masks.dense({"0.weight": net[0].weight, "2.weight": net[2].weight})
        >>> masks["0.weight"][1] = False
        >>> [part.indices for unit in dead_units(channel_groups(net, torch.zeros(1, 4)), masks) for part in unit.rows()]
        [(1,)]
    """
    alive = {
        (name, dim): mask.movedim(dim, 0).reshape(mask.shape[dim], -1).any(dim=1).tolist()
        for name, mask in masks.items()
        for dim in range(mask.dim())
    }

    def gone(parts: Iterable[Part]) -> bool:
        found = [alive[part.name, part.dim][i] if part.name in masks else True for part in parts for i in part.indices]
        return bool(found) and not any(found)

    return [unit for unit in groups.units if gone(unit.rows()) or gone(unit.columns())]


def check_masks(model: nn.Module, masks: Masks) -> None:
    """Refuse masks of tensors that the network does not have, or of other shapes.

    Raises:
        HowsparseError: names the tensors.
    """
    have = dict(model.named_parameters())
    unknown = [name for name in masks if name not in have]
    if unknown:
        raise HowsparseError(f"the masks are for another network: {type(model).__name__} has no {unknown[:5]}")
    masks.check({name: have[name] for name in masks})


def _at(part: Part, like: Tensor) -> Tensor:
    return torch.tensor(part.indices, device=like.device)
