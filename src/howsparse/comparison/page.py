"""The page of a comparison."""

from typing import Any

from howsparse.comparison import tables
from howsparse.comparison.comparison import Comparison, Summary
from howsparse.comparison.curves import curves_of, plot
from howsparse.report.rendering import page, plotted
from howsparse.report.tables import Group
from howsparse.report.wording import count, duration, number, sparsity


def render(comparison: Comparison) -> str:
    """The comparison as one HTML page that needs no network; the same files give the same bytes.

    Args:
        comparison: finished or not.

    Returns:
        HTML with style and plots inside.
    """
    done = [row for row in comparison.rows if row.state == "done"]
    return page(
        "comparison.html.j2",
        title=", ".join(comparison.tasks),
        methods=comparison.methods,
        story=tables.opening(comparison),
        finished=len(done) == len(comparison.rows),
        strip=_strip(comparison),
        reading=tables.reading(comparison),
        warnings=comparison.warnings,
        tasks=[_task(comparison, task) for task in comparison.tasks],
        budgets=tables.budget_grid(comparison.rows),
        failures=tables.failure_grid(comparison),
        groups=_groups(comparison),
    )


def _strip(comparison: Comparison) -> list[dict[str, Any]]:
    """The figures at the head of the page."""
    done = [row for row in comparison.rows if row.state == "done"]
    seconds, epochs = sum(row.seconds or 0 for row in done), sum(row.epochs or 0 for row in done)
    failed = len(comparison.failures)
    sparsities = [s for s in comparison.sparsities if s is not None]
    levels = f"{len(sparsities)} {'sparsity' if len(sparsities) == 1 else 'sparsities'}"
    seeds = count(len(comparison.seeds), "seed")
    grid = f"{count(len(comparison.tasks), 'task')} × {count(len(comparison.methods), 'method')} × {levels} × {seeds}"
    return [
        {"label": "Cells done", "value": f"{len(done)} of {len(comparison.rows)}", "notes": [grid]},
        {"label": "Budget of a cell", "value": count(comparison.epochs, "epoch"), "notes": ["search included"]},
        {"label": "Trained in all", "value": duration(seconds), "notes": [count(epochs, "epoch")]},
        {"label": "Failed", "value": str(failed), "notes": ["see the end of the page"] if failed else []},
    ]


def _task(comparison: Comparison, task: str) -> dict[str, Any]:
    found = curves_of(comparison, task)
    return {
        "name": task,
        "heading": tables.heading(comparison, task),
        "plot": plotted(plot, found),
        "limits": [] if found is None else [_limit_words(interval) for interval in found.limits],
        "columns": tables.quality_grid(comparison, task)[0],
        "rows": _quality(comparison, task),
        "cost": tables.cost_grid(comparison, task),
        "pairs": tables.pairs_grid(comparison, task),
    }


def _limit_words(interval: Any) -> str:
    value = "" if interval.value is None else f" {sparsity(interval.value)},"
    return f"{interval.kind} limit{value} between {sparsity(interval.low)} and {sparsity(interval.high)}"


def _quality(comparison: Comparison, task: str) -> list[dict[str, Any]]:
    """The rows of the main table, each cell in its parts."""
    lines = {(line.method, line.sparsity): line for line in comparison.of_task(task)}
    columns = [s for s in comparison.sparsities if any(at == s for _, at in lines)]
    methods = list(dict.fromkeys(method for method, _ in lines))
    return [
        {"method": method, "cells": [_cell(lines.get((method, column))) for column in columns]} for method in methods
    ]


def _cell(line: Summary | None) -> dict[str, Any]:
    if line is None:
        return dict.fromkeys(("mean", "deviation", "stars", "note"), "") | {"reference": False}
    missing = [f"{line.failed} failed"] if line.failed else [f"{line.waiting} waiting"] if line.waiting else []
    return {
        "mean": "" if line.mean is None else number(line.mean),
        "deviation": "" if line.deviation is None else f"± {number(line.deviation)}",
        "stars": tables.mark(line),
        "note": ", ".join(filter(None, [*missing, tables.off_target(line)])),
        "reference": line.method == line.reference,
    }


def _groups(comparison: Comparison) -> list[Group]:
    def plain(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(map(plain, value))
        return "none" if value is None else "yes" if value is True else "no" if value is False else str(value)

    grid = {
        "tasks": ", ".join(comparison.tasks),
        "methods": ", ".join(comparison.methods),
        "sparsities": ", ".join("own" if s is None else f"{s:g}" for s in comparison.sparsities),
        "seeds": ", ".join(map(str, comparison.seeds)),
        "epochs a cell": str(comparison.epochs),
        "compared to": comparison.against or "the best",
    }
    recipe = {name.replace("_", " "): plain(value) for name, value in comparison.recipe.items()}
    return [Group("Comparison", tuple(grid.items())), Group("Recipe", tuple(recipe.items()))]
