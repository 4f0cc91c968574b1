"""Operators that are means over data: what Hessian and Gauss-Newton matrix share."""

from collections.abc import Callable

import torch
from torch import Tensor

from howsparse.curvature.layers import CheapLayers
from howsparse.curvature.objective import Objective, accumulate
from howsparse.curvature.operators import Operator
from howsparse.curvature.pieces import Piece, Pieces, Product
from howsparse.curvature.smooth import Losses, require_second_derivative
from howsparse.task import Batch

Linearise = Callable[[list[Tensor], Tensor, Losses], tuple[Product, Tensor]]


class Summed(Operator):
    """(1/n) Σ_i A_i over the samples of an objective, at the weights the network has when the operator is made.

    A product needs the recorded computation of every chunk of data. Recording costs about a gradient, a product with it
    1 to 1.6 gradients. What fits the memory stays recorded from one call to the next; the rest is recorded at every
    call, once for all vectors of the call: give several vectors at a time.
    """

    def __init__(self, objective: Objective, memory: int | None, linearise: Linearise, *, curved: bool) -> None:
        self.objective = objective
        self.size, self.dtype, self.device = objective.size, objective.dtype, objective.device
        recorder = _Recorder(objective, linearise, curved=curved)
        self._pieces = Pieces(objective, recorder, list(recorder.state.values()), memory=memory)

    def products(self, vectors: Tensor) -> Tensor:
        """A times every row.

        Raises:
            HowsparseError: the loss is not finite or has no second derivative, data or losses changed since an earlier
                pass, or the memory is too small.
        """
        total, factor = torch.empty_like(vectors), 1 / self.objective.divisor
        rows = [list(self.objective.unflatten(vector).values()) for vector in vectors]
        samples, loss = 0, 0.0
        for piece in self._pieces:
            for so_far, row in zip(total, rows, strict=True):
                accumulate(so_far, piece.product(row), factor, first=samples == 0)
            samples, loss = samples + piece.samples, loss + piece.loss
        if samples == 0:  # a process that has no batch
            total.zero_()
        self.objective.settle(samples, loss)
        return self.objective.over_processes(total)


class _Recorder:
    """Records chunks of data at fixed weights."""

    def __init__(self, objective: Objective, linearise: Linearise, *, curved: bool) -> None:
        self.objective, self.linearise, self.curved = objective, linearise, curved
        self.state = objective.snapshot()
        self._smooth = False  # whether the loss is known to have a second derivative

    @torch.enable_grad()
    def __call__(self, batch: Batch) -> Piece:
        with CheapLayers(curved=self.curved):
            leaves, output, target = self.objective.differentiable(self.state, batch)
        losses_of: Losses = lambda z: self.objective.losses_of(z, target)  # noqa: E731
        if not self._smooth:
            require_second_derivative(losses_of, output, nonlinear=not self.curved)
            self._smooth = True
        product, losses = self.linearise(leaves, output, losses_of)
        return Piece(product, len(losses), float(losses.detach().double().sum()))
