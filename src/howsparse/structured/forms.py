"""What is known of a tensor while a network is traced: its dimensions, whose indices carry labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from howsparse.structured.labels import FIXED, Indices


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension of a tensor.

    ``source`` is the dimension of a parameter or buffer that this is; ``origin`` the split that made it, as (which
    reshape of the trace, which factor); ``maker`` the weight whose rows made it, as long as nothing else was done.
    """

    labels: Indices
    source: tuple[str, int] | None = None
    origin: tuple[int, int] | None = None
    maker: str | None = None

    @property
    def size(self) -> int:
        """Number of indices."""
        return len(self.labels)

    def bare(self) -> Axis:
        """The same labels, belonging to another tensor."""
        return replace(self, source=None)


def fixed_axis(size: int) -> Axis:
    """A dimension of which nothing can be removed."""
    return Axis(np.full(size, FIXED, dtype=np.int64))


@dataclass(frozen=True)
class Form:
    """The dimensions of a tensor, and whether it is made of parameters and buffers alone."""

    axes: tuple[Axis, ...]
    learned: bool = False

    @classmethod
    def fixed(cls, shape: tuple[int, ...]) -> Form:
        """A tensor of which nothing can be removed."""
        return cls(tuple(fixed_axis(size) for size in shape))


@dataclass(frozen=True, eq=False)
class Call:
    """One operation of a trace: its name, what it was given, and what it returned."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    out: Any

    def number(self, place: int, name: str, default: int) -> int:
        """An integer argument given by place or by name."""
        value: int = self.args[place] if len(self.args) > place else self.kwargs.get(name, default)
        return value


@dataclass(frozen=True, eq=False)
class Site:
    """A place in a module's code where a size was given as a number, which must follow when indices are removed.

    ``attribute`` names the attribute of the module that holds the number, where that is known.
    """

    module: str
    size: int
    labels: Indices
    what: str
    attribute: str | None = None


@dataclass(frozen=True, eq=False)
class Padding:
    """Channels of zeros that a module puts before and behind others; ``call`` counts the paddings of the trace."""

    module: str
    call: int
    from_behind: int  # which dimension is padded, counted from the last
    before: Indices
    behind: Indices


@dataclass
class Findings:
    """What a trace leaves behind beside the labels."""

    roles: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    paddings: list[Padding] = field(default_factory=list)
    companions: dict[str, set[str]] = field(default_factory=dict)  # weight to the biases and norms right behind it
