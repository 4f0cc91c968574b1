"""How long weights survive iterative pruning with rewinding, and what is known of them at initialisation."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from howsparse.curvature import Objective
from howsparse.errors import HowsparseError
from howsparse.masks import Masks
from howsparse.scores.calibration import calibration
from howsparse.task import Task

_GUARD = 1e-7  # the authors', against a range of zero


@dataclass(frozen=True)
class SurvivalFeatures:
    """What a predictor of survival sees of every weight of a network at initialisation.

    Attributes:
        weights: initial values by name.
        gradients: gradients of the mean loss over the whole frozen pass, shaped likewise.
        batches: batches in that pass; times the gradient it is the authors' sum over batches.
    """

    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    batches: int


def survival_features(
    task: Task | None, parameters: Mapping[str, nn.Parameter], *, state: Mapping[str, Tensor] | None = None
) -> SurvivalFeatures:
    """Initial values and initial gradients of weights, over all of a task's frozen pass, in evaluation mode.

    Source: AutoSparse, arXiv 2408.14757.

    Args:
        task: the network, its loss, and training samples.
        parameters: the weights, as from ``prunable_parameters(task.model)``.
        state: the initial state dict, where the network has been trained since; it goes into a copy of the network.

    Returns:
        The features, on the network's device.

    Raises:
        HowsparseError: no task or no frozen pass, a state of another network, or a loss that is not finite.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 1.0]]))
        >>> data = [(torch.tensor([[1.0, -1.0]]), torch.zeros(1, 1))]
        >>> task = Task(model, data, calib=data, val_share=0, loss=lambda output, target: (output - target).square())
        >>> survival_features(task, {"weight": model.weight}).gradients["weight"].tolist()
        [[4.0, -4.0]]
    """
    data = calibration(task, "survival_features")
    assert task is not None  # calibration has refused it
    model = task.model if state is None else _copy_at(task.model, state)
    chosen = parameters if state is None else {name: model.get_parameter(name) for name in parameters}
    objective = Objective(model, data, loss=task.loss, forward=task.forward, parameters=chosen)
    _, gradient = objective.gradient()
    return SurvivalFeatures(objective.unflatten(objective.weights()), objective.unflatten(gradient), len(data))


def survival_counts(rounds: Sequence[Masks]) -> dict[str, Tensor]:
    """How many rounds every weight survived: an entry pruned in round i, from 0, has count i.

    Args:
        rounds: the masks after each round of an iterative run, the first round first; each nested in the one before.

    Returns:
        int64 counts from 0 to ``len(rounds)``, named and shaped as the masks.

    Raises:
        HowsparseError: no rounds, or masks in which a weight came back.

    Example:
        >>> first, second = Masks({"w": torch.tensor([1, 1, 0])}), Masks({"w": torch.tensor([0, 1, 0])})
        >>> survival_counts([first, second])["w"].tolist()
        [1, 2, 0]
    """
    if not rounds:
        raise HowsparseError("survival is counted over the masks of at least one round; there are none")
    counts = {name: mask.to(torch.int64) for name, mask in rounds[0].items()}
    for number, (earlier, later) in enumerate(pairwise(rounds), start=1):
        if not later <= earlier:
            raise HowsparseError(
                f"in round {number} {(later - earlier).active} weights came back that were gone: survival is counted "
                "over nested masks, as iterative pruning with rewinding leaves them, the first round first"
            )
        for name, mask in later.items():
            counts[name] += mask.to(counts[name].device)
    return counts


def survival_targets(counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Counts scaled to [0, 1] over the whole network: ``(v - min + 1e-7) / (max - min + 1e-7)``.

    Source: code to arXiv 2408.14757.

    Args:
        counts: as from `survival_counts`.

    Returns:
        float32 targets, named and shaped as the counts.

    Raises:
        HowsparseError: all weights survived equally long.

    Example:
        >>> survival_targets({"w": torch.tensor([1, 3, 5])})["w"].round(decimals=6).tolist()
        [0.0, 0.5, 1.0]
    """
    least = min(int(count.min()) for count in counts.values())
    most = max(int(count.max()) for count in counts.values())
    if least == most:
        raise HowsparseError(f"every weight survived {most} rounds: there is nothing to learn from such a run")
    return {n: ((v.double() - least + _GUARD) / (most - least + _GUARD)).float() for n, v in counts.items()}


def survival_rounds(
    sparsity: float, rounds: int, *, spacing: Literal["pct", "num"] = "pct", reference_mode: bool = False
) -> list[float]:
    """The share of the living weights that each round of the run keeps, so that all rounds together reach a sparsity.

    With s = 1 - sparsity and P rounds: ``pct`` keeps ``s^(1/P)`` in every round; ``num`` keeps
    ``1 - (1 - s) / (P - (1 - s) i)`` in round i = 0 ... P - 1, that is, removes equal numbers.

    Source: arXiv 2408.14757.

    Args:
        sparsity: fraction removed in the end, in (0, 1).
        rounds: P, at least 1.
        spacing: ``pct``, equal shares, or ``num``, equal numbers.
        reference_mode: ``pct`` as the authors' code has it, s / P, which removes nearly everything in the first round.

    Returns:
        P shares; round i removes ``int((1 - share) * living)``.

    Raises:
        HowsparseError: an argument out of range, or a reference mode of ``num``, which is right in their code.

    Example:
        >>> survival_rounds(0.75, 2), survival_rounds(0.75, 3, spacing="num")
        ([0.5, 0.5], [0.75, 0.6666..., 0.5])
    """
    if not 0 < sparsity < 1 or rounds < 1:
        raise HowsparseError(f"sparsity = {sparsity}, rounds = {rounds}: it takes 0 < sparsity < 1 and rounds >= 1")
    if spacing not in {"pct", "num"} or (reference_mode and spacing == "num"):
        raise HowsparseError(f"spacing {spacing!r} with reference_mode = {reference_mode}: it is pct, or num without")
    density = 1 - sparsity
    if spacing == "num":
        return [1 - sparsity / (rounds - sparsity * number) for number in range(rounds)]
    return [density / rounds if reference_mode else density ** (1 / rounds)] * rounds


def _copy_at(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the network in another state."""
    twin = copy.deepcopy(model)
    try:
        twin.load_state_dict(state)
    except RuntimeError as error:
        raise HowsparseError(f"the initial state does not belong to {type(model).__name__}: {error}") from error
    return twin
