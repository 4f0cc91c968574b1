"""All methods by name: the built-in ones and those that other packages bring through entry points."""

import functools
import importlib.metadata
from collections.abc import Mapping
from types import MappingProxyType

from howsparse.errors import HowsparseError, near
from howsparse.methods.acdc import ACDC
from howsparse.methods.autosparse import AutoSparse
from howsparse.methods.espn import ESPN
from howsparse.methods.gmp import GMP
from howsparse.methods.granet import GraNet
from howsparse.methods.granet_st import GraNetST
from howsparse.methods.grasp import GraSP
from howsparse.methods.greg import GReg1, GReg2
from howsparse.methods.lomp import LOMP
from howsparse.methods.lottery_ticket import LotteryTicket
from howsparse.methods.one_shot import OneShot
from howsparse.methods.one_shot_ladder import OneShotLadder
from howsparse.methods.rare_gems import RareGems
from howsparse.methods.rigl import RigL
from howsparse.methods.sap import SAP
from howsparse.methods.set import SET
from howsparse.methods.smart_ratio import SmartRatio
from howsparse.methods.snip import SNIP
from howsparse.methods.static import Static
from howsparse.methods.ste import STE
from howsparse.methods.synflow import SynFlow
from howsparse.pruners.method import Method
from howsparse.settings import settings_of
from howsparse.training import Recipe

ENTRY_POINT_GROUP = "howsparse.methods"
OWN_FLAGS = (
    *("model", "data", "method", "out", "weights", "batch_size", "val_share", "seed"),
    *("threads", "device", "include", "exclude", "config", "as_json"),
)  # what `howsparse prune` itself is asked for
_BUILT_IN: tuple[type[Method], ...] = (
    *(OneShot, OneShotLadder, LotteryTicket, SAP, LOMP),
    *(GMP, SET, RigL, GraNet, GraNetST, ACDC, Static),
    *(STE, RareGems, ESPN, GReg1, GReg2),
    *(SNIP, GraSP, SynFlow, SmartRatio, AutoSparse),
)


@functools.cache
def registered() -> tuple[Mapping[str, type[Method]], Mapping[str, str]]:
    """The methods that can be used, and the plug-ins that could not be loaded.

    Returns:
        ``(methods by name, reasons by entry point)``. A broken plug-in never keeps the others from working.
    """
    methods: dict[str, type[Method]] = {cls.name: cls for cls in _BUILT_IN}
    broken: dict[str, str] = {}
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = point.load()
            _check(loaded, methods)
            methods[loaded.name] = loaded
        except Exception as error:  # noqa: BLE001 - whatever somebody else's package raises
            broken[point.name] = f"{type(error).__name__}: {error}"
    return MappingProxyType(methods), MappingProxyType(broken)


def _check(loaded: object, methods: Mapping[str, type[Method]]) -> None:
    """Refuse what cannot stand beside the other methods, on the command line too."""
    if not (isinstance(loaded, type) and issubclass(loaded, Method)):
        raise TypeError(f"{loaded!r} is not a subclass of howsparse.methods.Method")
    if loaded.name in methods:
        raise ValueError(f"the name {loaded.name!r} is taken by {methods[loaded.name].__qualname__}")
    taken = sorted(set(settings_of(loaded)) & ({*settings_of(Recipe), *OWN_FLAGS}))
    if taken:
        raise ValueError(f"settings named {', '.join(taken)} mean something else in a run; choose other names")


def method_class(name: str) -> type[Method]:
    """The class behind a method's name.

    Raises:
        HowsparseError: unknown; the nearest names are in the message.

    Example:
        >>> method_class("sap").__name__
        'SAP'
    """
    methods, _ = registered()
    if name not in methods:
        raise HowsparseError(f"unknown method {name!r}: known are {', '.join(methods)}{near(name, methods)}")
    return methods[name]
