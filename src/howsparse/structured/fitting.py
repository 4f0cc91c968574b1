"""Numbers in a module's attributes (heads, groups, padding) that must follow when channels go."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from howsparse.errors import HowsparseError
from howsparse.structured.forms import Site
from howsparse.structured.groups import ChannelGroups
from howsparse.structured.tracing import Run

_TRIALS = 256
_TELLING = ("head", "group", "num", "n_", "kv")  # parts of names that numbers of heads usually have
Attributes = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Need:
    """A number in the code of a module that was ``old`` and must be ``new``."""

    module: str
    old: int
    new: int
    what: str


def known_attributes(groups: ChannelGroups, gone: set[int], skip: tuple[str, ...]) -> Attributes:
    """The attributes that are known to hold a number, with what it becomes.

    Raises:
        HowsparseError: one attribute would have to hold two numbers.
    """
    found: Attributes = {}
    for site in groups.sites:
        if site.attribute is None or f"{site.module}.".startswith(skip):
            continue
        new = _left(groups, site, gone)
        values = found.setdefault(site.module, {})
        if values.setdefault(site.attribute, new) != new:
            raise HowsparseError(
                f"{site.module}.{site.attribute} would have to be {values[site.attribute]} and {new} at once "
                f"({site.what}); remove as many channels at one side as at the other"
            )
    changed = {m: {a: n for a, n in vs.items() if n != _attribute(groups, m, a)} for m, vs in found.items()}
    return {module: values for module, values in changed.items() if values}


def needs(groups: ChannelGroups, gone: set[int], skip: tuple[str, ...]) -> list[Need]:
    """The numbers in code that no longer fit and whose attributes are not known, each once."""
    found = [
        Need(site.module, site.size, _left(groups, site, gone), site.what)
        for site in groups.sites
        if site.attribute is None and not f"{site.module}.".startswith(skip)
    ]
    return list({(n.module, n.old, n.new): n for n in found if n.old != n.new}.values())


def fit(network: nn.Module, wanted: list[Need], run: Run, truth: object, tolerance: float) -> Attributes:
    """Set attributes of the small network so that it runs and gives what the masked one gives.

    Modules of one class are treated alike. First nothing is changed (code that takes sizes from its tensors needs
    nothing), then single attributes that hold the old number, those with telling names first.

    Args:
        network: the small network; its attributes are set.
        wanted: numbers that no longer fit.
        run: runs it on the example inputs.
        truth: what the masked network gives for them.
        tolerance: largest difference, relative to the larger of 1 and the largest output.

    Returns:
        What was set.

    Raises:
        HowsparseError: no choice works: names the module and what goes wrong.
    """
    trouble: Exception | None = None
    for choice in itertools.islice(_choices(network, wanted), _TRIALS):
        undo = _set(network, choice)
        try:
            with torch.no_grad():
                off = difference(truth, run(network))
            if off <= tolerance * scale(truth):
                return choice
            trouble = trouble or HowsparseError(f"its output is off by {off:.3g}")
        except Exception as error:  # noqa: BLE001 - whatever the user's code does with sizes it was not written for
            trouble = trouble or error
        _set(network, undo)
    raise HowsparseError(_hopeless(network, wanted, trouble))


def difference(a: object, b: object) -> float:
    """The largest absolute difference between the tensors of two outputs; infinite when they are unlike."""
    first, second = ([x for x in tree_leaves(y) if isinstance(x, Tensor)] for y in (a, b))
    if len(first) != len(second) or any(x.shape != y.shape for x, y in zip(first, second, strict=False)):
        return float("inf")
    offs = [float((x.double() - y.double()).abs().max()) for x, y in zip(first, second, strict=True) if x.numel()]
    return max((off if off == off else float("inf") for off in offs), default=0.0)


def scale(output: object) -> float:
    """The larger of 1 and the largest absolute value of an output."""
    return max([1.0, *(float(x.abs().max()) for x in tree_leaves(output) if isinstance(x, Tensor) and x.numel())])


def _left(groups: ChannelGroups, site: Site, gone: set[int]) -> int:
    roots = groups.tracer.labels.roots(site.labels)
    return int(site.size - np.isin(roots, np.fromiter(gone, dtype=np.int64)).sum())


def _attribute(groups: ChannelGroups, module: str, name: str) -> int:
    value: int = getattr(groups.tracer.model.get_submodule(module), name)
    return value


def _choices(network: nn.Module, wanted: list[Need]) -> Iterator[Attributes]:
    """Which attributes to set, the simplest choices first."""
    kinds: dict[tuple[type, int], list[tuple[str, ...]]] = {}
    for need in wanted:
        module = network.get_submodule(need.module)
        names = [name for name, value in vars(module).items() if type(value) is int and value == need.old]
        names.sort(key=lambda name: not any(word in name.lower() for word in _TELLING))
        kinds.setdefault((type(module), need.old), [(), *((name,) for name in names)])
    keys = list(kinds)
    ranked = itertools.product(*(enumerate(kinds[key]) for key in keys))
    for ranks in sorted(ranked, key=lambda ranks: sum(rank for rank, _ in ranks)):
        chosen = {key: names for key, (_, names) in zip(keys, ranks, strict=True)}
        found: Attributes = {}
        for need in wanted:
            for name in chosen[type(network.get_submodule(need.module)), need.old]:
                found.setdefault(need.module, {})[name] = need.new
        yield found


def _set(network: nn.Module, values: Attributes) -> Attributes:
    """Set attributes; returns what they were."""
    before: Attributes = {}
    for module, numbers in values.items():
        owner = network.get_submodule(module)
        for name, number in numbers.items():
            before.setdefault(module, {})[name] = getattr(owner, name)
            setattr(owner, name, number)
    return before


def _hopeless(network: nn.Module, wanted: list[Need], trouble: Exception | None) -> str:
    words = [f"{n.module or type(network).__name__}: {n.what}, {n.old} must become {n.new}" for n in wanted[:3]]
    kind = "" if isinstance(trouble, HowsparseError) or trouble is None else f"{type(trouble).__name__}: "
    where = f" Sizes written in its code: {'; '.join(words)}." if words else ""
    return (
        f"the code of {type(network).__name__} does not work with fewer channels: {kind}{trouble}.{where} Let the code "
        "take sizes from its tensors or from an integer attribute of the module, or keep those channels"
    )
