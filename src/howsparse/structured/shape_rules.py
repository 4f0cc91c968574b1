"""Rules of operations that move entries about: elementwise, transposing, joining, cutting, padding, expanding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils._pytree import tree_leaves

from howsparse.structured.forms import Axis, Call, Form, Padding, fixed_axis
from howsparse.structured.reshape_rule import reshape
from howsparse.structured.tracing import ReadOtherwise, Rule, Tracer


def pointwise(t: Tracer, call: Call) -> None:
    """Indices that meet go together; dimensions of one entry are repeated to meet the others."""
    given = [x for x in [*tree_leaves(call.args), *tree_leaves(call.kwargs)] if isinstance(x, Tensor)]
    forms = [t.form(x) for x in given]
    for result in tree_leaves(call.out):
        if isinstance(result, Tensor):
            axes = [_met(t, forms, result.dim() - dim, size, call.name) for dim, size in enumerate(result.shape)]
            learned = all(form.learned for form, x in zip(forms, given, strict=True) if x.dim())
            t.know(result, Form(tuple(axes), learned and any(x.dim() for x in given)))


def _met(t: Tracer, forms: list[Form], from_behind: int, size: int, name: str) -> Axis:
    """What comes of the dimensions of several tensors that lie over one another."""
    here = [form.axes[-from_behind] for form in forms if len(form.axes) >= from_behind]
    here = [axis for axis in here if axis.size == size]
    if not here:
        return fixed_axis(size)
    first = here[0]
    for other in here[1:]:
        t.labels.join(first.labels, other.labels, t.because(f"{name} with what cannot be removed"))
    if len(forms) > 1:  # a scale or shift: what it is made of follows the channel
        for axis in here:
            t.role(axis, "scale")
    best = next((axis for axis in here if axis.origin is not None), first)
    free = next((axis for axis in here if axis.labels.any()), first)
    return Axis(free.labels, None if len(forms) > 1 else first.source, best.origin)


def like_input(t: Tracer, call: Call) -> None:
    """Pooling and resampling: channels stay, places in the image are fixed."""
    form = t.form(call.args[0])
    places = next((n for n in (1, 2, 3) if f"{n}d" in call.name), 2)
    for axis in form.axes[-places:]:
        t.labels.fix(axis.labels, t.because("places in an image"))
    for result in tree_leaves(call.out):
        if isinstance(result, Tensor):
            kept = [axis.bare() for axis in form.axes[:-places]]
            t.know(result, Form((*kept, *(fixed_axis(size) for size in result.shape[-places:]))))


def _permute(order: Callable[[Sequence[Any], int], Sequence[int]]) -> Rule:
    def rule(t: Tracer, call: Call) -> None:
        form = t.form(call.args[0])
        t.know(call.out, Form(tuple(form.axes[dim] for dim in order(call.args, len(form.axes))), form.learned))

    return rule


def _swapped(args: Sequence[Any], count: int) -> list[int]:
    order = list(range(count))
    if count > 1 or len(args) > 1:
        a, b = (args[1], args[2]) if len(args) > 2 else (0, 1)
        order[a], order[b] = order[b], order[a]
    return order


def _view(t: Tracer, call: Call) -> None:
    if call.out.dtype != call.args[0].dtype or call.out.numel() != call.args[0].numel():
        return _fix(t, call)
    t.know(call.out, reshape(t, t.form(call.args[0]), tuple(call.out.shape)))
    return None


def _squeeze(t: Tracer, call: Call) -> None:
    form = t.form(call.args[0])
    dims = call.args[1] if len(call.args) > 1 else range(len(form.axes))
    dims = [dims] if isinstance(dims, int) else dims
    gone = {dim % len(form.axes) for dim in dims if form.axes[dim].size == 1} if form.axes else set()
    for dim in gone:
        t.labels.fix(form.axes[dim].labels, t.because("squeeze takes the dimension away"))
    t.know(call.out, Form(tuple(axis for dim, axis in enumerate(form.axes) if dim not in gone), form.learned))


def _unsqueeze(t: Tracer, call: Call) -> None:
    form, dim = t.form(call.args[0]), call.args[1] % call.out.dim()
    t.know(call.out, Form((*form.axes[:dim], fixed_axis(1), *form.axes[dim:]), form.learned))


def _expand(t: Tracer, call: Call) -> None:
    form = t.form(call.args[0])
    new = call.out.dim() - len(form.axes)
    axes = []
    for dim, size in enumerate(call.out.shape):
        old = form.axes[dim - new] if dim >= new else None
        if old is not None and old.size == size:
            axes.append(old)
            if call.args[1][dim] != -1:
                t.site(size, old.labels, f"expand to {size}")
            continue
        axes.append(Axis(t.labels.fresh(size)))  # copies: as many as what they meet
        t.site(size, axes[-1].labels, f"expand to {size}")
    t.know(call.out, Form(tuple(axes), form.learned))


def _cat(t: Tracer, call: Call) -> None:
    dim = call.number(1, "dim", 0) % call.out.dim()
    forms = [t.form(x) for x in call.args[0] if x.dim() == call.out.dim()]
    axes = [_met(t, forms, call.out.dim() - i, size, call.name) for i, size in enumerate(call.out.shape) if i != dim]
    joined = Axis(np.concatenate([form.axes[dim].labels for form in forms]))
    t.know(call.out, Form((*axes[:dim], joined, *axes[dim:]), all(form.learned for form in forms)))


def _stack(t: Tracer, call: Call) -> None:
    dim = call.number(1, "dim", 0) % call.out.dim()
    forms = [t.form(x) for x in call.args[0]]
    sizes = [size for i, size in enumerate(call.out.shape) if i != dim]
    axes = [_met(t, forms, len(sizes) - i, size, call.name) for i, size in enumerate(sizes)]
    t.know(
        call.out, Form((*axes[:dim], fixed_axis(call.out.shape[dim]), *axes[dim:]), all(form.learned for form in forms))
    )


def _split(t: Tracer, call: Call) -> None:
    """Pieces of equal size keep equal size: their i-th indices go together. Unequal pieces stay as they are."""
    form = t.form(call.args[0])
    dim = call.number(2, "dim", 0) % len(form.axes)
    sizes = [piece.shape[dim] for piece in call.out]
    pieces = np.split(form.axes[dim].labels, np.cumsum(sizes)[:-1])
    equal = len(set(sizes)) == 1
    for piece in pieces:
        if equal:
            t.labels.join(pieces[0], piece, t.because("split with what cannot be removed"))
        else:
            t.labels.fix(piece, t.because("split into unequal pieces"))
    if equal and len(pieces) > 1:
        t.site(sizes[0], pieces[0], f"split into pieces of {sizes[0]}")
    for piece, labels in zip(call.out, pieces, strict=True):
        t.know(piece, Form((*form.axes[:dim], Axis(labels), *form.axes[dim + 1 :]), form.learned))


def _glu(t: Tracer, call: Call) -> None:
    """The second half gates the first: their i-th channels go together."""
    form = t.form(call.args[0])
    dim = call.number(1, "dim", -1) % len(form.axes)
    value, gate = np.split(form.axes[dim].labels, 2)
    t.labels.join(value, gate, t.because("gates of what cannot be removed"))
    t.know(call.out, Form((*form.axes[:dim], Axis(value), *form.axes[dim + 1 :]), form.learned))


def _slice(t: Tracer, call: Call) -> None:
    form = t.form(call.args[0])
    dim = call.number(1, "dim", 0) % len(form.axes)
    axis = form.axes[dim]
    if axis.size == call.out.shape[dim]:
        t.know(call.out, form)
        return
    if axis.origin is not None and t.labels.free(axis.labels).any():
        raise ReadOtherwise(axis.origin)
    t.labels.fix(axis.labels, t.because("a slice by numbers"))
    taken = Axis(axis.labels[slice(*(*call.args[2:5], None, None, None)[:3])])
    t.know(call.out, Form((*form.axes[:dim], taken, *form.axes[dim + 1 :]), form.learned))


def _select(t: Tracer, call: Call) -> None:
    """One index, or each by itself: the dimension is a stack of different things."""
    form = t.form(call.args[0])
    dim = call.number(1, "dim", 0) % len(form.axes)
    axis = form.axes[dim]
    if axis.origin is not None and t.labels.free(axis.labels).any():
        raise ReadOtherwise(axis.origin)
    t.labels.fix(axis.labels, t.because("single indices are taken"))
    for piece in tree_leaves(call.out):
        t.know(piece, Form((*form.axes[:dim], *form.axes[dim + 1 :]), form.learned))


def _pad(t: Tracer, call: Call) -> None:
    form, amounts, axes = t.form(call.args[0]), call.args[1], []
    for dim, axis in enumerate(form.axes):
        i = 2 * (len(form.axes) - 1 - dim)
        before, behind = amounts[i : i + 2] if i < len(amounts) else (0, 0)
        if before == behind == 0:
            axes.append(axis)
        elif before < 0 or behind < 0 or not t.labels.free(axis.labels).any():
            t.labels.fix(axis.labels, t.because("padding"))
            axes.append(fixed_axis(call.out.shape[dim]))
        else:
            front, back = t.labels.fresh(before), t.labels.fresh(behind)
            t.found.paddings.append(Padding(t.where, t.pads, i // 2, front, back))
            axes.append(Axis(np.concatenate([front, axis.labels, back])))
    t.pads += 1
    t.know(call.out, Form(tuple(axes)))


def _repeat(t: Tracer, call: Call) -> None:
    form = t.form(call.args[0])
    new = call.out.dim() - len(form.axes)
    axes = [fixed_axis(size) for size in call.out.shape[:new]]
    axes += [Axis(np.tile(axis.labels, call.args[1][new + i])) for i, axis in enumerate(form.axes)]
    t.know(call.out, Form(tuple(axes), form.learned))


def _flip(t: Tracer, call: Call) -> None:
    form = t.form(call.args[0])
    dims = {dim % len(form.axes) for dim in call.args[1]}
    axes = [Axis(axis.labels[::-1].copy()) if dim in dims else axis for dim, axis in enumerate(form.axes)]
    t.know(call.out, Form(tuple(axes), form.learned))


def _fix(t: Tracer, call: Call) -> None:
    for axis in t.form(call.args[0]).axes:
        t.labels.fix(axis.labels, t.because("other bytes are read into the tensor"))
    t.know(call.out, Form.fixed(tuple(call.out.shape)))


def _as_complex(t: Tracer, call: Call) -> None:
    form = t.form(call.args[0])
    t.labels.fix(form.axes[-1].labels, t.because("real and imaginary part"))
    t.know(call.out, Form(form.axes[:-1], form.learned))


def _as_real(t: Tracer, call: Call) -> None:
    form = t.form(call.args[0])
    t.know(call.out, Form((*form.axes, fixed_axis(2)), form.learned))


SHAPE_RULES: dict[str, Rule] = {
    **dict.fromkeys(("t", "transpose"), _permute(_swapped)),
    "permute": _permute(lambda args, _count: args[1]),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "_reshape_copy"), _view),
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "expand": _expand,
    "cat": _cat,
    "stack": _stack,
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"), _split),
    "glu": _glu,
    "slice": _slice,
    **dict.fromkeys(("select", "unbind"), _select),
    "constant_pad_nd": _pad,
    "repeat": _repeat,
    "flip": _flip,
    "view_as_complex": _as_complex,
    "view_as_real": _as_real,
}
