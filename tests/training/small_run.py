"""A small pruning run that other processes of the tests carry out: killed, resumed, or several at a time."""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

import howsparse as hs
from howsparse import files, processes


def make(dtype: torch.dtype = torch.float32, batch_norm: bool = True) -> hs.Task:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(300, 20, generator=generator, dtype=dtype)
    data = TensorDataset(x, (x[:, :3].sum(dim=1) > 0).long())
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1)] if batch_norm else [nn.ReLU()]
    return hs.Task(
        nn.Sequential(nn.Linear(20, 32), *middle, nn.Linear(32, 2)).to(dtype), data, test=data, batch_size=32
    )


RECIPE = hs.Recipe(epochs=3, lr=0.1, optimizer="adam")
METHODS = {
    "sap": hs.SAP(cycles=4),
    "sap-stop": hs.SAP(cycles=6, stop="turning-point", rewind="none", patience=1),
    "imp-step": hs.LotteryTicket(cycles=3, rewind=7),
    "ladder": hs.OneShotLadder(cycles=3, fraction=0.4),
}


def run(name: str, out: str, kill_at_write: int | None = None) -> None:
    """Prune; with ``kill_at_write`` die without warning in the middle of the n-th write of a file."""
    torch.set_num_threads(1)
    if kill_at_write is not None:
        real, count = os.fsync, [0]

        def deadly(descriptor: int) -> None:
            count[0] += 1
            if count[0] == kill_at_write:
                os.kill(os.getpid(), signal.SIGKILL)
            real(descriptor)

        files.os.fsync = deadly
    hs.prune(make(), METHODS[name], RECIPE, out, checkpoint_every=0.0, report=False)


def several(out: str) -> None:
    """One of several processes, or the only one: ten float64 steps, then a SAP run; every rank writes what it has."""
    torch.set_num_threads(1)
    with processes.joined("cpu"):
        me = processes.rank()
        task = make(torch.float64, batch_norm=False)
        recipe = hs.Recipe(epochs=1, lr=0.1)
        result = hs.prune(task, hs.OneShot(sparsity=0.5), recipe, None, seed=1)
        state = {"weights": result.model.state_dict(), "masks": dict(result.masks), "dense": result.dense}
        long = hs.prune(make(), hs.SAP(cycles=3), hs.Recipe(epochs=2, lr=0.1), f"{out}/run", seed=1)
        # weights that differ between the processes are made equal before anything is decided
        torch.manual_seed(100 + me)
        odd = make(batch_norm=True)
        torch.nn.init.normal_(odd.model[0].weight, generator=torch.Generator().manual_seed(me))
        unseeded = hs.prune(odd, hs.OneShot(sparsity=0.5), hs.Recipe(epochs=1, dense_epochs=0), seed=1)
        state |= {"unseeded": unseeded.model.state_dict(), "unseeded_dense": unseeded.history[0]["test"]["loss"]}
        state |= {"long": dict(long.masks), "long_weights": long.model.state_dict()}
        torch.save(state, Path(out) / f"rank{me}.pt")


if __name__ == "__main__":
    several(sys.argv[1])
