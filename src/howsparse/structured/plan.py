"""The plan file: what of a network was kept, enough to make the small network from the original class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from howsparse.errors import HowsparseError
from howsparse.files import write_json
from howsparse.structured import rebuild

PLAN, WEIGHTS, SCRIPT, ONNX = rebuild.PLAN, rebuild.WEIGHTS, "rebuild.py", "model.onnx"


@dataclass(frozen=True)
class Plan:
    """What stays of a network.

    Args:
        model_fingerprint: of the original network, see `fingerprint`.
        keep: tensor name to dimension to the indices that stay, ascending; dimensions not named stay whole.
        removed: modules that had become the identity.
        zeroed: modules that had become zero.
        attributes: module name to attribute to its new number (heads, groups, padding).

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> keep = {"0.weight": {0: (0, 2)}, "0.bias": {0: (0, 2)}, "2.weight": {1: (0, 2)}}
        >>> Plan(fingerprint(net), keep).apply_(net)
        >>> net(torch.zeros(1, 4)).shape, net[0]
        (torch.Size([1, 2]), Linear(in_features=4, out_features=2, bias=True))
    """

    model_fingerprint: str
    keep: Mapping[str, Mapping[int, tuple[int, ...]]]
    removed: tuple[str, ...] = ()
    zeroed: tuple[str, ...] = ()
    attributes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """The content of plan.json."""
        return {
            "format": rebuild.FORMAT,
            "version": rebuild.VERSION,
            "model_fingerprint": self.model_fingerprint,
            "keep": {name: {str(d): list(kept) for d, kept in dims.items()} for name, dims in self.keep.items()},
            "removed": list(self.removed),
            "zeroed": list(self.zeroed),
            "attributes": {name: dict(values) for name, values in self.attributes.items()},
        }

    def write(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        write_json(Path(path), self.to_plain())

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """The plan in a file.

        Raises:
            HowsparseError: absent, damaged, of another format or a later version.
        """
        try:
            plain = rebuild.read_plan(Path(path))
            return cls(
                plain["model_fingerprint"],
                {name: {int(d): tuple(kept) for d, kept in dims.items()} for name, dims in plain["keep"].items()},
                tuple(plain["removed"]),
                tuple(plain["zeroed"]),
                plain["attributes"],
            )
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise HowsparseError(f"{Path(path).name}: {error}") from error

    def apply_(self, model: nn.Module) -> None:
        """Cut a network of the original class down, in place.

        Args:
            model: built as the original was; its weights are cut, not loaded.

        Raises:
            HowsparseError: the network is not the one that the plan was made for.
        """
        try:
            rebuild.apply_plan(model, self.to_plain())
        except ValueError as error:
            raise HowsparseError(str(error)) from error


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the names, shapes and types of everything in a network's state dict; not of its weights.

    Example:
        >>> fingerprint(nn.Linear(2, 3)) == fingerprint(nn.Linear(2, 3)) != fingerprint(nn.Linear(3, 2))
        True
    """
    return rebuild.fingerprint(model)


def script() -> bytes:
    """The text of rebuild.py, which needs torch and safetensors only."""
    return Path(rebuild.__file__).read_bytes()
