"""Which channels go together: every unit that can be removed by itself, across all tensors of a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from howsparse.errors import HowsparseError, near
from howsparse.structured.forms import Site
from howsparse.structured.labels import Indices
from howsparse.structured.paddings import tie_paddings
from howsparse.structured.tracing import Run, Tracer, as_run, trace
from howsparse.task import Task

Dim = tuple[str, int]  # a parameter or buffer, and one of its dimensions


@dataclass(frozen=True)
class Part:
    """What a unit has in one dimension of one tensor.

    ``role``: ``out`` for rows that make the channel, ``in`` for columns that read it, ``follows`` for what goes with it
    (norms, biases, running statistics).
    """

    name: str
    dim: int
    role: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """One channel, or one head, in all tensors that know of it: removed as a whole or not at all."""

    parts: tuple[Part, ...]

    def rows(self) -> Iterator[Part]:
        """The parts that make the channel."""
        return (part for part in self.parts if part.role == "out")

    def columns(self) -> Iterator[Part]:
        """The parts that read the channel."""
        return (part for part in self.parts if part.role == "in")


@dataclass(frozen=True)
class Group:
    """Units that lie in the same dimensions of the same tensors: they compete with one another.

    ``name`` is the first tensor whose rows make them.
    """

    name: str
    units: tuple[Unit, ...]

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The tensors and dimensions that the units lie in."""
        return tuple((part.name, part.dim) for part in self.units[0].parts)


@dataclass(frozen=True)
class ChannelGroups:
    """All units of a network.

    ``fixed`` names dimensions of weights with entries that cannot be removed, and why. Iterating gives the groups.
    """

    groups: tuple[Group, ...]
    fixed: Mapping[Dim, str]
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    sites: tuple[Site, ...] = field(repr=False)
    roots: Mapping[Dim, Indices] = field(repr=False)  # of each index of each dimension, its class
    tracer: Tracer = field(repr=False, compare=False)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def units(self) -> list[Unit]:
        """The units of all groups."""
        return [unit for group in self.groups for unit in group.units]

    def units_of(self, channels: Mapping[str, Sequence[int]]) -> list[Unit]:
        """The units that hold the given output channels.

        Args:
            channels: tensor name to indices of the channels it makes, like ``{"layer1.0.conv1.weight": [0, 3]}``.

        Returns:
            The units, each once.

        Raises:
            HowsparseError: an unknown tensor or index, or a channel that cannot be removed: names the operation.
        """
        holders = {(part.name, index): unit for unit in self.units for part in unit.rows() for index in part.indices}
        found: dict[int, Unit] = {}
        for name, indices in channels.items():
            self._check(name, indices)
            for index in indices:
                unit = holders.get((name, index))
                if unit is None:
                    reasons = [why for (tensor, _), why in self.fixed.items() if tensor == name]
                    raise HowsparseError(
                        f"channel {index} of {name} cannot be removed: {'; '.join(reasons) or 'it makes no channel'}"
                    )
                found[id(unit)] = unit
        return list(found.values())

    def _check(self, name: str, indices: Sequence[int]) -> None:
        if name not in self.shapes:
            raise HowsparseError(f"the network has no tensor {name!r}{near(name, self.shapes)}")
        rows = [dim for (tensor, dim), roles in self.tracer.found.roles.items() if tensor == name and "out" in roles]
        count = self.shapes[name][rows[0] if rows else 0]
        bad = [index for index in indices if not 0 <= index < count]
        if bad:
            raise HowsparseError(f"{name} has channels 0 to {count - 1}; there is no {bad[:5]}")


