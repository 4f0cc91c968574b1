"""Synaptic flow: how much of a network's throughput runs through a weight. SynFlow (Tanaka et al. 2020)."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from howsparse.curvature.as_function import AsFunction
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, remove_smallest

_SATURATING = frozenset({
    F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid, F.hardtanh, F.hardtanh_, F.relu6, F.softplus, F.softsign,
    F.logsigmoid, F.tanhshrink, F.hardshrink, F.softshrink, F.softmax, F.log_softmax, F.softmin, torch.softmax,
    torch.log_softmax, torch.sigmoid, torch.sigmoid_, torch.tanh, torch.tanh_, torch.special.expit, Tensor.sigmoid,
    Tensor.sigmoid_, Tensor.tanh, Tensor.tanh_, Tensor.softmax, Tensor.log_softmax,
})  # fmt: skip


def synaptic_flow(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    example: Tensor,
    *,
    masks: Masks | None = None,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """``|θ · dR/dθ|``, R the sum of the outputs for an input of ones when all tensors are replaced by absolute values.

    No data are needed. One evaluation; the method repeats it while it prunes, see `synaptic_flow_masks`. In networks
    of linear and convolution layers without biases and with ReLU-like activations, flow is conserved: the scores of
    every layer sum to R, and for a hidden unit those of its incoming weights sum to those of its outgoing ones.
    Activations that are not proportional to positive inputs would break this, or block the flow once they saturate
    (GELU, SiLU, ReLU6, sigmoid, tanh, softmax ...): they pass their input on unchanged. Attention and recurrent modules
    of torch compute their own inside, out of reach. Normalisation takes its running statistics (evaluation mode).

    The network is not touched, whatever happens: copies of its tensors go through its code.

    Source: arXiv 2006.05467, algorithm 1 and theorem 1.

    Args:
        model: the network.
        parameters: the weights to score, as from ``prunable_parameters(model)``.
        example: any batch of inputs, shape (B, ...); of one sample's shape and device the input of ones is made.
        masks: the weights that live; the others count as zero. By default all.
        dtype: type to compute in. Scores grow with width to the power of depth: float32 overflows in deep networks.

    Returns:
        Scores of type ``dtype`` with the names and shapes of ``parameters``; 0 where a weight is gone.

    Raises:
        HowsparseError: inputs that are not numbers of floating point, an output that is not one tensor, parameters
            that are not the model's, R = 0 (nothing gets from the input to the output) or R beyond the type.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[-1.0], [2.0]]))
        >>> _ = net[2].weight.data.copy_(torch.tensor([[3.0, -4.0]]))
        >>> scores = synaptic_flow(net, {"0.weight": net[0].weight, "2.weight": net[2].weight}, torch.zeros(1, 1))
        >>> scores["0.weight"].tolist(), scores["2.weight"].tolist()
        ([[3.0], [8.0]], [[3.0, 8.0]])
    """
    _check(model, parameters, example)
    network = AsFunction(model, _whole_output)
    state = {name: _positive(tensor, dtype) for name, tensor in network.snapshot().items()}
    if masks is not None:
        masks.check(parameters)
        masks.apply_({name: state[name] for name in masks})
    leaves = {name: state[name].requires_grad_() for name in parameters}
    ones = torch.ones(1, *example.shape[1:], dtype=dtype, device=example.device)
    with torch.enable_grad(), _Proportional():
        throughput = network.at(state, ones)[0].sum()
    _check_throughput(float(throughput.detach()), dtype)
    gradients = torch.autograd.grad(throughput, list(leaves.values()), materialize_grads=True)
    return {n: (leaf.detach() * g).abs() for (n, leaf), g in zip(leaves.items(), gradients, strict=True)}


def synaptic_flow_masks(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    example: Tensor,
    removed: Sequence[int],
    *,
    masks: Masks | None = None,
    dtype: torch.dtype = torch.float64,
) -> Masks:
    """The masks after several rounds: in each, score the network that is left and remove its smallest scores globally.

    With many rounds whose densities fall geometrically, round j of n at density^(j/n), no layer is emptied before all
    of them are down to one path; n = 100 in the paper.

    Source: arXiv 2006.05467, algorithm 1.

    Args:
        model: see `synaptic_flow`.
        parameters: likewise.
        example: likewise.
        removed: after each round, how many weights are gone altogether; never falling.
        masks: the weights that live at the start; by default all.
        dtype: see `synaptic_flow`.

    Returns:
        Masks nested in those at the start, with exactly the last count removed.

    Raises:
        HowsparseError: as `synaptic_flow`; counts that fall or that leave nothing.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[-1.0], [2.0]]))
        >>> _ = net[2].weight.data.copy_(torch.tensor([[3.0, -4.0]]))
        >>> chosen = {"0.weight": net[0].weight, "2.weight": net[2].weight}
        >>> [mask.tolist() for mask in synaptic_flow_masks(net, chosen, torch.zeros(1, 1), [1, 2]).values()]
        [[[False], [True]], [[False, True]]]
    """
    masks = Masks.dense(parameters) if masks is None else masks
    counts = [masks.total - masks.active, *removed]
    if any(later < earlier for earlier, later in pairwise(counts)) or counts[-1] >= masks.total:
        raise HowsparseError(
            f"removed = {list(removed)} is not allowed: counts start from the {counts[0]} that are gone already, never "
            f"fall, and leave at least one of {masks.total} weights"
        )
    for earlier, later in pairwise(counts):
        scores = synaptic_flow(model, parameters, example, masks=masks, dtype=dtype)
        masks = remove_smallest(masks, scores, {"global": torch.tensor(later - earlier)}, scope="global")
    return masks


class _Proportional(TorchFunctionMode):
    """Inside, activations that are not proportional to positive inputs pass their input on."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in _SATURATING:
            return args[0] if args else named["input"]
        return func(*args, **named)


