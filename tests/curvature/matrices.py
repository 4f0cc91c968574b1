"""Matrices with chosen spectra, and the reference cases that are explicit matrices."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from howsparse.curvature.operators import Dense, Operator

QUADRATICS = ("quad-psd", "quad-indefinite", "quad-rank-deficient")
BULK = np.geomspace(1e-3, 0.5, 56).tolist()
OUTLIERS = [40.0, 30.0, 22.0, 10.0]


@cache
def _cases(path: Path) -> dict[str, Any]:
    return {case["id"]: case for case in json.loads(path.read_text())["cases"]}


def quadratic(shared: Path, name: str) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
    """A reference matrix in float64, what is expected of it, and its case."""
    case = _cases(shared / "data/reference/limit_vectors.json")[name]
    matrix = torch.tensor(case["H"], dtype=torch.float64).view(case["D"], case["D"])
    return matrix, case["expected"], case


def with_eigenvalues(eigenvalues: Any, seed: int = 0) -> Tensor:
    """A float64 matrix with these eigenvalues in random orientation, exactly symmetric."""
    values = torch.as_tensor(eigenvalues, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))[0]
    matrix = (turned * values) @ turned.T
    return (matrix + matrix.T) / 2


def function_of(matrix: Tensor, f: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """f(A) by dense eigendecomposition."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * torch.from_numpy(f(values.numpy()))) @ vectors.T


def exact_mean(matrix: Tensor, f: Callable[[np.ndarray], np.ndarray]) -> float:
    """(1/D) tr f(A)."""
    return float(function_of(matrix, f).trace()) / len(matrix)


def hadamard(size: int) -> Tensor:
    """The Sylvester Hadamard matrix of a power of two; columns and rows are orthogonal signs."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def width(c: float) -> Callable[[np.ndarray], np.ndarray]:
    """1 / (1 + c |x|), the function of the pruning limit."""
    return lambda x: 1 / (1 + c * np.abs(x))


class Counting(Operator):
    """A dense matrix that counts the vectors it is multiplied with."""

    def __init__(self, matrix: Tensor) -> None:
        self._dense, self.count = Dense(matrix), 0
        self.size, self.dtype, self.device = len(matrix), matrix.dtype, matrix.device

    def products(self, vectors: Tensor) -> Tensor:
        self.count += len(vectors)
        return self._dense.products(vectors)
