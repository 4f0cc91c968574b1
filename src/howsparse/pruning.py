"""``prune``: carry a method out on a task, from the first epoch to the report, on disk and resumable."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from howsparse.deploy import count_bytes, count_multiply_adds
from howsparse.errors import DivergedError, HowsparseError
from howsparse.masks import Masks
from howsparse.masks.prunable import Pattern
from howsparse.measures.histogram import histograms
from howsparse.measures.turning_point import turning_point
from howsparse.methods import CyclicPruner, Method
from howsparse.methods.cyclic import portrait
from howsparse.report import REPORT, write_report
from howsparse.task import Task, batch_length
from howsparse.training import Callback, Evaluation, Recipe, Run, Training, evaluate, processes
from howsparse.training.run import model_bytes


@dataclass(frozen=True)
class PruneResult:
    """What `prune` did. Sparsities are fractions removed; metrics are of the test data, else of the held-out data."""

    asked: float | None  # sparsity asked for; None when the method finds its own
    achieved: float
    metric_name: str
    dense: float | None  # metric of the dense trained network
    pruned: float | None  # metric of the answer
    model: nn.Module  # the pruned network: the task's own, zeros in place
    masks: Masks
    history: tuple[dict[str, Any], ...]
    details: dict[str, Any]  # what result.json holds
    run: Path | None  # the run directory, if one was asked for

    def __str__(self) -> str:
        asked = "" if self.asked is None else f" (asked for {self.asked:.4f})"
        dense, pruned = ("?" if v is None else f"{v:.4f}" for v in (self.dense, self.pruned))
        return f"sparsity {self.achieved:.4f}{asked}, {self.metric_name} {pruned}, dense {dense}"


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

    Decisions use held-out data only; test data are evaluated once a cycle and reported. The same call on the directory
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
        >>> from howsparse import OneShot
        >>> data = torch.utils.data.TensorDataset(torch.randn(64, 8), torch.randint(0, 2, (64,)))
        >>> task = Task(nn.Linear(8, 2), data, test=data)
        >>> prune(task, OneShot(sparsity=0.5), Recipe(epochs=1)).achieved
        0.5
    """
    recipe = Recipe() if recipe is None else recipe
    settings = {
        "method": method.to_plain(),
        "recipe": recipe.to_plain(),
        "seed": seed,
        "include": _names(include),
        "exclude": _names(exclude),
        "task": describe(task),
        "origin": dict(origin or {}),
    }
    _refuse_bad_start(task)
    with ExitStack() as stack:
        run = None
        if processes.rank() == 0:
            folder = stack.enter_context(tempfile.TemporaryDirectory()) if out is None else out
            run = Run(folder, settings, every=checkpoint_every)
        session = _Session(task, method, recipe, seed, run, callbacks, include, exclude)
        result = session.result(None if out is None else Path(out))
        if report and out is not None and run is not None and not (run.folder / REPORT).exists():
            write_report(run.folder)
        return result


