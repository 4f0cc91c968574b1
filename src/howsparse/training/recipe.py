"""Recipe: how a network is trained, or retrained, in each cycle."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from howsparse.errors import HowsparseError
from howsparse.settings import check_settings, setting, to_plain

Precision = Literal["float32", "bfloat16", "float16"]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of one training; with an iterative method, of each cycle's training.

    The defaults are those of the SAP paper (Diao et al., ICLR 2023) except for fewer epochs and half its learning rate,
    because most users start from trained weights.

    Example:
        >>> Recipe(epochs=4, lr=0.1).factor(step=0, steps_per_epoch=100)
        1.0
        >>> Recipe(epochs=4, schedule="cosine").factor(step=200, steps_per_epoch=100)
        0.5
    """

    epochs: int = setting(10, "epochs of training in every cycle", at_least=0)
    dense_epochs: int | None = setting(
        None, "epochs before the first pruning; none: as many as epochs, or 0 with trained weights", at_least=0
    )
    optimizer: str | OptimizerFactory = setting(
        "sgd", "sgd, adam or adamw; in Python also a function of the parameters"
    )
    lr: float = setting(0.05, "learning rate at its highest", above=0)
    momentum: float = setting(0.9, "momentum of sgd", at_least=0, below=1)
    nesterov: bool = setting(True, "Nesterov's form of momentum")
    weight_decay: float = setting(5e-4, "weight decay on all parameters", at_least=0)
    l1: float = setting(0.0, "L1 penalty on the prunable weights: adds l1 * sum |w| to the loss", at_least=0)
    schedule: Literal["cosine", "linear", "constant", "milestones"] = setting("cosine", "course of the learning rate")
    milestones: tuple[float, ...] = setting((0.5, 0.75), "where the milestones schedule drops, as shares")
    drop: float = setting(0.1, "factor at each milestone", above=0, at_most=1)
    per: Literal["epoch", "step"] = setting("epoch", "change the learning rate once an epoch or every step")
    warmup: float = setting(0.0, "epochs of linear warm-up, counted per step", at_least=0)
    clip: float | None = setting(1.0, "limit of the total gradient norm (none: no limit)", above=0)
    precision: Precision = setting("float32", "arithmetic of forward passes in training")
    keep: Literal["best", "last"] = setting("best", "weights that count: best epoch on held-out data, or last")

    def __post_init__(self) -> None:
        given: Any = self.milestones
        if isinstance(given, list):  # as a configuration file has it
            object.__setattr__(self, "milestones", tuple(given))
        check_settings(self)
        if isinstance(self.optimizer, str) and self.optimizer not in _OPTIMIZERS:
            raise HowsparseError(f"Recipe: optimizer = {self.optimizer!r} is unknown: it is one of sgd, adam, adamw")

    def check_fits(self, has_held_out: bool) -> None:
        """Refuse to choose the best epoch where there is nothing to choose by.

        Raises:
            HowsparseError: the best epoch is to be kept but there is no held-out data.
        """
        if self.keep == "best" and not has_held_out and max(self.epochs_of(0), self.epochs) > 0:
            raise HowsparseError('keep = "best" needs held-out data: give the task val=..., or use keep="last"')

    def epochs_of(self, cycle: int) -> int:
        """Epochs trained in a cycle; cycle 0 is the dense network's."""
        return self.dense_epochs if cycle == 0 and self.dense_epochs is not None else self.epochs

    def build_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimizer over the parameters that want gradients."""
        wanted = [p for p in parameters if p.requires_grad]
        if not isinstance(self.optimizer, str):
            return self.optimizer(wanted)
        return _OPTIMIZERS[self.optimizer](self, wanted)

    def factor(self, step: int, steps_per_epoch: int, epochs: int | None = None) -> float:
        """The learning rate at a step, as a factor of its highest.

        Args:
            step: steps taken so far in this training, from 0.
            steps_per_epoch: optimizer steps in one epoch.
            epochs: length of this training; ``Recipe.epochs`` by default.

        Returns:
            A number in [0, 1].
        """
        epochs = self.epochs if epochs is None else epochs
        position = step / steps_per_epoch if self.per == "step" else float(step // steps_per_epoch)
        share = position / max(epochs, 1)
        warm = min(1.0, (step + 1) / (self.warmup * steps_per_epoch)) if self.warmup else 1.0
        return warm * self._course(share)

    def _course(self, share: float) -> float:
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * share))
        if self.schedule == "linear":
            return 1 - share
        if self.schedule == "milestones":
            return self.drop ** sum(share >= mark for mark in self.milestones)
        return 1.0

    def to_plain(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return to_plain(self)


def _sgd(recipe: Recipe, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
    )


def _adam(recipe: Recipe, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)


def _adamw(recipe: Recipe, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)


_OPTIMIZERS = {"sgd": _sgd, "adam": _adam, "adamw": _adamw}
