"""The window of training in which something grows, and the one signature of everything that does."""

from typing import Protocol

from howsparse.errors import HowsparseError


class Growth(Protocol):
    """Sparsity as a function of training: `cubic`, `linear`, `exponential`, `constant` and `one_shot`."""

    def __call__(self, share: float, start: float = 0.0, end: float = 1.0, *, first: float = 0.0, last: float) -> float:
        """The sparsity at a share of training."""
        ...


def progress(share: float, start: float = 0.0, end: float = 1.0) -> float:
    """How far a share of training lies in a window: 0 up to its start, 1 from its end on.

    ``(share - start) / (end - start)``, between 0 and 1. A window of no length is a step at its start.

    Args:
        share: where training is: a fraction, a step or an event, in the unit of start and end.
        start: where the window starts.
        end: where it ends, >= start.

    Returns:
        A number in [0, 1].

    Raises:
        HowsparseError: the window ends before it starts.

    Example:
        >>> progress(0.25, 0.0, 0.5), progress(30, 10, 50), progress(2.0)
        (0.5, 0.5, 1.0)
    """
    if end < start:
        raise HowsparseError(f"start = {start:g}, end = {end:g}: growth cannot end before it starts")
    if share >= end:
        return 1.0
    return (share - start) / (end - start) if share > start else 0.0


def check_sparsities(first: float, last: float) -> None:
    """Refuse sparsities outside [0, 1).

    Raises:
        HowsparseError: names the value.
    """
    for name, value in (("first", first), ("last", last)):
        if not 0 <= value < 1:
            raise HowsparseError(f"{name} = {value} is not allowed: a sparsity must be at least 0 and below 1")
