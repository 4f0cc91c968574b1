"""One file a published method; each is put together from a score, an allocation, a schedule and a treatment."""

from howsparse.methods.acdc import ACDC
from howsparse.methods.autosparse import AutoSparse
from howsparse.methods.cyclic import CyclicMethod, IterativeMethod, RewindingMethod
from howsparse.methods.cyclic_pruner import CyclicPruner
from howsparse.methods.gmp import GMP
from howsparse.methods.granet import GraNet
from howsparse.methods.granet_st import GraNetST
from howsparse.methods.grasp import GraSP
from howsparse.methods.lomp import LOMP
from howsparse.methods.lottery_ticket import LotteryTicket
from howsparse.methods.method import Method
from howsparse.methods.one_shot import OneShot
from howsparse.methods.one_shot_ladder import OneShotLadder
from howsparse.methods.pruner import Pruner
from howsparse.methods.registry import method_class, registered
from howsparse.methods.rigl import RigL
from howsparse.methods.sap import SAP
from howsparse.methods.set import SET
from howsparse.methods.smart_ratio import SmartRatio
from howsparse.methods.snip import SNIP
from howsparse.methods.static import Static
from howsparse.methods.stepwise import StepwiseMethod
from howsparse.methods.stepwise_pruner import StepwisePruner
from howsparse.methods.synflow import SynFlow

__all__ = [
    "ACDC",
    "GMP",
    "LOMP",
    "SAP",
    "SET",
    "SNIP",
    "AutoSparse",
    "CyclicMethod",
    "CyclicPruner",
    "GraNet",
    "GraNetST",
    "GraSP",
    "IterativeMethod",
    "LotteryTicket",
    "Method",
    "OneShot",
    "OneShotLadder",
    "Pruner",
    "RewindingMethod",
    "RigL",
    "SmartRatio",
    "Static",
    "StepwiseMethod",
    "StepwisePruner",
    "SynFlow",
    "method_class",
    "registered",
]
