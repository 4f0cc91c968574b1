"""``howsparse spectrum``."""

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from howsparse import processes
from howsparse.cli.options import Sectioned
from howsparse.cli.progress import Stages, stages
from howsparse.cli.request import Request, answer, request_options
from howsparse.cli.spectrum_text import spectrum_plain, spectrum_text
from howsparse.curvature import Spectrum
from howsparse.errors import HowsparseError
from howsparse.files import write_atomic, write_json
from howsparse.limits.plan import PRODUCT, seconds_of_gradient
from howsparse.limits.spectrum import spectrum
from howsparse.masks import prunable_parameters
from howsparse.report.spectra import plot_spectra
from howsparse.report.wording import duration
from howsparse.task import Task

HELP = """Show the eigenvalues of the training loss's curvature at a trained network, of all weights or layer by layer.

Estimated by stochastic Lanczos quadrature from a few products with random vectors, with error bars. A layer's curvature
is the part of the matrix that belongs to its weights.

\b
  howsparse spectrum --model mlp --data digits --weights trained.safetensors
  howsparse spectrum --model nets.py:make --data nets.py:data --weights trained.pt --per-layer --plot layers.svg
  howsparse spectrum --config net.toml --curvature hessian --layer fc3.weight --out fc3.json --json"""


def spectrum_command() -> click.Command:
    """The command."""
    file, positive = click.Path(path_type=Path), click.IntRange(min=1)
    shown: Any = {"show_default": True}
    kinds = click.Choice(["ggn", "hessian"])
    look = [
        click.Option(["--curvature"], type=kinds, default="ggn", help="Gauss-Newton matrix or Hessian", **shown),
        click.Option(["--layer"], help="only the weights of this parameter, such as fc1.weight"),
        click.Option(["--per-layer"], is_flag=True, help="each prunable parameter by itself"),
        click.Option(["--samples"], type=positive, default=2000, help="training samples drawn", **shown),
        click.Option(["--probes"], type=positive, default=4, help="random vectors; give the error bars", **shown),
        click.Option(["--steps"], type=positive, default=40, help="Lanczos steps a probe", **shown),
        click.Option(["--out"], type=file, help="write everything to this JSON file"),
        click.Option(["--plot"], type=file, help="draw the density to this SVG file"),
    ]
    command = Sectioned(
        "spectrum",
        params=[*request_options(), *look],
        callback=_spectrum,
        help=HELP,
        short_help="eigenvalues of the loss's curvature, whole or layer by layer",
    )
    command.sections = {"Spectrum": look}
    return command


def _spectrum(*, layer: str | None, per_layer: bool, out: Path | None, plot: Path | None, **flags: Any) -> None:
    request = Request.taken_from(flags)
    if layer is not None and per_layer:
        raise HowsparseError(f"--layer {layer} and --per-layer exclude each other: one layer, or each by itself")
    _check_files(out, plot)
    with request.working() as device:
        request.warn_if_untrained("this is the curvature at an untrained network")
        with stages() as shown, redirect_stdout(sys.stderr):  # what the user's functions print is not our answer
            task = request.task(device)
            task.probe()
            layers = list(prunable_parameters(task.model, **request.patterns)) if per_layer else [layer]
            _say_cost(task, shown, len(layers), flags)
            found = _spectra(task, request, layers, shown, flags)
        if processes.rank() == 0:
            plain = spectrum_plain(task, flags["curvature"], dict(zip(layers, found, strict=True)))
            _write(plain, out, plot)
            notes = [f"\n{what} {path}" for what, path in (("kept in", out), ("drawn in", plot)) if path is not None]
            answer(json.dumps(plain) if request.as_json else "".join([spectrum_text(plain), *notes]))


def _say_cost(task: Task, shown: Stages | None, matrices: int, look: dict[str, Any]) -> None:
    if shown is None or task.calib is None:
        return
    samples = min(look["samples"], task.calib.samples or look["samples"])
    gradients = PRODUCT * look["probes"] * look["steps"] * matrices
    time = duration(gradients * samples * seconds_of_gradient(task))
    shown.say(f"cost: at most {gradients:,.0f} gradients for each of {samples:,} samples, about {time}")


def _spectra(
    task: Task, request: Request, layers: Sequence[str | None], shown: Stages | None, look: dict[str, Any]
) -> list[Spectrum]:
    found = []
    for number, layer in enumerate(layers):

        def on_step(done: int, most: int, before: int = number) -> None:
            if shown is not None and len(layers) > 1:
                shown.move("curvature", before + done / most, len(layers), "layers")
            elif shown is not None:
                shown.move("curvature", done, most, "Lanczos steps")

        found.append(spectrum(task, layer=layer, seed=request.seed, on_step=on_step, **request.patterns, **look))
    return found


def _check_files(out: Path | None, plot: Path | None) -> None:
    """Refuse, before the work, what could not be written after it."""
    if plot is not None and plot.suffix != ".svg":
        raise HowsparseError(f"--plot {plot}: only SVG is drawn; let the name end in .svg")
    for flag, path in (("--out", out), ("--plot", plot)):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HowsparseError(f"{flag} {path}: cannot make its folder: {error.strerror}") from error
        if path.is_dir():
            raise HowsparseError(f"{flag} {path} is a directory; name a file")


def _write(plain: dict[str, Any], out: Path | None, plot: Path | None) -> None:
    if out is not None:
        write_json(out, plain)
    if plot is not None:
        drawn = {row["layer"] or "all weights": Spectrum.from_plain(row["spectrum"]) for row in plain["spectra"]}
        write_atomic(plot, plot_spectra(drawn).encode())
