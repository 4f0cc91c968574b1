"""``howsparse prune``: its flags are the settings of the recipe and of every method."""

import functools
import hashlib
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import torch

from howsparse import processes
from howsparse.cli.options import NONE, settings_options
from howsparse.cli.progress import watching
from howsparse.errors import HowsparseError, near
from howsparse.methods import Method, method_class, registered
from howsparse.pruning import PruneResult, prune
from howsparse.report import REPORT
from howsparse.settings import settings_of
from howsparse.task import Task, cross_entropy, input_and_target
from howsparse.training import Recipe
from howsparse.weights import load_weights
from howsparse.zoo import build_model, load_data

_SEED = click.IntRange(0, 2**32 - 1)
HELP = """Prune a network and write a run directory with a report.

The same command on the directory of a run that was stopped resumes it; on a finished run it returns at once.

\b
  howsparse prune --model mlp --data digits --method sap --cycles 8 --epochs 5 --out runs/first
  howsparse prune --model nets.py:make --data nets.py:data --weights trained.safetensors \\
                  --method one-shot --sparsity 0.9 --epochs 3 --lr 0.01 --out runs/mine
  howsparse prune --config run.toml --out runs/again

Names for --data: howsparse data; for --model: howsparse models; for --method: howsparse methods. With --weights the
network is not trained again before the first pruning, and --rewind init means those weights. A configuration file
holds the same settings under the flags' names (model = "mlp", epochs = 5, ...); flags win."""


def prune_command() -> click.Command:
    """The command, with a flag for every setting of the recipe and of all registered methods."""
    methods, _ = registered()
    own = [
        click.Option(["--model"], required=True, help="built-in name, package.module:function or file.py:function"),
        click.Option(["--data"], required=True, help="built-in name with its folder, npz:FILE, or a function likewise"),
        click.Option(["--method"], required=True, help=f"{', '.join(methods)}"),
        click.Option(["--out"], required=True, type=click.Path(path_type=Path), help="run directory"),
        click.Option(["--weights"], type=click.Path(path_type=Path), help="start from these trained weights"),
        click.Option(
            ["--batch-size"], type=click.IntRange(min=1), default=128, show_default=True, help="samples a step"
        ),
        click.Option(["--val-share"], type=float, default=0.1, show_default=True, help="training share held out"),
        click.Option(
            ["--seed"],
            type=click.IntRange(0, 2**32 - 1),
            default=0,
            show_default=True,
            help="initial weights, split, data order",
        ),
        click.Option(["--threads"], type=click.IntRange(1, 1024), help="CPU threads (default: PyTorch's choice)"),
        click.Option(["--device"], default="cpu", show_default=True, help="cpu, cuda, cuda:1"),
        click.Option(["--include"], multiple=True, help="prune only parameters like this (repeatable)"),
        click.Option(["--exclude"], multiple=True, help="leave out parameters like this (repeatable)"),
        click.Option(
            ["--config"], type=click.Path(path_type=Path), is_eager=True, callback=_defaults, help="TOML file"
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="print one JSON object at the end"),
    ]
    recipe = settings_options({"training": Recipe})
    method = settings_options(dict(methods))
    taken = {option.name for option in own}
    method = [option for option in method if option.name not in taken]
    command = _Sectioned(
        "prune",
        params=[*own, *recipe, *method],
        callback=functools.partial(_prune, recipe_fields=[option.name for option in recipe]),
        help=HELP,
        short_help="prune a network by any method; resumable, with a report",
    )
    command.sections = {"Training in each cycle": recipe, "Method": method}
    return command


