"""Linear growth: the same number of weights at every event."""

from howsparse.schedules.window import check_sparsities, progress


def linear(share: float, start: float = 0.0, end: float = 1.0, *, first: float = 0.0, last: float) -> float:
    """Sparsity ``first + (last - first) t`` with t the progress from start to end.

    Args:
        share: where training is: a fraction, a step or an event, in the unit of start and end.
        start: where growth starts; before it the sparsity is ``first``.
        end: where growth ends; from there on the sparsity is ``last``.
        first: sparsity at the start, in [0, 1).
        last: sparsity at the end, in [0, 1).

    Returns:
        The sparsity.

    Raises:
        HowsparseError: a sparsity out of range, or a window that ends before it starts.

    Example:
        >>> [round(linear(event, 0, 4, last=0.8), 4) for event in range(5)]
        [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    check_sparsities(first, last)
    t = progress(share, start, end)
    return first * (1 - t) + last * t
