"""SAP: sparsity-informed adaptive pruning (Diao et al., ICLR 2023, arXiv 2302.05601, algorithm 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from howsparse.allocation.pqi_adaptive import Rounding, pqi_adaptive
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, remove_smallest
from howsparse.masks.select import Ties
from howsparse.pruners.shrinking import IterativeMethod
from howsparse.scores.magnitude import magnitude
from howsparse.settings import setting


@dataclass(frozen=True, kw_only=True)
class SAP(IterativeMethod):
    """Prune each group by what its PQ Index says it can spare; rewind; repeat.

    Per group with d living weights and PQ Index I of the *trained* weights: ``r = d (1 + eta)^(-q/(q-p)) (1 -
    I)^(pq/(q-p))`` weights must stay, and ``c = floor(min(gamma (d - ceil r), beta d))`` of the smallest go. With
    (p, q) = (0.5, 1), eta = 0 and gamma = 1 the share removed is the PQ Index itself.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(4, 1)
        >>> _ = net.weight.data.copy_(torch.tensor([[9.0, 1.0, 1.0, 1.0]]))
        >>> pruner = SAP(cycles=1, rewind="none").attach(net)
        >>> for cycle in pruner.cycles():
        ...     pass  # train here
        >>> net.weight.tolist()
        [[9.0, 0.0, 1.0, 1.0]]
    """

    name: ClassVar[str] = "sap"
    about: ClassVar[str] = "train, remove what the PQ Index says can be spared, rewind, repeat"
    source: ClassVar[str] = "arXiv 2302.05601"

    p: float = setting(0.5, "order of the smaller norm of the PQ Index, 0 < p < q", above=0)
    q: float = setting(1.0, "order of the larger norm", above=0)
    eta: float = setting(0.0, "tolerated share of p-energy in what is dropped", at_least=0)
    gamma: float = setting(1.0, "factor on the share removed each cycle", above=0)
    beta: float = setting(0.9, "cap on the share removed each cycle", above=0, below=1)
    rounding: Rounding = setting("code", "count rule: as in the authors' code, or as printed in the paper")
    ties: Ties = setting("exact", "equal magnitudes: meet the count exactly, or keep them all")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p >= self.q:
            raise HowsparseError(
                f"SAP: p = {self.p:g}, q = {self.q:g} is not allowed: the PQ Index needs p < q; "
                "(0.5, 1) and (1, 2) are the paper's"
            )

    def shrink(self, weights: Mapping[str, Tensor], masks: Masks, dense: Mapping[str, Tensor], cycle: int) -> Masks:  # noqa: ARG002
        """Remove the adaptive count of the smallest weights of each group."""
        spare = pqi_adaptive(weights, masks, scope=self.scope, p=self.p, q=self.q, eta=self.eta)
        spared = spare.counts(gamma=self.gamma, beta=self.beta, rounding=self.rounding)
        counts = self.within_asked(spared, masks, cycle)
        return remove_smallest(masks, magnitude(weights), counts, scope=self.scope, ties=self.ties)