class _Session:
    """One call of `prune`."""

    def __init__(  # noqa: PLR0913 - the parts of one call, from one place
        self,
        task: Task,
        method: Method,
        recipe: Recipe,
        seed: int,
        run: Run | None,
        callbacks: Sequence[Callback],
        include: Sequence[Pattern] | None,
        exclude: Sequence[Pattern] | None,
    ) -> None:
        self.task, self.method, self.recipe, self.seed = task, method, recipe, seed
        self.run, self.callbacks = run, callbacks
        self.trained_before = 0  # epochs in earlier cycles
        pruner = method.attach(
            task.model,
            total_steps=max(recipe.epochs, 1) * len(task.train),
            include=include,
            exclude=exclude,
        )
        if not isinstance(pruner, CyclicPruner):
            raise HowsparseError(f"method {method.name} does not prune in cycles, which prune() needs")
        self.pruner = pruner

    # --- the run ----------------------------------------------------------------------------------------------------
    def result(self, out: Path | None) -> PruneResult:
        """Do what is left of the run and gather what it found."""
        finished = processes.agree_on(None if self.run is None else self.run.result)
        if finished is None:
            self._work()
            finished = self._conclude()
        self._load_answer()
        history = processes.agree_on(None if self.run is None else self.run.history())
        metric = finished["metric"]
        return PruneResult(
            asked=finished["asked"],
            achieved=finished["achieved"],
            metric_name=metric["name"],
            dense=metric["dense"],
            pruned=metric["pruned"],
            model=self.task.model,
            masks=self.pruner.finish(),
            history=tuple(history),
            details=finished,
            run=out,
        )

    def _work(self) -> None:
        training_state = self._resume()
        self._tell("on_start", self._plan())
        while True:
            training = self._training()
            if training_state is not None:
                training.load_state_dict(training_state)
                training_state = None
            self._train(training)
            self._close_cycle(training)
            if self.pruner.done:
                return
            self.trained_before += self.recipe.epochs_of(self.pruner.cycle)
            self.pruner.treat()
            self._checkpoint(None)

    def _resume(self) -> dict[str, Any] | None:
        """Load the last checkpoint, or write the first; return the state of a training that was under way."""
        state = processes.agree_on(None if self.run is None else self.run.load_checkpoint(self.task.device))
        if state is None:
            self._checkpoint(None, force=True)  # the initial weights: a resumed run starts from the same ones
            return None
        self.task.model.load_state_dict(state["model"])
        self.pruner.load_state_dict(state["pruner"])
        self.trained_before = state["trained_before"]
        training: dict[str, Any] | None = state["training"]
        return training

    def _training(self) -> Training:
        # A rewound network sees the data in the order the dense one did; a fine-tuned one must not see the same
        # augmented samples again in every cycle.
        offset = 0 if self._rewinds else self.trained_before
        return Training(
            self.task,
            self.recipe,
            self.recipe.epochs_of(self.pruner.cycle),
            epoch_seed=lambda epoch: _mix(self.seed, offset + epoch),
            first_step=self.pruner.first_step,
            after_step=self.pruner.step,
            l1_weights=list(self.pruner.parameters.values()),
            callbacks=self.callbacks,
        )

    def _train(self, training: Training) -> None:
        try:
            for record in training.run():
                full = {"kind": "epoch", "cycle": self.pruner.cycle, **record}
                self._record(full)
                self._tell("on_epoch", full)
                self._checkpoint(training)
        except DivergedError as error:
            where = "" if self.run is None else f" The last good checkpoint is in {self.run.folder}."
            raise DivergedError(f"cycle {self.pruner.cycle}: {error}{where}") from None
        training.restore_best()

    def _close_cycle(self, training: Training) -> None:
        """Measure the trained network, keep it if it is the answer so far, and prune it."""
        held_out, test = self._evaluate()
        decisive = held_out.metric if held_out is not None and self.task.metric is not None else None
        higher = self.task.metric is None or self.task.metric.higher_is_better
        record = {
            "kind": "cycle",
            **self.pruner.observe(decisive, higher_is_better=higher),
            "chosen_epoch": training.best_epoch,
            "val": _plain(held_out),
            "test": _plain(test),
            "histograms": histograms(self.pruner.weights, self.pruner.masks),
        }
        if self.pruner.chosen == self.pruner.cycle and self.run is not None:
            self.run.save_model(self.task.model, self.pruner.masks)
        if not self.pruner.done:
            self.pruner.prune()
            record["pruned"] = self._without_retraining()
        self._record(record)
        self._tell("on_cycle", record)

    def _without_retraining(self) -> dict[str, Any]:
        """The network right after pruning: what it is worth before any retraining."""
        held_out, test = self._evaluate()
        found = portrait(self.pruner.weights, self.pruner.masks)
        measured = {key: found[key] for key in ("sparsity", "active", "pqi", "gini")}
        return {**measured, "val": _plain(held_out), "test": _plain(test)}

    def _evaluate(self) -> tuple[Evaluation | None, Evaluation | None]:
        val, test = self.task.val, self.task.test
        return (
            None if val is None else evaluate(self.task, val),
            None if test is None else evaluate(self.task, test),
        )

    # --- the end ----------------------------------------------------------------------------------------------------
    def _conclude(self) -> dict[str, Any]:
        self._load_answer()
        result: dict[str, Any] | None = None
        if self.run is not None:
            result = self._summary(self.run)
            self.run.finish(result)
        agreed: dict[str, Any] = processes.agree_on(result)
        return agreed

    def _load_answer(self) -> None:
        """Put the chosen network and its masks in place, the same in every process."""
        masks = self.pruner.masks if self.run is None else self.run.load_model(self.task.model)
        processes.agree(self.task.model.state_dict())
        self.pruner.adopt(masks)

    def _summary(self, run: Run) -> dict[str, Any]:
        cycles = [record for record in run.history() if record["kind"] == "cycle"]
        chosen, masks = cycles[self.pruner.chosen], self.pruner.masks
        which = "test" if self.task.test is not None else "val"
        name = self.task.metric.name if self.task.metric is not None else "loss"
        key = "loss" if self.task.metric is None else "metric"
        turn = turning_point([_nan(c["pqi"]) for c in cycles], [c["sparsity"] for c in cycles])
        batch = next(iter(self.task.train.ordered()))
        adds = count_multiply_adds(
            self.task.model, lambda model: self.task.outputs(model, batch), masks, batch_length(batch)
        )
        sizes = count_bytes(self.task.model, masks, model_bytes(self.task.model))
        return {
            "asked": getattr(self.method, "sparsity", None),
            "achieved": masks.sparsity,
            "active": masks.active,
            "total": masks.total,
            "chosen_cycle": self.pruner.chosen,
            "cycles": len(cycles),
            "metric": {
                "name": name,
                "higher_is_better": self.task.metric is not None and self.task.metric.higher_is_better,
                "split": which,
                "dense": (cycles[0][which] or {}).get(key),
                "pruned": (chosen[which] or {}).get(key),
            },
            "turning_point": {**vars(turn), "text": str(turn)},
            "bytes": vars(sizes),
            "multiply_adds": {**vars(adds), "uncounted": list(adds.uncounted)},
            "epochs": sum(record["kind"] == "epoch" for record in run.history()),
            "seconds": sum(r["seconds"] for r in run.history() if r["kind"] == "epoch"),
        }

    # --- small parts ------------------------------------------------------------------------------------------------
    @property
    def _rewinds(self) -> bool:
        return self.pruner.method.rewind != "none"

    def _plan(self) -> dict[str, Any]:
        cycles = range(self.pruner.method.prunings + 1)
        return {
            "cycles": len(cycles),
            "cycle": self.pruner.cycle,
            "epochs": [self.recipe.epochs_of(cycle) for cycle in cycles],
            "steps_per_epoch": len(self.task.train),
            "prunable": self.pruner.masks.total,
            "metric": None if self.task.metric is None else self.task.metric.name,
        }

    def _record(self, record: dict[str, Any]) -> None:
        if self.run is not None:
            self.run.append(record)

    def _checkpoint(self, training: Training | None, *, force: bool = False) -> None:
        if self.run is not None:
            self.run.save_checkpoint(
                lambda: {
                    "model": self.task.model.state_dict(),
                    "pruner": self.pruner.state_dict(),
                    "training": None if training is None else training.state_dict(),
                    "trained_before": self.trained_before,
                },
                force=force,
            )

    def _tell(self, event: str, value: dict[str, Any]) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(value)


