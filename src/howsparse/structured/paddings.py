"""Zero channels that a module pads with: removable where an attribute of the module says how many there are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from howsparse.structured.forms import Padding, Site
from howsparse.structured.tracing import Run, Tracer


class _Reached(Exception):  # noqa: N818 - a signal: the padding asked for has been seen
    pass


class _Watcher(TorchDispatchMode):
    """Stops at the padding with the given number and keeps its amounts."""

    def __init__(self, call: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.left, self.amounts = call, list[int]()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as in Tracer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.constant_pad_nd.default:
            if self.left == 0:
                self.amounts = list(args[1])
                raise _Reached
            self.left -= 1
        return func(*args, **(kwargs or {}))


def tie_paddings(tracer: Tracer, run: Run) -> list[Site]:
    """Fix padded channels, or find the attribute that holds their number.

    Each integer attribute of the padding module that equals an amount is changed by one, and the network run up to the
    padding. One that moves one side alone holds that side's number; one that moves both makes the i-th channel in front
    go together with the i-th behind. Without any the channels stay.

    Args:
        tracer: has traced the network; its labels are changed.
        run: runs the network on the example inputs.

    Returns:
        The attributes that must follow.
    """
    sites: list[Site] = []
    for padding in tracer.found.paddings:
        free = [bool(tracer.labels.free(side).any()) for side in (padding.before, padding.behind)]
        if any(free):
            sites += _tied(tracer, padding, run)
    return sites


def _tied(tracer: Tracer, padding: Padding, run: Run) -> list[Site]:
    module = tracer.model.get_submodule(padding.module)
    holders: dict[tuple[bool, bool], str] = {}  # which amounts follow an attribute: in front, behind
    for name, value in vars(module).items():
        if type(value) is int and value in (len(padding.before), len(padding.behind)) and value > 0:
            holders.setdefault(_moved(tracer, module, name, padding, run), name)
    sites: list[Site] = []
    both = holders.get((True, True))
    for side, labels, key in (("front", padding.before, (True, False)), ("back", padding.behind, (False, True))):
        if not len(labels):
            continue
        if (holder := holders.get(key, both)) is None:
            tracer.labels.fix(labels, f"padding by a number that no attribute of {padding.module} holds")
        else:
            sites.append(Site(padding.module, len(labels), labels, f"padding at the {side}", holder))
    if both in {site.attribute for site in sites} and len(padding.before) and len(padding.behind):
        tracer.labels.join(padding.before, padding.behind, f"padding of {padding.module}")
    return sites


def _moved(tracer: Tracer, module: nn.Module, name: str, padding: Padding, run: Run) -> tuple[bool, bool]:
    """Which amounts follow the attribute when it is one less."""
    value = getattr(module, name)
    setattr(module, name, value - 1)
    try:
        with torch.no_grad(), _Watcher(padding.call) as watcher:
            run(tracer.model)
    except Exception:  # noqa: BLE001 - our own signal, or whatever the network does with another number
        pass
    finally:
        setattr(module, name, value)
    if not watcher.amounts:
        return False, False
    first = 2 * padding.from_behind
    before, behind = watcher.amounts[first : first + 2]
    return before == len(padding.before) - 1, behind == len(padding.behind) - 1
