"""Which rule each operation follows; an operation without one fixes every channel that it touches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from howsparse.errors import HowsparseError
from howsparse.structured.forms import Call, Form
from howsparse.structured.layer_rules import LAYER_RULES
from howsparse.structured.shape_rules import SHAPE_RULES, like_input, pointwise
from howsparse.structured.tracing import Tracer

_RULES = {**SHAPE_RULES, **LAYER_RULES}
_SAME_SHAPE = {
    *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "_to_copy", "hardswish"),
    *("native_dropout", "_prelu_kernel", "contiguous", "lift_fresh", "detach", "alias", "copy_", "clone", "fill_"),
}


def apply_rule(tracer: Tracer, func: Any, call: Call) -> None:
    """Work out the forms of what an operation returned.

    Args:
        tracer: holds labels and forms.
        func: the operation.
        call: its name, what it was given and what it returned.

    Raises:
        HowsparseError: an operation is used in a form that its rule does not know.
    """
    name = call.name
    if (rule := _RULES.get(name)) is not None:
        try:
            rule(tracer, call)
        except (LookupError, TypeError, ValueError) as error:
            if isinstance(error, HowsparseError):
                raise
            raise HowsparseError(
                tracer.because(f"the operation {name} is used in a form that cannot be traced ({error})")
            ) from error
    elif torch.Tag.pointwise in func.tags or name in _SAME_SHAPE:
        pointwise(tracer, call)
    elif "upsample" in name or "pool" in name or name.startswith(("reflection_pad", "replication_pad")):
        like_input(tracer, call)
    else:
        _unknown(tracer, call)


def _unknown(tracer: Tracer, call: Call) -> None:
    """Nothing that goes through an operation we have no rule for can be removed."""
    given = [x for x in (*tree_leaves(call.args), *tree_leaves(call.kwargs)) if isinstance(x, Tensor)]
    for tensor in filter(tracer.known, given):
        for axis in tracer.form(tensor).axes:
            tracer.labels.fix(axis.labels, tracer.because(f"there is no rule for the operation {call.name}"))
    if given:
        for tensor in tree_leaves(call.out):
            if isinstance(tensor, Tensor):
                tracer.know(tensor, Form.fixed(tuple(tensor.shape)))
