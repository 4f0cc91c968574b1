"""``howsparse compare``: its flags are the settings of the recipe and of every method, and the axes of the grid."""

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from howsparse.cli.compare_watch import CompareWatch
from howsparse.cli.options import Sectioned, settings_options
from howsparse.cli.progress import stages
from howsparse.cli.request import Request, answer, explicit, request_options
from howsparse.comparison import PAGE, Comparison, Watch, compare
from howsparse.comparison.cells import Maker, label
from howsparse.comparison.engines import ENGINES
from howsparse.errors import HowsparseError, near
from howsparse.methods import Method, method_class, registered
from howsparse.named_task import NamedTask
from howsparse.settings import settings_of
from howsparse.training import Recipe

HELP = """Compare methods at several sparsities, over several seeds and tasks, under one budget of epochs.

\b
  howsparse compare --model mlp --data digits --methods one-shot,imp,sap --sparsities 0.9,0.95 \\
                    --seeds 3 --epochs 6 --engine joblib --jobs 2 --out runs/cmp
  howsparse compare --task mlp@digits --task cnn@digits --methods imp,lomp --sparsities 0.9 --epochs 8 --out runs/two
  howsparse compare --config compare.toml --out runs/cmp

Every cell is a run directory like those of howsparse prune. The same command goes on where it was stopped, and tries
again what failed. --epochs is all that a cell may train, before, between and after prunings; with --weights nothing is
trained before the first pruning, and --limit predicts how far the network can go. A setting of a method is given to
every method that has it. In a configuration file [[tasks]] has label, model, data, weights, and [[methods]] has
method, label and settings of its own."""

_CHOSEN_HERE = ("epochs", "dense_epochs", "keep")  # by the budget, for all methods alike


def compare_command() -> click.Command:
    """The command, with a flag for every setting of the recipe and of all registered methods."""
    methods, _ = registered()
    own = request_options(*_grid_options(methods))
    for option in own:
        if option.name in ("model", "data"):
            option.required = False  # there may be --task instead
        if option.name == "threads":
            option.help = "CPU threads of a cell (default: cores / jobs)"
        if option.name == "seed":
            option.help = "the first seed"
    taken = {option.name for option in own} | {"sparsity"}
    recipe = [option for option in settings_options({"training": Recipe}) if option.name not in _CHOSEN_HERE]
    method = [option for option in settings_options(dict(methods)) if option.name not in taken]
    command = Sectioned(
        "compare",
        params=[*own, *recipe, *method],
        callback=functools.partial(_compare, recipe_fields=[option.name for option in recipe]),
        help=HELP,
        short_help="methods x sparsities x seeds x tasks under one budget",
    )
    command.sections = {"Training": recipe, "Methods": method}
    return command


def _grid_options(methods: Mapping[str, type[Method]]) -> list[click.Option]:
    positive, shown = click.IntRange(min=1), {"show_default": True}
    return [
        click.Option(["--task", "tasks"], multiple=True, type=_Task(), help="MODEL@DATA[@WEIGHTS] (repeatable)"),
        click.Option(["--methods"], required=True, type=_Methods(), help=", ".join(methods)),
        click.Option(["--sparsities"], required=True, type=_Numbers(), help="fractions removed, as 0.9,0.95"),
        click.Option(["--seeds"], type=positive, default=3, help="how many", **shown),
        click.Option(["--epochs"], type=positive, required=True, help="training in each cell, all in all"),
        click.Option(["--out"], required=True, type=click.Path(path_type=Path), help="directory"),
        click.Option(
            ["--engine"], type=click.Choice(ENGINES), default=None, help="default: serial, joblib with --jobs"
        ),
        click.Option(["--jobs"], type=positive, help="cells at a time"),
        click.Option(["--cluster"], help="address of a Ray cluster, or auto"),
        click.Option(["--against"], help="method to compare to (default: the best)"),
        click.Option(["--limit"], is_flag=True, help="also predict each task's limits, which costs epochs"),
        click.Option(["--trained"], is_flag=True, help="networks come trained, without --weights too"),
    ]


def _compare(
    recipe_fields: list[str],
    *,
    tasks: Sequence["_TaskWords"],
    methods: Sequence[Mapping[str, Any]],
    sparsities: Sequence[float],
    out: Path,
    **flags: Any,
) -> None:
    grid = {name: flags.pop(name) for name in ("seeds", "epochs", "engine", "jobs", "cluster", "against", "limit")}
    grid["trained"] = flags.pop("trained")
    one = {name: flags[name] for name in ("model", "data")}
    flags |= {name: value or "" for name, value in one.items()}
    request, settings = Request.taken_from(flags), explicit(flags)
    recipe = Recipe(**{name: value for name, value in settings.items() if name in recipe_fields})
    configured = _methods(methods, {name: value for name, value in settings.items() if name not in recipe_fields})
    grid["engine"] = grid["engine"] or ("joblib" if (grid["jobs"] or 1) > 1 else "serial")
    grid["seeds"] = range(request.seed, request.seed + grid["seeds"])
    with request.working() as device:
        makers = _makers(tasks, request, device)
        with stages() as shown, redirect_stdout(sys.stderr):  # what the user's functions print is not our answer
            watch = Watch() if shown is None else CompareWatch(shown)
            found = compare(
                makers,
                configured,
                sparsities,
                out=out,
                recipe=recipe,
                threads=request.threads,
                watch=watch,
                **request.patterns,
                **grid,
            )
        answer(json.dumps(found.to_plain()) if request.as_json else f"{found}\nreport: {out / PAGE}")
    _exit(found)


