"""At which training steps masks change."""

import math

from howsparse.errors import HowsparseError


def update_steps(total_steps: int, begin: float = 0.0, end: float = 1.0, every: int | None = None) -> range:
    """The steps after which masks change: the multiples of ``every`` from begin up to, but without, the end.

    Steps count from 1: step n is the n-th ``optimizer.step()``. The answer is a `range`, so ``step in events`` costs
    nothing, and ``events[-1]`` is the last event, at which a schedule should be at its target.

    Args:
        total_steps: optimizer steps of the whole training, >= 1.
        begin: fraction of total_steps at which changes begin, in [0, 1).
        end: fraction of total_steps before which the last change lies, in (begin, 1].
        every: steps between changes, >= 1; ``min(1000, total_steps // 100)``, and at least 1, by default.

    Returns:
        Steps, ascending, not empty.

    Raises:
        HowsparseError: a value out of range, or no event between begin and end.

    Example:
        >>> list(update_steps(100, 0.25, 0.75, every=10)), update_steps(50_000)
        ([30, 40, 50, 60, 70], range(500, 50000, 500))
    """
    interval = max(min(1000, total_steps // 100), 1) if every is None else every
    if total_steps < 1 or interval < 1:
        raise HowsparseError(f"total_steps = {total_steps}, every = {interval}: both must be at least 1")
    if not 0 <= begin < end <= 1:
        raise HowsparseError(
            f"begin = {begin:g}, end = {end:g}: 0 <= begin < end <= 1 is needed, as fractions of the training"
        )
    start, stop = (math.ceil(fraction * total_steps - 1e-9 * total_steps) for fraction in (begin, end))
    events = range(interval * max(math.ceil(start / interval), 1), stop, interval)
    if not events:
        raise HowsparseError(
            f"no mask changes: none of the steps {start:,} to {stop - 1:,} is a multiple of {interval:,}; "
            f"choose a shorter interval than every={interval}, an earlier begin, a later end, or train longer"
        )
    return events
