"""Rare Gems: Gem-Miner finds a sparse network inside an untrained one (Sreenivasan et al., NeurIPS 2022)."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from howsparse.allocation import share_of
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, remove_smallest
from howsparse.pruners.cyclic_pruner import CyclicPruner
from howsparse.pruners.removal import without_lowest
from howsparse.pruners.searching import SearchMethod, SearchPruner
from howsparse.settings import setting
from howsparse.training import Recipe


class RareGemsPruner(SearchPruner):
    """The latent variable is the score p; ``masks`` are the flags f, ``hidden["weights"]`` the frozen weights w."""

    method: "RareGems"
    decays: ClassVar[bool] = False
    freezes: ClassVar[bool] = True

    def search(self) -> None:
        """Draw scores over the weights as they are, or over signed constants."""
        weights = {name: weight.clone() for name, weight in self.weights.items()}
        if self.method.init == "signed":
            weights = {name: w.sign() * math.sqrt(2 / self._fan_in(name)) for name, w in weights.items()}
        drawn = {name: torch.rand(w.shape, generator=self.generator).to(w) for name, w in weights.items()}
        self.hide(drawn, weights=weights)

    def _fan_in(self, name: str) -> int:
        """How many weights of a tensor reach one output."""
        weight, module = self.parameters[name], self.model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, nn.modules.conv._ConvTransposeNd):  # noqa: SLF001 - all transposed convolutions
            return weight[:, 0].numel() // module.groups  # (in, out / groups, ...)
        return weight[0].numel()

    def effective(self, name: str) -> Tensor:
        """``w * 1[p > 1/2] * f``."""
        shown = (self.latent[name] > 0.5) & self.masks[name]
        return self.hidden["weights"][name].masked_fill(~shown, 0)

    def latent_gradient(self, name: str, gradient: Tensor) -> Tensor:
        """``w f dL/dw_eff`` and the penalty's, which acts on all scores."""
        scores = self.latent[name]
        through = (gradient * self.hidden["weights"][name]).masked_fill(~self.masks[name], 0)
        if self.method.penalty == "none":
            return through
        slope = 2 * scores if self.method.penalty == "l2" else scores.sign()
        return through + self.method.strength * slope

    def project(self, latent: Tensor) -> None:
        """Scores stay in [0, 1]."""
        latent.clamp_(0, 1)

    def step(self) -> None:
        """See `LatentPruner.step`; in rounds the lowest scores lose their flags."""
        super().step()
        if self.latent and self.steps in self.method.rounds(self.total_steps or 0):
            self._round()

    def _round(self) -> None:
        rounds = len(self.method.rounds(self.total_steps or 0))
        wanted = self.masks.active - self.excess
        rate = removal_rate(min(wanted / max(self.allowed.active, 1), 1.0), rounds)
        count = share_of(self.masks.active, rate)
        if not self.method.reference_mode:
            count = min(count, self.excess)
        self.adopt(lose_flags(self.masks, self.latent, count, ties_too=self.method.reference_mode))
        self.show()

    def conclude(self) -> None:
        """The flags alone decide; the frozen weights are trained next."""
        self.adopt(without_lowest(self.masks, self.latent, self.method.sparsity))
        for name, weight in self.hidden["weights"].items():
            self.parameters[name].copy_(weight)


