"""``howsparse predictor``: learn from a finished iterative run which weights survive, for AutoSparse."""

import json
from pathlib import Path
from typing import Any

import click

from howsparse.cli.request import Request, answer, request_options
from howsparse.errors import HowsparseError
from howsparse.report.reading import read_run
from howsparse.scores import SurvivalPredictor
from howsparse.training.run import read_cycles

HELP = """Learn to predict, from a weight's initial value and gradient, how long it survives iterative pruning.

--run is the directory of a finished run of an iterative method; --model and --data are those it was made with. The
file that --out names is then used on other networks:

\b
  howsparse prune --model mlp --data digits --method imp --cycles 10 --epochs 5 --out runs/imp
  howsparse predictor --run runs/imp --model mlp --data digits --out survival.safetensors
  howsparse prune --model cnn --data digits --method autosparse --predictor survival.safetensors --out runs/auto"""


def predictor_command() -> click.Command:
    """The command."""
    file = click.Path(path_type=Path)
    options = request_options(
        click.Option(["--run"], required=True, type=file, help="finished run of an iterative method"),
        click.Option(["--out"], required=True, type=file, help="file to write"),
        click.Option(["--raw"], is_flag=True, help="features as they are, as the authors' code has them"),
    )
    return click.Command(
        "predictor",
        params=list(options),
        callback=_learn,
        help=HELP,
        short_help="learn from a run which weights survive, for --method autosparse",
    )


def _learn(run: Path, out: Path, raw: bool, **flags: Any) -> None:
    request = Request.taken_from(flags)
    _check(request, run, out)
    start, rounds = read_cycles(run)
    with request.working() as device:
        learned = SurvivalPredictor.from_run(request.task(device), start, rounds, raw=raw)
        learned.save(out)
        weights = rounds[0].total
        about = {"schema": "howsparse/predictor/1", "weights": weights, "rounds": len(rounds), "out": str(out)}
        text = f"learned from {len(rounds)} rounds of {weights:,} weights: {out}"
        answer(json.dumps(about) if request.as_json else text)


def _check(request: Request, run: Path, out: Path) -> None:
    """Refuse what would be noticed only after the learning, or never."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise HowsparseError(f"--out {out} cannot be written: it must name a file in a folder that exists")
    found = read_run(run)
    if not found.finished:
        raise HowsparseError(f"{run} is not finished: run the same howsparse prune command again, to its end")
    asked, there = request.origin, found.settings["origin"]
    for name in ("model", "data"):
        if there.get(name, asked[name]) != asked[name]:  # runs from Python need not say where things come from
            raise HowsparseError(
                f"{run} was made with --{name} {there[name]}, not {asked[name]}: a predictor learns from the network "
                "and the data of its run, and may then be used on others"
            )
