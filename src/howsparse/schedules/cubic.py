"""Cubic growth: fast while much can go, slow towards the end (Zhu and Gupta, arXiv 1710.01878)."""

from howsparse.schedules.window import check_sparsities, progress


def cubic(share: float, start: float = 0.0, end: float = 1.0, *, first: float = 0.0, last: float) -> float:
    """Sparsity ``last + (first - last) (1 - t)^3`` with t the progress from start to end.

    Args:
        share: where training is: a fraction, a step or an event, in the unit of start and end.
        start: where growth starts; before it the sparsity is ``first``.
        end: where growth ends; from there on the sparsity is ``last``.
        first: sparsity at the start, in [0, 1); above 0 for networks that start sparse.
        last: sparsity at the end, in [0, 1).

    Returns:
        The sparsity.

    Raises:
        HowsparseError: a sparsity out of range, or a window that ends before it starts.

    Example:
        >>> [round(cubic(event, 0, 4, last=0.8), 4) for event in range(5)]
        [0.0, 0.4625, 0.7, 0.7875, 0.8]
    """
    check_sparsities(first, last)
    return last + (first - last) * (1 - progress(share, start, end)) ** 3
