"""What pruners that act inside ``optimizer.step()`` must know of the optimizer."""

import torch

from howsparse.errors import HowsparseError
from howsparse.pruners.pruner import Pruner


def moving_optimizer(pruner: Pruner) -> torch.optim.Optimizer | None:
    """The optimizer if it is about to move the weights; None where a gradient scaler told it to skip this step.

    Optimizers of several kernels are not called at all when a step is skipped; fused ones are, and skip by themselves.

    Raises:
        HowsparseError: gradients are still scaled.
    """
    optimizer = pruner.optimizer
    if getattr(optimizer, "grad_scale", None) is not None:
        raise HowsparseError(
            f"{type(pruner).__name__} works on gradients inside optimizer.step(), but a fused optimizer gets them "
            "scaled: call scaler.unscale_(optimizer) before scaler.step(optimizer)"
        )
    skips = getattr(optimizer, "found_inf", None)
    return None if skips is not None and bool(skips) else optimizer


def refuse_missing_optimizer(pruner: Pruner) -> None:
    """Refuse a step that no optimizer of the pruner's can have taken.

    Raises:
        HowsparseError: the pruner has no optimizer.
    """
    if pruner.optimizer is None:
        raise HowsparseError(
            f"{type(pruner).__name__} works inside optimizer.step(), so it must know the optimizer: "
            "attach(model, optimizer, ...), or pruner.optimizer = ... for one that was made later"
        )
