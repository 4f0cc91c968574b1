"""How sparse can this network be pruned? Measure it before pruning, then take it there.

>>> import howsparse as hs
"""

from howsparse.errors import DivergedError, HowsparseError, RunMismatchError
from howsparse.masks import Masks
from howsparse.measures import gini, pqi, turning_point
from howsparse.measuring import measure
from howsparse.methods import SAP, LotteryTicket, OneShot, OneShotLadder
from howsparse.pruning import PruneResult, prune
from howsparse.task import Metric, Task
from howsparse.training import Callback, Recipe

__version__ = "0.1.0"

__all__ = [
    "SAP",
    "Callback",
    "DivergedError",
    "HowsparseError",
    "LotteryTicket",
    "Masks",
    "Metric",
    "OneShot",
    "OneShotLadder",
    "PruneResult",
    "Recipe",
    "RunMismatchError",
    "Task",
    "gini",
    "measure",
    "pqi",
    "prune",
    "turning_point",
]
