"""The curvature's part of a limit: spectrum of the training loss, the local quadratic model, layers' traces."""

import io
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from howsparse import processes
from howsparse.curvature import GaussNewton, Hessian, Objective, Operator, Spectrum, slq
from howsparse.curvature.coreset import Coreset, most_uncertain, remainder_trace, uniform
from howsparse.curvature.probes import rademacher
from howsparse.curvature.slq import State
from howsparse.files import write_atomic
from howsparse.limits.dense import DenseNetwork
from howsparse.limits.paper import Remainder
from howsparse.limits.plan import Plan
from howsparse.limits.settings import LimitSettings
from howsparse.masks import Masks
from howsparse.task import Task, cross_entropy

OnStep = Callable[[int, int], None]
STATE = "lanczos.pt"
SAVE_EVERY = 20.0  # seconds
CHECK_SHARE = 0.1  # of the training samples, for products in the quadratic model
HESSIAN_STEPS = 16
LEAST_CHECKED = 32  # samples
REST_PROBES = 2


class Sharpness:
    """Curvature of a task's training loss at the dense network.

    Args:
        task: network and data.
        dense: the network and its weights that compete.
        plan: how many samples and steps.
        settings: kind of curvature, probes, deflation.
        seed: of probes and samples.
        folder: where an unfinished Lanczos run is kept; None for nowhere.
    """

    def __init__(
        self, task: Task, dense: DenseNetwork, plan: Plan, settings: LimitSettings, *, seed: int, folder: Path | None
    ) -> None:
        self._dense, self._plan, self._settings, self._seed, self._folder = dense, plan, settings, seed, folder
        self._objective = Objective.of(task, dense.parameters)
        self._softmax = task.loss is cross_entropy
        self._saved = time.monotonic()

    # --- the local quadratic model ----------------------------------------------------------------------------------
    def increases(self, masks: Sequence[Masks]) -> list[tuple[float, float]]:
        """First- and second-order loss increase, gᵀd and ½ dᵀHd, of removing what each of the masks removes."""
        top = self._draw(max(int(CHECK_SHARE * self._plan.samples), LEAST_CHECKED)).top
        steps = torch.stack([self._step(mask) for mask in masks])
        products = Hessian(top) @ steps
        first = (steps.double() @ self._gradient).tolist()
        second = (0.5 * (steps.double() * products.double()).sum(dim=1)).tolist()
        return list(zip(first, second, strict=True))

    @cached_property
    def _gradient(self) -> Tensor:
        """Over all samples: over a part of them it is not zero at a minimum."""
        return self._objective.gradient()[1].double()

    def _step(self, masks: Masks) -> Tensor:
        gone = {name: ~masks[name].to(weight.device) for name, weight in self._dense.weights.items()}
        return self._objective.flatten({name: -w * gone[name] for name, w in self._dense.weights.items()})

    # --- the spectrum -----------------------------------------------------------------------------------------------
    def part(self) -> Coreset:
        """The samples whose curvature is used: the least certain ones for softmax Gauss-Newton, else a fixed draw."""
        count = self._plan.coreset
        if self._settings.curvature == "hessian" or not self._divisible(count):
            return self._draw(count)
        return most_uncertain(self._objective, count) if self._softmax else self._drawn_below(count)

    def _drawn_below(self, count: int) -> Coreset:
        """A fixed draw divided by the number of *all* samples: its Gauss-Newton matrix lies below the whole one."""
        order = torch.randperm(self._objective.samples, generator=torch.Generator().manual_seed(self._seed))
        chosen, others = (part.sort().values for part in (order[:count], order[count:]))
        parts = [self._objective.subset(p.tolist(), divide_by=self._objective.samples) for p in (chosen, others)]
        return Coreset(parts[0], parts[1], chosen, None, certified=True)

    def _draw(self, count: int) -> Coreset:
        """A fixed draw of samples, or all of them; its mean estimates the whole mean."""
        if self._divisible(count):
            return uniform(self._objective, count, self._seed)
        return Coreset(self._objective, None, torch.arange(self._objective.samples), None, certified=True)

    def _divisible(self, count: int) -> bool:
        return count < self._objective.samples and self._objective.data.dataset is not None

    def spectrum(self, part: Coreset, on_step: OnStep) -> Spectrum:
        """Stochastic Lanczos quadrature; resumes from its last saved step."""
        psd = self._settings.curvature == "ggn"
        found = slq(
            self._matrix(part.top),
            psd=psd,
            certify=False,
            probes=self._settings.probes,
            steps=self._plan.steps,
            deflate=min(self._settings.deflate, self._objective.size // 2) if psd else 0,
            seed=self._seed,
            samples=part.count,
            load=self._load,
            save=self._save,
            on_step=lambda _, done, most: on_step(done, most),
        )
        if self._folder is not None and processes.rank() == 0:
            (self._folder / STATE).unlink(missing_ok=True)
        return found

    def remainder(self, part: Coreset) -> Remainder:
        """Trace of the curvature of the samples left out, with the upper end of its interval."""
        if part.rest is None or not part.certified:
            return Remainder()
        found = remainder_trace(part, probes=REST_PROBES, seed=self._seed)
        return Remainder(max(found.mean, 0.0), found.high)

    def layer_traces(self, part: Coreset) -> dict[str, float]:
        """Trace of each layer's diagonal block of the curvature, from two random vectors (Hutchinson)."""
        top = part.top
        vectors = rademacher(2, top.size, seed=self._seed, dtype=top.dtype).to(top.device)
        products = (self._matrix(top) @ vectors).double() * vectors.double()
        pieces = top.unflatten(products.mean(dim=0).to(top.dtype))
        return {name: float(piece.double().sum()) for name, piece in pieces.items()}

    def hessian(self) -> dict[str, float]:
        """Largest and smallest eigenvalue and negative mass of the Hessian on a small fixed draw of samples."""
        part = self._draw(max(self._plan.samples // 80, LEAST_CHECKED))
        steps = min(HESSIAN_STEPS, self._objective.size)
        found = slq(Hessian(part.top), psd=False, certify=False, probes=1, steps=steps, seed=self._seed)
        return {
            "samples": part.count,
            "largest": found.largest,
            "smallest": found.smallest,
            "negative_mass": resolved_negative_mass(found),
        }

    def _matrix(self, objective: Objective) -> Operator:
        return GaussNewton(objective) if self._settings.curvature == "ggn" else Hessian(objective)

    # --- disk -------------------------------------------------------------------------------------------------------
    def _load(self) -> State | None:
        path = None if self._folder is None or processes.rank() else self._folder / STATE
        there = path is not None and path.exists()
        found: State | None = torch.load(path, map_location="cpu", weights_only=True) if there and path else None
        agreed: State | None = processes.agree_on(found)
        return agreed

    def _save(self, state: State) -> None:
        if self._folder is None or processes.rank() != 0 or time.monotonic() - self._saved < SAVE_EVERY:
            return
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        write_atomic(self._folder / STATE, buffer.getvalue())
        self._saved = time.monotonic()


def resolved_negative_mass(spectrum: Spectrum) -> float:
    """Sum of |negative eigenvalues| over the sum of all |eigenvalues|, as far as the nodes can tell them from zero.

    A network's Hessian has most of its eigenvalues so near zero that a node standing for all of them may lie on either
    side; nodes nearer to zero than the range over the square of the steps are therefore left out of both sums.
    """
    edge = (spectrum.largest - spectrum.smallest) / max(spectrum.steps, 1) ** 2
    whole = spectrum.mean_of(lambda x: np.where(np.abs(x) > edge, np.abs(x), 0.0)).mean()
    negative = spectrum.mean_of(lambda x: np.where(x < -edge, -x, 0.0)).mean()
    return float(negative / whole) if whole > 0 else 0.0
