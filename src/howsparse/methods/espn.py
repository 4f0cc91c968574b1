"""ESPN: extremely sparse pruned networks (Cho, Joshi & Hegde, arXiv 2006.15741)."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from howsparse.pruners.cyclic_pruner import CyclicPruner
from howsparse.pruners.removal import without_lowest
from howsparse.pruners.searching import SearchMethod, SearchPruner
from howsparse.scores.magnitude import magnitude
from howsparse.settings import setting
from howsparse.training import Recipe

MOMENTUM = 0.9  # of the multipliers' SGD


class ESPNPruner(SearchPruner):
    """The latent variable is W; beside it ``hidden`` holds the ``multipliers`` m and their ``momentum``."""

    method: "ESPN"
    decays: ClassVar[bool] = False

    def search(self) -> None:
        """All multipliers start at 1."""
        if self.method.variant == "rewind":
            self._rewind_state = self._snapshot()
        weights = self.weights
        self.hide(
            {name: weight.clone() for name, weight in weights.items()},
            multipliers={name: torch.ones_like(weight) for name, weight in weights.items()},
            momentum={name: torch.zeros_like(weight) for name, weight in weights.items()},
        )

    def effective(self, name: str) -> Tensor:
        """``W m``."""
        return (self.latent[name] * self.hidden["multipliers"][name]).masked_fill(~self.masks[name], 0)

    def latent_gradient(self, name: str, gradient: Tensor) -> Tensor:
        """``dL/dW = m dL/d(W m)``."""
        return self.hidden["multipliers"][name] * gradient

    def move_beside(self, name: str, gradient: Tensor, rate: float) -> None:
        """A step of the multipliers on ``W dL/d(W m) + alpha sign(m)``."""
        multipliers, momentum = self.hidden["multipliers"][name], self.hidden["momentum"][name]
        slope = self.latent[name] * gradient + self.method.alpha * multipliers.sign()
        own = self.method.multiplier_lr
        multipliers.sub_((rate if own is None else own) * momentum.mul_(MOMENTUM).add_(slope))

    @property
    def enough(self) -> bool:
        """Whether the paper would stop the search now: no more multipliers are left than weights are wanted."""
        return bool(self.latent) and self._above <= self.masks.active - self.excess

    @property
    def _above(self) -> int:
        """Multipliers that have not vanished, by the paper's signed comparison."""
        found = self.hidden["multipliers"].items()
        return sum(int(((m > self.method.threshold) & self.masks[name]).sum()) for name, m in found)

    def observe(self, metric: float | None = None, *, higher_is_better: bool = True) -> dict[str, Any]:
        """See `CyclicPruner.observe`; the search's record also says what sparsity its vanished multipliers make."""
        record = super().observe(metric, higher_is_better=higher_is_better)
        if self.latent:
            record["reached"] = 1 - self._above / self.masks.total
        return record

    def conclude(self) -> None:
        """Cut the smallest multipliers; the model holds ``W m``, or goes back to the early weights."""
        self.adopt(without_lowest(self.masks, magnitude(self.hidden["multipliers"]), self.method.sparsity))
        if self._rewind_state is not None:
            self.model.load_state_dict(self._rewind_state)


@dataclass(frozen=True, kw_only=True)
class ESPN(SearchMethod):
    """Learn a multiplier for every weight under an L1 penalty, cut the smallest once, then train.

    The search minimises ``L(W m) + alpha * sum |m|`` over weights W and multipliers m, which start at 1, without weight
    decay. Weights move by the loop's optimizer with gradient ``m dL/d(W m)``, multipliers by SGD with momentum 0.9 at
    the optimizer's learning rate with gradient ``W dL/d(W m) + alpha sign(m)``. (Rates that suit Adam, such as 1e-3,
    are too small for that: give ``multiplier_lr``.) Then the largest ``|m|`` of the whole
    network stay. ``finetune`` starts from a trained network and goes on from ``W m``; ``rewind`` starts from one that
    was trained for ``early_epochs`` and puts the survivors back to those early weights, buffers included.

    The paper stops the search as soon as no more than the wanted number of multipliers are above ``threshold``; the
    record of the search says how far it came (``reached``), and the cut is made in any case.

    Example:
        >>> net = torch.nn.Linear(10, 10)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruner = ESPN(sparsity=0.8).attach(net, optimizer)
        >>> for cycle in pruner.cycles():  # 0 is the dense network, 1 the search, 2 the fine-tuning
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         net(torch.ones(1, 10)).square().mean().backward()
        ...         optimizer.step()
        ...         pruner.step()
        >>> pruner.finish().sparsity
        0.8
    """

    name: ClassVar[str] = "espn"
    about: ClassVar[str] = "train, learn multipliers under an L1 penalty, cut the smallest once, fine-tune or rewind"
    source: ClassVar[str] = "arXiv 2006.15741"
    pruner_class: ClassVar[type[CyclicPruner]] = ESPNPruner

    variant: Literal["finetune", "rewind"] = setting(
        "finetune", "what is trained after the cut: folded or early weights"
    )
    alpha: float = setting(1e-4, "L1 penalty on multipliers", at_least=0)
    multiplier_lr: float | None = setting(
        None, "learning rate of multipliers (none: the optimizer's; adam's is often too small)", above=0
    )
    threshold: float = setting(0.01, "multipliers up to this count as vanished", at_least=0)
    early_epochs: int = setting(1, "with --variant rewind: epochs before the search", at_least=0)

    @property
    def needs_trained(self) -> bool:
        """The rewinding variant starts early in the training."""
        return self.variant == "finetune"

    def recipe_in(self, recipe: Recipe, cycle: int) -> Recipe:
        """An early training of its own length when rewinding; a constant learning rate before and in the search."""
        recipe = super().recipe_in(recipe, cycle)
        if cycle == 0 and self.variant == "rewind":
            return dataclasses.replace(recipe, dense_epochs=self.early_epochs, schedule="constant", keep="last")
        return dataclasses.replace(recipe, schedule="constant") if cycle == 1 else recipe
