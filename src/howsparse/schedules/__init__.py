"""How sparsity grows over cycles or steps: pure functions."""

from howsparse.schedules.geometric import cycles_to_reach, removed_at

__all__ = ["cycles_to_reach", "removed_at"]
