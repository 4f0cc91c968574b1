"""Stochastic Lanczos quadrature: from an operator to its `Spectrum`.

Ubaru, Chen, Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", 2017. The brackets rest on one fact:
1 / (1 + c x) and its like are completely monotone in x, and so are they as functions of x^2 (a square root is a
Bernstein function), so Gauss rules lie below and Radau rules with a node at 0 above, on A or on A^2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from howsparse.curvature.deflation import (
    Deflation,
    Projected,
    Squared,
    deflation_steps,
    no_deflation,
    project,
    top_eigenpairs,
)
from howsparse.curvature.lanczos import Lanczos, Reorthogonalise, row_dots
from howsparse.curvature.operators import Operator
from howsparse.curvature.probes import rademacher
from howsparse.curvature.quadrature import Floats, Rule, gauss, radau
from howsparse.curvature.spectrum import Kind, Spectrum
from howsparse.errors import HowsparseError

State = Mapping[str, Any]
"""Tensors, numbers and text: what ``torch.save`` writes and ``torch.load(weights_only=True)`` reads."""


def slq(  # noqa: PLR0913 - one run and the ways to watch, stop and resume it, keyword-only
    operator: Operator,
    *,
    psd: bool,
    probes: int | Tensor = 4,
    steps: int = 40,
    deflate: int = 0,
    seed: int = 0,
    certify: bool = True,
    reorthogonalise: Reorthogonalise = "none",
    memory: int | None = None,
    samples: int | None = None,
    stop: Callable[[Spectrum], bool] | None = None,
    load: Callable[[], State | None] | None = None,
    save: Callable[[State], None] | None = None,
    on_step: Callable[[str, int, int], None] | None = None,
) -> Spectrum:
    """Estimate the spectrum of a symmetric operator by Lanczos from random signs.

    Every probe v gives nodes and weights with v' f(A) v / v'v = sum_j w_j f(t_j), up to an error that falls with the
    steps: for 1 / (1 + c x) on a positive semidefinite A about (1/4) sqrt(1 + c l_max) log(1 / tolerance) of them.
    Without ``psd`` the same is done with A^2 (two products a step), which resolves only |eigenvalues| but encloses;
    with ``certify=False`` with A itself (one product), where nothing encloses. Enclosing is up to rounding, which blurs
    eigenvalues below eps times the largest one (deflated ones apart), and below sqrt(eps) times it with A^2: 3e-4 in
    float32.

    Choosing: at D = 10^7 one probe is good to 5e-4; at D = 10^3 take 20 or more. Deflate about as many eigenpairs as
    the network has classes. A run that was killed goes on from ``load()`` to the same bits, also with more ``steps``.

    Args:
        operator: symmetric, float32 or float64.
        psd: whether it has no negative eigenvalues (a Gauss-Newton matrix); checked as far as the nodes show.
        probes: how many vectors of random signs, run in lockstep, or the (p, D) vectors themselves.
        steps: most Lanczos steps.
        deflate: eigenpairs of largest magnitude to take out and count exactly, 0 <= q < D; see `top_eigenpairs`.
        seed: of the probes.
        certify: without ``psd``, use A^2.
        reorthogonalise: ``none``, or ``full``, which keeps all vectors.
        memory: most bytes for the vectors; None for no limit.
        samples: data points the operator averages over, noted in the result.
        stop: called before every step but the first; True ends the run, for instance when ``gap`` is small.
        load: returns what ``save`` was last given, or None to start afresh.
        save: called after every step with a state that no later step changes; write it, or skip it if it is too early.
        on_step: called with ``deflation`` or ``lanczos``, the steps done, and most steps.

    Returns:
        A `Spectrum`.

    Raises:
        HowsparseError: arguments out of range, too little memory, a state of another run, products that are not finite,
            or negative eigenvalues under ``psd``.

    Example:
        >>> from howsparse.curvature.operators import Dense
        >>> spectrum = slq(Dense(torch.diag(torch.tensor([0.0, 0.0, 1.0, 4.0]))), psd=True)
        >>> spectrum.trace, spectrum.mean_of(lambda x: 1 / (1 + x)).round(5).tolist()  # exact: (2 + 1/2 + 1/5) / 4
        (5.0, [0.675, 0.675, 0.675, 0.675])
    """
    kind: Kind = "psd" if psd else "squared" if certify else "indefinite"
    count = _checked(operator, probes, steps, deflate)
    given = probes if isinstance(probes, Tensor) else None
    settings = {"kind": kind, "D": operator.size, "dtype": str(operator.dtype), "probes": count, "deflate": deflate}
    settings |= {"given": given is not None, "seed": seed, "reorthogonalise": reorthogonalise}
    log = _Log(settings, load, save, on_step)
    deflation = _deflation(operator, deflate, log, squared=kind == "squared", seed=seed, memory=memory)
    starts = rademacher(count, operator.size, seed=seed, dtype=operator.dtype) if given is None else given
    starts = _off(starts.to(operator.device, operator.dtype), deflation)
    inner = Squared(operator) if kind == "squared" else operator
    lanczos = Lanczos(
        Projected(inner, deflation.vectors) if deflation.count else inner,
        starts,
        reorthogonalise=reorthogonalise,
        memory=None if memory is None else memory - _bytes(operator, deflation.count),
        steps=steps,
    )
    forms = _forms(operator, starts, log) if kind == "squared" else None
    del starts
    reading = _Reading(operator, deflation, kind, forms, seed=seed if given is None else None, samples=samples)
    log.resume("lanczos", lanczos)
    while lanczos.steps < steps and not bool(lanczos.finished.all()):
        if stop is not None and lanczos.steps and stop(reading.spectrum(lanczos)):
            break
        lanczos.step()
        log.note("lanczos", lanczos, steps)
    return reading.spectrum(lanczos)


class _Log:
    """The state of a run as it is saved and found again."""

    def __init__(
        self,
        settings: dict[str, Any],
        load: Callable[[], State | None] | None,
        save: Callable[[State], None] | None,
        on_step: Callable[[str, int, int], None] | None,
    ) -> None:
        self._save, self._on_step = save, on_step
        found = load() if load is not None else None
        self.state: dict[str, Any] = {"settings": settings} | (dict(found) if found is not None else {})
        theirs = self.state["settings"]
        changed = [
            f"{key} {theirs.get(key)}, now {settings[key]}" for key in settings if theirs.get(key) != settings[key]
        ]
        if changed:
            raise HowsparseError(
                f"the saved state belongs to another run ({'; '.join(changed)}); repeat its settings, or start anew"
            )

    def resume(self, stage: str, lanczos: Lanczos) -> None:
        """Bring a Lanczos run to where it was saved, if it was."""
        if stage in self.state:
            lanczos.load_state_dict(self.state[stage])

    def put(self, name: str, result: Any, *, instead_of: str = "") -> None:
        """Remember a result, dropping the state that led to it."""
        self.state = {key: kept for key, kept in self.state.items() if key != instead_of} | {name: result}

    def note(self, stage: str, lanczos: Lanczos, most: int) -> None:
        """Save after a step and tell whoever watches."""
        self.put(stage, lanczos.state_dict())
        if self._save is not None:
            self._save(dict(self.state))
        if self._on_step is not None:
            self._on_step(stage, lanczos.steps, most)


@dataclass(frozen=True)
class _Reading:
    """How a spectrum is read off a Lanczos run."""

    operator: Operator
    deflation: Deflation
    kind: Kind
    forms: Floats | None  # None where the first coefficient says it
    seed: int | None
    samples: int | None

    def spectrum(self, lanczos: Lanczos) -> Spectrum:
        """The rules after the steps so far."""
        coefficients = [lanczos.coefficients(index) for index in range(len(lanczos.lengths))]
        lower = [gauss(alpha, beta) for alpha, beta in coefficients]
        upper = [] if self.kind == "indefinite" else [radau(alpha, beta) for alpha, beta in coefficients]
        if self.kind == "psd":
            self._refuse_negative(lower)
        return Spectrum(
            D=self.operator.size,
            kind=self.kind,
            gauss=tuple(map(self._in_units, lower)),
            radau=tuple(map(self._in_units, upper)),
            forms=lanczos.alpha[:, 0].numpy().copy() if self.forms is None else self.forms.copy(),
            exact=lanczos.finished.numpy(),
            values=self.deflation.values.copy(),
            low=self.deflation.low.copy(),
            high=self.deflation.high.copy(),
            slack=self.deflation.slack,
            steps=lanczos.steps,
            seed=self.seed,
            samples=self.samples,
        )

    def _in_units(self, rule: Rule) -> Rule:
        """Nodes in units of A, without the negative ones that rounding makes."""
        if self.kind == "indefinite":
            return rule
        nodes = np.maximum(rule.nodes, 0)
        return Rule(np.sqrt(nodes) if self.kind == "squared" else nodes, rule.weights)

    def _refuse_negative(self, rules: list[Rule]) -> None:
        """A clearly negative Ritz value proves that the operator is not positive semidefinite."""
        values = [float(rule.nodes[0]) for rule in rules] + self.deflation.values.tolist()
        largest = max([float(rule.nodes[-1]) for rule in rules] + np.abs(self.deflation.values).tolist())
        if min(values) < -(torch.finfo(self.operator.dtype).eps ** 0.5) * max(largest, -min(values)):
            raise HowsparseError(
                f"the operator has an eigenvalue of {min(values):.4g} or less beside {largest:.4g}: it is not positive "
                "semidefinite; use psd=False, or a Gauss-Newton matrix"
            )


def _deflation(operator: Operator, count: int, log: _Log, *, squared: bool, seed: int, memory: int | None) -> Deflation:
    """The eigenpairs to take out: none, those of the saved state, or found now."""
    if count == 0:
        return no_deflation(operator)
    if "deflated" in log.state:
        return Deflation.from_state_dict(log.state["deflated"], operator)
    most = deflation_steps(operator.size, count)
    found = top_eigenpairs(
        operator,
        count,
        squared=squared,
        seed=seed,
        memory=None if memory is None else memory - _bytes(operator, 3 * count),
        state=log.state.get("deflation"),
        watch=lambda lanczos: log.note("deflation", lanczos, most),
    )
    log.put("deflated", found.state_dict(), instead_of="deflation")
    return found


def _off(starts: Tensor, deflation: Deflation) -> Tensor:
    """Probes without their parts along the deflated eigenvectors."""
    if not deflation.count:
        return starts
    # twice, because one projection leaves rounding errors of the size of what it took
    rest = project(project(starts, deflation.vectors), deflation.vectors)
    if bool((row_dots(rest, rest) < 1e-6 * row_dots(starts, starts)).any()):
        raise HowsparseError(
            f"with {deflation.count} of {starts.shape[1]} eigenpairs taken out a probe has nothing left; deflate fewer"
        )
    return rest


def _forms(operator: Operator, starts: Tensor, log: _Log) -> Floats:
    """Each probe's u' A u, u of unit length; rules on A^2 know nothing of signs."""
    if "forms" not in log.state:
        log.put("forms", row_dots(operator @ starts, starts) / row_dots(starts, starts))
    forms: Floats = log.state["forms"].numpy()
    return forms


def _bytes(operator: Operator, vectors: int) -> int:
    return vectors * operator.size * operator.dtype.itemsize


def _checked(operator: Operator, probes: int | Tensor, steps: int, deflate: int) -> int:
    """The number of probes, once arguments are in range."""
    count = len(probes) if isinstance(probes, Tensor) else probes
    if count < 1 or steps < 1:
        raise HowsparseError(f"{count} probes and {steps} steps: at least one of each is needed")
    if not 0 <= deflate < operator.size:
        raise HowsparseError(f"deflate {deflate} of an operator of size {operator.size}: from 0 to {operator.size - 1}")
    return count
