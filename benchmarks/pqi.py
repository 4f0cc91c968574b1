"""PQ Index of 25 million weights against the two norms of its definition."""

from collections.abc import Callable, Iterator

import torch
from rounds import Case
from torch import Tensor

import howsparse as hs

WEIGHTS = 25_000_000
ORDERS = ((0.5, 1.0), (1.0, 2.0))


def cases() -> Iterator[Case]:
    weights, mask = drawn()
    pruned = weights * mask  # zeros add nothing to a norm
    for p, q in ORDERS:
        yield case(f"PQ Index ({p:g}, {q:g}) of {WEIGHTS:,} weights", weights, None, p, q)
        yield case(f"PQ Index ({p:g}, {q:g}), 90 % of them pruned", pruned, mask, p, q)


def case(what: str, weights: Tensor, mask: Tensor | None, p: float, q: float) -> Case:
    variants: dict[str, Callable[[], object]] = {
        "two float32 norms": lambda: norms(weights, p, q, torch.float32),
        "two float64 norms": lambda: norms(weights, p, q, torch.float64),
        "howsparse": lambda: hs.pqi(weights, mask, p=p, q=q),
    }
    return Case(what, variants, effort=0.5)


def drawn() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(WEIGHTS), torch.rand(WEIGHTS) < 0.1


def norms(weights: Tensor, p: float, q: float, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.linalg.norm(weights, p, dtype=kind), torch.linalg.norm(weights, q, dtype=kind)


def error_of_float32() -> str:
    """How far the index from float32 norms is off; the float64 norms and howsparse agree."""
    weights = drawn()[0]
    off = []
    for p, q in ORDERS:
        found = float(hs.pqi(weights, p=p, q=q))
        narrow, wide = (
            1 - WEIGHTS ** (1 / q - 1 / p) * float(a.double() / b.double())
            for a, b in (norms(weights, p, q, kind) for kind in (torch.float32, torch.float64))
        )
        assert abs(found / wide - 1) < 1e-9
        off.append(f"{abs(narrow / wide - 1):.2g} for ({p:g}, {q:g})")
    return "float32 norms of unpruned weights give a PQ Index with relative error " + " and ".join(off)
