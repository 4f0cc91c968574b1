"""GraNet-ST: GraNet from a sparse start (Liu et al., NeurIPS 2021, arXiv 2106.10404)."""

from dataclasses import dataclass
from typing import ClassVar

from howsparse.methods.granet import GraNet
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class GraNetST(GraNet):
    """GraNet that begins with a random network of half the weights, small layers denser (ERK).

    Example:
        >>> from torch import nn
        >>> net = nn.Linear(20, 10)
        >>> GraNetST(sparsity=0.9).attach(net, total_steps=1000).sparsity
        0.5
    """

    name: ClassVar[str] = "granet-st"
    about: ClassVar[str] = "GraNet from a random half-sparse network: prune gradually, regrow"
    source: ClassVar[str] = "arXiv 2106.10404"

    initial_sparsity: float = setting(0.5, "sparsity of the first step, drawn at random", at_least=0, below=1)
