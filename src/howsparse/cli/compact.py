"""``howsparse compact``."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from howsparse.cli.options import as_json
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, prunable_parameters
from howsparse.masks.prunable import detached
from howsparse.named_task import NamedTask
from howsparse.structured import Compacted, compact
from howsparse.structured.groups import run_of
from howsparse.structured.onnx import check_onnx, write_onnx
from howsparse.structured.plan import ONNX, PLAN, SCRIPT, WEIGHTS
from howsparse.task import Task
from howsparse.training.run import CONFIG, MASKS, MODEL, read_json

_FILE = click.Path(path_type=Path)


@click.command("compact", short_help="take masked channels and layers out; writes the small network, and the proof")
@click.argument("source", metavar="RUN_OR_MODEL")
@click.option("--data", required=True, help="real data to prove the small network on: as for prune")
@click.option("--out", required=True, type=_FILE, help="folder for the small network")
@click.option("--model", help="the network of a RUN made from a function of one's own, with its folder")
@click.option("--weights", type=_FILE, help="trained weights of a MODEL, zeros in place")
@click.option("--masks", type=_FILE, help="masks of a MODEL (default: what is zero in its weights)")
@click.option("--onnx", is_flag=True, help="write model.onnx too, checked against onnxruntime")
@click.option("--tolerance", type=float, default=1e-5, show_default=True, help="largest relative difference allowed")
@click.option("--samples", type=click.IntRange(min=1), default=512, show_default=True, help="samples to compare on")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1")
@as_json
def compact_command(source: str, out: Path, as_json: bool, onnx: bool, **asked: Any) -> None:
    """Take masked channels and layers out of RUN_OR_MODEL and write the small network to --out.

    A channel goes when all weights that make it, or all that read it, are masked; norms and biases follow. Blocks that
    masks turn into the identity go whole. The small network must agree with the masked one on the data, or nothing is
    written. rebuild.py in the folder makes it again from your own class, with torch and safetensors only.

    \b
      howsparse compact runs/thin --data cifar10:data --out small
      howsparse compact resnet20 --weights pruned.safetensors --data cifar10:data --out small --onnx
      howsparse compact runs/mine --model nets.py:make --data nets.py:data --out small --json
    """
    if onnx:
        check_onnx()
    _refuse_occupied(out)
    with redirect_stdout(sys.stderr):  # what the user's functions print is not our answer
        task, masks = _masked_task(source, asked)
        small = compact(task.model, masks, task=task, tolerance=asked["tolerance"], samples=asked["samples"])
        small.save(out)
        off = write_onnx(small.model, run_of(None, task), out / ONNX) if onnx else None
    click.echo(_as_json(small, out, off) if as_json else _as_text(small, out, off))


def _masked_task(source: str, asked: dict[str, Any]) -> tuple[Task, Masks]:
    """The network with its data, and its masks."""
    model, weights, masks = source, asked["weights"], asked["masks"]
    if Path(source).is_dir():
        run = Path(source)
        if not (run / CONFIG).is_file() or not (run / MODEL).is_file():
            raise HowsparseError(
                f"{run} is not a run directory with a finished cycle: it holds no {CONFIG} and {MODEL}"
            )
        model = asked["model"] or read_json(run / CONFIG)["settings"].get("origin", {}).get("model")
        if model is None:
            raise HowsparseError(f"{run} does not record its network; name it with --model file.py:function")
        weights, masks = weights or run / MODEL, masks or run / MASKS
    elif asked["model"]:
        raise HowsparseError(f"{source} is no run directory, so it is itself the network; leave --model out")
    task = NamedTask(model=model, data=asked["data"], weights=weights, device=asked["device"])(seed=0)
    if masks is not None:
        return task, Masks.load(masks)
    return task, Masks.from_zeros(detached(prunable_parameters(task.model)))


def _refuse_occupied(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / PLAN).is_file())):
        raise HowsparseError(f"{out} holds something else than a compacted network; choose another folder")


def _as_text(small: Compacted, out: Path, off: float | None) -> str:
    lines = [str(small)]
    if small.followed:
        lines.append(
            f"norms and biases that followed their channels moved outputs by up to {small.followed:.3g}: "
            "train a little, or measure again, before you trust an earlier accuracy"
        )
    if small.parameters[0] == small.parameters[1]:
        lines.append("no channel is masked in full, so nothing could be removed: prune whole channels first")
    if small.stayed:
        lines.append(
            f"{small.stayed} rows are masked in full but stay as zeros: other layers make the same channels (residual "
            "additions), or code fixes them"
        )
    if off is not None:
        lines.append(f"{ONNX}: largest difference of onnxruntime {off:.2g}")
    return "\n".join([*lines, f"written to {out}: {WEIGHTS}, {PLAN}, {SCRIPT}"])


def _as_json(small: Compacted, out: Path, off: float | None) -> str:
    dense, left = small.parameters
    return json.dumps(
        {
            "schema": "howsparse/compact/1",
            "parameters": {"dense": dense, "compact": left},
            "channels": small.channels,
            "removed": list(small.plan.removed),
            "zeroed": list(small.plan.zeroed),
            "difference": small.difference,
            "samples": small.samples,
            "followed": small.followed,
            "rows_left_as_zeros": small.stayed,
            "onnx_difference": off,
            "out": str(out),
        }
    )
