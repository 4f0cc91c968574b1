"""The network as it stands before anything is removed, and the same network without its smallest weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from howsparse import processes
from howsparse.errors import HowsparseError
from howsparse.masks import Masks, prunable_parameters, remove_smallest
from howsparse.masks.prunable import Pattern, detached
from howsparse.scores.magnitude import magnitude


class DenseNetwork:
    """Remembers a network's state, hands out masks of global magnitude pruning, and puts everything back.

    Args:
        model: the network; changed only inside `without`, and by whoever trains it before `restore`.
        include: see `howsparse.masks.prunable_parameters`.
        exclude: likewise.

    Example:
        >>> dense = DenseNetwork(nn.Linear(4, 2))
        >>> with dense.without(dense.masks(6)):
        ...     int((dense.model.weight == 0).sum())
        6
        >>> int((dense.model.weight == 0).sum())
        0
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] | None = None,
    ) -> None:
        self.model = model
        self.parameters = prunable_parameters(model, include=include, exclude=exclude)
        processes.agree(model.state_dict())  # every process measures the same network
        self._modes = {module: module.training for module in model.modules()}
        self._state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.total = sum(p.numel() for p in self.parameters.values())

    @property
    def weights(self) -> dict[str, Tensor]:
        """The prunable weights of the dense network, also while the model itself is pruned or trained."""
        return {name: self._state[name] for name in self.parameters}

    def masks(self, removed: int) -> Masks:
        """The masks without the ``removed`` smallest weights of the whole network; ties go by position."""
        counts = {"global": torch.tensor(removed)}
        return remove_smallest(Masks.dense(self.weights), magnitude(self.weights), counts, scope="global")

    def masks_keeping(self, kept: float) -> Masks:
        """The masks of the largest ``kept`` of the weights, one weight at least."""
        return self.masks(self.total - max(round(kept * self.total), 1))

    @contextmanager
    def without(self, masks: Masks) -> Iterator[None]:
        """Inside, the weights that ``masks`` remove are zero; afterwards they are back."""
        masks.apply_(detached(self.parameters))
        try:
            yield
        finally:
            self._put_back(list(masks))

    def restore(self) -> None:
        """Put weights, buffers and modes back as they were, and leave no gradients."""
        self.model.load_state_dict(self._state)
        self.model.zero_grad()
        for module, training in self._modes.items():
            module.training = training

    def check_unchanged(self) -> None:
        """Refuse a network whose weights or buffers are no longer the dense ones.

        Raises:
            HowsparseError: they differ.
        """
        moved = [n for n, t in self.model.state_dict().items() if not torch.equal(t, self._state[n])]
        if moved:
            raise HowsparseError(
                f"the network is no longer the dense one that the limit was computed on ({moved[0]} has changed); load "
                "its weights again first"
            )

    @torch.no_grad()
    def _put_back(self, names: list[str]) -> None:
        for name in names:
            self.parameters[name].copy_(self._state[name])
