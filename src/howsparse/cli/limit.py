"""``howsparse limit``: its flags are the settings of the recipe and of `howsparse.limits.settings.LimitSettings`."""

import functools
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from howsparse import processes
from howsparse.cli.limit_text import limit_text
from howsparse.cli.limit_watch import LimitWatch
from howsparse.cli.options import Sectioned, settings_options
from howsparse.cli.progress import stages
from howsparse.cli.request import Request, answer, explicit, request_options
from howsparse.limits.arguments import check_folder
from howsparse.limits.limit import limit
from howsparse.limits.settings import LimitSettings
from howsparse.report import REPORT, write_report
from howsparse.training import Recipe

HELP = """Say how sparse a trained network can go: one-shot, re-tuned, and by the paper's formula.

The one-shot limit is measured by a few forward passes. The re-tuned limit belongs to the retraining whose settings are
given here, and is predicted with an interval by a few epochs of masked training. The paper's limit follows from weight
magnitudes and curvature. The network is left as it is.

\b
  howsparse limit --model resnet20 --data cifar10:FOLDER --weights resnet20.safetensors --epochs 15
  howsparse limit --model nets.py:make --data nets.py:data --weights trained.pt --out runs/limit
  howsparse limit --config limit.toml --verify 4 --json

Without --out nothing is kept; with it the same command resumes a computation that was stopped, and returns at once
when it is done. What it will cost is said before it starts; --minutes shares a given time out."""

_WITHOUT_EFFECT = ("dense_epochs", "keep")  # accepted, so that the flags of howsparse prune can be given unchanged


def limit_command() -> click.Command:
    """The command, with a flag for every setting of the recipe and of the limit."""
    out = click.Option(["--out"], type=click.Path(path_type=Path), help="directory to keep the result and resume")
    recipe = settings_options({"recipe": Recipe})
    for option in recipe:
        option.hidden = option.name in _WITHOUT_EFFECT
        if option.name == "epochs":
            option.help = f"epochs of the retraining (default {Recipe().epochs})"
    effort = settings_options({"limit": LimitSettings})
    command = Sectioned(
        "limit",
        params=[*request_options(out), *effort, *recipe],
        callback=functools.partial(_limit, effort=[option.name for option in effort]),
        help=HELP,
        short_help="how sparse it can go: measured one-shot, predicted re-tuned, the paper's",
    )
    command.sections = {"Effort and tolerance": effort, "Retraining that the re-tuned limit belongs to": recipe}
    return command


def _limit(effort: list[str], *, out: Path | None, **flags: Any) -> None:
    request, given = Request.taken_from(flags), explicit(flags)
    recipe = Recipe(**{name: value for name, value in given.items() if name not in effort})
    settings = {name: value for name, value in given.items() if name in effort}
    asked = LimitSettings(**settings)  # refuses what cannot be before anything is loaded
    if out is not None:
        check_folder(out)
    race = asked.race_epochs if asked.minutes is None else None
    with request.working() as device:
        request.warn_if_untrained("the network is untrained, and the limit of an untrained network means nothing")
        with stages() as shown, redirect_stdout(sys.stderr):  # what the user's functions print is not our answer
            found = limit(
                request.task(device),
                recipe,
                out,
                seed=request.seed,
                watch=None if shown is None else LimitWatch(shown, recipe.epochs, race),
                origin=request.origin,
                **request.patterns,
                **settings,
            )
        if out is not None and processes.rank() == 0:
            write_report(out)
        kept = "" if out is None else f"\nreport: {out / REPORT}"
        answer(json.dumps(found.to_plain()) if request.as_json else limit_text(found) + kept)
