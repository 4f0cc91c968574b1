"""The card of a network: its measures over all prunable weights, beside those of every layer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import median
from typing import Any, Literal, get_args

from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.measures.classical import hoyer, kurtosis
from howsparse.measures.entries import checked, flat_chunks
from howsparse.measures.gini import gini
from howsparse.measures.pqi import pqi
from howsparse.measures.sums import check_orders, power_sums

Scope = Literal["neuron", "layer", "global"]
Zeros = Literal["active", "masked"]

NAME_RULE = (
    "weights chosen by name (last part contains 'weight', two or more dimensions): this may include embeddings "
    "and tied weights, and cannot see what the network does with them"
)


@dataclass(frozen=True)
class NeuronSummary:
    """PQ Index within each output unit (index of dimension 0) of one tensor.

    Attributes:
        min: Smallest defined index; NaN when all are undefined.
        median: Median of the defined ones.
        max: Largest.
        undefined: Number of units without an index: nothing active, or all zero.
    """

    min: float
    median: float
    max: float
    undefined: int


@dataclass(frozen=True)
class Row:
    """Measures of one group of weights; NaN where undefined (nothing active, or all active weights zero).

    Attributes:
        name: Name of the tensor, or "global".
        shape: Shape of the tensor; () for the whole network.
        total: Number of entries.
        d: Number of active entries, over which everything is computed.
        sparsity: Share of entries that are not active, 1 - d / total.
        zeros: Exact zeros among the active entries.
        pqi: PQ Index with the p and q of the card.
        gini: Gini index.
        effective_count: Effective number of weights r_0 = d (1 - I)^(pq/(q-p)).
        keep_bound: r_0 / d, the share that must stay by the PQ Index bound with eta = 0.
        hoyer: Hoyer's measure.
        kurtosis: Kurtosis about zero; 3 for Gaussian weights.
        neurons: Summary over output units, with scope "neuron" only.
    """

    name: str
    shape: tuple[int, ...]
    total: int
    d: int
    sparsity: float
    zeros: int
    pqi: float
    gini: float
    effective_count: float
    keep_bound: float
    hoyer: float
    kurtosis: float
    neurons: NeuronSummary | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values, undefined ones as None; `neurons` only when present."""
        values = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        if self.neurons is None:
            del values["neurons"]
        else:
            values["neurons"] = {key: _plain(value) for key, value in asdict(self.neurons).items()}
        return values


@dataclass(frozen=True)
class Card:
    """Measures of a network; `str` gives a table, `to_json` plain values.

    Attributes:
        global_: All weights as one group.
        layers: One row a tensor, in the order given. Much of a network's global index comes from layers whose weights
            differ in scale, so read both.
        p: Smaller order of the PQ Index.
        q: Larger order.
        scope: Pool of weights asked for; "neuron" adds a summary over output units to every layer.
        note: What a reader must know about the choice of weights; may be empty.
    """

    global_: Row
    layers: tuple[Row, ...]
    p: float
    q: float
    scope: Scope
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Keys `global`, `layers`, `p`, `q`, `scope`, `note`; undefined values are None."""
        return {
            "global": self.global_.to_json(),
            "layers": [row.to_json() for row in self.layers],
            "p": self.p,
            "q": self.q,
            "scope": self.scope,
            "note": self.note,
        }

    def __str__(self) -> str:
        header = f"PQ Index with p={self.p:g}, q={self.q:g}; {len(self.layers)} tensors, scope {self.scope}"
        per_neuron = self.scope == "neuron"
        rows = [_cells(row) | (_neuron_cells(row) if per_neuron else {}) for row in (*self.layers, self.global_)]
        shown = [title for title in rows[0] if title != "zeros" or self.global_.zeros]
        table = _aligned([shown, *([row[title] for title in shown] for row in rows)])
        remarks = [self.note] if self.note else []
        if any("-" in row.values() for row in rows):
            remarks.append("-: undefined (no active weights, or all of them zero)")
        if self.global_.zeros:
            remarks.append('exact zeros among the active weights count as weights; zeros="masked" leaves them out')
        return "\n".join([header, *table, *remarks])


def weights_by_name(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a state dict, chosen by name alone: last part contains `weight`, two or more dimensions.

    The rule of the authors' code of arXiv 2302.05601. It also takes embeddings, which a choice by module type leaves
    out; `NAME_RULE` says so in words, for the note of a card.

    Args:
        state: Names to tensors; anything that is not a tensor is passed over.

    Returns:
        A non-empty dictionary in the order of the state dict.

    Raises:
        HowsparseError: no name qualifies.

    Example:
        >>> import torch
        >>> list(weights_by_name(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()))
        ['0.weight']
    """
    chosen = {
        name.removesuffix("_orig"): _as_used(name, value, state)
        for name, value in state.items()
        if isinstance(value, Tensor) and value.ndim >= 2 and "weight" in name.rpartition(".")[2]
        if not name.endswith(("_mask", "_g"))  # masks of torch.nn.utils.prune; lengths of weight norm
    }
    if not chosen:
        shown = ", ".join(list(state)[:5]) or "nothing at all"
        raise HowsparseError(
            f"no tensor of two or more dimensions has a name whose last part contains 'weight'; the file holds {shown}"
            f"{', ...' if len(state) > 5 else ''}; howsparse.measures.measure takes any tensors you choose"
        )
    return chosen


