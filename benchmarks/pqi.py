"""PQ Index of 25 million weights in float64 against the two float32 norms of its definition."""

from collections.abc import Callable, Iterator

import torch
from rounds import Case
from torch import Tensor

import howsparse as hs

WEIGHTS = 25_000_000


def cases() -> Iterator[Case]:
    torch.manual_seed(0)
    weights = torch.randn(WEIGHTS)
    mask = torch.rand(WEIGHTS) < 0.1
    pruned = weights * mask
    for p, q in ((0.5, 1.0), (1.0, 2.0)):
        yield Case(
            f"PQ Index ({p:g}, {q:g}) of {WEIGHTS:,} weights",
            {"two float32 norms": norms(weights, p, q), "howsparse": index(weights, None, p, q)},
        )
        yield Case(
            f"PQ Index ({p:g}, {q:g}), 90 % of them pruned",
            {"two float32 norms": norms(pruned, p, q), "howsparse": index(pruned, mask, p, q)},
        )


def norms(weights: Tensor, p: float, q: float) -> Callable[[], object]:
    return lambda: (torch.linalg.norm(weights, p), torch.linalg.norm(weights, q))


def index(weights: Tensor, mask: Tensor | None, p: float, q: float) -> Callable[[], object]:
    return lambda: hs.pqi(weights, mask, p=p, q=q)
