"""How sparsity grows over cycles or steps: pure functions."""

from howsparse.schedules.cosine import cosine
from howsparse.schedules.cubic import cubic
from howsparse.schedules.events import update_steps
from howsparse.schedules.exponential import exponential
from howsparse.schedules.geometric import cycles_to_reach, removed_at
from howsparse.schedules.jump import constant, one_shot
from howsparse.schedules.linear import linear
from howsparse.schedules.window import Growth, progress

__all__ = [
    "Growth",
    "constant",
    "cosine",
    "cubic",
    "cycles_to_reach",
    "exponential",
    "linear",
    "one_shot",
    "progress",
    "removed_at",
    "update_steps",
]