def _as_used(name: str, value: Tensor, state: Mapping[str, Any]) -> Tensor:
    """The weight a network works with: under its mask, where torch.nn.utils.prune keeps one beside it."""
    mask = state.get(name.removesuffix("_orig") + "_mask") if name.endswith("_orig") else None
    return value if mask is None else value * mask


def measure(
    tensors: Mapping[str, Tensor],
    masks: Mapping[str, Tensor] | None = None,
    *,
    scope: Scope = "global",
    p: float = 0.5,
    q: float = 1.0,
    zeros: Zeros = "active",
    note: str = "",
) -> Card:
    """Measure weights: PQ Index, Gini index and companions of all together and of every tensor.

    Args:
        tensors: Names to weights of any real floating-point type and shape, already chosen.
        masks: Names to boolean masks (True = active) of the same shapes; a tensor without a mask is all active.
        scope: "global", "layer", or "neuron", which adds a summary over output units (dimension 0) to each layer; the
            layers and the whole are always there.
        p: Smaller order of the PQ Index, p > 0.
        q: Larger order, q > p.
        zeros: "active" counts exact zeros as weights; "masked" leaves them out, which for a file whose pruned weights
            are stored as zeros measures the weights that were kept.
        note: Kept in the card.

    Returns:
        A `Card`.

    Raises:
        HowsparseError: no tensors, a mask without its tensor or of another shape, integer or complex weights, NaN or
            Inf among active weights, orders out of range, or an unknown scope or zeros.

    Example:
        >>> import torch
        >>> card = measure({"a": torch.tensor([[3.0, 0.0], [3.0, 3.0]])}, zeros="masked")
        >>> card.global_.d, card.global_.sparsity, card.global_.pqi, card.global_.effective_count
        (3, 0.25, 0.0, 3.0)
    """
    _check_request(tensors, masks or {}, scope, zeros)
    check_orders(p, q)
    layers: list[Row] = []
    active: list[Tensor | None] = []
    for name, tensor in tensors.items():
        try:
            active.append(_active(tensor, (masks or {}).get(name), zeros))
            neurons = _neurons(tensor, active[-1], p, q) if scope == "neuron" else None
            row = _row(name, [tensor], active[-1:], p=p, q=q)
        except HowsparseError as error:
            raise HowsparseError(f"{name}: {error}") from error
        layers.append(replace(row, shape=tuple(tensor.shape), neurons=neurons))
    whole = _row("global", list(tensors.values()), active, p=p, q=q)
    return Card(whole, tuple(layers), p, q, scope, note)


