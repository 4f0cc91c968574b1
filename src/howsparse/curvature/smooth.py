"""Whether a loss bends: curvature needs a second derivative in the network's output."""

from collections.abc import Callable

import torch
from torch import Tensor

from howsparse.errors import NoCurvatureError

_HALVINGS = 48  # of an interval as wide as twice the loss: enough for a bend of float32's resolution
Losses = Callable[[Tensor], Tensor]  # output -> losses of the samples
_ADVICE = (
    "use a smooth loss, for example howsparse.task.squared_error or "
    'torch.nn.functional.smooth_l1_loss(..., reduction="none")'
)


def require_second_derivative(losses: Losses, output: Tensor, *, nonlinear: bool) -> None:
    """Look at a loss around an output.

    Args:
        losses: of the samples, as a function of the output.
        output: where the loss is looked at.
        nonlinear: whether losses that are linear in the output are refused too.

    Raises:
        HowsparseError: the loss is piecewise linear in the output, or does not depend on it.
    """
    here = output.detach()
    if _bends(losses, here) or _bends(losses, here / (1 + here.abs().max())):  # near 0 no softmax is saturated
        return
    far = 1 + here.abs().max() + here[0].numel() * losses(here).detach().abs().max()
    if _bends_between(losses, here - far, here + far):
        return
    if not torch.equal(_slope(losses, here + far)[0], _slope(losses, here - far)[0]):
        raise NoCurvatureError(
            "the loss is piecewise linear in the network's output: its second derivative is zero where it exists, so "
            f"no ellipsoid describes how it grows; {_ADVICE}"
        )
    if nonlinear:
        raise NoCurvatureError(
            "the loss is linear in the network's output, so its Gauss-Newton matrix is zero; let the network end in "
            "logits and put the softmax into the loss (howsparse.task.cross_entropy), or use the Hessian"
        )


def _bends_between(losses: Losses, low: Tensor, high: Tensor) -> bool:
    """Whether the loss bends where its slope changes between two outputs: a kink is closed in on, a bend is met.

    Every entry of the output is bisected for itself. Smooth L1 is straight but within its beta of the target.
    """
    start = _slope(losses, low)[0].detach()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _bends(losses, middle):
            return True
        same = _slope(losses, middle)[0].detach() == start
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    return False


def _bends(losses: Losses, output: Tensor) -> bool:
    """Whether the second derivative along some direction is not zero."""
    slope, z = _slope(losses, output)
    if not slope.requires_grad:
        return False
    direction = torch.arange(z.numel(), device=z.device).cos().view_as(z).to(z.dtype)
    (bend,) = torch.autograd.grad(slope, z, direction, materialize_grads=True)
    return bool(bend.any())


@torch.enable_grad()
def _slope(losses: Losses, output: Tensor) -> tuple[Tensor, Tensor]:
    """The derivative of the losses' sum, still differentiable in the second tensor returned, which is the output."""
    z = output.detach().requires_grad_()
    total = losses(z).sum()
    if not total.requires_grad:
        raise NoCurvatureError(
            "the loss does not depend on the network's output in a differentiable way (detached? counted? rounded?)"
        )
    (slope,) = torch.autograd.grad(total, z, create_graph=True, materialize_grads=True)
    return slope, z
