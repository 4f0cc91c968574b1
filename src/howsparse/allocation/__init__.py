"""How much each group of weights gives: counts per group of a scope."""

from howsparse.allocation.fraction import CountRule, fraction_of_each, share_of
from howsparse.allocation.pqi_adaptive import Spare, pqi_adaptive, prune_count
from howsparse.allocation.proportional import proportional

__all__ = ["CountRule", "Spare", "fraction_of_each", "pqi_adaptive", "proportional", "prune_count", "share_of"]
