"""Multiply-adds of one forward pass, dense and with the zeros left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
    model: nn.Module, forward: Callable[[nn.Module], Any], masks: Mapping[str, Tensor] | Masks, samples: int
) -> MultiplyAdds:
    """Count by running one batch through the network.

    Args:
        model: the network; left in the mode it was in.
        forward: runs one batch through the model it is given.
        masks: living weights by parameter name; weights without a mask count as dense.
        samples: number of samples in that batch.

    Returns:
        Counts per sample.

    Example:
        >>> net = nn.Conv2d(1, 2, 3, padding=1)
        >>> masks = {"weight": torch.arange(18).reshape(2, 1, 3, 3) < 9}
        >>> count_multiply_adds(net, lambda m: m(torch.zeros(4, 1, 8, 8)), masks, samples=4)
        MultiplyAdds(dense=1152, sparse=576, uncounted=())
    """
    positions: dict[str, float] = {}  # weight name -> how often each weight is used per sample
    handles = []
    for prefix, module in model.named_modules():
        if isinstance(module, (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)):
            name = f"{prefix}.weight" if prefix else "weight"
            handles.append(module.register_forward_hook(_counter(name, positions, samples)))
    was_training = model.training
    try:
        forward(model.eval())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters(remove_duplicate=False)}
    living = {name: int(masks[name].sum()) if name in masks else sizes[name] for name in positions}
    return MultiplyAdds(
        dense=round(sum(times * sizes[name] for name, times in positions.items())),
        sparse=round(sum(times * living[name] for name, times in positions.items())),
        uncounted=tuple(name for name in masks if name not in positions),
    )


def _counter(name: str, positions: dict[str, float], samples: int) -> Callable[..., None]:
    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            uses = output.numel() / module.out_features
        elif isinstance(module, _TRANSPOSED):
            uses = inputs[0].numel() / module.in_channels
        else:
            uses = output.numel() / output.shape[-len(module.kernel_size) - 1]  # type: ignore[arg-type]
        positions[name] = positions.get(name, 0.0) + uses / samples

    return count