def channel_groups(model: nn.Module, example_inputs: Any = None, *, task: Task | None = None) -> ChannelGroups:
    """Find out, by running the network once, which channels go together.

    Every operation of one forward pass says which indices of which dimensions must be removed together: additions join
    channels, concatenations line them up, flattening spreads each over its places, reshapes into heads make blocks,
    padded channels stand beside the others. Sums over products of activations, normalisation over channels, softmax,
    outputs, and operations without a rule fix what they run over. So a unit is exact, index by index.

    Args:
        model: the network; not changed. It is run in evaluation mode, on a copy.
        example_inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.
        task: takes the place of example inputs: its first batch is used.

    Returns:
        The groups, in the order of the parameters.

    Raises:
        HowsparseError: no inputs, or the network cannot be copied or run.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
        >>> groups = channel_groups(net, torch.zeros(2, 1, 4, 4))
        >>> [(group.name, len(group.units)) for group in groups]
        [('0.weight', 4)]
        >>> [(part.name, part.dim, part.role, part.indices) for part in groups.units[1].columns()]
        [('3.weight', 1, 'in', (4, 5, 6, 7))]
    """
    run = run_of(example_inputs, task)
    tracer = trace(model, run)
    sites = [*tracer.found.sites, *tie_paddings(tracer, run)]
    _fix_attention(tracer)
    return _collected(tracer, sites)


def run_of(example_inputs: Any, task: Task | None) -> Run:
    """What runs a network on the example inputs, or on the task's first batch."""
    if example_inputs is None and task is not None:
        batch = next(iter((task.calib or task.train).ordered()))
        return lambda network: task.outputs(network, batch)[0]
    return as_run(example_inputs)


def _fix_attention(tracer: Tracer) -> None:
    """Torch's own attention module asks for heads x width = the size of what it is embedded in."""
    for prefix, module in tracer.model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            inside = {f"{prefix}.{name}".lstrip(".") for name, _ in module.named_parameters()}
            for axis in tracer.parameter_axes:
                if axis.source is not None and axis.source[0] in inside:
                    tracer.labels.fix(axis.labels, f"nn.MultiheadAttention ({prefix}) has heads x width = embed_dim")


def _collected(tracer: Tracer, sites: list[Site]) -> ChannelGroups:
    """Units from labels."""
    named = [axis for axis in tracer.parameter_axes if axis.source is not None]
    roots = {axis.source: tracer.labels.roots(axis.labels) for axis in named if axis.source is not None}
    shapes = {name: tuple(t.shape) for name, t in [*tracer.model.named_parameters(), *tracer.model.named_buffers()]}
    parts: dict[int, list[Part]] = {}
    fixed: dict[Dim, str] = {}
    for dim, classes in roots.items():
        roles = tracer.found.roles.get(dim, set())
        free = tracer.labels.free(classes)
        if not free.all():
            fixed[dim] = tracer.labels.reason(int(classes[~free][0]))
        role = "out" if "out" in roles else "in" if "in" in roles else "follows"
        if not roles & {"out", "in", "bias", "norm"} and sum(size > 1 for size in shapes[dim[0]]) > 1:
            role = "out"  # a table that is added, or a weight used in a form of its own: it makes the channel too
        _add_parts(parts, dim, role, classes, free)
    used = tracer.found.roles  # without any role, a tensor takes no part in what the network computes
    units = [
        Unit(tuple(found))
        for found in parts.values()
        if any(part.role == "out" for part in found) and any((part.name, part.dim) in used for part in found)
    ]
    return ChannelGroups(_grouped(units), fixed, shapes, tuple(sites), roots, tracer)


def _add_parts(parts: dict[int, list[Part]], dim: Dim, role: str, classes: Indices, free: Any) -> None:
    indices_of: dict[int, list[int]] = {}
    for index in np.flatnonzero(free).tolist():
        indices_of.setdefault(int(classes[index]), []).append(index)
    for root, indices in indices_of.items():
        parts.setdefault(root, []).append(Part(dim[0], dim[1], role, tuple(indices)))


def _grouped(units: list[Unit]) -> tuple[Group, ...]:
    groups: dict[tuple[Dim, ...], list[Unit]] = {}
    for unit in units:
        groups.setdefault(tuple((part.name, part.dim) for part in unit.parts), []).append(unit)
    return tuple(Group(next(members[0].rows()).name, tuple(members)) for members in groups.values())
