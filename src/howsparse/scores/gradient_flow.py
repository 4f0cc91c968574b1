"""Gradient flow: what a weight does for the size of the gradient. GraSP (Wang, Zhang & Grosse 2020)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from howsparse.curvature import Hessian
from howsparse.errors import HowsparseError
from howsparse.scores.calibration import loss_on_few_batches
from howsparse.task import Loss, Task, cross_entropy

TEMPERATURE = 200.0
_GUARD = 1e-10  # added by the authors to the sum that scores are divided by


def gradient_flow(
    task: Task | None,
    parameters: Mapping[str, nn.Parameter],
    *,
    batches: int = 1,
    temperature: float | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """``θ · (H g) / (|Σ θ · (H g)| + 1e-10)``, with gradient g and Hessian H of the loss in the weights scored.

    Taking a weight away changes ``gᵀg`` by ``-2 θ · (H g)`` to first order. The highest scores stay: their weights
    carry the gradient flow. The lowest go, negative ones first: without their weights the gradient grows. (The paper
    writes the score with the opposite sign and removes the highest.)

    Two passes over the same batches, in evaluation mode: g, then H g by double backpropagation. ``H g`` comes from the
    curvature of the loss and from products of weights; piecewise linear activations add nothing to it.

    Source: arXiv 2002.07376, equation 8; the temperature and the 1e-10 as in the authors' code.

    Args:
        task: the network, its loss, and training samples.
        parameters: the weights to score, as from ``prunable_parameters(task.model)``.
        batches: how many batches of ``task.calib`` to read, at least 1: samples drawn at random from map-style data,
            else the first batches.
        temperature: what the network's output is divided by, above 0; by default 200 when the loss is cross-entropy
            (nearly even probabilities, whatever the size of the logits) and 1 for any other loss.
        generator: draws the samples, on the CPU; by default one seeded by 0, so that the same are drawn each time.

    Returns:
        Scores with the names and shapes of ``parameters``, on their devices; they sum to about 1 or -1, and less where
        the raw sum is as small as 1e-10.

    Raises:
        HowsparseError: no task or no frozen pass, a temperature that is not positive, a loss that is not finite or has
            no second derivative, or ``θ · (H g)`` that is zero everywhere.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
        >>> data = [(torch.eye(2), torch.zeros(2, 1))]
        >>> task = Task(model, data, calib=data, val_share=0, loss=lambda output, target: (output - target).square())
        >>> gradient_flow(task, {"weight": model.weight})["weight"].tolist()
        [[0.2..., 0.8...]]
    """
    if temperature is not None and not temperature > 0:
        raise HowsparseError(f"temperature = {temperature} is not allowed: it must be above 0; 1 changes nothing")
    loss = None if task is None else _warm(task.loss, temperature)
    objective = loss_on_few_batches(task, parameters, "gradient_flow", batches=batches, loss=loss, generator=generator)
    _, gradient = objective.gradient()
    flow = (Hessian(objective) @ gradient).mul_(objective.weights())
    if not bool(flow.count_nonzero()):
        raise HowsparseError(
            "gradient_flow: weight times Hessian times gradient is zero everywhere, so no weight is better than "
            "another; is the network already fitted exactly, or are all units dead?"
        )
    return objective.unflatten(flow.div_(abs(float(flow.double().sum())) + _GUARD))


def _warm(loss: Loss, temperature: float | None) -> Loss:
    """The loss of an output divided by the temperature."""
    divisor = temperature if temperature is not None else TEMPERATURE if loss is cross_entropy else 1.0
    return loss if divisor == 1 else lambda output, target: loss(output / divisor, target)
