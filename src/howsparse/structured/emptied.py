"""Layers of which masks leave nothing: they go whole, with the part of the network that has no effect without them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from howsparse.errors import HowsparseError
from howsparse.masks import Masks
from howsparse.structured.channels import dead_units, remove_units
from howsparse.structured.groups import ChannelGroups, Unit
from howsparse.structured.tracing import Run


@dataclass(frozen=True)
class Removal:
    """What goes: units, and layers of which nothing is left."""

    units: tuple[Unit, ...]
    given: Masks  # what was asked for
    emptied: tuple[str, ...]  # weights without a living entry
    masks: Masks  # over all parameters: zero whatever goes, companions of channels included


def removal(model: nn.Module, groups: ChannelGroups, masks: Masks) -> Removal:
    """Follow what masks remove to its end.

    A removed channel takes its columns with it; a layer left without any living weight makes nothing, so that the norms
    and biases right behind it follow and its channels are gone as well; and so on until nothing more goes.

    Args:
        model: the network.
        groups: its units.
        masks: living weights of the prunable tensors.

    Returns:
        Units, emptied layers, and masks of all parameters.
    """
    living = {name: mask.clone() for name, mask in masks.items()}
    while True:
        units = dead_units(groups, living)
        before = sum(int(mask.count_nonzero()) for mask in living.values())
        remove_units(living, units)
        if sum(int(mask.count_nonzero()) for mask in living.values()) == before:
            break
    emptied = tuple(name for name, mask in living.items() if not bool(mask.any()))
    everything = {n: living.get(n, torch.ones_like(p, dtype=torch.bool)) for n, p in model.named_parameters()}
    remove_units(everything, units)
    for weight in emptied:
        for companion in groups.tracer.found.companions.get(weight, ()):
            if companion in everything:
                everything[companion].fill_(False)
    return Removal(tuple(units), masks, emptied, Masks(everything))


def idle_modules(network: nn.Module, run: Run, emptied: Iterable[str]) -> tuple[list[str], list[str]]:
    """The modules around emptied layers that do nothing, on the given inputs.

    Args:
        network: masked, in evaluation mode.
        run: runs it on the example inputs.
        emptied: weights without a living entry.

    Returns:
        Names of modules that give back their input, and of modules with parts of their own that give zeros in its
        shape; the outermost of each.
    """
    around = {prefix for name in emptied for prefix in _prefixes(name)}
    passing, zero = _observed(network, run, around)
    removed = _outermost(passing)
    inside = tuple(f"{name}." for name in removed)
    return removed, _outermost(name for name in zero if not name.startswith(inside) and name not in removed)


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")[:-1]
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


@torch.no_grad()
def _observed(network: nn.Module, run: Run, names: set[str]) -> tuple[list[str], list[str]]:
    same: dict[str, bool] = {}
    none: dict[str, bool] = {}

    def watch(name: str, inputs: tuple[object, ...], output: object) -> None:
        x = inputs[0] if inputs else None
        alike = isinstance(x, Tensor) and isinstance(output, Tensor) and x.shape == output.shape
        zero = isinstance(output, Tensor) and not bool(output.any())
        equal = alike and isinstance(x, Tensor) and isinstance(output, Tensor) and torch.equal(x, output)
        same[name] = same.get(name, True) and equal and not zero
        none[name] = none.get(name, True) and alike and zero

    handles = [
        network.get_submodule(name).register_forward_hook(lambda _m, x, y, name=name: watch(name, x, y))
        for name in names
    ]
    try:
        run(network)
    finally:
        for handle in handles:
            handle.remove()
    # a single layer that gives zeros is no branch that can go: with nothing beside it, the network is cut in two
    composite = {name for name in none if any(True for _ in network.get_submodule(name).children())}
    return [name for name, yes in same.items() if yes], [
        name for name, yes in none.items() if yes and name in composite
    ]


def _outermost(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in sorted(names, key=lambda name: name.count(".")):
        if not any(name.startswith(f"{other}.") for other in found):
            found.append(name)
    return sorted(found)


def refuse_empty(left: dict[tuple[str, int], int], groups: ChannelGroups, masks: Masks) -> None:
    """Refuse to leave a tensor without any channel.

    Args:
        left: how many indices stay in each dimension from which some go.
        groups: the network's units.
        masks: as given.

    Raises:
        HowsparseError: names the layer and the least that can stay.
    """
    empty = [dim for dim, count in left.items() if not count]
    roles = groups.tracer.found.roles
    asked = {name for name, mask in masks.items() if not bool(mask.any())}
    empty.sort(key=lambda dim: (dim[0] not in asked, "out" not in roles[dim]))  # what was asked, not what followed
    for name, dim in empty[:1]:
        group = next(g for g in groups for unit in g.units for p in unit.parts if (p.name, p.dim) == (name, dim))
        first = next(group.units[0].rows())
        raise HowsparseError(
            f"the masks empty {name}: none of its {groups.shapes[name][dim]} channels (dimension {dim}) is left, and "
            "the network would be cut in two, because no module around it gives its input back without it. At least "
            f"one unit must stay: let {len(first.indices)} of the {groups.shapes[first.name][first.dim]} rows of "
            f"{first.name} live ({', '.join(map(str, first.indices[:8]))}, for example), or mask a whole residual "
            "branch, which is then removed"
        )
