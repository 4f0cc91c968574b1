"""Schedules that do not grow little by little: constant sparsity, and one step."""

from howsparse.schedules.window import check_sparsities, progress


def constant(share: float, start: float = 0.0, end: float = 1.0, *, first: float = 0.0, last: float) -> float:  # noqa: ARG001 - the signature of every growth
    """Sparsity ``last`` from the first step on, as in static sparse training, SET and RigL.

    Args:
        share: not looked at, like start and end: the signature is that of every growth.
        start: not looked at.
        end: not looked at.
        first: not looked at but for its range.
        last: sparsity, in [0, 1).

    Returns:
        ``last``.

    Raises:
        HowsparseError: a sparsity out of range.

    Example:
        >>> constant(0.0, last=0.9)
        0.9
    """
    check_sparsities(first, last)
    return last


def one_shot(share: float, start: float = 0.0, end: float = 1.0, *, first: float = 0.0, last: float) -> float:  # noqa: ARG001 - the signature of every growth
    """Sparsity ``first`` before the start, ``last`` from there on.

    Args:
        share: where training is: a fraction or a step, in the unit of start.
        start: where everything goes at once.
        end: not looked at: the signature is that of every growth.
        first: sparsity before, in [0, 1).
        last: sparsity after, in [0, 1).

    Returns:
        The sparsity.

    Raises:
        HowsparseError: a sparsity out of range.

    Example:
        >>> one_shot(0.49, 0.5, last=0.9), one_shot(0.5, 0.5, last=0.9)
        (0.0, 0.9)
    """
    check_sparsities(first, last)
    return last if progress(share, start, start) else first
