"""``howsparse measure``."""

import json
from pathlib import Path

import click

from howsparse.cli.options import as_json, patterns
from howsparse.errors import HowsparseError
from howsparse.masks import SCOPES, Masks
from howsparse.measuring import measure as measure_source
from howsparse.training.run import MASKS, MODEL
from howsparse.weights import load_weights
from howsparse.zoo import build_model, load_data


@click.command(short_help="PQ Index and companions of trained weights, per layer and globally")
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--model", help="build this network and choose weights by module type; needs --data for built-in names")
@click.option("--data", help="data the built-in network is made for (gives shape and classes)")
@click.option("--masks", type=click.Path(path_type=Path), help="mask file: only living weights are measured")
@click.option(
    "--scope", type=click.Choice(SCOPES), default="global", show_default=True, help="neuron adds per-unit columns"
)
@click.option("--p", type=float, default=0.5, show_default=True, help="smaller order of the PQ Index, 0 < p < q")
@click.option("--q", type=float, default=1.0, show_default=True, help="larger order")
@click.option(
    "--zeros",
    type=click.Choice(["active", "masked"]),
    default="active",
    show_default=True,
    help="count exact zeros as weights, or leave them out as pruned",
)
@patterns
@as_json
def measure(weights: Path, model: str | None, data: str | None, masks: Path | None, as_json: bool, **look) -> None:  # type: ignore[no-untyped-def]
    """Measure WEIGHTS: a safetensors file, a PyTorch state dict, or a run directory.

    No model code is needed: tensors are chosen by name, and the output says so. With --model they are chosen by module
    type, which leaves embeddings out. Larger PQ Index and Gini mean sparser: energy sits in fewer weights. Of N weights
    about "effective" would carry the energy evenly.

    \b
      howsparse measure resnet20.safetensors
      howsparse measure model.pt --scope neuron --p 1 --q 2 --json
      howsparse measure runs/first
    """
    if weights.is_dir():
        weights, masks = weights / MODEL, masks or weights / MASKS
        if not weights.exists():
            raise HowsparseError(f"{weights.parent} is not a run directory with a finished cycle: it holds no {MODEL}")
    living = Masks.load(masks) if masks else None
    if model is None:
        card = measure_source(weights, living, **look)
    else:
        source = load_data(data) if data else None
        network = build_model(model, source.shape if source else None, source.classes if source else None)
        load_weights(network, weights)
        card = measure_source(network, living, **look)
    click.echo(json.dumps({"schema": "howsparse/measure/1", **card.to_json()}) if as_json else str(card))
