"""Channels, heads and layers out of a network: what goes together, smaller networks, and the proof that they agree."""

from howsparse.structured.channels import dead_units, unit_masks
from howsparse.structured.compact import Compacted, compact
from howsparse.structured.groups import ChannelGroups, Group, Part, Unit, channel_groups
from howsparse.structured.plan import Plan, fingerprint

__all__ = [
    "ChannelGroups",
    "Compacted",
    "Group",
    "Part",
    "Plan",
    "Unit",
    "channel_groups",
    "compact",
    "dead_units",
    "fingerprint",
    "unit_masks",
]
