"""How many bytes a pruned network takes on disk."""

import zlib
from dataclasses import dataclass

from torch import nn

from howsparse.masks import Masks


@dataclass(frozen=True)
class Bytes:
    """Sizes of one network's weights in bytes.

    ``dense``: every tensor in full. ``packed``: masked tensors as one bit a weight and the living values, the rest in
    full. ``compressed``: a file's bytes after zlib at its default level, a lower bar that needs no format of ours.
    """

    dense: int
    packed: int
    compressed: int


def count_bytes(model: nn.Module, masks: Masks, file: bytes) -> Bytes:
    """Measure a pruned network.

    Args:
        model: the network.
        masks: its masks.
        file: its weights as written to disk, zeros in place.

    Returns:
        The sizes.

    Example:
        >>> import torch
        >>> net = nn.Linear(16, 1, bias=False)
        >>> masks = Masks({"weight": torch.arange(16).reshape(1, 16) < 4})
        >>> sizes = count_bytes(net, masks, bytes(64))
        >>> sizes.dense, sizes.packed  # 16 floats; 16 bits and 4 floats
        (64, 18)
    """
    dense = packed = 0
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        if tensor.numel() and tensor.data_ptr() in seen:
            continue  # a second name of a tied tensor
        seen.add(tensor.data_ptr())
        full = tensor.numel() * tensor.element_size()
        dense += full
        if name in masks:
            packed += -(-tensor.numel() // 8) + int(masks[name].sum()) * tensor.element_size()
        else:
            packed += full
    return Bytes(dense=dense, packed=packed, compressed=len(zlib.compress(file)))
