"""What every allocation says when a total is out of its reach."""

import math
from collections.abc import Sequence

from howsparse.errors import HowsparseError

_NAMED = 6  # tensors named in a message


def out_of_reach(asked: int, nearest: int, total: int, *, way: Sequence[str], because: str) -> HowsparseError:
    """The error for a number of weights to remove that an allocation cannot meet.

    Args:
        asked: weights that were to be removed.
        nearest: the reachable number nearest to it.
        total: weights altogether.
        way: tensors that stand in the way.
        because: what they do there, as in ``"these tensors stay dense"``.

    Returns:
        The error, to be raised; the sparsity it names can be asked for.

    Example:
        >>> print(out_of_reach(9, 6, 10, way=["a"], because="these tensors stay dense"))
        cannot remove 9 of 10 weights (sparsity 0.9): the largest reachable sparsity is 0.6, because these tensors stay
        dense: a
    """
    word = "largest" if asked > nearest else "smallest"
    # rounded inwards, so that asking for the named sparsity works
    named = (math.floor if asked > nearest else math.ceil)(1e6 * nearest / max(total, 1)) / 1e6
    more = f" and {len(way) - _NAMED} more" if len(way) > _NAMED else ""
    return HowsparseError(
        f"cannot remove {asked:,} of {total:,} weights (sparsity {asked / max(total, 1):.6g}): the {word} reachable "
        f"sparsity is {named:.6g}, because {because}: {', '.join(way[:_NAMED])}{more}"
    )
