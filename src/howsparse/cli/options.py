"""Options that several commands share, and flags made from settings."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import click

from howsparse.settings import Setting, settings_of

as_json = click.option("--json", "as_json", is_flag=True, help="print one JSON object")


def patterns(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--include`` and ``--exclude``."""
    for word, text in (("exclude", "leave out"), ("include", "only")):
        command = click.option(
            f"--{word}",
            multiple=True,
            callback=_list_or_none,
            help=f"{text} parameters whose names match, like 'layer3.*'",
        )(command)
    return command


def _list_or_none(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[str] | None:  # noqa: ARG001
    return list(value) or None


class Sectioned(click.Command):
    """A command whose help shows some options under headings of their own."""

    sections: Mapping[str, list[click.Option]] = MappingProxyType({})

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those in no section first."""
        set_apart = {id(option) for options in self.sections.values() for option in options}
        own: list[click.Parameter] = [option for option in self.get_params(ctx) if id(option) not in set_apart]
        sections: list[tuple[str, Sequence[click.Parameter]]] = [("Run", own), *self.sections.items()]
        for title, options in sections:
            with formatter.section(title):
                formatter.write_dl([row for option in options if (row := option.get_help_record(ctx))])


def settings_options(classes: Mapping[str, type]) -> list[click.Option]:
    """One flag per setting found in the given dataclasses; help tells which owner it belongs to and its default.

    Args:
        classes: dataclasses by the name shown in help, for example the methods.

    Returns:
        Options whose value is None unless the user gave one.
    """
    found: dict[str, dict[str, Setting]] = {}
    for owner, cls in classes.items():
        for name, known in settings_of(cls).items():
            found.setdefault(name, {})[owner] = known
    return [_option(name, owners, shared=len(owners) == len(classes)) for name, owners in found.items()]


def _option(name: str, owners: Mapping[str, Setting], *, shared: bool) -> click.Option:
    known = next(iter(owners.values()))
    alike = all(
        (o.kinds, o.choices, o.optional) == (known.kinds, known.choices, known.optional) for o in owners.values()
    )
    if not alike:  # read what any owner may take; the chosen one checks it
        kinds = tuple(dict.fromkeys(kind for owner in owners.values() for kind in owner.kinds))
        known = replace(known, kinds=kinds, optional=any(o.optional for o in owners.values()), choices=())
    defaults = {owner: _shown(setting.default) for owner, setting in owners.items()}
    same = len(set(defaults.values())) == 1
    default = f"default {_shown(known.default)}" if same else ", ".join(f"{o}: {d}" for o, d in defaults.items())
    text = f"{'' if shared or not same else ', '.join(owners) + ': '}{known.limits.help} ({default})"
    flag = "--" + name.replace("_", "-")
    if known.kinds == (bool,):
        return click.Option([f"{flag}/--no-{flag[2:]}", name], default=None, help=text)
    kind = click.Choice([str(choice) for choice in known.choices]) if known.choices else _Value(known)
    return click.Option([flag, name], type=kind, default=None, help=text)


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


class _Value(click.ParamType[Any]):
    """A number, word, comma-separated list, or ``none`` where allowed, by the setting's annotation."""

    _WORDS: ClassVar[dict[type, str]] = {int: "integer", float: "number", str: "text", tuple: "a,b,..."}

    def __init__(self, known: Setting) -> None:
        self._kinds, self._optional = known.kinds, known.optional
        self.name = "|".join(word for kind, word in self._WORDS.items() if kind in known.kinds)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the flag's text; values from a configuration file arrive as they are."""
        if not isinstance(value, str):
            return tuple(value) if isinstance(value, list) else value
        if self._optional and value == "none":
            return NONE
        try:
            if tuple in self._kinds:
                return tuple(float(part) for part in value.split(","))
            return self._number(value)
        except ValueError:
            self.fail(f"{value!r} is not {self.name}{', nor none' if self._optional else ''}", param, ctx)

    def _number(self, value: str) -> Any:
        for kind in (int, float):
            if kind in self._kinds:
                with contextlib.suppress(ValueError):
                    return kind(value)
        if str in self._kinds:
            return value
        raise ValueError


class _None:
    """The user asked for None, which differs from not asking."""


NONE = _None()
