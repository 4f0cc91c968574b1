"""How sparse can this network be pruned? Measure it before pruning, then take it there.

>>> import howsparse as hs
"""

from howsparse.comparison import Comparison, compare
from howsparse.errors import DivergedError, HowsparseError, RunMismatchError
from howsparse.limits.limit import limit
from howsparse.limits.result import Limit
from howsparse.limits.settings import LimitSettings
from howsparse.limits.spectrum import spectrum
from howsparse.masks import Masks
from howsparse.measures import gini, pqi, turning_point
from howsparse.measuring import measure
from howsparse.methods import (
    ACDC,
    ESPN,
    GMP,
    LOMP,
    SAP,
    SET,
    SNIP,
    STE,
    AutoSparse,
    GraNet,
    GraNetST,
    GraSP,
    GReg1,
    GReg2,
    LotteryTicket,
    OneShot,
    OneShotLadder,
    RareGems,
    RigL,
    SmartRatio,
    Static,
    SynFlow,
)
from howsparse.pruning import PruneResult, prune
from howsparse.structured import Compacted, channel_groups, compact
from howsparse.task import Metric, Task
from howsparse.training import Callback, Recipe

__version__ = "0.1.0"

__all__ = [
    "ACDC",
    "ESPN",
    "GMP",
    "LOMP",
    "SAP",
    "SET",
    "SNIP",
    "STE",
    "AutoSparse",
    "Callback",
    "Compacted",
    "Comparison",
    "DivergedError",
    "GReg1",
    "GReg2",
    "GraNet",
    "GraNetST",
    "GraSP",
    "HowsparseError",
    "Limit",
    "LimitSettings",
    "LotteryTicket",
    "Masks",
    "Metric",
    "OneShot",
    "OneShotLadder",
    "PruneResult",
    "RareGems",
    "Recipe",
    "RigL",
    "RunMismatchError",
    "SmartRatio",
    "Static",
    "SynFlow",
    "Task",
    "channel_groups",
    "compact",
    "compare",
    "gini",
    "limit",
    "measure",
    "pqi",
    "prune",
    "spectrum",
    "turning_point",
]
