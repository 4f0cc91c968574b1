"""Curvature as one of several processes sees it, or the only one: every rank writes what it has."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from howsparse import processes
from howsparse.curvature import GaussNewton, Hessian, Objective, most_uncertain, remainder_trace


def several(out: str) -> None:
    """Everything that goes over data, on three uneven batches and on one batch, which leaves a process idle."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(
        torch.randn(19, 4, generator=generator, dtype=torch.float64), torch.randint(0, 3, (19,), generator=generator)
    )
    found = {}
    with processes.joined("cpu"):
        for name, size in (("three", 8), ("one", 32)):
            loader = torch.utils.data.DataLoader(data, batch_size=size)
            objective = Objective(model, loader)
            vectors = torch.randn(3, objective.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
            objective.check_repeatable()
            loss, gradient = objective.gradient()
            found[name] = {
                "loss": torch.tensor([loss, objective.loss(), float(objective.samples)], dtype=torch.float64),
                "gradient": gradient,
                "losses": objective.sample_losses(),
                "hessian": Hessian(objective) @ vectors,
                "streamed": Hessian(objective, memory=20_000) @ vectors,
                "gauss newton": GaussNewton(objective) @ vectors,
                "forms": GaussNewton(objective).forms(vectors),
            }
        coreset = most_uncertain(Objective(model, torch.utils.data.DataLoader(data, batch_size=3)), 5)
        rest = remainder_trace(coreset)
        found["coreset"] = {
            "positions": coreset.positions,
            "trace": torch.tensor([rest.mean, rest.error, rest.low, rest.high], dtype=torch.float64),
        }
        torch.save(found, Path(out) / f"rank{processes.rank()}.pt")


if __name__ == "__main__":
    several(sys.argv[1])
