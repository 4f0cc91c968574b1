"""The same share of every layer, with layers that stay dense."""

from collections.abc import Sequence

from torch import Tensor

from howsparse.allocation.named import named
from howsparse.allocation.proportional import proportional
from howsparse.allocation.reach import out_of_reach
from howsparse.masks import Masks, group_sizes


def uniform(masks: Masks, removed: int, *, dense: Sequence[str] = ()) -> dict[str, Tensor]:
    """How many weights each layer gives when all but the dense ones give the same share.

    ``c_l ~ removed * n_l / sum of n`` over the layers that give, met to the weight by largest remainder
    (`proportional`); n_l is the number of living weights. RigL's uniform allocation leaves the first layer dense
    (Evci et al., arXiv 1911.11134).

    Args:
        masks: the weights that live now.
        removed: living weights to remove altogether, >= 0.
        dense: names or shell patterns of layers that give nothing.

    Returns:
        Numbers to remove, ``{tensor: int64 ()}``, for `howsparse.masks.remove_smallest` with ``scope="layer"``.

    Raises:
        HowsparseError: the other layers have fewer weights than that, or a pattern matches nothing.

    Example:
        >>> import torch
        >>> masks = Masks.dense({"first": torch.zeros(10), "second": torch.zeros(30)})
        >>> {name: int(count) for name, count in uniform(masks, 15, dense=["first"]).items()}
        {'first': 0, 'second': 15}
    """
    sizes = group_sizes(masks, "layer")
    kept = named(dense, sizes)
    open_sizes = {name: size for name, size in sizes.items() if name not in kept}
    most = sum(int(size) for size in open_sizes.values())
    if not 0 <= removed <= most:
        way, because = (list(kept), "these tensors stay dense") if kept else (list(sizes), "there is no more in")
        raise out_of_reach(removed, most if removed > 0 else 0, masks.active, way=way, because=because)
    counts = proportional(open_sizes, removed) if open_sizes else {}
    return {name: counts.get(name, size.new_zeros(())) for name, size in sizes.items()}
