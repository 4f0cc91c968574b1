"""Operators that are means over data: what Hessian and Gauss-Newton matrix share."""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from howsparse import processes
from howsparse.curvature.layers import CheapLayers
from howsparse.curvature.objective import Objective
from howsparse.curvature.operators import Operator
from howsparse.curvature.pieces import Piece, Pieces
from howsparse.curvature.smooth import Losses, require_second_derivative
from howsparse.curvature.sums import accumulate, over_processes
from howsparse.task import Batch

Linearise = Callable[[list[Tensor], Tensor, Losses], Piece]


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
        first = True
        for _, piece in self._pass():
            for so_far, row in zip(total, rows, strict=True):
                accumulate(so_far, piece.product(row), factor, first=first)
            first = False
        if first:  # a process that has no batch
            total.zero_()
        return over_processes(total)

    def forms(self, vectors: Tensor) -> Tensor:
        """The quadratic forms vᵀ A v of the rows of ``vectors``, shape (p,), float64 on the CPU."""
        total = torch.zeros(len(vectors), dtype=torch.float64)
        rows = [list(self.objective.unflatten(vector).values()) for vector in self._rows(vectors)]
        for _, piece in self._pass():
            total += torch.stack([piece.form(row).double() for row in rows]).cpu()
        return over_processes(total) / self.objective.divisor

    def forms_apart(self, draw: Callable[[int], Tensor]) -> Tensor:
        """Quadratic forms of every batch of this process alone, with vectors of its own.

        A batch that memory cuts into chunks has the same vectors in all of them, so that memory changes rounding only.

        Args:
            draw: number of a batch, among those of all processes, to its vectors, shape (p, D).

        Returns:
            Shape (batches, p), float64 on the CPU; summed over the batches of all processes, forms of A.
        """
        found: list[Tensor] = []
        for number, pieces in itertools.groupby(self._pass(), key=lambda numbered: numbered[0]):
            vectors = self._rows(draw(number * processes.world() + processes.rank()))
            rows = [list(self.objective.unflatten(vector).values()) for vector in vectors]
            forms = [torch.stack([piece.form(row) for row in rows]).double().cpu() for _, piece in pieces]
            found.append(torch.stack(forms).sum(dim=0) / self.objective.divisor)
        return torch.stack(found) if found else torch.zeros(0, 1, dtype=torch.float64)

    def _pass(self) -> Iterator[tuple[int, Piece]]:
        """The pieces of this process by their batch; at the end the loss is known to be finite everywhere."""
        samples, loss = 0, 0.0
        for number, piece in self._pieces:
            yield number, piece
            samples, loss = samples + len(piece.losses), loss + float(piece.losses.double().sum())
        self.objective.settle(samples, loss)


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
        return self.linearise(leaves, output, losses_of)
