"""``compare``: methods x sparsities x seeds x tasks under one budget, resumable, one run directory a cell."""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from howsparse.comparison.cells import Cell, Maker, checked_seeds, checked_sparsities, named_methods, named_tasks, plan
from howsparse.comparison.comparison import Comparison
from howsparse.comparison.doorway import probe, refuse_bad_options, refuse_other_runs
from howsparse.comparison.engines import Crew, cores, crew
from howsparse.comparison.options import options_from
from howsparse.comparison.predicted import predict_limits
from howsparse.comparison.rows import row_of
from howsparse.comparison.watch import Clock, Watch, counting
from howsparse.comparison.work import Site
from howsparse.comparison.writing import write
from howsparse.errors import HowsparseError
from howsparse.training import Recipe
from howsparse.training.run import open_run


def compare(
    tasks: Any,
    methods: Any,
    sparsities: Sequence[float] | float,
    seeds: Sequence[int] | int = 3,
    *,
    epochs: int,
    out: str | Path,
    recipe: Recipe | None = None,
    **options: Any,
) -> Comparison:
    """Run every method on every task at every sparsity with every seed, all under the same budget of epochs.

    A cell is one ordinary run directory, ``out/<task>/<method>/<sparsity>/seed<k>``, made by `howsparse.prune`. For
    each seed all methods start from the same weights and see the data in the same order, and the weights after the
    last epoch count. ``epochs`` is all that a cell may train: before, between and after prunings; see
    `howsparse.comparison.budget.fit`. The same call goes on where it was stopped, does not repeat what is done, and
    tries again what failed; more methods, sparsities, seeds or tasks may be added to a directory.

    Args:
        tasks: `NamedTask`, or a function ``make_task(seed) -> Task`` that other processes can be sent; several, or a
            mapping of labels to them.
        methods: names, classes or configured methods; or a mapping of labels to them.
        sparsities: fractions removed, each in (0, 1).
        seeds: different ones, or how many: 3 stands for 0, 1, 2.
        epochs: budget of every cell, at least 1.
        out: directory.
        recipe: how to train; its ``epochs`` and ``dense_epochs`` follow from the budget, and ``keep`` is ``last``.
        **options: see `Options`: ``engine``, ``jobs``, ``threads``, ``against``, ``limit``, ``trained``, ``watch`` ...

    Returns:
        The comparison; ``str()`` is its table. In ``out`` it is written as ``comparison.html``, ``.json``, ``.md``,
        ``.csv`` and ``cells.csv``.

    Raises:
        HowsparseError: something that no cell could do with; before any training.
        RunMismatchError: the directory holds runs with other settings.

    Example:
        >>> import tempfile, torch
        >>> from howsparse import Task
        >>> def make_task(seed):
        ...     torch.manual_seed(seed)
        ...     x = torch.randn(64, 8)
        ...     return Task(torch.nn.Linear(8, 2), torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long()))
        >>> with tempfile.TemporaryDirectory() as out:
        ...     found = compare(make_task, ["one-shot", "imp"], [0.5], seeds=1, epochs=2, out=out)
        >>> [(line.method, line.achieved, line.epochs_used) for line in found.summary]
        [('one-shot', 0.5, 2.0), ('imp', 0.5, 2.0)]
    """
    chosen = options_from(options)
    makers, named = named_tasks(tasks), named_methods(methods)
    trained = {name: chosen.trained or bool(getattr(maker, "trained", False)) for name, maker in makers.items()}
    refuse_bad_options(chosen, list(named), trained)
    recipe = _fair(Recipe() if recipe is None else recipe)
    cells = plan(
        trained, named, checked_sparsities(sparsities), seeds=checked_seeds(seeds), epochs=epochs, recipe=recipe
    )
    workers = crew(chosen.engine, chosen.jobs, chosen.cluster, cuda=_on_gpu(makers))
    place = Path(out).absolute()
    refuse_other_runs(cells, makers, place, include=chosen.include, exclude=chosen.exclude)
    probe([cell for cell in cells if row_of(cell, place).state != "done"], makers, chosen.include, chosen.exclude)
    common = _common(recipe)
    found = Comparison((), epochs, chosen.against, common, limits={}, trained=trained, out=place)
    with ExitStack() as stack:
        stack.enter_context(workers.ready())
        open_run(stack, place, {"command": "compare", "epochs": epochs, "recipe": common}, 0.0)
        found = _as_it_stands(found, cells)
        chosen.watch.on_plan(cells, [row for row in found.rows if row.state == "done"], epochs)
        write(found, page=False)  # from here on `howsparse report` can show how far it is
        if chosen.limit:
            limits = predict_limits(makers, place, dataclasses.replace(recipe, epochs=epochs), cells[0].seed, chosen)
            found = dataclasses.replace(found, limits=limits)
        threads = chosen.threads or (None if workers.engine == "serial" else max(1, cores() // workers.jobs))
        site = Site(place, makers, threads, chosen.checkpoint_every, chosen.include, chosen.exclude)
        try:
            _carry_out(cells, workers, site, chosen.watch)
        finally:
            found = _as_it_stands(found, cells)
            write(found)
    return found


def _fair(recipe: Recipe) -> Recipe:
    """The recipe that all methods share; lengths follow from the budget."""
    if recipe.dense_epochs is not None:
        raise HowsparseError(
            f"dense_epochs = {recipe.dense_epochs}: a comparison shares the budget out itself; leave it at None"
        )
    return dataclasses.replace(recipe, keep="last", per="step")  # a training of one epoch must anneal too


def _common(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in recipe.to_plain().items() if name not in ("epochs", "dense_epochs")}


def _on_gpu(makers: Mapping[str, Maker]) -> bool:
    return any(str(getattr(maker, "device", "")).startswith("cuda") for maker in makers.values())


def _as_it_stands(found: Comparison, cells: Sequence[Cell]) -> Comparison:
    return dataclasses.replace(found, rows=tuple(row_of(cell, found.out) for cell in cells))


def _carry_out(cells: Sequence[Cell], workers: Crew, site: Site, watch: Watch) -> None:
    """Carry out what is not done, and tell the watch of every cell that ends."""
    rows = {cell.folder: row_of(cell, site.out) for cell in cells}
    left = [cell for cell in cells if rows[cell.folder].state != "done"]
    clock = Clock(workers.jobs)
    for cell in cells:
        if cell not in left:
            clock.note(cell, rows[cell.folder].seconds or 0.0)
    with counting(site.out, left, watch):
        for outcome in workers.outcomes(tuple(left), site):
            left.remove(outcome.cell)
            if outcome.failure is None:
                clock.note(outcome.cell, outcome.seconds)
            done = len(cells) - len(left)
            watch.on_cell(row_of(outcome.cell, site.out), done, len(cells), clock.left(left))
