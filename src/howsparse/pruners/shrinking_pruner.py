"""The pruner that carries a shrinking method out."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from howsparse.masks import Masks
from howsparse.pruners.cyclic_pruner import CyclicPruner

if TYPE_CHECKING:
    from howsparse.pruners.shrinking import ShrinkingMethod


class ShrinkingPruner(CyclicPruner):
    """Lets the method shrink the masks after every training; the optimizer's state is emptied whenever it does."""

    method: "ShrinkingMethod"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._dense: dict[str, Tensor] = {}

    def observe(self, metric: float | None = None, *, higher_is_better: bool = True) -> dict[str, Any]:
        """See `CyclicPruner.observe`; the dense network's weights are remembered for methods that want them."""
        record = super().observe(metric, higher_is_better=higher_is_better)
        if self.cycle == 0 and self.method.needs_dense:
            self._dense = {name: weight.clone() for name, weight in self.weights.items()}
        return record

    def prune(self) -> Masks:
        """Remove what the method wants gone from the trained weights; returns the new masks."""
        self.adopt(self.method.shrink(self.weights, self.masks, self._dense, self.cycle))
        if self.optimizer is not None:
            self.optimizer.state.clear()
        return self.masks

    def let_go(self) -> None:
        """See `CyclicPruner.let_go`."""
        super().let_go()
        self._dense = {}

    def state_dict(self) -> dict[str, Any]:
        """See `CyclicPruner.state_dict`; with the dense network's weights where they are needed."""
        return {**super().state_dict(), "dense": self._dense}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `CyclicPruner.load_state_dict`."""
        super().load_state_dict(state)
        self._dense = {name: tensor.to(self.parameters[name].device) for name, tensor in state["dense"].items()}
