"""``measure``: the PQ Index and its companions of a network, a state dict or a file."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from howsparse.errors import HowsparseError
from howsparse.masks import Masks, Scope, prunable_parameters
from howsparse.masks.prunable import Pattern, detached
from howsparse.measures.card import NAME_RULE, Card, weights_by_name
from howsparse.measures.card import measure as measure_tensors
from howsparse.weights import read_weights


def measure(  # noqa: PLR0913 - a source and the ways to look at it, keyword-only
    source: nn.Module | Mapping[str, Tensor] | str | Path,
    masks: Masks | None = None,
    *,
    scope: Scope = "global",
    p: float = 0.5,
    q: float = 1.0,
    zeros: Literal["active", "masked"] = "active",
    include: Sequence[Pattern] | None = None,
    exclude: Sequence[Pattern] | None = None,
) -> Card:
    """Measure how sparse weights are: nothing is trained or changed.

    In a model the prunable parameters are found by module type; in a state dict or file by name (``weight`` in the last
    part, two or more dimensions), and the card says so.

    Args:
        source: a model, a state dict, or the path of a safetensors file or PyTorch state dict.
        masks: the weights that live; all by default. Without a model they also choose the tensors.
        scope: ``global``, ``layer``, or ``neuron``, which adds a summary over output units to every layer.
        p: smaller order of the PQ Index, 0 < p < q.
        q: larger order.
        zeros: count exact zeros as weights (``active``) or leave them out (``masked``).
        include: see `howsparse.masks.prunable_parameters`; without a model, shell patterns of names.
        exclude: likewise.

    Returns:
        A `Card`; ``print`` it, or use ``card.global_.pqi`` and ``card.layers``.

    Raises:
        HowsparseError: nothing to measure, NaN weights, orders out of range, or an unreadable file.

    Example:
        >>> card = measure(nn.Linear(100, 10))
        >>> 0.10 < card.global_.pqi < 0.13  # uniform weights: 1/9
        True
    """
    if isinstance(source, nn.Module):
        weights = detached(prunable_parameters(source, include=include, exclude=exclude))
        return measure_tensors(weights, masks, scope=scope, p=p, q=q, zeros=zeros)
    state = read_weights(source) if isinstance(source, str | Path) else source
    if masks is not None:  # they say which tensors were prunable
        missing = [name for name in masks if name not in state]
        if missing:
            raise HowsparseError(f"no weights for the masks of {', '.join(missing[:5])}")
        chosen = _by_pattern({name: state[name] for name in masks}, include, exclude)
        return measure_tensors(chosen, {n: masks[n] for n in chosen}, scope=scope, p=p, q=q, zeros=zeros)
    chosen = _by_pattern(state, include, exclude)
    return measure_tensors(weights_by_name(chosen), scope=scope, p=p, q=q, zeros=zeros, note=NAME_RULE)


def _by_pattern(
    state: Mapping[str, Tensor], include: Sequence[Pattern] | None, exclude: Sequence[Pattern] | None
) -> dict[str, Tensor]:
    """The tensors whose names match; without a model there are no module types to go by."""

    def matches(name: str, patterns: Sequence[Pattern]) -> bool:
        return any(isinstance(pattern, str) and fnmatchcase(name, pattern) for pattern in patterns)

    return {
        name: tensor
        for name, tensor in state.items()
        if (include is None or matches(name, include)) and not matches(name, exclude or ())
    }
