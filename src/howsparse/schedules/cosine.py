"""Cosine decay of a drop rate: many connections change early, few late."""

import math

from howsparse.errors import HowsparseError
from howsparse.schedules.window import progress


def cosine(share: float, first: float, last: float = 0.0) -> float:
    """``last + (first - last) (1 + cos(pi t)) / 2`` with t the share, between 0 and 1.

    GraNet (Liu et al., arXiv 2106.10404) takes t over the whole training and ``last = 0.005``; RigL (Evci et al., arXiv
    1911.11134) takes t over the steps in which connections change and ``last = 0``.

    Args:
        share: how far training is, as a fraction; what lies outside [0, 1] counts as the nearer end.
        first: rate at the start, in [0, 1].
        last: rate at the end, in [0, 1].

    Returns:
        The rate.

    Raises:
        HowsparseError: a rate out of range.

    Example:
        >>> [round(cosine(step / 4, 0.5, 0.005), 4) for step in range(5)]
        [0.5, 0.4275, 0.2525, 0.0775, 0.005]
    """
    for name, value in (("first", first), ("last", last)):
        if not 0 <= value <= 1:
            raise HowsparseError(f"{name} = {value} is not allowed: a drop rate must be between 0 and 1")
    return last + (first - last) * (1 + math.cos(math.pi * progress(share))) / 2