def _exit(found: Comparison) -> None:
    """The exit code says whether anything failed."""
    if found.failures:
        sys.exit(1)


# --- tasks ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _TaskWords:
    """A task as --task or [[tasks]] names it."""

    model: str
    data: str
    weights: Path | None = None
    label: str | None = None


class _Task(click.ParamType[Any]):
    """MODEL@DATA, MODEL@DATA@WEIGHTS, or a table of a configuration file."""

    name = "task"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if isinstance(value, _TaskWords):
            return value
        if isinstance(value, Mapping):
            known = ("label", "model", "data", "weights")
            for key in value:
                if key not in known:
                    raise HowsparseError(f"[[tasks]] has no {key!r}: it has {', '.join(known)}{near(key, known)}")
            words = dict(value)
        else:
            words = dict(zip(("model", "data", "weights"), str(value).split("@"), strict=False))
            words = words if str(value).count("@") < 3 else {}
        if not words.get("model") or not words.get("data"):
            self.fail(f"{value!r} is not MODEL@DATA, like mlp@digits", param, ctx)
        weights = words.pop("weights", None)
        return _TaskWords(**words, weights=Path(weights) if weights else None)


def _makers(tasks: Sequence[_TaskWords], request: Request, device: str) -> dict[str, Maker]:
    """The tasks by label; from --model and --data where there is no --task."""
    if tasks and (request.model or request.data or request.weights):
        raise HowsparseError("--task stands instead of --model, --data and --weights; give one or the other")
    if not tasks and not (request.model and request.data):
        raise HowsparseError("no task to compare on: give --model and --data, or --task MODEL@DATA")
    words = tasks or [_TaskWords(request.model, request.data, request.weights)]
    found: dict[str, Maker] = {}
    for task in words:
        maker = NamedTask(
            model=_absolute(task.model),
            data=_absolute(task.data),
            weights=None if task.weights is None else task.weights.absolute(),
            batch_size=request.batch_size,
            val_share=request.val_share,
            device=device,
        )
        name = task.label or label(maker)
        if name in found:
            raise HowsparseError(f"two tasks are called {name}: give them labels in a configuration file's [[tasks]]")
        found[name] = maker
    return found


def _absolute(spec: str) -> str:
    """A spec whose file or folder is found from any folder: other processes may work elsewhere."""
    head, colon, tail = spec.partition(":")
    if head.endswith(".py"):
        return f"{Path(head).absolute()}{colon}{tail}"
    return f"{head}{colon}{Path(tail).absolute()}" if tail and Path(tail).exists() else spec


# --- methods ----------------------------------------------------------------------------------------------------------
class _Methods(click.ParamType[Any]):
    """Names with commas between, or a list of names and tables in a configuration file."""

    name = "a,b,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """Read them."""
        given = value.split(",") if isinstance(value, str) else value
        return [{"method": part.strip()} if isinstance(part, str) else part for part in given]


def _methods(given: Sequence[Mapping[str, Any]], shared: Mapping[str, Any]) -> dict[str, Method]:
    """The methods by label, with the settings that are theirs and those of the flags that they have."""
    found: dict[str, Method] = {}
    for words in given:
        own = {key.replace("-", "_"): value for key, value in words.items()}
        cls = method_class(str(own.pop("method", "")))
        name = str(own.pop("label", cls.name))
        if name in found:
            raise HowsparseError(f"method {name} is there twice: give labels in a configuration file's [[methods]]")
        known = settings_of(cls)
        for key in own:
            if key not in known:
                raise HowsparseError(f"method {cls.name} has no {key}: it has {', '.join(known)}{near(key, known)}")
        found[name] = cls(**{key: value for key, value in shared.items() if key in known} | own)
    idle = [key for key in shared if not any(key in settings_of(type(method)) for method in found.values())]
    if idle:
        flags = ", ".join("--" + key.replace("_", "-") for key in idle)
        raise HowsparseError(f"none of the methods {', '.join(found)} has {flags}")
    return found


class _Numbers(click.ParamType[Any]):
    """Numbers with commas between, or a list in a configuration file."""

    name = "a,b,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read them."""
        try:
            return [float(part) for part in (value.split(",") if isinstance(value, str) else value)]
        except (TypeError, ValueError):
            self.fail(f"{value!r} is not numbers with commas between, like 0.9,0.95", param, ctx)
