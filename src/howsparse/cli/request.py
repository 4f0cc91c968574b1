"""What commands on a network with data are asked alike: flags, a configuration file, and the task made of them."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import torch

from howsparse import processes
from howsparse.cli.layout import hung
from howsparse.cli.options import NONE
from howsparse.errors import HowsparseError, near
from howsparse.named_task import NamedTask, without_folders
from howsparse.task import Task


def request_options(*more: click.Option) -> list[click.Option]:
    """A flag for every field of `Request`; the command's own flags ``more`` stand behind --model and --data."""
    file, positive = click.Path(path_type=Path), click.IntRange(min=1)
    shown: Any = {"show_default": True}
    seed = click.IntRange(0, 2**32 - 1)
    return [
        click.Option(["--model"], required=True, help="built-in name, package.module:function or file.py:function"),
        click.Option(["--data"], required=True, help="built-in name with its folder, npz:FILE, or a function likewise"),
        *more,
        click.Option(["--weights"], type=file, help="start from these trained weights"),
        click.Option(["--batch-size"], type=positive, default=128, help="samples a step", **shown),
        click.Option(["--val-share"], type=float, default=0.1, help="training share held out", **shown),
        click.Option(["--seed"], type=seed, default=0, help="initial weights, split, everything drawn", **shown),
        click.Option(["--threads"], type=click.IntRange(1, 1024), help="CPU threads (default: PyTorch's choice)"),
        click.Option(["--device"], default="cpu", help="cpu, cuda, cuda:1", **shown),
        click.Option(["--include"], multiple=True, help="only parameters like this (repeatable)"),
        click.Option(["--exclude"], multiple=True, help="leave out parameters like this (repeatable)"),
        click.Option(["--config"], type=file, is_eager=True, callback=_defaults, help="TOML file"),
        click.Option(["--json", "as_json"], is_flag=True, help="print one JSON object at the end"),
    ]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which network on which data, and how to work."""

    model: str
    data: str
    weights: Path | None
    batch_size: int
    val_share: float
    seed: int
    threads: int | None
    device: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    as_json: bool
    config: Path | None  # read before the other flags, see _defaults

    @classmethod
    def taken_from(cls, flags: dict[str, Any]) -> "Request":
        """The request; its flags are taken out of ``flags``."""
        return cls(**{field.name: flags.pop(field.name) for field in fields(cls)})

    @property
    def patterns(self) -> dict[str, Any]:
        """Which parameters compete, as keyword arguments."""
        return {"include": list(self.include) or None, "exclude": list(self.exclude) or None}

    @property
    def origin(self) -> dict[str, Any]:
        """Where model, data and weights come from, for files that may be published."""
        return self.named(self.device).origin

    @contextmanager
    def working(self) -> Iterator[str]:
        """Join the other processes under ``torchrun``; yields the device this one should use.

        Raises:
            HowsparseError: the device cannot be used.
        """
        if self.threads:
            torch.set_num_threads(self.threads)
        _refuse_unusable(self.device)
        with processes.joined(self.device) as device:
            yield device

    def named(self, device: str) -> NamedTask:
        """The task that is asked for, not yet built."""
        return NamedTask(
            model=self.model,
            data=self.data,
            weights=self.weights,
            batch_size=self.batch_size,
            val_share=self.val_share,
            device=device,
        )

    def task(self, device: str) -> Task:
        """Build the network, load its weights, and put it together with the data."""
        return self.named(device)(self.seed)

    def warn_if_untrained(self, warning: str) -> None:
        """Say, once, what follows when no weights were given; a function of the user's may load them itself."""
        if self.weights is None and processes.rank() == 0:
            unless = f", unless {without_folders(self.model)} loads trained weights itself" if ":" in self.model else ""
            click.echo("\n".join(hung("warning: ", f"no --weights: {warning}{unless}")), err=True)


def explicit(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the user gave, an explicit ``none`` among them."""
    return {name: None if value is NONE else value for name, value in flags.items() if value is not None}


def answer(text: str) -> None:
    """Print the answer, in one process only."""
    if processes.rank() == 0:
        click.echo(text)


def _refuse_unusable(device: str) -> None:
    try:
        torch.zeros(1, dtype=torch.float64, device=device)  # sums are taken in float64
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).split("\n")[0]
        raise HowsparseError(f"--device {device} cannot be used here: {reason}") from error


def _defaults(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:  # noqa: ARG001
    """Take the settings of a configuration file as the flags' defaults."""
    if value is None:
        return None
    try:
        settings = tomllib.loads(value.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HowsparseError(f"cannot read {value}: {error}") from error
    names = {option.name: option for option in ctx.command.params if option.name}
    for key in settings:
        if key.replace("-", "_") not in names or key in ("config", "json"):
            see = f"see howsparse {ctx.command.name} --help"
            raise HowsparseError(f"{value}: unknown setting {key!r}{near(key, names)}; {see}")
    ctx.default_map = {**(ctx.default_map or {}), **{key.replace("-", "_"): val for key, val in settings.items()}}
    return value