def _check_request(tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor], scope: str, zeros: str) -> None:
    """Raise when there is nothing to measure, a mask has no tensor, or an option is unknown."""
    if not tensors:
        raise HowsparseError("there are no weights to measure; pass at least one named tensor")
    stray = [name for name in masks if name not in tensors]
    if stray:
        raise HowsparseError(f"no weights for mask {stray[0]!r} ({len(stray)} such); weights are {', '.join(tensors)}")
    if scope not in get_args(Scope):
        raise HowsparseError(f"scope={scope!r} is unknown; choose one of {', '.join(get_args(Scope))}")
    if zeros not in get_args(Zeros):
        raise HowsparseError(f"zeros={zeros!r} is unknown; choose one of {', '.join(get_args(Zeros))}")


def _active(tensor: Tensor, mask: Tensor | None, zeros: str) -> Tensor | None:
    """The mask to measure under; None for all active."""
    weights, active = checked(tensor, mask)
    if zeros == "active":
        return active
    return weights != 0 if active is None else active & (weights != 0)


def _row(name: str, tensors: Sequence[Tensor], masks: Sequence[Tensor | None], *, p: float, q: float) -> Row:
    """Measures of the tensors as one group."""
    total = sum(tensor.numel() for tensor in tensors)
    sums = power_sums(tensors, masks, p=p, q=q)
    d = int(sums.count)
    nonzero = sum(_nonzero(c) for t, m in zip(tensors, masks, strict=True) for c in flat_chunks(t, m))
    effective = float(sums.effective_count)
    return Row(
        name=name,
        shape=(),
        total=total,
        d=d,
        sparsity=1 - d / total if total else math.nan,
        zeros=d - nonzero,
        pqi=float(sums.pqi),
        gini=float(gini(tensors, masks)),
        effective_count=effective,
        keep_bound=effective / d if d else math.nan,
        hoyer=float(hoyer(tensors, masks)),
        kurtosis=float(kurtosis(tensors, masks)),
    )


def _nonzero(chunk: Tensor) -> int:
    """Entries that are not zero; float8 has no count of its own."""
    return int((chunk.float() if chunk.element_size() == 1 else chunk).count_nonzero())


def _neurons(tensor: Tensor, mask: Tensor | None, p: float, q: float) -> NeuronSummary:
    """PQ Index within each index of dimension 0, summarised."""
    units = tensor.shape[0] if tensor.ndim else 1
    fan_in = tensor.numel() // units if units else 0
    rows = None if mask is None else mask.reshape(units, fan_in)
    values = pqi(tensor.reshape(units, fan_in), rows, p=p, q=q, dim=1).tolist()
    defined = [value for value in values if not math.isnan(value)]
    if not defined:
        return NeuronSummary(math.nan, math.nan, math.nan, len(values))
    return NeuronSummary(min(defined), median(defined), max(defined), len(values) - len(defined))


def _plain(value: Any) -> Any:
    """A value that JSON can hold: NaN becomes None, tuples become lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return list(value) if isinstance(value, tuple) else value


def _cells(row: Row) -> dict[str, str]:
    """Column titles and the texts of one line of the table."""
    return {
        "name": row.name,
        "shape": "x".join(map(str, row.shape)),
        "weights": f"{row.total:,}",
        "active": f"{row.d:,}",
        "sparsity": _number(row.sparsity),
        "zeros": f"{row.zeros:,}",
        "PQI": _number(row.pqi),
        "Gini": _number(row.gini),
        "effective": _number(row.effective_count, ",.0f"),
        "keep": _number(row.keep_bound),
        "Hoyer": _number(row.hoyer),
        "kurtosis": _number(row.kurtosis, ".2f"),
    }


def _neuron_cells(row: Row) -> dict[str, str]:
    """Further columns with scope "neuron"; empty in the line of the whole network."""
    titles = ("neuron min", "median", "max", "undefined")
    if row.neurons is None:
        return dict.fromkeys(titles, "")
    inside = row.neurons
    numbers = [_number(value) for value in (inside.min, inside.median, inside.max)]
    return dict(zip(titles, [*numbers, str(inside.undefined)], strict=True))


def _number(value: float, form: str = ".4f") -> str:
    """The value as text; a dash where it is undefined."""
    return "-" if math.isnan(value) else format(value, form)


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with columns of equal width: names and shapes to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if k < 2 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
