"""One pruning run being carried out: cycles of training, measuring, pruning, with everything recorded."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from howsparse import processes
from howsparse.deploy import count_bytes, count_multiply_adds
from howsparse.errors import DivergedError
from howsparse.measures.histogram import histograms
from howsparse.measures.turning_point import turning_point
from howsparse.methods import CyclicPruner, IterativeMethod
from howsparse.pruners.cyclic_pruner import portrait
from howsparse.task import Task
from howsparse.training import Callback, Evaluation, Recipe, Run, Training, evaluate
from howsparse.training.randomness import repeatable_kernels
from howsparse.training.run import model_bytes


class Session:
    """Carries one run out, from wherever it stands to its end.

    Args:
        task: network and data.
        pruner: the method at work on the task's network.
        recipe: how to train in each cycle.
        seed: decides data order and augmentation.
        run: the run directory; None in all processes but the first.
        callbacks: onlookers.
        choice: ``include`` and ``exclude``, for methods that look at the network again.
    """

    def __init__(
        self,
        task: Task,
        pruner: CyclicPruner,
        recipe: Recipe,
        seed: int,
        run: Run | None,
        callbacks: Sequence[Callback],
        *,
        choice: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.task, self.pruner, self.recipe, self.seed = task, pruner, recipe, seed
        self.run, self.callbacks, self.choice = run, callbacks, choice
        self.trained_before = 0  # epochs in earlier cycles
        self._asked = getattr(pruner.method, "sparsity", None)

    def finish(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Do what is left of the run; the task's network is then the answer.

        Returns:
            What ``result.json`` holds, and the history.
        """
        found = processes.agree_on(None if self.run is None else self.run.result)
        if found is None:
            with repeatable_kernels(self.task.device):
                self._work()
                found = self._conclude()
        self._load_answer()
        return found, processes.agree_on(None if self.run is None else self.run.history())

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
            self.trained_before += self._epochs(self.pruner.cycle)
            self.pruner.treat()
            self._checkpoint(None)

    def _resume(self) -> dict[str, Any] | None:
        """Load the last checkpoint, or write the first; return the state of a training that was under way."""
        state = processes.agree_on(None if self.run is None else self.run.load_checkpoint())
        if state is None:
            if self._many and self.run is not None:
                self.run.save_start(self.task.model)
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
        training = Training(
            self.task,
            self._recipe(self.pruner.cycle),
            self._epochs(self.pruner.cycle),
            epoch_seed=lambda epoch: _mix(self.seed, offset + epoch),
            first_step=self.pruner.first_step,
            after_step=self.pruner.step,
            l1_weights=list(self.pruner.parameters.values()),
            callbacks=self.callbacks,
        )
        self.pruner.optimizer = training.optimizer
        return training

    def _train(self, training: Training) -> None:
        try:
            # a resumed training may have had enough already
            for record in () if self.pruner.enough else training.run():
                full = {
                    "kind": "epoch",
                    "cycle": self.pruner.cycle,
                    "sparsity": self.pruner.sparsity,
                    **_finite(record),
                }
                self._record(full)
                self._tell("on_epoch", full)
                self._checkpoint(training)
                if self.pruner.enough:
                    break
        except DivergedError as error:
            where = "" if self.run is None else self.run.where_it_stands
            raise DivergedError(f"cycle {self.pruner.cycle}: {error}{where}") from None
        training.restore_best()
        self.pruner.masks.apply_(self.pruner.weights)  # multiplied weights may be -0.0; files hold plain zeros

    def _close_cycle(self, training: Training) -> None:
        """Measure the trained network, keep it if it is the answer so far, and prune it."""
        held_out, test = self._evaluate()
        by_loss = self.task.metric is None
        decisive = None if held_out is None else held_out.loss if by_loss else held_out.metric
        higher = self.task.metric is not None and self.task.metric.higher_is_better
        record = {
            "kind": "cycle",
            **_finite(self.pruner.observe(decisive, higher_is_better=higher)),
            "chosen_epoch": training.best_epoch,
            "val": _plain(held_out),
            "test": _plain(test),
            "histograms": histograms(self.pruner.weights, self.pruner.masks),
        }
        if self.pruner.chosen == self.pruner.cycle and self.run is not None:
            self.run.save_model(self.task.model, self.pruner.masks)
        if not self.pruner.done:
            self._settle()
            self.pruner.prune()
            if self._many and self.run is not None:
                self.run.save_cycle(self.pruner.cycle, self.pruner.masks)
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
        masks = self.pruner.masks
        turn = turning_point(
            [_nan(c["pqi"]) for c in cycles],
            [c["sparsity"] for c in cycles],
            patience=getattr(self.pruner.method, "patience", 2),
        )
        batch = next(iter(self.task.train.ordered()))

        def forward(model: nn.Module) -> int:
            return len(self.task.sample_losses(*self.task.outputs(model, batch)))

        adds = count_multiply_adds(self.task.model, forward, masks)
        sizes = count_bytes(self.task.model, masks, model_bytes(self.task.model))
        return {
            "asked": self._asked,
            "achieved": masks.sparsity,
            "active": masks.active,
            "total": masks.total,
            "chosen_cycle": self.pruner.chosen,
            "cycles": len(cycles),
            "metric": self._compared(cycles[0], cycles[self.pruner.chosen]),
            "turning_point": {**vars(turn), "text": str(turn)},
            "bytes": vars(sizes),
            "multiply_adds": {**vars(adds), "uncounted": list(adds.uncounted)},
            "epochs": sum(record["kind"] == "epoch" for record in run.history()),
            "seconds": sum(r["seconds"] for r in run.history() if r["kind"] == "epoch"),
        }

    def _compared(self, first: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The metric of the network of cycle 0, which may be untrained, and of the answer."""
        metric = self.task.metric
        which = "test" if self.task.test is not None else "val"
        key = "loss" if metric is None else "metric"
        trained = self._epochs(0) > 0 or self.pruner.method.needs_trained
        return {
            "name": "loss" if metric is None else metric.name,
            "higher_is_better": metric is not None and metric.higher_is_better,
            "split": which,
            "dense": (first[which] or {}).get(key),
            "start": "dense" if trained else "as given",
            "pruned": (chosen[which] or {}).get(key),
        }

    def _settle(self) -> None:
        """Let the method decide what needs the trained network and its data."""
        folder = processes.agree_on(None if self.run is None or not self.run.kept else self.run.folder / "limit")
        self.pruner.method = self.pruner.method.settled(
            self.task, self.recipe, seed=self.seed, folder=folder, **self.choice
        )

    # --- small parts ------------------------------------------------------------------------------------------------
    def _recipe(self, cycle: int) -> Recipe:
        return self.pruner.method.recipe_in(self.recipe, cycle)

    def _epochs(self, cycle: int) -> int:
        return self._recipe(cycle).epochs_of(cycle)

    @property
    def _many(self) -> bool:
        """Whether the course of the pruning is worth keeping."""
        return isinstance(self.pruner.method, IterativeMethod)

    @property
    def _rewinds(self) -> bool:
        return self.pruner.method.rewind != "none"

    def _plan(self) -> dict[str, Any]:
        cycles = range(self.pruner.method.prunings + 1)
        return {
            "cycles": len(cycles),
            "cycle": self.pruner.cycle,
            "epochs": [self._epochs(cycle) for cycle in cycles],
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


def _plain(found: Evaluation | None) -> dict[str, Any] | None:
    """An evaluation as JSON values."""
    if found is None:
        return None
    return _finite({"loss": found.loss, "metric": found.metric, "samples": found.samples})


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """The record with null in place of numbers that JSON has no word for."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _mix(seed: int, epoch: int) -> int:
    """A seed for one epoch; distinct for every (seed, epoch) that can occur."""
    return (seed * 1_000_003 + epoch) % (2**63)
