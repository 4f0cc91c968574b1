"""Convolution and batch norm whose second derivatives cost what they must.

PyTorch's own second derivative of a convolution is made of convolutions with kernels as large as images. Here it is
made of the three products that training uses: with the weight, with its transpose, and of input with slope. A batch
norm in evaluation mode is an affine map of each channel; behind a convolution it becomes part of the kernel.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS: dict[Callable[..., Any], int] = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}


class CheapLayers(TorchFunctionMode):
    """While it is entered, convolutions and batch norms are recorded in a form that is cheap to differentiate twice.

    Args:
        curved: whether second derivatives in input and weight are wanted; without them the gradient's graph can be
            differentiated in the vector it was pulled back from only, which is what Jacobian products need.
    """

    def __init__(self, *, curved: bool) -> None:
        super().__init__()
        self._curved = curved

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take over what is known here; everything else runs as it is."""
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS:
            return self._convolution(func, *args, **kwargs)
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _convolution(  # noqa: PLR0913 - torch's signature
        self,
        func: Callable[..., Tensor],
        input: Tensor,  # noqa: A002 - torch's name, by which it may be passed
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        dims = _CONVOLUTIONS[func]
        autocast = torch.is_autocast_enabled(input.device.type)  # types are then chosen call by call
        if isinstance(padding, str) or input.dim() != dims + 2 or autocast:
            return func(input, weight, bias, stride, padding, dilation, groups)
        shape = _Shape(func, _each(stride, dims), _each(padding, dims), _each(dilation, dims), groups)
        result: Tensor = _Convolution.apply(input, weight, bias, shape, self._curved, None)  # type: ignore[no-untyped-call]
        return result

    def _batch_norm(  # noqa: PLR0913 - torch's signature
        self,
        input: Tensor,  # noqa: A002
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if training or running_mean is None or running_var is None or running_mean.dtype != input.dtype:
            return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
        scale = torch.rsqrt(running_var + eps)
        scale = scale if weight is None else scale * weight
        shift = -running_mean * scale
        shift = shift if bias is None else shift + bias
        channels = (-1, *[1] * (input.dim() - 2))
        convolved = getattr(input.grad_fn, "convolved", None)  # gone when the output was changed in place since
        if convolved is None:
            return torch.addcmul(shift.view(channels), input, scale.view(channels))
        x, kernel, offset, shape = convolved
        with torch.no_grad():
            output = torch.addcmul(shift.view(channels), input, scale.view(channels))
        kernel = kernel * scale.view(-1, *[1] * (kernel.dim() - 1))
        shift = shift if offset is None else shift + offset * scale
        result: Tensor = _Convolution.apply(x, kernel, shift, shape, self._curved, output)  # type: ignore[no-untyped-call]
        return result


class _Shape(NamedTuple):
    """What a convolution needs beside its tensors."""

    func: Callable[..., Tensor]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def output(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.func(x, weight, bias, *self[1:])

    def pulled(self, slope: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool]) -> list[Tensor | None]:
        """The slope pulled back to input and weight; of the tensor that is not multiplied only the shape matters."""
        if not any(wanted):
            return [None, None]
        found = torch.ops.aten.convolution_backward(
            slope, x, weight, None, self.stride, self.padding, self.dilation, False, [0], self.groups, [*wanted, False]
        )
        return list(found[:2])


class _Convolution(Function):
    """A convolution whose output may be known already."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: _Shape, curved: bool, output: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape, ctx.curved = shape, curved
        if output is None:
            ctx.convolved = (x, weight, bias, shape)  # what a batch norm behind it folds itself into
            return shape.output(x, weight, bias)
        return output

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if not ctx.curved:
            x, weight = x.detach(), weight.detach()
        wanted = ctx.needs_input_grad[:2]
        pulled = _Pulled.apply(slope, x, weight, ctx.shape, wanted)  # type: ignore[no-untyped-call]
        of_bias = slope.sum((0, *range(2, slope.dim()))) if ctx.needs_input_grad[2] else None
        return *pulled, of_bias, None, None, None


class _Pulled(Function):
    """A convolution's slope pulled back to its input and weight; bilinear in slope and (input, weight)."""

    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, x: Tensor, weight: Tensor, shape: _Shape, wanted: tuple[bool, bool]
    ) -> tuple[Tensor | None, ...]:
        ctx.save_for_backward(slope, x, weight)
        ctx.shape = shape
        ctx.set_materialize_grads(False)
        return tuple(shape.pulled(slope, x, weight, wanted))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along_x: Tensor | None, along_weight: Tensor | None) -> tuple[Tensor | None, ...]:
        slope, x, weight = ctx.saved_tensors
        shape, (slope_wanted, x_wanted, weight_wanted, *_) = ctx.shape, ctx.needs_input_grad
        of_slope = of_x = of_weight = None
        if along_x is not None:
            of_slope = shape.output(along_x, weight) if slope_wanted else None
            of_weight = shape.pulled(slope, along_x, weight, (False, weight_wanted))[1]
        if along_weight is not None:
            more = shape.output(x, along_weight) if slope_wanted else None
            of_slope = more if of_slope is None or more is None else of_slope.add_(more)
            of_x = shape.pulled(slope, x, along_weight, (x_wanted, False))[0]
        return of_slope, of_x, of_weight, None, None


def _each(value: Any, dims: int) -> tuple[int, ...]:
    """The value for every dimension."""
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return values * dims if len(values) == 1 else values
