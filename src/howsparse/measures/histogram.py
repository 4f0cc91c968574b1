"""Histograms of living weights, small enough to keep in a run's history."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

BINS = 61  # odd, so that zero lies in the middle of a bin


def histograms(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Any]:
    """How the living weights of a network are spread.

    Args:
        weights: tensors by name.
        masks: boolean tensors by name, True where a weight lives.

    Returns:
        ``{"limit": m, "counts": [...]}``: counts of 61 equal bins over [-m, m], m the largest magnitude.

    Example:
        >>> found = histograms({"w": torch.tensor([-1.0, 0.0, 1.0])}, {"w": torch.tensor([True, True, False])})
        >>> found["limit"], found["counts"][0], found["counts"][30], sum(found["counts"])
        (1.0, 1, 1, 2)
    """
    living = {name: weights[name].detach()[mask].float() for name, mask in masks.items()}
    limit = max((float(w.abs().max()) for w in living.values() if w.numel()), default=0.0) or 1.0
    counts = torch.zeros(BINS, dtype=torch.int64)
    for weight in living.values():
        for piece in weight.split(1 << 23):  # histc counts in float32: exact up to 2^24
            counts += torch.histc(piece, bins=BINS, min=-limit, max=limit).cpu().long()
    return {"limit": limit, "counts": counts.tolist()}