def _whole_output(model: nn.Module, ones: Tensor) -> tuple[Tensor, Tensor]:
    """The network's output, in the place where a task's forward has output and target."""
    output = model(ones)
    if not isinstance(output, Tensor):
        raise HowsparseError(
            f"synaptic_flow sums the network's output, which must be one tensor; it is a {type(output).__name__}. "
            "Score a module that returns the tensor you care for"
        )
    return output, ones


def _positive(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.abs().to(dtype) if tensor.is_floating_point() else tensor


def _check(model: nn.Module, parameters: Mapping[str, nn.Parameter], example: Tensor) -> None:
    known = dict(model.named_parameters())
    strange = [name for name, parameter in parameters.items() if known.get(name) is not parameter]
    if strange or not parameters:
        raise HowsparseError(
            f"parameters must be the model's own under their names, as from prunable_parameters(model): "
            f"{', '.join(strange[:5]) or 'there are none'}"
        )
    if not example.is_floating_point() or example.dim() == 0:
        raise HowsparseError(
            f"synaptic_flow feeds ones in place of the inputs, which must be floating-point tensors of shape (B, ...); "
            f"got {str(example.dtype).removeprefix('torch.')} {tuple(example.shape)}. A network that starts from "
            "indices (tokens) can be scored from its embeddings on"
        )


def _check_throughput(throughput: float, dtype: torch.dtype) -> None:
    if throughput == 0:
        raise HowsparseError(
            "synaptic_flow: the network is dead, R = 0: no living path leads from the input to the output. Were its "
            "weights zero, or has a layer been emptied? Start from masks that leave a path"
        )
    if not throughput < float("inf"):
        raise HowsparseError(
            f"synaptic_flow: R = {throughput} in {str(dtype).removeprefix('torch.')}"
            + ("; use dtype=torch.float64" if dtype != torch.float64 else ": are there NaN or infinite weights?")
        )
