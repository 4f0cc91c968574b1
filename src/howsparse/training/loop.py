"""The training loop: closed, on plain PyTorch, resumable at the end of every epoch."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from howsparse import processes
from howsparse.batches import Share
from howsparse.errors import DivergedError, HowsparseError
from howsparse.task import Task
from howsparse.training.backprop import backprop
from howsparse.training.evaluation import Evaluation, evaluate
from howsparse.training.recipe import Recipe


class Callback:
    """What an onlooker may want to know of a run; override what you need. Callbacks must not change the network."""

    def on_start(self, plan: dict[str, Any]) -> None:
        """The run begins or resumes; ``plan`` says what is ahead."""

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Step ``step`` of ``steps`` in epoch ``epoch`` is done."""

    def on_epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done; ``record`` is its line in the history."""

    def on_cycle(self, record: dict[str, Any]) -> None:
        """A cycle is done; ``record`` is its line in the history."""


class Training:
    """One training of a task's network by a recipe.

    Args:
        task: network, data, loss and metric.
        recipe: how to train.
        epochs: how many epochs.
        epoch_seed: gives the seed of data order and augmentation of an epoch.
        first_step: begin here instead of at 0, schedule and data order included (rewinding to step k).
        after_step: called after every optimizer step; keeps pruned weights at zero.
        l1_weights: the weights that ``recipe.l1`` penalises.
        callbacks: onlookers.

    Attributes:
        optimizer: what moves the weights.

    Raises:
        HowsparseError: the best epoch is to be kept but there is no held-out data.
    """

    def __init__(  # noqa: PLR0913 - built in one place, from a run's own parts
        self,
        task: Task,
        recipe: Recipe,
        epochs: int,
        *,
        epoch_seed: Callable[[int], int],
        first_step: int = 0,
        after_step: Callable[[], None] = lambda: None,
        l1_weights: Sequence[nn.Parameter] = (),
        callbacks: Sequence[Callback] = (),
    ) -> None:
        recipe.check_fits(task.val is not None)
        self.task, self.recipe, self.epochs = task, recipe, epochs
        self.steps = len(task.train)
        self.epoch, self._skip = divmod(first_step, self.steps)
        self.best_epoch: int | None = None
        self.best: Evaluation | None = None
        self._best_state: dict[str, Tensor] | None = None
        self._epoch_seed, self._after_step = epoch_seed, after_step
        self._l1_weights = list(l1_weights) if recipe.l1 > 0 else []
        self._callbacks = callbacks
        self.optimizer = recipe.build_optimizer(task.model.parameters())
        self._scaler = torch.amp.GradScaler(task.device.type) if recipe.precision == "float16" else None
        self._model = processes.replicated(task.model) if epochs > self.epoch else task.model

    def run(self) -> Iterator[dict[str, Any]]:
        """Train the epochs that are left.

        Yields:
            After each epoch its record: epoch, lr, train_loss, val_loss, val_metric, seconds.

        Raises:
            DivergedError: a loss or weight is not finite; the network is then in no good state.
        """
        while self.epoch < self.epochs:
            started = time.perf_counter()
            train_loss, rate = self._train_epoch()
            processes.synchronise_buffers(self.task.model)
            held_out = None if self.task.val is None else evaluate(self.task, self.task.val)
            self._remember_if_best(held_out)
            record = {
                "epoch": self.epoch,
                "lr": rate,
                "train_loss": train_loss,
                "val_loss": None if held_out is None else held_out.loss,
                "val_metric": None if held_out is None or self.task.metric is None else held_out.metric,
                "seconds": time.perf_counter() - started,
            }
            self.epoch += 1
            yield record

    def restore_best(self) -> None:
        """Load the weights and buffers of the best epoch, if the recipe keeps the best."""
        if self._best_state is not None:
            self.task.model.load_state_dict(self._best_state)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the network's own state that the rest of the training depends on."""
        return {
            "epoch": self.epoch,
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
            "best_epoch": self.best_epoch,
            "best": None if self.best is None else (self.best.loss, self.best.metric, self.best.samples),
            "best_state": self._best_state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken: at the end of an epoch."""
        self.epoch, self._skip = state["epoch"], 0
        self.optimizer.load_state_dict(state["optimizer"])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])
        self.best_epoch, self._best_state = state["best_epoch"], state["best_state"]
        self.best = None if state["best"] is None else Evaluation(*state["best"])

    # --- one epoch --------------------------------------------------------------------------------------------------
    def _train_epoch(self) -> tuple[float, float]:
        """Train one epoch; return its mean loss and its last learning rate."""
        self.task.model.train()
        skip, self._skip = self._skip, 0
        sums = torch.zeros(2, dtype=torch.float64, device=self.task.device)  # [sum of losses, samples]
        rank, world = processes.rank(), processes.world()
        passing = self.task.train.shuffled(self._epoch_seed(self.epoch), rank=rank, world=world, skip=skip)
        rate = 0.0
        for step, share in enumerate(passing, start=skip):
            rate = self._set_rate(self.epoch * self.steps + step)
            losses = self._step(share)
            self._finish_step(rate, step)
            sums[0] += losses.double().sum()
            sums[1] += len(losses)
            if world == 1 and self.task.device.type == "cpu":  # elsewhere it would wait for the device every step
                self._refuse_divergence(float(sums[0]), rate, step)
            for callback in self._callbacks:
                callback.on_step(self.epoch, step + 1, self.steps)
        total = processes.sum_over_processes(sums.cpu())
        self._refuse_divergence(self._checked(float(total[0])), rate, self.steps - 1)
        return float(total[0] / total[1]), rate

    def _step(self, share: Share) -> Tensor:
        self.optimizer.zero_grad()
        losses = backprop(self.task, self._model, share, self.recipe.precision, self._scaler)
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        self._add_l1()
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.task.model.parameters(), self.recipe.clip)
        if self._scaler is not None:
            self._scaler.step(self.optimizer)
            self._scaler.update()
        else:
            self.optimizer.step()
        return losses

    def _finish_step(self, rate: float, step: int) -> None:
        """Do what is to be done after a step; methods refuse weights that are not finite, and this says why."""
        try:
            self._after_step()
        except HowsparseError:
            self._refuse_divergence(self._checked(0.0), rate, step)
            raise

    @torch.no_grad()
    def _add_l1(self) -> None:
        """Add the gradient of ``l1 * sum |w|``; at zero it is zero, so pruned weights feel nothing."""
        trained: list[Tensor] = [w for w in self._l1_weights if w.grad is not None]
        if trained:
            gradients = [w.grad for w in trained if w.grad is not None]
            torch._foreach_add_(gradients, torch._foreach_sign(trained), alpha=self.recipe.l1)

    def _set_rate(self, step: int) -> float:
        factor = self.recipe.factor(step, self.steps, self.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        return float(self.optimizer.param_groups[0]["lr"])

    def _remember_if_best(self, held_out: Evaluation | None) -> None:
        if self.recipe.keep != "best" or held_out is None:
            return
        if self.best is not None and not self._better(held_out, self.best):
            return
        self.best, self.best_epoch = held_out, self.epoch
        self._best_state = {name: t.detach().clone() for name, t in self.task.model.state_dict().items()}

    def _better(self, new: Evaluation, old: Evaluation) -> bool:
        """Strictly better on held-out data, by the metric or else the loss; anything is better than NaN."""
        if self.task.metric is not None:
            return self.task.metric.better(new.metric, old.metric)
        return new.loss < old.loss or (math.isnan(old.loss) and not math.isnan(new.loss))

    def _checked(self, loss: float) -> float:
        """The loss, or NaN where a weight is not finite."""
        finite = all(bool(p.isfinite().all()) for p in self.task.model.parameters())
        return loss if finite else math.nan

    def _refuse_divergence(self, loss: float, rate: float, step: int) -> None:
        if not math.isfinite(loss):
            raise DivergedError(
                f"training diverged in epoch {self.epoch}, step {step + 1} of {self.steps}, learning rate {rate:.4g}: "
                "the loss or a weight is not finite. A lower learning rate, a warm-up or gradient clipping often helps."
            )
