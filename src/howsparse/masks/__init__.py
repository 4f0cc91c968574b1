"""Which weights live, and the only code that may zero one."""

from howsparse.masks.masks import Masks
from howsparse.masks.prunable import prunable_parameters
from howsparse.masks.select import SCOPES, Scope, group_sizes, remove_smallest
from howsparse.masks.upkeep import Upkeep

__all__ = ["SCOPES", "Masks", "Scope", "Upkeep", "group_sizes", "prunable_parameters", "remove_smallest"]
