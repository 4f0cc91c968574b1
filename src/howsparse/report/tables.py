"""The tables of the report: layers, cycles, what the zeros are worth, and the settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from howsparse.report.limit_reading import LimitFiles
from howsparse.report.reading import Record, RunFiles
from howsparse.report.wording import count, number, ratio, sparsity


@dataclass(frozen=True)
class LayerRow:
    """One layer of the network shown."""

    name: str
    sparsity: str
    removed_percent: str  # length of the bar, a CSS percentage
    live: str
    total: str
    pqi: str
    gini: str


@dataclass(frozen=True)
class CycleRow:
    """One cycle; the last row of an unfinished run is the cycle in training, without measurements of its own."""

    cycle: int
    sparsity: str
    live: str
    pqi: str
    gini: str
    held_out: str
    test: str
    merely_pruned: str  # metric at this sparsity before any retraining, on the split that heads the report
    chosen: bool
    in_training: bool


@dataclass(frozen=True)
class WorthRow:
    """Something that zeros save."""

    label: str
    value: str
    change: str  # against the dense network


@dataclass(frozen=True)
class Group:
    """Settings that belong together."""

    title: str
    rows: tuple[tuple[str, str], ...]


def percent(fraction: float) -> str:
    """A fraction as a CSS length.

    Example:
        >>> percent(0.57757)
        '57.76%'
    """
    return f"{100 * fraction:.2f}%"


def layer_rows(run: RunFiles) -> list[LayerRow]:
    """The layers of the network shown, in the network's order.

    Args:
        run: the run.

    Returns:
        One row a masked tensor; none before the first cycle is complete.
    """
    if run.shown is None:
        return []
    return [
        LayerRow(
            name=layer["name"],
            sparsity=sparsity(layer["sparsity"]),
            removed_percent=percent(layer["sparsity"]),
            live=count(layer["active"]),
            total=count(layer["total"]),
            pqi=number(layer["pqi"]),
            gini=number(layer["gini"]),
        )
        for layer in run.cycles[run.shown]["layers"]
    ]


def cycle_rows(run: RunFiles) -> list[CycleRow]:
    """All cycles, each with the metric its network had right after pruning, before it was retrained.

    Args:
        run: the run.

    Returns:
        One row a cycle, and one for the cycle in training.
    """
    yardstick, rows = run.yardstick, []
    before: Record | None = None  # the network that the previous cycle's pruning left
    for record in run.cycles:
        rows.append(
            CycleRow(
                **_counts(record),
                cycle=record["cycle"],
                held_out=_measured(record, "val", yardstick.key),
                test=_measured(record, "test", yardstick.key),
                merely_pruned=_measured(before, yardstick.split, yardstick.key),
                chosen=run.finished and record["cycle"] == run.shown,
                in_training=False,
            )
        )
        before = record.get("pruned")
    if before is not None and not run.finished:
        rows.append(
            CycleRow(
                **_counts(before),
                cycle=len(rows),
                held_out="",
                test="",
                merely_pruned=_measured(before, yardstick.split, yardstick.key),
                chosen=False,
                in_training=True,
            )
        )
    return rows


def _counts(record: Record) -> dict[str, str]:
    return {
        "sparsity": sparsity(record["sparsity"]),
        "live": count(record["active"]),
        "pqi": number(record["pqi"]),
        "gini": number(record["gini"]),
    }


def _measured(record: Record | None, split: str, key: str) -> str:
    """A metric in a table: empty where nobody measured, `undefined` where the measurement is not a number."""
    found = None if record is None else record.get(split)
    return "" if found is None else number(found.get(key))


def worth_rows(run: RunFiles) -> list[WorthRow]:
    """What the zeros save on disk and in arithmetic.

    Args:
        run: the run.

    Returns:
        Rows for bytes and multiply-adds; none while the run is not finished.
    """
    if run.result is None:
        return []
    sizes, adds = run.result["bytes"], run.result["multiply_adds"]
    dense = sizes["dense"]
    return [
        WorthRow("Weights in full", f"{count(dense)} bytes", ""),
        WorthRow(
            "One bit a weight and the live values", f"{count(sizes['packed'])} bytes", ratio(dense, sizes["packed"])
        ),
        WorthRow("Weight file after zlib", f"{count(sizes['compressed'])} bytes", ratio(dense, sizes["compressed"])),
        WorthRow("Multiply-adds of a sample, dense", count(adds["dense"]), ""),
        WorthRow("Multiply-adds with live weights", count(adds["sparse"]), ratio(adds["dense"], adds["sparse"])),
    ]


def setting_groups(run: RunFiles | LimitFiles) -> list[Group]:
    """Settings and environment, grouped.

    Args:
        run: the run, or the limit.

    Returns:
        Method or limit, recipe, task, origin and environment.
    """
    settings, task = run.settings, run.settings["task"]
    shapes = task.get("parameters") or {}
    parameters = f"{count(len(shapes), 'tensor')}, {count(sum(prod(shape) for shape in shapes.values()))} numbers"
    about_task = {
        "name": task["name"],
        "metric": task["metric"],
        **{f"{split} samples": None if found is None else count(found) for split, found in task["samples"].items()},
        "batch size": task.get("batch_size"),
        "parameters": parameters,
        "include": settings.get("include"),
        "exclude": settings.get("exclude"),
        "seed": settings.get("seed"),
    }
    groups = {
        "Method": settings.get("method"),
        "Limit": settings.get("settings"),
        "Recipe": settings["recipe"],
        "Task": about_task,
        "Origin": settings.get("origin") or {},
        "Environment": run.environment,
    }
    return [Group(title, _rows(values)) for title, values in groups.items() if values]


def _rows(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((key.replace("_", " "), _plain(value)) for key, value in values.items())


def _plain(value: object) -> str:
    """A setting as people write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)
