"""The exact global threshold of 25 million weights, and the whole removal it serves."""

from collections.abc import Iterator

import torch
from rounds import Case

from howsparse.masks import Masks, remove_smallest
from howsparse.masks.select import kth_smallest
from howsparse.scores import magnitude

WEIGHTS, REMOVED = 25_000_000, 22_500_000


def cases() -> Iterator[Case]:
    torch.manual_seed(0)
    scores = torch.randn(WEIGHTS).abs()
    pool = torch.empty_like(scores)
    assert kth_smallest(scores.clone(), REMOVED) == scores.kthvalue(REMOVED).values
    yield Case(
        f"90 % threshold of {WEIGHTS:,} scores",
        {
            "numpy partition": lambda: pool.numpy().partition(REMOVED - 1),
            "howsparse": lambda: kth_smallest(pool, REMOVED),
            "torch.kthvalue": lambda: pool.kthvalue(REMOVED),
        },
        {"howsparse": 1.2},
        prepare=lambda: pool.copy_(scores),  # partition reorders the buffer
    )
    weights = {f"layer{i}": torch.randn(1000, 5000) for i in range(5)}
    masks, count = Masks.dense(weights), {"global": torch.tensor(REMOVED)}
    half = remove_smallest(masks, magnitude(weights), {"global": torch.tensor(WEIGHTS // 2)}, scope="global")
    rest = {"global": torch.tensor(REMOVED - WEIGHTS // 2)}
    yield Case(
        f"removing 90 % of {WEIGHTS:,} weights in 5 tensors",
        {
            "numpy partition": lambda: pool.numpy().partition(REMOVED - 1),
            "howsparse, from dense": lambda: remove_smallest(masks, magnitude(weights), count, scope="global"),
            "howsparse, from 50 %": lambda: remove_smallest(half, magnitude(weights), rest, scope="global"),
        },
        prepare=lambda: pool.copy_(scores),
    )


def quantile_refuses() -> str:
    """torch.quantile's own words on so many entries."""
    try:
        torch.quantile(torch.zeros(WEIGHTS), 0.9)
    except RuntimeError as error:
        return f"torch.quantile refuses: {error}"
    return "torch.quantile takes them"
