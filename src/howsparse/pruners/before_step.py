"""What pruners that act inside ``optimizer.step()`` must know of the optimizer."""

from collections.abc import Mapping
from typing import Any

import torch

from howsparse.errors import HowsparseError
from howsparse.pruners.pruner import Pruner

_DECOUPLED = (torch.optim.AdamW, torch.optim.Adafactor)


def moving_optimizer(pruner: Pruner) -> torch.optim.Optimizer | None:
    """The optimizer if it is about to move the weights; None where a gradient scaler told it to skip this step.

    Optimizers of several kernels are not called at all when a step is skipped; fused ones are, and skip by themselves.

    Raises:
        HowsparseError: gradients are still scaled, or another optimizer moves some of the prunable weights.
    """
    optimizer = pruner.optimizer
    if getattr(optimizer, "grad_scale", None) is not None:
        raise HowsparseError(
            f"{type(pruner).__name__} works on gradients inside optimizer.step(), but a fused optimizer gets them "
            "scaled: call scaler.unscale_(optimizer) before scaler.step(optimizer)"
        )
    if optimizer is not None:
        _refuse_others(pruner, optimizer)
    skips = getattr(optimizer, "found_inf", None)
    return None if skips is not None and bool(skips) else optimizer


def decay_in_gradient(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> float:
    """The weight decay that a group of parameters has in its gradient: none where the optimizer decouples it."""
    decoupled = group.get("decoupled_weight_decay", False) or isinstance(optimizer, _DECOUPLED)
    return 0.0 if decoupled else float(group.get("weight_decay", 0))


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


def _refuse_others(pruner: Pruner, optimizer: torch.optim.Optimizer) -> None:
    """Refuse prunable weights that have a gradient and are none of the optimizer's: another one would move them."""
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    waiting = [(name, p) for name, p in pruner.parameters.items() if p.requires_grad and p.grad is not None]
    others = [name for name, parameter in waiting if id(parameter) not in known]
    if others:
        raise HowsparseError(
            f"{', '.join(others[:3])} would be pruned but are not among the parameters of the pruner's optimizer, in "
            f"whose step {type(pruner).__name__} works: give all prunable weights to one optimizer (it may have many "
            "parameter groups), or leave these out with exclude= (or requires_grad_(False), if they are not trained)"
        )