class _Sectioned(click.Command):
    """A command whose help shows some options under headings of their own."""

    sections: Mapping[str, list[click.Option]] = MappingProxyType({})

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        set_apart = {id(option) for options in self.sections.values() for option in options}
        own: list[click.Parameter] = [option for option in self.get_params(ctx) if id(option) not in set_apart]
        sections: list[tuple[str, Sequence[click.Parameter]]] = [("Run", own), *self.sections.items()]
        for title, options in sections:
            with formatter.section(title):
                formatter.write_dl([row for option in options if (row := option.get_help_record(ctx))])


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for beside the settings of recipe and method."""

    model: str
    data: str
    method: str
    out: Path
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


def _prune(recipe_fields: list[str], **flags: Any) -> None:
    request = Request(**{field.name: flags.pop(field.name) for field in fields(Request)})
    given = {name: None if value is NONE else value for name, value in flags.items() if value is not None}
    recipe = Recipe(**_recipe_settings(given, recipe_fields, trained=request.weights is not None))
    method = _method(request.method, {name: value for name, value in given.items() if name not in recipe_fields})
    if request.threads:
        torch.set_num_threads(request.threads)
    _refuse_unusable(request.device)
    with processes.joined(request.device) as device:
        with watching() as callbacks, redirect_stdout(sys.stderr):  # what the user's functions print is not our answer
            result = prune(
                _task(request, device),
                method,
                recipe,
                request.out,
                seed=request.seed,
                include=list(request.include) or None,
                exclude=list(request.exclude) or None,
                callbacks=callbacks,
                origin=_origin(request),
            )
        if processes.rank() == 0:
            click.echo(_as_json(result, request.out) if request.as_json else _as_text(result, request.out))


def _refuse_unusable(device: str) -> None:
    try:
        torch.zeros(1, dtype=torch.float64, device=device)  # sums are taken in float64
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).split("\n")[0]
        raise HowsparseError(f"--device {device} cannot be used here: {reason}") from error


def _recipe_settings(given: Mapping[str, Any], fields: list[str], *, trained: bool) -> dict[str, Any]:
    chosen = {name: given[name] for name in fields if name in given}
    if trained:
        chosen.setdefault("dense_epochs", 0)  # trained weights need no training before the first pruning
    return chosen


def _method(name: str, settings: Mapping[str, Any]) -> Method:
    cls = method_class(name)
    known = settings_of(cls)
    for setting in settings:
        if setting not in known:
            flags = [_flag(name) for name in known]
            raise HowsparseError(
                f"method {name} has no {_flag(setting)}: it has {', '.join(flags)}{near(_flag(setting), flags)}"
            )
    return cls(**settings)


def _flag(setting: str) -> str:
    return "--" + setting.replace("_", "-")


def _task(request: Request, device: str) -> Task:
    source = load_data(request.data)
    torch.manual_seed(request.seed)
    network = build_model(request.model, source.shape, source.classes)
    if request.weights is not None:
        load_weights(network, request.weights)
    return Task(
        network.to(device),
        source.train,
        source.val,
        source.test,
        loss=source.loss or cross_entropy,
        forward=source.forward or input_and_target,
        metric=source.metric,
        batch_size=request.batch_size,
        val_share=request.val_share,
        seed=request.seed,
        name=_short(request.model),
    )


def _origin(request: Request) -> dict[str, Any]:
    """Where a run's parts came from, for its configuration."""
    digest = None if request.weights is None else hashlib.sha256(request.weights.read_bytes()).hexdigest()
    parts = {"model": _short(request.model), "data": _short(request.data)}
    return {**parts, "weights_sha256": digest, "device": request.device}


def _short(spec: str) -> str:
    """A model or data spec without folders, for files that may be published."""
    head, colon, tail = spec.partition(":")
    return f"{Path(head).name}{colon}{Path(tail).name}"


def _as_text(result: PruneResult, out: Path) -> str:
    return f"{result}\nreport: {out / REPORT}"


def _as_json(result: PruneResult, out: Path) -> str:
    return json.dumps(
        {
            "schema": "howsparse/prune/1",
            "asked": result.asked,
            "achieved": result.achieved,
            "metric": {"name": result.metric_name, "dense": result.dense, "pruned": result.pruned},
            "run": str(out),
        }
    )


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
            raise HowsparseError(f"{value}: unknown setting {key!r}{near(key, names)}; see howsparse prune --help")
    ctx.default_map = {**(ctx.default_map or {}), **{key.replace("-", "_"): val for key, val in settings.items()}}
    return value
