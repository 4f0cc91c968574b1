"""``prune``: carry a method out on a task, from the first epoch to the report, on disk and resumable."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from howsparse import processes
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, prunable_parameters
from howsparse.masks.prunable import Pattern
from howsparse.methods import CyclicMethod, Method
from howsparse.report import REPORT, write_report
from howsparse.session import Session
from howsparse.task import Task
from howsparse.training import Callback, Recipe
from howsparse.training.describe import describe, pattern_names
from howsparse.training.randomness import randomness_of_its_own
from howsparse.training.run import open_run


@dataclass(frozen=True)
class PruneResult:
    """What `prune` did. Sparsities are fractions removed; metrics are of the test data, else of the held-out data."""

    asked: float | None  # sparsity asked for; None when the method finds its own
    achieved: float
    metric_name: str
    dense: float | None  # metric of the dense network: trained, or as given where the method wants it untrained
    pruned: float | None  # metric of the answer
    model: nn.Module = field(repr=False)  # the pruned network: the task's own, zeros in place
    masks: Masks
    history: tuple[dict[str, Any], ...] = field(repr=False)
    details: dict[str, Any] = field(repr=False)  # what result.json holds
    run: Path | None  # the run directory, if one was asked for

    def __str__(self) -> str:
        asked = "" if self.asked is None else f" (asked for {self.asked:.4f})"
        dense, pruned = ("?" if v is None else f"{v:.4f}" for v in (self.dense, self.pruned))
        start = self.details["metric"].get("start", "dense")  # nobody may have trained the network as it was given
        return f"sparsity {self.achieved:.4f}{asked}, {self.metric_name} {pruned}, {start} {dense}"


def prune(  # noqa: PLR0913 - four nouns and four keyword-only options
    task: Task,
    method: Method,
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    *,
    seed: int = 0,
    include: Sequence[Pattern] | None = None,
    exclude: Sequence[Pattern] | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint_every: float = 20.0,
    report: bool = True,
    origin: Mapping[str, Any] | None = None,
) -> PruneResult:
    """Prune the task's network by a method and write a run directory.

    Decisions use held-out data only; test data are only ever reported. The same call on the directory
    of a run that was killed resumes it to bitwise the same masks and weights; on a finished run it returns at once.
    Under ``torchrun`` (a process group must be initialised) gradients are averaged over processes and process 0 writes.

    Args:
        task: network and data; the network is changed in place.
        method: what to prune by, for example ``SAP(cycles=5)``.
        recipe: how to train in each cycle.
        out: run directory; without one nothing is kept on disk.
        seed: decides data order and augmentation. Seed the network's initialisation yourself.
        include: which parameters compete, see `howsparse.masks.prunable_parameters`.
        exclude: likewise.
        callbacks: onlookers, see `howsparse.training.Callback`.
        checkpoint_every: seconds between checkpoints.
        report: write ``report.html`` into the run directory.
        origin: recorded with the settings: where model, data and weights came from.

    Returns:
        The result; ``result.model`` is ``task.model``.

    Raises:
        HowsparseError: settings, task or directory do not fit; before any training.
        RunMismatchError: the directory belongs to other settings.
        DivergedError: the loss stopped being finite; the last good checkpoint stays.

    Example:
        >>> import torch
        >>> from howsparse import OneShot
        >>> data = torch.utils.data.TensorDataset(torch.randn(64, 8), torch.randint(0, 2, (64,)))
        >>> task = Task(nn.Linear(8, 2), data, test=data)
        >>> prune(task, OneShot(sparsity=0.5), Recipe(epochs=1)).achieved
        0.5
    """
    recipe = Recipe() if recipe is None else recipe
    prunable_parameters(task.model, include=include, exclude=exclude)  # for its refusals, which explain most
    _refuse_bad_start(task, method, recipe)
    assert isinstance(method, CyclicMethod)
    if not isinstance(seed, int):
        raise HowsparseError(f"seed = {seed!r} is not allowed: it must be a whole number")
    settings = {
        "method": method.to_plain(),
        "recipe": recipe.to_plain(),
        "seed": seed,
        "include": pattern_names(include),
        "exclude": pattern_names(exclude),
        "task": describe(task),
        "origin": dict(origin or {}),
    }
    processes.agree(task.model.state_dict())  # every process starts from the same weights
    pruner = method.pruner(
        task.model,
        total_steps=method.training_steps(recipe, len(task.train)),
        task=task,
        include=include,
        exclude=exclude,
        seed=seed,
    )
    with ExitStack() as stack:
        run = open_run(stack, out, settings, checkpoint_every)
        was_finished = run is not None and run.result is not None
        with randomness_of_its_own(task.device):
            choice = {"include": include, "exclude": exclude}
            found, history = Session(task, pruner, recipe, seed, run, callbacks, choice=choice).finish()
        if run is not None and out is not None and report and not (was_finished and (run.folder / REPORT).exists()):
            write_report(run.folder)  # over one of the unfinished run, if there is any
    return PruneResult(
        asked=found["asked"],
        achieved=found["achieved"],
        metric_name=found["metric"]["name"],
        dense=found["metric"]["dense"],
        pruned=found["metric"]["pruned"],
        model=task.model,
        masks=pruner.finish(),
        history=tuple(history),
        details=found,
        run=None if out is None else Path(out),
    )


def _refuse_bad_start(task: Task, method: Method, recipe: Recipe) -> None:
    if not isinstance(method, Method):
        raise HowsparseError(f"method is a {type(method).__name__}; give a method such as hs.SAP(cycles=5)")
    if not isinstance(method, CyclicMethod):
        raise HowsparseError(f"method {method.name} does not prune in cycles, which prune() needs")
    if not any(p.requires_grad for p in task.model.parameters()):
        raise HowsparseError(f"{task.name}: no parameter of the network wants gradients, so nothing can be trained")
    recipe.check_fits(task.val is not None)
    if getattr(method, "stop", None) == "tolerance" and task.val is None:
        raise HowsparseError('stop = "tolerance" decides by held-out data: give the task val=..., or a val_share')
    rewind = getattr(method, "rewind", None)
    if isinstance(rewind, int) and rewind > 0 and recipe.epochs_of(0) != recipe.epochs_of(1):
        raise HowsparseError(
            f"rewind = {rewind} goes on with the dense training's schedule, but that has {recipe.epochs_of(0)} epochs "
            f"and later ones {recipe.epochs_of(1)}; leave dense_epochs out, or rewind to init"
        )
    for name, parameter in task.model.named_parameters():
        bad = int((~parameter.detach().isfinite()).sum())
        if bad:
            raise HowsparseError(f"{name} holds {bad} weights that are NaN or infinite; load sound weights first")
    task.probe()
    method.check_fits(task)
