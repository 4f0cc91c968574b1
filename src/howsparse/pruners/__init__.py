"""What carries methods out: pruners, and the frames that methods of one kind are built on."""

from howsparse.pruners.cyclic import CyclicMethod
from howsparse.pruners.cyclic_pruner import CyclicPruner
from howsparse.pruners.latent import LatentPruner
from howsparse.pruners.method import Method
from howsparse.pruners.pruner import Pruner
from howsparse.pruners.shrinking import IterativeMethod, RewindingMethod, ShrinkingMethod
from howsparse.pruners.shrinking_pruner import ShrinkingPruner
from howsparse.pruners.stepwise import StepwiseMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner

__all__ = [
    "CyclicMethod",
    "CyclicPruner",
    "IterativeMethod",
    "LatentPruner",
    "Method",
    "Pruner",
    "RewindingMethod",
    "ShrinkingMethod",
    "ShrinkingPruner",
    "StepwiseMethod",
    "StepwisePruner",
]
