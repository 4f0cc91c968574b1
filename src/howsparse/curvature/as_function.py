"""A network as a function of its tensors: in evaluation mode, with kernels that can be differentiated twice."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from howsparse.curvature.evaluation_mode import evaluation_mode
from howsparse.task import Batch, Forward

State = Mapping[str, Tensor]


class AsFunction(nn.Module):
    """``forward`` with its model, as one module, so that all tensors inside can be exchanged for a call."""

    def __init__(self, model: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.model = model
        self._forward = forward

    def forward(self, batch: Batch) -> Any:
        """Output and target of a batch, with the model's own tensors."""
        return self._forward(self.model, batch)

    def at(self, state: State, batch: Batch) -> tuple[Tensor, Tensor]:
        """Output and target of a batch, with the tensors of ``state`` in place of those of the same names."""
        with evaluation_mode(self.model), _second_derivatives(self.model):
            if not state:
                return self._forward(self.model, batch)
            tensors = {f"model.{name}": tensor for name, tensor in state.items()}
            found: tuple[Tensor, Tensor] = torch.func.functional_call(self, tensors, (batch,))
            return found

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of all parameters and buffers, outside autograd."""
        tensors = (*self.model.named_parameters(), *self.model.named_buffers())
        return {name: tensor.detach().clone() for name, tensor in tensors}


@contextmanager
def _second_derivatives(model: nn.Module) -> Iterator[None]:
    """Fused attention and recurrent kernels, which have no second derivative, make way for those that have."""
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield
