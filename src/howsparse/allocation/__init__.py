"""How much each group of weights gives: counts per group of a scope."""

from howsparse.allocation.erk import erk, erk_counts
from howsparse.allocation.fraction import CountRule, fraction_of_each, share_of
from howsparse.allocation.limit_aware import limit_aware
from howsparse.allocation.pqi_adaptive import Spare, pqi_adaptive, prune_count
from howsparse.allocation.proportional import proportional
from howsparse.allocation.smart_ratio import Family, Variant, smart_ratio
from howsparse.allocation.table import table
from howsparse.allocation.uniform import uniform

__all__ = [
    "CountRule",
    "Family",
    "Spare",
    "Variant",
    "erk",
    "erk_counts",
    "fraction_of_each",
    "limit_aware",
    "pqi_adaptive",
    "proportional",
    "prune_count",
    "share_of",
    "smart_ratio",
    "table",
    "uniform",
]
