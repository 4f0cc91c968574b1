"""``howsparse prune``: its flags are the settings of the recipe and of every method."""

import functools
import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from howsparse.cli.options import Sectioned, settings_options
from howsparse.cli.progress import watching
from howsparse.cli.request import Request, answer, explicit, request_options
from howsparse.errors import HowsparseError, near
from howsparse.limits.result import Limit
from howsparse.methods import Method, method_class, registered
from howsparse.pruning import PruneResult, prune
from howsparse.report import REPORT
from howsparse.report.reading import read_run
from howsparse.settings import settings_of
from howsparse.training import Recipe

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
    own = request_options(
        click.Option(["--method"], required=True, help=f"{', '.join(methods)}"),
        click.Option(["--out"], required=True, type=click.Path(path_type=Path), help="run directory"),
    )
    recipe = settings_options({"training": Recipe})
    method = settings_options(dict(methods))
    taken = {option.name for option in own}
    method = [option for option in method if option.name not in taken]
    command = Sectioned(
        "prune",
        params=[*own, *recipe, *method],
        callback=functools.partial(_prune, recipe_fields=[option.name for option in recipe]),
        help=HELP,
        short_help="prune a network by any method; resumable, with a report",
    )
    command.sections = {"Training in each cycle": recipe, "Method": method}
    return command


def _prune(recipe_fields: list[str], *, method: str, out: Path, **flags: Any) -> None:
    request, settings = Request.taken_from(flags), explicit(flags)
    recipe = Recipe(**_recipe_settings(settings, recipe_fields, trained=request.weights is not None))
    chosen = _method(method, {name: value for name, value in settings.items() if name not in recipe_fields})
    with request.working() as device:
        with watching() as callbacks, redirect_stdout(sys.stderr):  # what the user's functions print is not our answer
            result = prune(
                request.task(device),
                chosen,
                recipe,
                out,
                seed=request.seed,
                callbacks=callbacks,
                origin=request.origin,
                **request.patterns,
            )
        answer(_as_json(result, out) if request.as_json else _as_text(result, out))


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
    if {"cycles", "sparsity"} <= set(settings) and "fraction" in known and "fraction" not in settings:
        sparsity, cycles = settings["sparsity"], settings["cycles"]
        share = 1 - (1 - sparsity) ** (1 / cycles)
        raise HowsparseError(
            f"--cycles {cycles} and --sparsity {sparsity:g} say the same thing twice: {name} prunes "
            f"{known['fraction'].default:g} of what is left each cycle until the sparsity is reached; for {cycles} "
            f"cycles give --fraction {share:.4g} in place of --cycles"
        )
    return cls(**settings)


def _flag(setting: str) -> str:
    return "--" + setting.replace("_", "-")


def _as_text(result: PruneResult, out: Path) -> str:
    found = read_run(out).limit  # of a method that prunes to a limit
    limits = [] if found is None else [f"limit: {Limit(found)}"]
    return "\n".join([str(result), *limits, f"report: {out / REPORT}"])


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