@dataclass(frozen=True, kw_only=True)
class RareGems(SearchMethod):
    """Learn a score for every weight while the weights rest, drop the lowest scores in rounds, then train.

    In the search the network computes with ``w * 1[p > 1/2] * f``: frozen weights w, scores p in [0, 1], drawn
    uniformly at first, and flags f, which once lost never come back. Scores are trained straight through,
    ``dL/dp = w f dL/dw_eff``, on the loss plus ``strength * |p|^2``, and clipped to [0, 1]. In each of n rounds the
    share ``1 - density^(1/n)`` of the flagged weights with the lowest scores loses its flag; the last round stops at
    the asked-for sparsity. After the search the flags alone are the masks: weights whose score lay below 1/2 come back,
    and all parameters are trained.

    The optimizer's weight decay does not act on scores (it is set to 0 within each step of the search), and all other
    parameters rest. The paper draws weights of one size per layer, ``init="signed"``; the default keeps the network's.
    Scores want a larger learning rate than weights: ``search_lr`` is ten times the training's unless given, as the
    authors have it. In one's own loop ``total_steps`` is the length of the search.

    Example:
        >>> net = torch.nn.Linear(10, 10)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruner = RareGems(sparsity=0.8).attach(net, optimizer, total_steps=20)
        >>> for cycle in pruner.cycles():  # 0 is the network as given, 1 the search, 2 the training
        ...     for _ in range(20 if cycle else 0):
        ...         net(torch.ones(1, 10)).sum().backward()
        ...         optimizer.step()
        ...         pruner.step()
        >>> pruner.finish().sparsity
        0.8
    """

    name: ClassVar[str] = "rare-gems"
    about: ClassVar[str] = "before training, learn scores of frozen weights and keep the highest (Gem-Miner)"
    source: ClassVar[str] = "arXiv 2202.12002"
    pruner_class: ClassVar[type[CyclicPruner]] = RareGemsPruner

    period: float = setting(1 / 30, "share of the search between two rounds of removal", above=0, at_most=1)
    penalty: Literal["none", "l1", "l2"] = setting("l2", "penalty on scores (rare-gems)")
    strength: float = setting(3e-5, "factor of the penalty on scores", at_least=0)
    init: Literal["own", "signed"] = setting(
        "own", "weights of the search: the network's own, or sign * sqrt(2/fan_in)"
    )
    reference_mode: bool = setting(False, "remove all scores that tie with the last to go, as the authors' code does")

    @property
    def needs_trained(self) -> bool:
        """The gem is looked for in an untrained network."""
        return False

    def recipe_in(self, recipe: Recipe, cycle: int) -> Recipe:
        """The search runs at ten times the learning rate, unless another one is given."""
        found = super().recipe_in(recipe, cycle)
        if cycle != 1 or self.search_lr is not None:
            return found
        return dataclasses.replace(found, lr=10 * recipe.lr)

    def rounds(self, steps: int) -> tuple[int, ...]:
        """The steps of a search after which weights lose their flags.

        Args:
            steps: length of the search, >= 0.

        Returns:
            ``ceil(1 / period) - 1`` steps inside the search, or fewer where it has no more.

        Example:
            >>> rounds = RareGems().rounds(150)
            >>> len(rounds), rounds[:2], rounds[-1]
            (29, (5, 10), 145)
        """
        number = min(math.ceil(1 / self.period - 1e-9) - 1, max(steps - 1, 0))
        spacing = max(self.period * steps, 1.0)
        return tuple(math.ceil(nth * spacing - 1e-9) for nth in range(1, number + 1))

    def check_length(self, total_steps: int | None) -> None:
        """The search must be of a known length."""
        if total_steps is None:
            raise HowsparseError(
                "RareGems removes weights at fractions of its search, so it must know how long that is: "
                "attach(model, optimizer, total_steps=search_epochs * len(loader))"
            )


def removal_rate(density: float, rounds: int) -> float:
    """The share of what is left that goes in each of ``rounds`` rounds: ``1 - density^(1/rounds)``.

    Args:
        density: fraction that is left in the end, in (0, 1].
        rounds: at least 1.

    Returns:
        A share in [0, 1).

    Example:
        >>> round(removal_rate(0.0144, 29), 6)
        0.136037
    """
    return -math.expm1(math.log(density) / rounds)


def lose_flags(flags: Masks, scores: Mapping[str, Tensor], count: int, *, ties_too: bool = False) -> Masks:
    """The flags after a round of removal.

    Args:
        flags: the weights that may still be in the gem.
        scores: of all weights.
        count: flagged weights to remove, those with the lowest scores; ties by position.
        ties_too: also remove all that tie with the last one to go, as the authors' threshold does.

    Returns:
        Flags nested in ``flags``.

    Raises:
        HowsparseError: with ``ties_too`` nothing would be left.

    Example:
        >>> flags = Masks({"w": torch.ones(4)})
        >>> scores = {"w": torch.tensor([0.0, 0.7, 0.0, 0.9])}
        >>> lose_flags(flags, scores, 1)["w"].tolist(), lose_flags(flags, scores, 1, ties_too=True)["w"].tolist()
        ([False, True, True, True], [False, True, False, True])
    """
    left = remove_smallest(flags, scores, {"global": torch.tensor(count)}, scope="global")
    if not ties_too or left.active == flags.active:
        return left
    threshold = max(float(scores[name][gone].max()) for name, gone in (flags - left).items() if bool(gone.any()))
    left = Masks({name: flag & (scores[name] > threshold) for name, flag in flags.items()})
    if left.active == 0:
        raise HowsparseError("all scores tie, so none is left; leave reference_mode off, or weaken the penalty")
    return left
