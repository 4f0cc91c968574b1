"""One file a published method; each is put together from a score, an allocation, a schedule and a treatment."""

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
from howsparse.methods.registry import method_class, registered
from howsparse.methods.rigl import RigL
from howsparse.methods.sap import SAP
from howsparse.methods.set import SET
from howsparse.methods.smart_ratio import SmartRatio
from howsparse.methods.snip import SNIP
from howsparse.methods.static import Static
from howsparse.methods.ste import STE
from howsparse.methods.synflow import SynFlow
from howsparse.pruners.cyclic import CyclicMethod
from howsparse.pruners.cyclic_pruner import CyclicPruner
from howsparse.pruners.method import Method
from howsparse.pruners.pruner import Pruner
from howsparse.pruners.shrinking import IterativeMethod, RewindingMethod, ShrinkingMethod
from howsparse.pruners.stepwise import StepwiseMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner

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
    "CyclicMethod",
    "CyclicPruner",
    "GReg1",
    "GReg2",
    "GraNet",
    "GraNetST",
    "GraSP",
    "IterativeMethod",
    "LotteryTicket",
    "Method",
    "OneShot",
    "OneShotLadder",
    "Pruner",
    "RareGems",
    "RewindingMethod",
    "RigL",
    "ShrinkingMethod",
    "SmartRatio",
    "Static",
    "StepwiseMethod",
    "StepwisePruner",
    "SynFlow",
    "method_class",
    "registered",
]
