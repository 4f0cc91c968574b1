"""Operators: symmetric linear maps used as ``A @ v``, and what can be made of them."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from howsparse.errors import HowsparseError


class Operator(ABC):
    """A symmetric linear map A on R^D.

    ``A @ v`` takes one vector, shape (D,), or several as rows, shape (p, D), and gives the same shape in the operator's
    type. ``A + B``, ``A - B``, ``c * A``, `shifted` and `restricted` are operators too.

    Attributes:
        size: D.
        dtype: type of the products.
        device: where they are computed.
    """

    size: int
    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def products(self, vectors: Tensor) -> Tensor:
        """A times every row of ``vectors``, shape (p, D), already of the operator's type and on its device."""

    def forms(self, vectors: Tensor) -> Tensor:
        """The quadratic forms vᵀ A v of the rows of ``vectors``, shape (p,), float64 on the CPU.

        Example:
            >>> Dense(torch.eye(2)).forms(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
            tensor([5., 9.], dtype=torch.float64)
        """
        rows = self._rows(vectors)
        return (self.products(rows).double() * rows.double()).sum(dim=1).cpu()

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """The product A v, or A times each of several vectors.

        Raises:
            HowsparseError: the vectors have another length than D.
        """
        return self.products(self._rows(vectors)).view(vectors.shape)

    def _rows(self, vectors: Tensor) -> Tensor:
        if vectors.dim() not in {1, 2} or vectors.shape[-1] != self.size:
            raise HowsparseError(
                f"this operator takes vectors of shape ({self.size},) or (p, {self.size}), got {tuple(vectors.shape)}"
            )
        return vectors.detach().to(self.device, self.dtype).reshape(-1, self.size)

    def __add__(self, other: "Operator") -> "Operator":
        """A + B."""
        return _Sum(self, other)

    def __sub__(self, other: "Operator") -> "Operator":
        """A - B."""
        return _Sum(self, -1.0 * other)

    def __mul__(self, factor: float) -> "Operator":
        """A scaled by a number."""
        return _Scaled(self, factor)

    __rmul__ = __mul__

    def shifted(self, mu: float) -> "Operator":
        """A + mu I.

        Example:
            >>> Dense(torch.eye(2)).shifted(0.5) @ torch.tensor([1.0, 2.0])
            tensor([1.5000, 3.0000])
        """
        return _Shifted(self, mu)

    def restricted(self, keep: Tensor) -> "Operator":
        """The principal submatrix on the kept coordinates, padded with zeros to the size of A: P A P.

        Args:
            keep: boolean, shape (D,).

        Raises:
            HowsparseError: another shape or type.

        Example:
            >>> Dense(torch.ones(3, 3)).restricted(torch.tensor([True, False, True])) @ torch.ones(3)
            tensor([2., 0., 2.])
        """
        return _Restricted(self, keep)


class Dense(Operator):
    """A symmetric matrix as an operator.

    Args:
        matrix: symmetric to rounding, shape (D, D), float32 or float64.

    Raises:
        HowsparseError: not square, not symmetric, or not finite.

    Example:
        >>> Dense(torch.tensor([[2.0, 1.0], [1.0, 0.0]])) @ torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        tensor([[2., 1.],
                [1., 0.]])
    """

    def __init__(self, matrix: Tensor) -> None:
        if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
            raise HowsparseError(f"an operator is square, got a matrix of shape {tuple(matrix.shape)}")
        if not bool(matrix.isfinite().all()):
            raise HowsparseError("the matrix holds NaN or infinite values")
        largest = float(matrix.abs().max()) if matrix.numel() else 0.0
        gap = float((matrix - matrix.T).abs().max()) if matrix.numel() else 0.0
        if gap > 1e3 * torch.finfo(matrix.dtype).eps * largest:
            raise HowsparseError(f"the matrix is not symmetric: A and its transpose differ by up to {gap:.3g}")
        self.matrix = matrix.detach()
        self.size, self.dtype, self.device = len(matrix), matrix.dtype, matrix.device

    def products(self, vectors: Tensor) -> Tensor:
        """A times every row."""
        return vectors @ self.matrix


class _Sum(Operator):
    def __init__(self, a: Operator, b: Operator) -> None:
        if a.size != b.size:
            raise HowsparseError(f"operators of different sizes cannot be added: {a.size} and {b.size}")
        self.a, self.b, self.size, self.device = a, b, a.size, a.device
        self.dtype = torch.promote_types(a.dtype, b.dtype)

    def products(self, vectors: Tensor) -> Tensor:
        return (self.a @ vectors).to(self.device, self.dtype) + (self.b @ vectors).to(self.device, self.dtype)


class _Scaled(Operator):
    def __init__(self, a: Operator, factor: float) -> None:
        self.a, self.factor = a, float(factor)
        self.size, self.dtype, self.device = a.size, a.dtype, a.device

    def products(self, vectors: Tensor) -> Tensor:
        return (self.a @ vectors).mul_(self.factor)


class _Shifted(Operator):
    def __init__(self, a: Operator, mu: float) -> None:
        self.a, self.mu = a, float(mu)
        self.size, self.dtype, self.device = a.size, a.dtype, a.device

    def products(self, vectors: Tensor) -> Tensor:
        return (self.a @ vectors).add_(vectors, alpha=self.mu)


class _Restricted(Operator):
    def __init__(self, a: Operator, keep: Tensor) -> None:
        if keep.dtype != torch.bool or keep.shape != (a.size,):
            raise HowsparseError(
                f"keep must be a boolean tensor of shape ({a.size},), got {keep.dtype} of shape {tuple(keep.shape)}"
            )
        self.a, self.keep = a, keep.to(a.device)
        self.size, self.dtype, self.device = a.size, a.dtype, a.device

    def products(self, vectors: Tensor) -> Tensor:
        return (self.a @ (vectors * self.keep)).mul_(self.keep)
