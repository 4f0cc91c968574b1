"""Exponential growth: the same share of what is left at every event (SynFlow: Tanaka et al., arXiv 2006.05467)."""

import math

from howsparse.schedules.window import check_sparsities, progress


def exponential(share: float, start: float = 0.0, end: float = 1.0, *, first: float = 0.0, last: float) -> float:
    """Density ``(1 - first)^(1 - t) (1 - last)^t``, as a sparsity, with t the progress from start to end.

    Args:
        share: where training is: a fraction, a step or a round, in the unit of start and end.
        start: where growth starts; before it the sparsity is ``first``.
        end: where growth ends; from there on the sparsity is ``last``.
        first: sparsity at the start, in [0, 1).
        last: sparsity at the end, in [0, 1).

    Returns:
        The sparsity.

    Raises:
        HowsparseError: a sparsity out of range, or a window that ends before it starts.

    Example:
        >>> [round(exponential(cycle, 0, 2, last=0.99), 4) for cycle in range(3)]
        [0.0, 0.9, 0.99]
    """
    check_sparsities(first, last)
    t = progress(share, start, end)
    # the ends are returned as given: powers round
    if t in (0, 1):
        return last if t else first
    return 1 - math.pow(1 - first, 1 - t) * math.pow(1 - last, t)
