"""``compact``: take masked channels and layers out of a network, and prove that nothing else changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from howsparse.errors import HowsparseError
from howsparse.files import write_atomic
from howsparse.masks import Masks
from howsparse.structured.channels import check_masks
from howsparse.structured.emptied import Removal, idle_modules, refuse_empty, removal
from howsparse.structured.fitting import Attributes, difference, fit, known_attributes, needs, scale
from howsparse.structured.groups import ChannelGroups, Unit, channel_groups, run_of
from howsparse.structured.plan import PLAN, SCRIPT, WEIGHTS, Plan, fingerprint, script
from howsparse.structured.tracing import Run, copied
from howsparse.task import Task
from howsparse.training.run import model_bytes


@dataclass(frozen=True)
class Compacted:
    """A small network, and the evidence that it does what the masked one does."""

    model: nn.Module = field(repr=False)  # without the masked channels and layers
    plan: Plan = field(repr=False)
    difference: float  # largest between its outputs and the masked network's
    relative: float  # the same over the larger of 1 and the largest output
    samples: int  # of the data on which they were compared; 0 for example inputs alone
    followed: float  # how far outputs moved because norms and biases follow channels whose rows were masked
    parameters: tuple[int, int]  # before, after
    channels: int  # units removed
    stayed: int  # rows masked in full that stay as zeros, because others make the same channel or it cannot go
    masked: nn.Module = field(repr=False)  # the original size with everything removed set to zero

    def __str__(self) -> str:
        before, after = self.parameters
        on = f"{self.samples} samples" if self.samples else "the example inputs"
        layers = [*self.plan.removed, *self.plan.zeroed]
        return (
            f"{before:,} -> {after:,} parameters, {self.channels} channels"
            + (f" and {', '.join(layers)}" if layers else "")
            + f" removed; largest difference to the masked network {self.difference:.2g} on {on}"
        )

    def save(self, folder: str | Path) -> None:
        """Write model.safetensors, plan.json and rebuild.py, which make the small network from the original class.

        Raises:
            HowsparseError: the folder cannot be made or written.
        """
        path = Path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HowsparseError(f"cannot make the folder {folder}: {error.strerror}") from error
        write_atomic(path / WEIGHTS, model_bytes(self.model))
        self.plan.write(path / PLAN)
        write_atomic(path / SCRIPT, script())


def compact(
    model: nn.Module,
    masks: Masks,
    example_inputs: Any = None,
    *,
    task: Task | None = None,
    tolerance: float = 1e-5,
    samples: int = 512,
) -> Compacted:
    """Make the small network that computes what the masked network computes.

    Channels of which masks leave nothing are cut out of every tensor that knows of them: rows that make them, columns
    that read them, norms and biases. Blocks that masks turn into the identity, and branches that they turn into zero,
    go whole. Masked weights in channels that stay are zeros in the small network. The outputs of both are compared in
    evaluation mode, on the example inputs and on data of the task.

    Args:
        model: the network; never changed.
        masks: which weights live, for example ``hs.prune(...).masks`` or `unit_masks`.
        example_inputs: one batch the network takes: a tensor, a tuple of arguments or a dict of keyword arguments.
        task: real data to compare on; its first batch also stands in for missing example inputs.
        tolerance: largest difference allowed, relative to the larger of 1 and the largest output.
        samples: how many samples of the task are compared at most, 1 or more.

    Returns:
        The small network, the plan to rebuild it, and the largest difference.

    Raises:
        HowsparseError: no inputs, masks of another network, a layer without any channel left, code that does not work
            with fewer channels, or outputs that differ.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> masks = Masks.dense({"0.weight": net[0].weight, "2.weight": net[2].weight})
        >>> masks["0.weight"][1] = False
        >>> small = compact(net, masks, torch.randn(5, 4))
        >>> small.model[0], small.parameters, small.difference < 1e-6
        (Linear(in_features=4, out_features=2, bias=True), (23, 16), True)
    """
    check_masks(model, masks)
    run = run_of(example_inputs, task)
    groups = channel_groups(model, example_inputs, task=task)
    goes = removal(model, groups, masks)
    by_rows = _masked(model, masks)
    masked = _masked(by_rows, goes.masks)
    small = copied(masked)
    plan = _cut(small, masked, groups, goes, run, tolerance)
    off, relative, count = _proof(masked, small, run, task, samples)
    if not relative <= tolerance:
        raise HowsparseError(
            f"the small network does not agree with the masked one: outputs differ by {off:.3g} (relative "
            f"{relative:.3g}, allowed {tolerance:g}). Its code depends on sizes or values in a way that one forward "
            "pass does not show; nothing was written"
        )
    with torch.no_grad():
        followed = difference(run(by_rows), run(masked))
    sizes = tuple(sum(p.numel() for p in network.parameters()) for network in (model, small))
    for network in (small, masked):
        network.train(model.training)
    return Compacted(
        small, plan, off, relative, count, followed, (sizes[0], sizes[1]), len(goes.units), _stayed(masks, plan), masked
    )


def _stayed(masks: Masks, plan: Plan) -> int:
    """Rows masked in full that are still there."""
    gone = tuple(f"{name}." for name in (*plan.removed, *plan.zeroed))
    count = 0
    for name, mask in masks.items():
        alive = mask.reshape(len(mask), -1).any(dim=1)
        kept = plan.keep.get(name, {}).get(0)
        count += 0 if name.startswith(gone) else int((~alive if kept is None else ~alive[list(kept)]).sum())
    return count


def _masked(model: nn.Module, masks: Masks) -> nn.Module:
    network = copied(model).eval()
    parameters = dict(network.named_parameters())
    masks.apply_({name: parameters[name].detach() for name in masks})
    return network


def _cut(small: nn.Module, masked: nn.Module, groups: ChannelGroups, goes: Removal, run: Run, tolerance: float) -> Plan:
    """Cut the network down, in place, and fit the numbers in its code."""
    removed, zeroed = idle_modules(masked, run, goes.emptied) if goes.emptied else ([], [])
    skip = tuple(f"{name}." for name in (*removed, *zeroed))
    keep = _kept(groups, goes.units, skip)
    refuse_empty(
        {(name, dim): len(kept) for name, dims in keep.items() for dim, kept in dims.items()}, groups, goes.given
    )
    gone = _roots(groups, goes.units)
    sure = known_attributes(groups, gone, skip)
    plan = Plan(fingerprint(masked), keep, tuple(removed), tuple(zeroed), sure)
    plan.apply_(small)
    with torch.no_grad():
        truth = run(masked)
    guessed = fit(small, needs(groups, gone, skip), run, truth, tolerance)
    return Plan(plan.model_fingerprint, keep, plan.removed, plan.zeroed, _together(sure, guessed))


def _kept(groups: ChannelGroups, units: Iterable[Unit], skip: tuple[str, ...]) -> dict[str, dict[int, tuple[int, ...]]]:
    """Indices that stay, for dimensions from which some go."""
    gone: dict[tuple[str, int], set[int]] = {}
    for unit in units:
        for part in unit.parts:
            if not part.name.startswith(skip):
                gone.setdefault((part.name, part.dim), set()).update(part.indices)
    keep: dict[str, dict[int, tuple[int, ...]]] = {}
    for (name, dim), indices in gone.items():
        stays = tuple(i for i in range(groups.shapes[name][dim]) if i not in indices)
        keep.setdefault(name, {})[dim] = stays
    return keep


def _roots(groups: ChannelGroups, units: Iterable[Unit]) -> set[int]:
    firsts = [unit.parts[0] for unit in units]
    return {int(groups.roots[part.name, part.dim][part.indices[0]]) for part in firsts}


def _together(a: Mapping[str, Mapping[str, int]], b: Attributes) -> Attributes:
    return {module: {**a.get(module, {}), **b.get(module, {})} for module in {**a, **b}}


@torch.no_grad()
def _proof(masked: nn.Module, small: nn.Module, run: Run, task: Task | None, samples: int) -> tuple[float, float, int]:
    """Largest difference, the same relative to the outputs, and samples of data compared."""
    truth = run(masked)
    off = difference(truth, run(small))
    relative, count = off / scale(truth), 0
    if task is None:
        return off, relative, count
    for batch in (task.test or task.val or task.train).ordered():
        output, target = task.outputs(masked, batch)
        here = difference(output, task.outputs(small, batch)[0])
        off, relative = max(off, here), max(relative, here / scale(output))
        count += len(target)
        if count >= samples:
            break
    return off, relative, count
