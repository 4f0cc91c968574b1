"""Settings that know their range and their help: dataclass fields that check themselves and become flags."""

import dataclasses
import functools
import math
import types
import typing
import zlib
from collections.abc import Mapping
from typing import Any

from howsparse.errors import HowsparseError

_KEY = "howsparse.setting"


@dataclasses.dataclass(frozen=True)
class Limits:
    """Help text and range of one setting."""

    help: str
    above: float | None = None  # value must be > above
    at_least: float | None = None
    below: float | None = None  # value must be < below
    at_most: float | None = None

    def complaint(self, value: Any) -> str | None:
        """Why ``value`` is out of range, or None."""
        if isinstance(value, float) and not math.isfinite(value):
            return "it must be a finite number"
        if self.above is not None and not value > self.above:
            return f"it must be greater than {self.above:g}"
        if self.at_least is not None and not value >= self.at_least:
            return f"it must be at least {self.at_least:g}"
        if self.below is not None and not value < self.below:
            return f"it must be less than {self.below:g}"
        if self.at_most is not None and not value <= self.at_most:
            return f"it must be at most {self.at_most:g}"
        return None


@dataclasses.dataclass(frozen=True)
class Setting:
    """All that is known about one setting of a dataclass."""

    name: str
    default: Any
    limits: Limits
    kinds: tuple[type, ...]  # classes a value may have
    optional: bool  # whether None is allowed
    choices: tuple[Any, ...]  # allowed values where the annotation is a Literal, else empty

    def complaint(self, value: Any) -> str | None:
        """Why ``value`` is not allowed, or None."""
        if value is None and self.optional:
            return None
        if self.choices:
            return None if value in self.choices else "it must be one of " + ", ".join(map(str, self.choices))
        return self._type_complaint(value) or self.limits.complaint(value)

    def _type_complaint(self, value: Any) -> str | None:
        if isinstance(value, bool):
            fits = bool in self.kinds
        elif isinstance(value, int):
            fits = int in self.kinds or float in self.kinds
        else:
            fits = isinstance(value, self.kinds)
        return None if fits else "it must be " + " or ".join(kind.__name__ for kind in self.kinds)


def setting(default: Any, help: str, **limits: float) -> Any:  # noqa: A002 - the word users know from command lines
    """Declare a checked dataclass field; a ``Literal`` annotation lists its choices.

    Args:
        default: the default value.
        help: one line; shown by ``howsparse prune --help``.
        **limits: ``above``, ``at_least``, ``below`` or ``at_most``.

    Returns:
        A dataclass field.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Knobs:
        ...     rate: float = setting(0.1, "learning rate", above=0)
        ...     def __post_init__(self):
        ...         check_settings(self)
        >>> Knobs(rate=-1.0)
        Traceback (most recent call last):
        ...
        howsparse.errors.HowsparseError: Knobs: rate = -1.0 is not allowed: it must be greater than 0
    """
    return dataclasses.field(default=default, metadata={_KEY: Limits(help, **limits)})


def settings_of(cls: type) -> Mapping[str, Setting]:
    """The settings of a dataclass, by name."""
    hints = typing.get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        if _KEY in field.metadata:
            kinds, optional, choices = _annotation(hints[field.name])
            found[field.name] = Setting(field.name, field.default, field.metadata[_KEY], kinds, optional, choices)
    return types.MappingProxyType(found)


def check_settings(owner: Any) -> None:
    """Check type and range of every setting of a dataclass instance.

    Integers are accepted where floats are asked for. ``None`` passes only where the annotation allows it.

    Args:
        owner: an instance of a dataclass whose fields were made by `setting`.

    Raises:
        HowsparseError: names the first setting that is wrong, its value, and what would be right.
    """
    for name, known in settings_of(type(owner)).items():
        value = getattr(owner, name)
        complaint = known.complaint(value)
        if complaint:
            raise HowsparseError(f"{type(owner).__name__}: {name} = {value!r} is not allowed: {complaint}")


def to_plain(owner: Any) -> dict[str, Any]:
    """The settings as JSON values; callables by their qualified name."""
    return {name: _plain(getattr(owner, name)) for name in settings_of(type(owner))}


def function_name(function: Any) -> str:
    """A function by module and name; those without a name of their own by their code too, so that others differ."""
    if isinstance(function, functools.partial):
        return f"partial({function_name(function.func)}, {function.args}, {sorted(function.keywords.items())})"
    name = f"{function.__module__}:{getattr(function, '__qualname__', type(function).__qualname__)}"
    code = getattr(function, "__code__", None)
    if code is None or "<" not in name:
        return name
    constants = [value for value in code.co_consts if not isinstance(value, types.CodeType)]  # those show addresses
    return f"{name} {zlib.crc32(code.co_code + repr((code.co_names, constants)).encode()):08x}"


def _plain(value: Any) -> Any:
    if callable(value):
        return function_name(value)
    return list(value) if isinstance(value, tuple) else value


def _annotation(hint: Any) -> tuple[tuple[type, ...], bool, tuple[Any, ...]]:
    """Classes, whether None is allowed, and choices that an annotation admits."""
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        return tuple({type(choice) for choice in choices}), False, choices
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    parts = typing.get_args(hint) if is_union else (hint,)
    kinds = tuple(typing.get_origin(part) or part for part in parts if part is not types.NoneType)
    return kinds, types.NoneType in parts, ()
