"""A network that is sparse from the first step on, in layers of different densities."""

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from howsparse.allocation.erk import erk_counts
from howsparse.allocation.proportional import proportional
from howsparse.allocation.uniform import uniform
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, remove_smallest
from howsparse.pruners.removal import still_to_remove, without_lowest
from howsparse.schedules import removed_at

Distribution = Literal["erk", "uniform", "global"]


def sparse_start(
    masks: Masks,
    scores: Mapping[str, Tensor],
    *,
    sparsity: float,
    distribution: Distribution = "erk",
    dense: Sequence[str] = (),
) -> Masks:
    """Keep the highest scores of every layer, with exactly the asked-for sparsity altogether.

    What is gone already counts. A layer that has lost more than its share is left alone, and the others give less.

    Args:
        masks: the weights that live now.
        scores: importance of each weight; random ones for a random network.
        sparsity: fraction of all weights that are gone afterwards, in [0, 1).
        distribution: densities by shape (``erk``, see `howsparse.allocation.erk`), the same ``uniform`` share of every
            layer, or one ``global`` ranking.
        dense: names or patterns of layers that give nothing, with ``uniform``.

    Returns:
        Masks nested in ``masks``; the same ones if as much is gone already.

    Raises:
        HowsparseError: the sparsity is out of reach.

    Example:
        >>> import torch
        >>> masks = Masks.dense({"a": torch.zeros(10, 30), "b": torch.zeros(2, 10)})
        >>> scores = {name: torch.rand(mask.shape) for name, mask in masks.items()}
        >>> start = sparse_start(masks, scores, sparsity=0.8)
        >>> int(start["a"].sum()), int(start["b"].sum())  # the small layer is denser
        (49, 15)
    """
    removed = still_to_remove(masks, sparsity)
    if removed == 0:
        return masks
    if distribution == "global":
        return without_lowest(masks, scores, sparsity)
    if distribution == "uniform":
        counts = uniform(masks, removed, dense=dense)
    elif distribution == "erk":
        shapes = {name: mask.shape for name, mask in masks.items()}
        counts = still_to_give(masks, erk_counts(shapes, removed_at(sparsity, masks.total)))
    else:
        raise HowsparseError(f"distribution {distribution!r} is unknown; it is one of erk, uniform, global")
    return remove_smallest(masks, scores, counts, scope="layer")


def still_to_give(masks: Masks, shares: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What each layer has to give beyond what it has lost already, for exactly as many to be gone as in ``shares``.

    Args:
        masks: the weights that live now; of all layers together no more are gone than ``shares`` say.
        shares: how many weights of each layer should be gone.

    Returns:
        Counts of the same form. A layer that has lost more than its share gives nothing, and the others give less.

    Example:
        >>> import torch
        >>> masks = Masks({"a": torch.tensor([0, 0, 0, 1]), "b": torch.ones(8)})
        >>> still = still_to_give(masks, {"a": torch.tensor(1), "b": torch.tensor(4)})
        >>> int(still["a"]), int(still["b"])
        (0, 2)
    """
    gone = {name: (~mask).count_nonzero().cpu() for name, mask in masks.items()}
    counts = {name: (share - gone[name]).clamp(min=0) for name, share in shares.items()}
    wanted = sum(int(share - gone[name]) for name, share in shares.items())
    spared = proportional(counts, sum(map(int, counts.values())) - wanted)  # where others gave more than their share
    return {name: count - spared[name] for name, count in counts.items()}
