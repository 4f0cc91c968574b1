"""A comparison as tables: text, Markdown and CSV."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

from howsparse.comparison.cells import sparsity_name
from howsparse.comparison.comparison import Comparison, Summary
from howsparse.comparison.rows import Row
from howsparse.report.wording import count, difference, duration, number

LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
"""Marks of significance and the corrected p-values below which they stand."""


def mark(line: Summary) -> str:
    """Stars for a difference to the reference that is hardly chance; empty for the reference and without a test.

    Args:
        line: of the summary.

    Returns:
        Up to three stars.
    """
    return next((stars for level, stars in LEVELS if line.p_holm is not None and line.p_holm < level), "")


def plus_minus(line: Summary) -> str:
    """Mean and standard deviation in one cell of a table.

    Args:
        line: of the summary.

    Returns:
        The numbers; how many cells are missing where some are.
    """
    missing = f"{line.failed} failed" if line.failed else f"{line.waiting} waiting" if line.waiting else ""
    if line.mean is None:
        return missing or "no number"
    deviation = "" if line.deviation is None else f" ± {number(line.deviation)}"
    return f"{number(line.mean)}{deviation}" + (f" (n = {line.n}, {missing})" if missing else "")


def off_target(line: Summary) -> str:
    """The achieved sparsity where what remains differs from what was asked for by more than a fiftieth.

    Args:
        line: of the summary.

    Returns:
        Words, or nothing.
    """
    if line.achieved is None:
        return ""
    if line.sparsity is None or abs(line.achieved - line.sparsity) > 0.02 * (1 - line.sparsity):
        return f"at {line.achieved:.4f}"
    return ""


def heading(comparison: Comparison, task: str) -> str:
    """What the numbers of a task are: name of the metric, its data, and which way is better.

    Args:
        comparison: the comparison.
        task: label.

    Returns:
        A few words.
    """
    row = comparison.metric_of(task)
    if row is None:
        return "nothing finished yet"
    return f"{row.split} {row.metric}, {'higher' if row.higher_is_better else 'lower'} is better"


# --- grids: a row a method, a column a sparsity -----------------------------------------------------------------------
def quality_grid(comparison: Comparison, task: str) -> list[list[str]]:
    """Mean and deviation by method and sparsity, with stars; the reference of each column carries an arrow.

    Args:
        comparison: the comparison.
        task: label.

    Returns:
        Rows of cells, the heading first.
    """

    def cell(line: Summary) -> str:
        first = "▸ " if line.method == line.reference else ""
        return " ".join(filter(None, (f"{first}{plus_minus(line)}", mark(line), off_target(line))))

    return _grid(comparison, task, cell)


def cost_grid(comparison: Comparison, task: str) -> list[list[str]]:
    """Epochs and time of training of a cell, by method and sparsity.

    Args:
        comparison: the comparison.
        task: label.

    Returns:
        Rows of cells, the heading first.
    """

    def cell(line: Summary) -> str:
        if line.epochs_used is None or line.seconds is None:
            return f"{line.epochs_asked} planned"
        return f"{line.epochs_used:g} epochs, {duration(line.seconds)}"

    return _grid(comparison, task, cell)


def _grid(comparison: Comparison, task: str, cell: Any) -> list[list[str]]:
    lines = {(line.method, line.sparsity): line for line in comparison.of_task(task)}
    columns = [s for s in comparison.sparsities if any(sparsity == s for _, sparsity in lines)]
    rows = [["at sparsity", *(_column(s) for s in columns)]]
    for method in dict.fromkeys(method for method, _ in lines):
        rows.append([method, *(cell(lines[method, s]) if (method, s) in lines else "" for s in columns)])
    return rows


def _column(sparsity: float | None) -> str:
    return "its own sparsity" if sparsity is None else sparsity_name(sparsity)


def pairs_grid(comparison: Comparison, task: str) -> list[list[str]]:
    """Paired differences to the reference, with their tests.

    Args:
        comparison: the comparison.
        task: label.

    Returns:
        Rows of cells, the heading first; only the heading where there is nothing to compare.
    """
    rows = [["sparsity", "method", "against", "difference", "pairs", "p", "p (Holm)"]]
    found = [line for line in comparison.of_task(task) if line.difference is not None and line.reference is not None]
    for line in sorted(found, key=lambda line: comparison.sparsities.index(line.sparsity)):
        chances = [_p(line.p), f"{_p(line.p_holm)} {mark(line)}".strip()]
        shift = difference(line.difference or 0.0)
        rows.append([_column(line.sparsity), line.method, str(line.reference), shift, str(line.pairs), *chances])
    return rows


def _p(value: float | None) -> str:
    return "no test" if value is None else f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def budget_grid(rows: Sequence[Row]) -> list[list[str]]:
    """How every method spends its epochs.

    Args:
        rows: of a comparison.

    Returns:
        Rows of cells, the heading first; methods that spend alike at several sparsities stand once.
    """
    found: dict[tuple[str, str, tuple[int, ...], str], list[str]] = {}
    for row in rows:
        places = found.setdefault((row.task, row.method, row.trainings, row.changed), [])
        if row.at not in places:
            places.append(row.at)
    table = [["task", "method", "sparsity", "epochs", "how", "changed to fit"]]
    methods = list(dict.fromkeys((row.task, row.method) for row in rows))
    for (task, method, trainings, changed), places in sorted(found.items(), key=lambda i: methods.index(i[0][:2])):
        table.append([task, method, ", ".join(places), str(sum(trainings)), spelled(trainings), changed])
    return table


def spelled(trainings: Sequence[int]) -> str:
    """The epochs of all trainings in a few words.

    Example:
        >>> spelled((3, 3)), spelled((0, 6)), spelled((2, 1, 1, 1)), spelled((6, 0))
        ('3 dense, then 3', '6', '2 dense, then 3 × 1', '6 dense')
    """
    dense, after = trainings[0], [epochs for epochs in trainings[1:] if epochs]
    same = len(set(after)) == 1 and len(after) > 1
    later = f"{len(after)} × {after[0]}" if same else " + ".join(map(str, after))
    return ", then ".join(filter(None, (f"{dense} dense" if dense else "", later))) or "0"


def failure_grid(comparison: Comparison) -> list[list[str]]:
    """The cells that failed, and why.

    Args:
        comparison: the comparison.

    Returns:
        Rows of cells, the heading first.
    """
    rows = [["cell", "error", "message"]]
    return rows + [[row.run, str(row.error), str(row.message)] for row in comparison.failures]


# --- files ------------------------------------------------------------------------------------------------------------
def as_markdown(comparison: Comparison) -> str:
    """The tables in Markdown.

    Args:
        comparison: the comparison.

    Returns:
        The file's text.
    """
    parts = [f"# Comparison of {count(len(comparison.methods), 'method')}", opening(comparison)]
    parts += [f"> {warning}" for warning in comparison.warnings]
    for task in comparison.tasks:
        parts += [f"## {task}", f"{heading(comparison, task)}; mean ± standard deviation over seeds."]
        parts += [_markdown(quality_grid(comparison, task)), f"{reading(comparison)}"]
        tests = pairs_grid(comparison, task)
        parts += [_markdown(tests)] if len(tests) > 1 else []
        parts += ["Cost of a cell:", _markdown(cost_grid(comparison, task))]
    parts += ["## Budgets", _markdown(budget_grid(comparison.rows))]
    if comparison.failures:
        parts += ["## Failures", _markdown(failure_grid(comparison))]
    return "\n\n".join(parts) + "\n"


def opening(comparison: Comparison) -> str:
    """What was compared, in a sentence or two.

    Args:
        comparison: the comparison.

    Returns:
        The sentences.
    """
    done = sum(row.state == "done" for row in comparison.rows)
    seeds = count(len(comparison.seeds), "seed")
    return (
        f"{done} of {count(len(comparison.rows), 'cell')} done, {len(comparison.failures)} failed; {seeds}. Every cell "
        f"trains for at most {count(comparison.epochs, 'epoch')}, dense training and search included, from the same "
        "weights and with the same data order for each seed; the weights after the last epoch count."
    )


def reading(comparison: Comparison) -> str:
    """How to read the marks.

    Args:
        comparison: the comparison.

    Returns:
        A sentence or two.
    """
    which = comparison.against or "the best mean of its column (chosen after the fact, which flatters it)"
    return (
        f"▸ is what the others are compared to: {which}. Stars: paired t-test over seeds, Holm-corrected over the "
        "methods of a column, p < 0.05 *, 0.01 **, 0.001 ***."
    )


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def as_text(comparison: Comparison) -> str:
    """The tables of quality in aligned columns, for terminals.

    Args:
        comparison: the comparison.

    Returns:
        Lines.
    """
    parts = []
    for task in comparison.tasks:
        parts += [f"{task}: {heading(comparison, task)}", aligned(quality_grid(comparison, task)), ""]
    parts += [f"failed: {row.run}: {row.error}: {row.message}" for row in comparison.failures]
    parts += [f"warning: {warning}" for warning in comparison.warnings]
    return "\n".join(parts).rstrip()


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Cells in columns.

    Example:
        >>> print(aligned([["a", "bb"], ["ccc", "d"]]))
        a    bb
        ccc  d
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def summary_csv(comparison: Comparison) -> str:
    """The summary, a line for each task, method and sparsity.

    Args:
        comparison: the comparison.

    Returns:
        CSV with full precision; what is not known is empty.
    """
    return _csv([dataclasses.asdict(line) for line in comparison.summary])


def cells_csv(comparison: Comparison) -> str:
    """The cells, a line each.

    Args:
        comparison: the comparison.

    Returns:
        CSV with full precision; what is not known is empty.
    """
    return _csv([{**row.to_plain(), "trainings": " ".join(map(str, row.trainings))} for row in comparison.rows])


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()
