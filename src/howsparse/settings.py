"""Settings that know their range and their help: dataclass fields that check themselves and become flags."""

import dataclasses
import difflib
import types
import typing
from typing import Any

from howsparse.errors import HowsparseError

_KEY = "howsparse.setting"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is known about one setting beside its type: help text, range or choices."""

    help: str
    above: float | None = None  # value must be > above
    at_least: float | None = None
    below: float | None = None  # value must be < below
    at_most: float | None = None
    choices: tuple[Any, ...] | None = None

    def complaint(self, value: Any) -> str | None:
        """Why ``value`` is not allowed, or None."""
        if self.choices is not None and value not in self.choices:
            return "it must be one of " + ", ".join(map(str, self.choices))
        limits = (
            (self.above, lambda v, b: v > b, "greater than"),
            (self.at_least, lambda v, b: v >= b, "at least"),
            (self.below, lambda v, b: v < b, "less than"),
            (self.at_most, lambda v, b: v <= b, "at most"),
        )
        for bound, holds, words in limits:
            if bound is not None and not holds(value, bound):  # NaN fails every comparison
                return f"it must be {words} {bound:g}"
        return None


def setting(default: Any, help: str, **limits: Any) -> Any:  # noqa: A002 - the word users know from command lines
    """Declare a checked dataclass field.

    Args:
        default: the default value.
        help: one line; shown by ``howsparse prune --help``.
        **limits: ``above``, ``at_least``, ``below``, ``at_most`` or ``choices``.

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
    return dataclasses.field(default=default, metadata={_KEY: Setting(help, **limits)})


def setting_of(field: "dataclasses.Field[Any]") -> Setting | None:
    """The `Setting` a dataclass field was declared with, if any."""
    found = field.metadata.get(_KEY)
    return found if isinstance(found, Setting) else None


def field_types(cls: type) -> dict[str, tuple[tuple[type, ...], bool]]:
    """For each field of a dataclass: its allowed classes and whether None is allowed."""
    hints = typing.get_type_hints(cls)
    answer = {}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        parts = typing.get_args(hint) if is_union else (hint,)
        classes = tuple(typing.get_origin(part) or part for part in parts if part is not types.NoneType)
        answer[field.name] = (classes, types.NoneType in parts)
    return answer


def check_settings(owner: Any) -> None:
    """Check type and range of every setting of a dataclass instance.

    Integers are accepted where floats are asked for. ``None`` passes only where the annotation allows it.

    Args:
        owner: an instance of a dataclass whose fields were made by `setting`.

    Raises:
        HowsparseError: names the first setting that is wrong, its value, and what would be right.
    """
    kinds = field_types(type(owner))
    for field in dataclasses.fields(owner):
        declared, value = setting_of(field), getattr(owner, field.name)
        classes, optional = kinds[field.name]
        if declared is None or (value is None and optional):
            continue
        complaint = _type_complaint(value, classes) or declared.complaint(value)
        if complaint:
            raise HowsparseError(f"{type(owner).__name__}: {field.name} = {value!r} is not allowed: {complaint}")


def _type_complaint(value: Any, classes: tuple[type, ...]) -> str | None:
    if isinstance(value, bool):
        fits = bool in classes
    elif isinstance(value, int):
        fits = int in classes or float in classes
    elif callable(value):
        fits = any(c is not object and isinstance(value, c) for c in classes)
    else:
        fits = isinstance(value, classes)
    return None if fits else "it must be " + " or ".join(c.__name__ for c in classes)


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """The end of an error message about an unknown name: near misses first, else everything there is."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else "there is: " + ", ".join(known)


def to_plain(owner: Any) -> dict[str, Any]:
    """The settings as JSON values; callables by their qualified name."""
    plain = {}
    for field in dataclasses.fields(owner):
        value = getattr(owner, field.name)
        plain[field.name] = f"{value.__module__}:{value.__qualname__}" if callable(value) else value
    return plain
