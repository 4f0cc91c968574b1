"""Sensitivity of the loss to taking a weight away: SNIP (Lee, Ajanthan & Torr 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from howsparse.errors import HowsparseError
from howsparse.scores.calibration import loss_on_few_batches
from howsparse.task import Task


def sensitivity(
    task: Task | None,
    parameters: Mapping[str, nn.Parameter],
    *,
    batches: int = 1,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """``|g · w| / Σ |g · w|`` with g = dL/dw: the change of the loss, to first order, when w is multiplied by 1 - δ.

    Gradients are summed over the batches before the absolute value is taken, so signs may cancel between batches.
    The network is read in evaluation mode: with batch statistics, a weight's score would depend on who else is in the
    batch, and reading the network would change its running statistics. (At initialisation these are mean 0 and
    variance 1, so normalisation then passes its input on, where training mode would rescale it.)

    Source: arXiv 1810.02340, section 4; evaluation mode as in the code of Tanaka et al. (arXiv 2006.05467).

    Args:
        task: the network, its loss, and training samples.
        parameters: the weights to score, as from ``prunable_parameters(task.model)``.
        batches: how many batches of ``task.calib`` to read, at least 1: samples drawn at random from map-style data,
            else the first batches.
        generator: draws the samples, on the CPU; by default one seeded by 0, so that the same are drawn each time.

    Returns:
        Scores with the names and shapes of ``parameters``, on their devices; all together they sum to 1.

    Raises:
        HowsparseError: no task or no frozen pass, a loss that is not finite, or a gradient that is zero everywhere.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 1.0]]))
        >>> data = [(torch.tensor([[1.0, -1.0]]), torch.zeros(1, 1))]
        >>> task = Task(model, data, calib=data, val_share=0, loss=lambda output, target: (output - target).square())
        >>> sensitivity(task, {"weight": model.weight})["weight"].tolist()
        [[0.75, 0.25]]
    """
    objective = loss_on_few_batches(task, parameters, "sensitivity", batches=batches, generator=generator)
    _, gradient = objective.gradient()
    scores = gradient.mul_(objective.weights()).abs_()
    whole = float(scores.double().sum())
    if whole == 0:
        raise HowsparseError(
            "sensitivity: gradient times weight is zero everywhere, so no weight is better than another; are all units "
            "dead, all weights zero, or is the output cut off from the weights (detach, no_grad)?"
        )
    return objective.unflatten(scores.div_(whole))
