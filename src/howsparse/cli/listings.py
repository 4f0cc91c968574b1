"""``howsparse methods``, ``models`` and ``data``: what there is."""

import json

import click

from howsparse.cli.options import as_json
from howsparse.methods import registered
from howsparse.settings import settings_of
from howsparse.zoo import DATASETS, MODELS


@click.command(short_help="pruning methods, those of plug-ins included")
@as_json
def methods(as_json: bool) -> None:
    """List the pruning methods with their papers; methods of installed plug-ins stand beside the built-in ones."""
    known, broken = registered()
    if as_json:
        rows = [
            {
                "name": name,
                "about": cls.about,
                "source": cls.source,
                "settings": list(settings_of(cls)),
            }
            for name, cls in known.items()
        ]
        click.echo(json.dumps({"schema": "howsparse/methods/1", "methods": rows, "broken": dict(broken)}))
        return
    _table([(name, cls.about, cls.source) for name, cls in known.items()])
    for name, reason in broken.items():
        click.echo(f"warning: the plug-in {name} could not be loaded: {reason}", err=True)


@click.command(short_help="networks that --model knows by name")
@as_json
def models(as_json: bool) -> None:
    """List the built-in networks. Your own: --model package.module:function or --model path/to/file.py:function."""
    if as_json:
        rows = [{"name": entry.name, "about": entry.about} for entry in MODELS.values()]
        click.echo(json.dumps({"schema": "howsparse/models/1", "models": rows}))
        return
    _table([(entry.name, entry.about) for entry in MODELS.values()])


@click.command(short_help="data sets that --data knows by name")
@as_json
def data(as_json: bool) -> None:
    """List the built-in data sets. Your own: --data package.module:function or --data path/to/file.py:function."""
    if as_json:
        rows = [{"name": e.name, "needs": e.needs, "about": e.about} for e in DATASETS.values()]
        click.echo(json.dumps({"schema": "howsparse/data/1", "data": rows}))
        return
    _table([(f"{e.name}:{e.needs}" if e.needs else e.name, e.about) for e in DATASETS.values()])


def _table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