def describe(task: Task) -> dict[str, Any]:
    """What a task is, so that a run can refuse another one: structure and sizes, no values."""
    return {
        "name": task.name,
        "metric": None if task.metric is None else task.metric.name,
        "samples": {
            split: None if data is None else data.samples
            for split, data in (("train", task.train), ("val", task.val), ("test", task.test))
        },
        "batch_size": getattr(task.train, "batch_size", None),
        "parameters": {name: list(p.shape) for name, p in task.model.named_parameters()},
    }


def _refuse_bad_start(task: Task) -> None:
    for name, parameter in task.model.named_parameters():
        bad = int((~parameter.detach().isfinite()).sum())
        if bad:
            raise HowsparseError(f"{name} holds {bad} weights that are NaN or infinite; load sound weights first")


def _names(patterns: Sequence[Pattern] | None) -> list[str] | None:
    return None if patterns is None else [p if isinstance(p, str) else p.__qualname__ for p in patterns]


def _plain(found: Evaluation | None) -> dict[str, Any] | None:
    """An evaluation as JSON values; what is not a number becomes null."""
    if found is None:
        return None
    numbers = {"loss": found.loss, "metric": found.metric}
    return {
        **{k: v if v == v and abs(v) != float("inf") else None for k, v in numbers.items()},
        "samples": found.samples,
    }


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _mix(seed: int, epoch: int) -> int:
    """A seed for one epoch; distinct for every (seed, epoch) that can occur."""
    return (seed * 1_000_003 + epoch) % (2**63)
