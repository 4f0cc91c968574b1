"""Where the PQ Index stops falling and begins to rise along iterative pruning (Diao et al., ICLR 2023)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from howsparse.errors import HowsparseError

Phase = Literal["regularising", "compressing", "collapsing"]


@dataclass(frozen=True)
class TurningPoint:
    """The minimum of the PQ Index along cycles.

    ``sparsity`` is the fraction removed at the minimum, ``low`` and ``high`` the sparsities one cycle before and after.
    Unless ``confirmed``, the index has not clearly turned yet and the minimum is only the smallest value so far.
    """

    cycle: int
    sparsity: float
    low: float
    high: float
    confirmed: bool
    phase: Phase
    tested_to: float  # largest sparsity seen

    def __str__(self) -> str:
        if not self.confirmed:
            return f"turning point not reached; tested up to sparsity {self.tested_to:.4f}"
        return f"turning point at sparsity {self.sparsity:.4f} (between {self.low:.4f} and {self.high:.4f})"


def turning_point(
    indices: Sequence[float], sparsities: Sequence[float], *, patience: int = 2, spread: float = 0.0
) -> TurningPoint:
    """Find where the PQ Index of retrained networks turns from falling to rising.

    The minimum is confirmed when at least ``patience`` later values lie above it by more than
    ``delta = max(0.02 I_0, 2 spread)``. After that the phase is ``compressing``, and ``collapsing`` once the index
    falls below 0.7 of its highest value after the minimum. The paper's hypothesis is that the index falls while pruning
    regularises, rises while it compresses, and falls again when training collapses; how far it holds is a matter of
    measurement, so look at the accuracy beside it.

    Args:
        indices: PQ Index (global, p = 0.5, q = 1) of the retrained network of each cycle, cycle 0 dense; at least one.
        sparsities: fraction removed at each cycle, same length, in [0, 1).
        patience: values above the minimum that confirm it, >= 1.
        spread: standard deviation of the index over seeds, when there are several.

    Returns:
        A `TurningPoint`.

    Raises:
        HowsparseError: empty, of unequal length, or patience below 1.

    Example:
        >>> print(turning_point([0.31, 0.24, 0.20, 0.23, 0.27], [0.0, 0.5, 0.7, 0.8, 0.9]))
        turning point at sparsity 0.7000 (between 0.5000 and 0.8000)
    """
    if not indices or len(indices) != len(sparsities) or patience < 1:
        raise HowsparseError(
            f"{len(indices)} indices, {len(sparsities)} sparsities, patience {patience}: give as many indices as "
            "sparsities, at least one, and a patience of at least 1"
        )
    indices = [math.inf if math.isnan(value) else value for value in indices]  # undefined: nothing is left to spread
    delta = max(0.02 * indices[0], 2 * spread)
    lowest, confirmed = _first_confirmed_minimum(indices, delta, patience)
    return TurningPoint(
        cycle=lowest,
        sparsity=sparsities[lowest],
        low=sparsities[max(lowest - 1, 0)],
        high=sparsities[min(lowest + 1, len(sparsities) - 1)],
        confirmed=confirmed,
        phase=_phase(indices[-1], max(indices[lowest + 1 :], default=0.0), confirmed=confirmed),
        tested_to=max(sparsities),
    )


def _first_confirmed_minimum(indices: Sequence[float], delta: float, patience: int) -> tuple[int, bool]:
    """The first minimum with ``patience`` later values clearly above it; else the lowest so far.

    The first, because after a collapse the index can fall below it again.
    """
    lowest = above = 0
    for cycle, value in enumerate(indices):
        if value < indices[lowest]:
            lowest, above = cycle, 0
        elif value > indices[lowest] + delta:
            above += 1
        if above == patience:
            return lowest, True
    return lowest, False


def _phase(last: float, highest: float, *, confirmed: bool) -> Phase:
    if not confirmed:
        return "regularising"
    return "collapsing" if last < 0.7 * highest else "compressing"
