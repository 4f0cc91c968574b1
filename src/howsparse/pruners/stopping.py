"""When an iterative method should stop, and which of its networks is the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from howsparse.measures.turning_point import turning_point


@dataclass(frozen=True)
class Verdict:
    """Whether to stop now, and the cycle whose network is the answer so far."""

    stop: bool
    chosen: int


def at_turning_point(indices: Sequence[float], sparsities: Sequence[float], patience: int) -> Verdict:
    """Stop once the PQ Index of the retrained networks has turned up for ``patience`` cycles.

    Args:
        indices: PQ Index of each cycle's retrained network so far.
        sparsities: their sparsities.
        patience: later cycles that must lie clearly above the minimum.

    Returns:
        The verdict; the answer is the network at the minimum.

    Example:
        >>> at_turning_point([0.31, 0.2, 0.25, 0.3], [0, 0.5, 0.7, 0.8], patience=2)
        Verdict(stop=True, chosen=1)
    """
    found = turning_point(indices, sparsities, patience=patience)
    return Verdict(stop=found.confirmed, chosen=found.cycle)


def within_tolerance(
    metrics: Sequence[float], tolerance: float, patience: int, *, higher_is_better: bool = True
) -> Verdict:
    """Stop once the metric has been worse than the dense network's by more than ``tolerance`` for ``patience`` cycles.

    Args:
        metrics: held-out metric of each cycle's retrained network, cycle 0 dense.
        tolerance: allowed loss of the metric, in its own units, >= 0.
        patience: cycles in a row outside the tolerance that end the run.
        higher_is_better: direction of the metric.

    Returns:
        The verdict; the answer is the last network inside the tolerance.

    Example:
        >>> within_tolerance([0.90, 0.895, 0.80, 0.70], 0.01, patience=2)
        Verdict(stop=True, chosen=1)
    """
    sign = 1 if higher_is_better else -1
    inside = [cycle for cycle, value in enumerate(metrics) if sign * (value - metrics[0]) >= -tolerance]
    chosen = inside[-1] if inside else 0
    return Verdict(stop=len(metrics) - 1 - chosen >= patience, chosen=chosen)
