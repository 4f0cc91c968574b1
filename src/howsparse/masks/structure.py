"""Which weights go together: single ones, n of every m along a row, or blocks of the weight matrix.

The matrix of a weight is ``weight.flatten(1)``: one row per index of dimension 0, the other dimensions side by side, so
(out, in) for linear layers and (out, in * kernel) for convolutions.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.masks.masks import Masks
from howsparse.masks.select import GLOBAL, Counts, Scope, group_sizes, remove_smallest


@dataclass(frozen=True)
class Element:
    """Every weight for itself.

    Example:
        >>> str(Element()), Element().fits((3, 5))
        ('element', True)
    """

    def __str__(self) -> str:
        return "element"

    @property
    def unit(self) -> int:
        """Weights per unit."""
        return 1

    def fits(self, shape: Sequence[int]) -> bool:
        """Always."""
        return len(shape) > 0


@dataclass(frozen=True)
class NofM:
    """At most n of every m neighbouring weights of a matrix row live (along the input dimension).

    Groups start at columns 0, m, 2m, ... of ``weight.flatten(1)``. The sparsity is fixed: 1 - n/m.

    Args:
        n: weights kept per group, 1 <= n < m.
        m: weights per group.

    Raises:
        HowsparseError: n and m out of range.

    Example:
        >>> half = NofM(2, 4)
        >>> str(half), half.sparsity, half.fits((8, 3, 2, 2)), half.fits((8, 6))
        ('nm:2:4', 0.5, True, False)
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n < self.m:
            raise HowsparseError(
                f"nm:{self.n}:{self.m} is not allowed: it must keep at least 1 and fewer than m weights"
            )

    def __str__(self) -> str:
        return f"nm:{self.n}:{self.m}"

    @property
    def sparsity(self) -> float:
        """Fraction removed of every tensor that can be cut into groups."""
        return 1 - self.n / self.m

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether the rows of the matrix can be cut into groups of m."""
        return len(shape) > 1 and math.prod(shape[1:]) % self.m == 0


@dataclass(frozen=True)
class Block:
    """Blocks of rows x columns of the matrix live or go as one.

    Args:
        rows: neighbouring output units in a block, at least 1.
        columns: neighbouring columns of ``weight.flatten(1)`` in a block, at least 1.

    Raises:
        HowsparseError: an empty block.

    Example:
        >>> tall = Block(4, 1)
        >>> str(tall), tall.unit, tall.fits((8, 5)), tall.fits((10, 64))
        ('block:4x1', 4, True, False)
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise HowsparseError(f"block:{self.rows}x{self.columns} is not allowed: a block has at least one weight")

    def __str__(self) -> str:
        return f"block:{self.rows}x{self.columns}"

    @property
    def unit(self) -> int:
        """Weights per unit."""
        return self.rows * self.columns

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether the matrix can be cut into whole blocks."""
        return len(shape) > 1 and shape[0] % self.rows == 0 and math.prod(shape[1:]) % self.columns == 0


Structure = Element | NofM | Block


def parse_structure(text: str) -> Structure:
    """The structure that a word means; ``str`` of a structure gives the word back.

    Args:
        text: ``element``, ``nm:2:4`` (2 of every 4 kept), or ``block:4x1`` (rows x columns).

    Returns:
        The structure.

    Raises:
        HowsparseError: any other word, or numbers out of range.

    Example:
        >>> parse_structure("nm:2:4"), parse_structure("block:4x1")
        (NofM(n=2, m=4), Block(rows=4, columns=1))
    """
    if text == "element":
        return Element()
    if found := re.fullmatch(r"nm:(\d+):(\d+)", text):
        return NofM(int(found[1]), int(found[2]))
    if found := re.fullmatch(r"block:(\d+)x(\d+)", text):
        return Block(int(found[1]), int(found[2]))
    raise HowsparseError(f"structure {text!r} is unknown; it is element, nm:N:M as nm:2:4, or block:RxC as block:4x1")


def indivisible(tensors: Mapping[str, Tensor], structure: Structure, *, named: Collection[str] = ()) -> list[str]:
    """The tensors that cannot be cut into the structure and therefore stay dense; tell the user.

    Args:
        tensors: masks or weights by name.
        structure: how weights go together.
        named: tensors that the user asked for by their full names.

    Returns:
        Names, in order.

    Raises:
        HowsparseError: one of them was asked for by name, or nothing can be cut.

    Example:
        >>> indivisible({"a": torch.zeros(8, 4), "b": torch.zeros(10, 4)}, Block(4, 1))
        ['b']
    """
    left = [name for name, tensor in tensors.items() if not structure.fits(tensor.shape)]
    refused = [name for name in left if name in named] or (left if len(left) == len(tensors) else [])
    if refused:
        shapes = ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in refused[:6])
        raise HowsparseError(
            f"{structure} needs {_needs(structure)}, which these tensors have not: {shapes}; leave them out or take "
            "another structure"
        )
    return left


def unit_masks(masks: Masks, structure: Element | Block) -> Masks:
    """Masks of the units: a unit lives when one of its weights does. Tensors that stay dense are left out.

    With `howsparse.masks.group_sizes` and an allocation they give counts in units.

    Args:
        masks: the weights that live.
        structure: element or block.

    Returns:
        Masks of shape (out / rows, in / columns) for blocks; those of the weights themselves for elements.

    Raises:
        HowsparseError: nothing can be cut.

    Example:
        >>> unit_masks(Masks({"w": torch.tensor([[1, 0, 0, 0]])}), Block(1, 2))["w"].tolist()
        [[True, False]]
    """
    left = indivisible(masks, structure)
    fitting = {name: mask for name, mask in masks.items() if name not in left}
    if isinstance(structure, Element):
        return Masks(fitting)
    return Masks({name: _cut(mask, structure).any(dim=3).any(dim=1) for name, mask in fitting.items()})


def unit_scores(scores: Mapping[str, Tensor], structure: Element | Block) -> dict[str, Tensor]:
    """The score of each unit: the mean of its weights' scores, in float64.

    For magnitude scores that is the mean absolute weight. Signed scores keep their sign: higher stays.

    Args:
        scores: importance of each weight, of tensors that the structure fits.
        structure: element or block.

    Returns:
        Scores of shape (out / rows, in / columns) for blocks; the given ones for elements.

    Example:
        >>> unit_scores({"w": torch.tensor([[1.0, 3.0], [2.0, 0.0]])}, Block(2, 1))["w"].tolist()
        [[1.5, 1.5]]
    """
    if isinstance(structure, Element):
        return dict(scores)
    return {name: _cut(score.detach(), structure).double().mean(dim=(1, 3)) for name, score in scores.items()}


def units_for(masks: Masks, structure: Element | Block, *, removed: int) -> int:
    """How many living units hold a number of weights, to the nearest unit, halves up.

    Args:
        masks: the weights that live.
        structure: element or block.
        removed: living weights to remove, >= 0.

    Returns:
        The number of units to remove.

    Raises:
        HowsparseError: the tensors that can be cut hold fewer weights than that.

    Example:
        >>> units_for(Masks.dense({"w": torch.zeros(8, 8)}), Block(4, 1), removed=30)
        8
    """
    units, have = int(removed / structure.unit + 0.5), unit_masks(masks, structure).active
    if not 0 <= units <= have:
        left = indivisible(masks, structure)
        most = masks.total - masks.active + have * structure.unit
        reachable = int(1e6 * most / masks.total) / 1e6
        raise HowsparseError(
            f"cannot remove {removed:,} of {masks.active:,} living weights as {structure}: at most "
            f"{have * structure.unit:,} can go, the largest reachable sparsity is {reachable:g}"
            + (f", because these tensors stay dense: {', '.join(left[:6])}" if left else "")
        )
    return units


def remove_units(
    masks: Masks, scores: Mapping[str, Tensor], counts: Counts, *, structure: Element | Block, scope: Scope
) -> Masks:
    """Remove the ``counts`` living units with the smallest mean scores of each group: `remove_smallest` for units.

    Exactly the asked-for number of units goes; of equal ones those at the lowest positions go first, as everywhere.
    Tensors that the structure does not fit stay as they are.

    Args:
        masks: the weights that live now.
        scores: importance of each weight, higher stays; weights that are gone count as 0 in the mean of their unit.
        counts: units to remove per group, of the form that ``group_sizes(unit_masks(masks, structure), scope)`` has.
        structure: element or block.
        scope: the pool in which units compete; ``neuron`` is a row of blocks.

    Returns:
        New masks, nested in the old ones.

    Raises:
        HowsparseError: scores or counts that do not fit, NaN, or nothing that can be cut.

    Example:
        >>> scores = {"w": torch.tensor([[5.0, 1.0, 2.0], [0.0, 1.0, 2.0]])}
        >>> count = {"global": torch.tensor(1)}
        >>> remove_units(Masks.dense(scores), scores, count, structure=Block(2, 1), scope="global")["w"].int().tolist()
        [[1, 0, 1], [1, 0, 1]]
    """
    masks.check(scores)
    units = unit_masks(masks, structure)
    living = {name: scores[name].masked_fill(~masks[name].to(scores[name].device), 0) for name in units}
    left = remove_smallest(units, unit_scores(living, structure), counts, scope=scope)
    return Masks(
        {name: mask & _spread(left[name], mask, structure) if name in left else mask for name, mask in masks.items()}
    )


def keep_n_of_m(masks: Masks, scores: Mapping[str, Tensor], structure: NofM) -> Masks:
    """Keep the n largest scores of every m neighbours along the matrix rows.

    Groups in which n or fewer weights live lose none. Equal scores: the lowest positions go first, as everywhere.
    Tensors whose rows cannot be cut into groups of m stay as they are.

    Args:
        masks: the weights that live now.
        scores: importance of each weight, higher stays; only living entries are looked at.
        structure: n and m.

    Returns:
        New masks, nested in the old ones, with at most n living weights per group.

    Raises:
        HowsparseError: scores that do not fit or hold NaN, or nothing that can be cut.

    Example:
        >>> scores = {"w": torch.tensor([[0.1, 0.5, 0.9, 0.7, 0.4, 1.5, 0.6, 0.5]])}
        >>> keep_n_of_m(Masks.dense(scores), scores, NofM(2, 4))["w"].int().tolist()
        [[0, 0, 1, 1, 0, 1, 1, 0]]
    """
    masks.check(scores)
    left = indivisible(masks, structure)
    groups = {name: mask.reshape(-1, structure.m) for name, mask in masks.items() if name not in left}
    values = {name: scores[name].reshape(-1, structure.m) for name in groups}
    pooled = Masks(groups)
    counts = {name: (size - structure.n).clamp(min=0) for name, size in group_sizes(pooled, "neuron").items()}
    kept = remove_smallest(pooled, values, counts, scope="neuron")
    return Masks({name: kept[name].view_as(mask) if name in kept else mask for name, mask in masks.items()})


def structured(
    masks: Masks, scores: Mapping[str, Tensor], structure: Structure, *, removed: int | None = None
) -> Masks:
    """Masks of any structure from scores, all tensors in one pool.

    Args:
        masks: the weights that live now.
        scores: importance of each weight, higher stays.
        structure: how weights go together.
        removed: living weights to remove, to the nearest unit; None for n of m, whose sparsity is fixed.

    Returns:
        New masks, nested in the old ones.

    Raises:
        HowsparseError: no ``removed`` for elements or blocks, or one for n of m; see `remove_units`, `keep_n_of_m`,
            `units_for`.

    Example:
        >>> scores = {"w": torch.tensor([[5.0, 1.0, 2.0, 2.0]])}
        >>> structured(Masks.dense(scores), scores, Block(1, 2), removed=2)["w"].int().tolist()
        [[1, 1, 0, 0]]
    """
    if isinstance(structure, NofM):
        if removed is not None:
            raise HowsparseError(
                f"{structure} fixes the sparsity at {structure.sparsity:g}; leave removed={removed} out"
            )
        return keep_n_of_m(masks, scores, structure)
    if removed is None:
        raise HowsparseError(f"{structure} needs to know how many weights to remove")
    counts = {GLOBAL: torch.tensor(units_for(masks, structure, removed=removed))}
    return remove_units(masks, scores, counts, structure=structure, scope="global")


def _cut(tensor: Tensor, block: Block) -> Tensor:
    """(out / rows, rows, in / columns, columns)."""
    matrix = tensor.flatten(1)
    return matrix.reshape(matrix.shape[0] // block.rows, block.rows, matrix.shape[1] // block.columns, block.columns)


def _spread(units: Tensor, mask: Tensor, structure: Element | Block) -> Tensor:
    """Units back to weights."""
    if isinstance(structure, Element):
        return units
    rows = units.repeat_interleave(structure.rows, dim=0)
    return rows.repeat_interleave(structure.columns, dim=1).view_as(mask)


def _needs(structure: Structure) -> str:
    if isinstance(structure, NofM):
        return f"matrix rows (dimensions after the first, side by side) divisible by {structure.m}"
    if isinstance(structure, Block):
        return (
            f"a first dimension divisible by {structure.rows} and matrix rows (the others, side by side) divisible by "
            f"{structure.columns}"
        )
    return "at least one dimension"
