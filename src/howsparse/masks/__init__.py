"""Which weights live, and the only code that may zero one."""

from howsparse.masks.masks import Masks
from howsparse.masks.prunable import prunable_parameters
from howsparse.masks.select import SCOPES, Scope, group_sizes, remove_smallest
from howsparse.masks.structure import (
    Block,
    Element,
    NofM,
    Structure,
    indivisible,
    keep_n_of_m,
    parse_structure,
    remove_units,
    structured,
    unit_masks,
    unit_scores,
    units_for,
)
from howsparse.masks.upkeep import Upkeep

__all__ = [
    "SCOPES",
    "Block",
    "Element",
    "Masks",
    "NofM",
    "Scope",
    "Structure",
    "Upkeep",
    "group_sizes",
    "indivisible",
    "keep_n_of_m",
    "parse_structure",
    "prunable_parameters",
    "remove_smallest",
    "remove_units",
    "structured",
    "unit_masks",
    "unit_scores",
    "units_for",
]
