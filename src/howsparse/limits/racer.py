"""One entrant of the race: masked training at constant learning rate, with an average of its weights."""

import copy
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from howsparse import processes
from howsparse.files import write_atomic
from howsparse.limits.dense import DenseNetwork
from howsparse.masks import Masks, Upkeep
from howsparse.masks.prunable import detached
from howsparse.task import Task
from howsparse.training import Callback, Recipe, Training
from howsparse.training.randomness import randomness_of_its_own
from howsparse.training.run import model_bytes

STATE = "racer.pt"
ETA = 6.0  # polynomial-decay averaging: average += (ETA + 1) / (t + ETA) * (weights - average)


class Racer:
    """Trains the weights that ``masks`` keep, and can be asked at any step how good their average is.

    The average of the weights along a training at constant learning rate is worth about what the weights would be
    had the learning rate been annealed by then (polynomial-decay averaging: Shamir and Zhang, ICML 2013), so one run
    answers for every length. A recipe with a constant learning rate is followed as it is, without averaging.

    Args:
        task: the task; its network is trained in place.
        dense: where the racer starts from.
        masks: what it keeps.
        recipe: the retraining to be predicted.
        seed: decides the data order.
        callbacks: onlookers.
    """

    def __init__(
        self,
        task: Task,
        dense: DenseNetwork,
        masks: Masks,
        recipe: Recipe,
        *,
        seed: int,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self._task = copy.copy(task)
        self._task.val = None  # the race looks at its own marks; an evaluation every epoch would only cost
        self._dense, self._masks, self._seed, self._callbacks = dense, masks, seed, callbacks
        self._averaged = recipe.schedule != "constant"
        warmup = recipe.warmup / max(recipe.epochs, 1)
        self._recipe = dataclasses.replace(recipe, schedule="constant", keep="last", warmup=min(warmup, 0.5))
        self.steps = 0
        self.epochs = 0
        self.marks: list[list[Any]] = []
        self._state: dict[str, Any] | None = None
        self._live = {n: t for n, t in task.model.state_dict().items() if t.is_floating_point()}
        self._average: dict[str, Tensor] = {}

    def run(self, epochs: int, marks: Sequence[int], on_mark: Callable[[int], list[Any]]) -> None:
        """Go on to the end of epoch ``epochs``; at each of the steps ``marks`` the average stands in the network.

        Args:
            epochs: counted from the start of this racer.
            marks: optimizer steps, counted likewise.
            on_mark: called with the step; what it returns joins ``marks``. The network may be evaluated, not changed.
        """
        self._dense.restore()
        upkeep = Upkeep(self._dense.parameters, self._masks)
        try:
            self._masks.apply_(detached(self._dense.parameters))
            training = self._training(epochs, upkeep, set(marks), on_mark)
            if self._state is not None:
                self._task.model.load_state_dict(self._state["model"])
                training.load_state_dict(self._state["training"])
            for _ in training.run():
                pass
            self._state = {"model": _copy(self._task.model.state_dict()), "training": training.state_dict()}
            self.epochs = epochs
        finally:
            self._dense.restore()

    def _training(self, epochs: int, upkeep: Upkeep, marks: set[int], on_mark: Callable[[int], list[Any]]) -> Training:
        def after_step() -> None:
            upkeep.step()
            self.steps += 1
            self._follow()
            if self.steps in marks:
                with_average(self._task.model, self._average, lambda: self._look(on_mark))

        return Training(
            self._task,
            self._recipe,
            epochs,
            epoch_seed=lambda epoch: 1_000_003 * self._seed + epoch,
            after_step=after_step,
            l1_weights=list(self._dense.parameters.values()),
            callbacks=self._callbacks,
        )

    def _look(self, on_mark: Callable[[int], list[Any]]) -> None:
        processes.agree(self._average)  # running statistics are each process's own until the epoch ends
        with randomness_of_its_own(self._task.device):  # who looks must not change what dropout draws next
            self.marks.append(on_mark(self.steps))

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the network's weights and running statistics."""
        if not self._average:
            self._average = _copy(self._live)
        share = (ETA + 1) / (self.steps + ETA) if self._averaged else 1.0
        torch._foreach_lerp_(list(self._average.values()), list(self._live.values()), share)

    # --- disk -------------------------------------------------------------------------------------------------------
    def save(self, folder: Path) -> None:
        """Write all that going on needs, and the averaged network with its zeros as an ordinary weight file."""
        folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        numbers = {"steps": self.steps, "epochs": self.epochs, "marks": self.marks}
        state = {**numbers, "state": self._state, "average": self._average}
        torch.save(state, buffer)
        with_average(self._task.model, self._average, lambda: self._save_network(folder))
        self._masks.save(folder / "masks.safetensors")
        write_atomic(folder / STATE, buffer.getvalue())  # last: who finds it has the others

    def _save_network(self, folder: Path) -> None:
        write_atomic(folder / "model.safetensors", model_bytes(self._task.model))

    def load(self, folder: Path) -> None:
        """Go on from where `save` was called."""
        found = torch.load(folder / STATE, map_location=self._task.device, weights_only=True)
        self.steps, self.epochs, self.marks = found["steps"], found["epochs"], found["marks"]
        self._state, self._average = found["state"], found["average"]


def with_average(model: torch.nn.Module, average: dict[str, Tensor], look: Callable[[], None]) -> None:
    """Call ``look`` while the network holds the average; afterwards it holds its own weights again."""
    own = _copy({name: model.state_dict()[name] for name in average})
    model.load_state_dict(average, strict=False)
    look()
    model.load_state_dict(own, strict=False)


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
