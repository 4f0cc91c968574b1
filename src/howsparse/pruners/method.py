"""Method: a published algorithm as an immutable, serialisable configuration."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from howsparse.masks import Masks
from howsparse.masks.prunable import Pattern
from howsparse.settings import check_settings, to_plain
from howsparse.task import Task

if TYPE_CHECKING:
    from howsparse.pruners.pruner import Pruner


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A pruning algorithm's settings; `attach` puts it to work on a model."""

    name: ClassVar[str]
    """What the command line calls it."""
    about: ClassVar[str]
    """One line for listings."""
    source: ClassVar[str]
    """The paper."""

    def __post_init__(self) -> None:
        check_settings(self)

    @abstractmethod
    def attach(  # noqa: PLR0913 - two nouns and keyword-only options
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        total_steps: int | None = None,
        task: Task | None = None,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] | None = None,
        masks: Masks | None = None,
        seed: int = 0,
    ) -> "Pruner":
        """Begin to prune ``model`` as it is trained by ``optimizer``.

        Args:
            model: the network, on the device it will be trained on.
            optimizer: the optimizer of the training loop, if it lives as long as the pruner.
            total_steps: optimizer steps of one training; needed by methods that act on steps.
            task: data and loss, for methods that look at gradients before the first step.
            include: see `howsparse.masks.prunable_parameters`.
            exclude: likewise.
            masks: the weights that live at the start; all by default. What is gone never comes back.
            seed: of everything the method draws.

        Returns:
            A pruner.
        """

    def to_plain(self) -> dict[str, Any]:
        """Name and settings as JSON values."""
        return {"name": self.name, **to_plain(self)}
