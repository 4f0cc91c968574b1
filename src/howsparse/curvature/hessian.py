"""The Hessian of an objective."""

import torch
from torch import Tensor

from howsparse.curvature.objective import Objective
from howsparse.curvature.pieces import Piece, Tensors, graph_only
from howsparse.curvature.smooth import Losses
from howsparse.curvature.summed import Summed


class Hessian(Summed):
    """H = (1/n) Σ_i ∇² l_i(w) at the weights the network has when this is made, by double backpropagation.

    For networks of ReLUs it is the one that exists almost everywhere. Penalties on the weights are not part of it; an
    L1 penalty would add nothing.

    A product needs a recorded computation for every chunk of data. Recording costs about a gradient, a product with it
    1.3 to 1.6 gradients. What fits the memory stays recorded from one call to the next; the rest is recorded at every
    call, once for all vectors of the call: give several vectors at a time.

    Source: Pearlmutter, "Fast exact multiplication by the Hessian" (Neural Computation 6, 1994).

    Args:
        objective: the loss; its parameters are the coordinates, everything else is constant.
        memory: bytes that products may use, vectors not counted; by default half of what is free. It changes the speed,
            and results only by rounding.

    Raises:
        HowsparseError: the memory is not positive. Products raise it when the loss is not finite or piecewise linear,
            when data or losses change between passes, or when the memory is too small for one sample.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1)
        >>> square = lambda output, target: (output - target).square()
        >>> Hessian(Objective(model, [(x, y)], loss=square)) @ torch.tensor([1.0, 1.0])
        tensor([1., 4.])
    """

    def __init__(self, objective: Objective, memory: int | None = None) -> None:
        super().__init__(objective, memory, _linearise, curved=True)


def _linearise(leaves: list[Tensor], output: Tensor, losses_of: Losses) -> Piece:
    losses = losses_of(output)
    gradients = torch.autograd.grad(losses.sum(), leaves, create_graph=True, materialize_grads=True)
    gradients = tuple(map(graph_only, gradients))

    def product(vectors: Tensors) -> Tensors:
        pairs = [(g, v.to(g.dtype)) for g, v in zip(gradients, vectors, strict=True) if g.requires_grad]
        if not pairs:
            return [torch.zeros_like(leaf) for leaf in leaves]
        curved, along = zip(*pairs, strict=True)
        return torch.autograd.grad(curved, leaves, along, retain_graph=True, materialize_grads=True)

    def form(vectors: Tensors) -> Tensor:
        return torch.stack(
            [(a.double() * v.double()).sum() for a, v in zip(product(vectors), vectors, strict=True)]
        ).sum()

    return Piece(product, form, losses.detach())
