"""The Gauss-Newton matrix of an objective."""

import torch
from torch import Tensor

from howsparse.curvature.objective import Objective
from howsparse.curvature.pieces import Piece, Tensors, graph_only
from howsparse.curvature.smooth import Losses
from howsparse.curvature.summed import Summed


class GaussNewton(Summed):
    """G = (1/n) Σ_i J_iᵀ S_i J_i, J_i the Jacobian of sample i's output, S_i the loss's second derivative in it.

    Positive semidefinite when the loss is convex in the output. For softmax cross-entropy it is the Fisher information,
    of rank at most n (C - 1). Taken at the weights the network has when this is made.

    Products cost as those of `Hessian`, a little less; quadratic forms (`forms`) about half of that.

    Source: Schraudolph, "Fast curvature matrix-vector products" (Neural Computation 14, 2002).

    Args:
        objective: the loss; its parameters are the coordinates, everything else is constant.
        memory: bytes that products may use, vectors not counted; by default half of what is free. It changes the speed,
            and results only by rounding.

    Raises:
        HowsparseError: the memory is not positive. Products raise it when the loss is not finite or (piecewise) linear
            in the output, when data or losses change between passes, or when the memory is too small for one sample.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1)
        >>> square = lambda output, target: (output - target).square()
        >>> GaussNewton(Objective(model, [(x, y)], loss=square)) @ torch.tensor([1.0, 1.0])
        tensor([1., 4.])
    """

    def __init__(self, objective: Objective, memory: int | None = None) -> None:
        super().__init__(objective, memory, _linearise, curved=False)


def _linearise(leaves: list[Tensor], output: Tensor, losses_of: Losses) -> Piece:
    z = output.detach().requires_grad_()
    losses = losses_of(z)
    (slope,) = torch.autograd.grad(losses.sum(), z, create_graph=True)
    # Jᵀu is linear in u, so that its derivative in u along v is J v
    u = torch.zeros_like(output, requires_grad=True)
    pulled = torch.autograd.grad(output, leaves, u, create_graph=True, materialize_grads=True)
    pulled = tuple(map(graph_only, pulled))

    def pushed(vectors: Tensors) -> Tensor:
        pairs = [(p, v.to(p.dtype)) for p, v in zip(pulled, vectors, strict=True) if p.requires_grad]
        if not pairs:
            return torch.zeros_like(u)
        linear, along = zip(*pairs, strict=True)
        return torch.autograd.grad(linear, u, along, retain_graph=True)[0]

    def bent(along: Tensor) -> Tensor:
        return torch.autograd.grad(slope, z, along, retain_graph=True)[0]

    def product(vectors: Tensors) -> Tensors:
        along = bent(pushed(vectors))
        return torch.autograd.grad(output, leaves, along, retain_graph=True, materialize_grads=True)

    def form(vectors: Tensors) -> Tensor:
        along = pushed(vectors)
        return (along.double() * bent(along).double()).sum()

    return Piece(product, form, losses.detach())
