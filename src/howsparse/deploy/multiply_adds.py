"""Multiply-adds of one forward pass, dense and with the zeros left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from howsparse.masks import Masks

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds per sample in linear and convolution modules; ``sparse`` counts living weights only.

    A count, not a time: unstructured zeros do not make convolutions faster on ordinary hardware. ``uncounted`` names
    masked tensors whose modules are of other types.
    """

    dense: int
    sparse: int
    uncounted: tuple[str, ...]


@torch.no_grad()
def count_multiply_adds(
    model: nn.Module, forward: Callable[[nn.Module], int], masks: Mapping[str, Tensor] | Masks
) -> MultiplyAdds:
    """Count by running one batch through the network.

    Args:
        model: the network; left in the mode it was in.
        forward: runs one batch through the model it is given and says how many samples it had.
        masks: living weights by parameter name; weights without a mask count as dense.

    Returns:
        Counts per sample.

    Example:
        >>> net = nn.Conv2d(1, 2, 3, padding=1)
        >>> masks = {"weight": torch.arange(18).reshape(2, 1, 3, 3) < 9}
        >>> count_multiply_adds(net, lambda m: len(m(torch.zeros(4, 1, 8, 8))), masks)
        MultiplyAdds(dense=1152, sparse=576, uncounted=())
    """
    uses: dict[nn.Module, float] = {}  # module -> how often its weight is used in the batch
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED))]
    handles = [layer.register_forward_hook(_counter(uses)) for layer in layers]
    was_training = model.training
    try:
        samples = forward(model.eval())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    names = {id(parameter): name for name, parameter in model.named_parameters()}  # a tied weight has one name
    dense = sparse = 0.0
    counted = set()
    for layer, times in uses.items():
        weight = layer.weight
        name = names.get(id(weight), "")  # none: the weight is made by a parametrization, and counts in full
        counted.add(name)
        dense += times * weight.numel()  # type: ignore[operator]
        sparse += times * (int(masks[name].count_nonzero()) if name in masks else weight.numel())  # type: ignore[operator]
    uncounted = tuple(name for name in masks if name not in counted)
    return MultiplyAdds(dense=round(dense / samples), sparse=round(sparse / samples), uncounted=uncounted)


def _counter(uses: dict[nn.Module, float]) -> Callable[..., None]:
    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            times = output.numel() / module.out_features
        elif isinstance(module, _TRANSPOSED):
            times = inputs[0].numel() / module.in_channels
        else:
            times = output.numel() / output.shape[-len(module.kernel_size) - 1]  # type: ignore[arg-type]
        uses[module] = uses.get(module, 0.0) + times

    return count
