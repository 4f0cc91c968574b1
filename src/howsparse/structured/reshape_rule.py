"""Reading a reshape: dimensions merged into one, or one split into several, of which one holds the channels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from howsparse.structured.forms import Axis, Form, fixed_axis
from howsparse.structured.labels import Indices
from howsparse.structured.tracing import Tracer


def reshape(t: Tracer, form: Form, shape: tuple[int, ...]) -> Form:
    """The form after a reshape to ``shape``.

    A dimension split into factors keeps its channels in one of them: where the labels already depend on one factor
    alone (an earlier merge undone) in that one; else in the last but one, as heads x width of a head, whose blocks then
    go together. Where that factor turns out to be indexed one by one (query, key and value), another is read.
    """
    axes: list[Axis] = []
    for olds, news in _matched([axis.size for axis in form.axes], list(shape)):
        old = [form.axes[i] for i in olds]
        sizes = [shape[i] for i in news]
        if [axis.size for axis in old] == sizes:
            axes += old
        else:
            axes += _split(t, _merged(t, old), sizes)
    for axis in axes:
        if t.labels.free(axis.labels).any():
            t.site(axis.size, axis.labels, f"reshape to {tuple(shape)}")
    return Form(tuple(axes), form.learned)


def _matched(old: list[int], new: list[int]) -> Iterator[tuple[range, range]]:
    """The smallest runs of dimensions with equal products, in order."""
    i = j = 0
    while i < len(old) or j < len(new):
        first_i, first_j, a, b = i, j, 1, 1
        if i < len(old):
            a, i = old[i], i + 1
        if j < len(new):
            b, j = new[j], j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        while i == len(old) and j < len(new):  # dimensions of one entry at the end
            j += 1
        while j == len(new) and i < len(old):
            i += 1
        yield range(first_i, i), range(first_j, j)


def _merged(t: Tracer, axes: list[Axis]) -> Axis:
    """Several dimensions as one; its index is removed when the index in the one that holds channels is."""
    free = [i for i, axis in enumerate(axes) if axis.size > 1 and t.labels.free(axis.labels).any()]
    if len(free) > 1:  # copies made by expand carry no weight of their own: those stay
        free.sort(key=lambda i: bool(_weighted(t, axes[i])), reverse=True)
        for i in free[1:]:
            t.labels.fix(axes[i].labels, t.because("two dimensions with channels are merged into one"))
    if not free:
        return fixed_axis(int(np.prod([axis.size for axis in axes], dtype=np.int64)))
    shape = tuple(axis.size for axis in axes)
    lifted = axes[free[0]].labels.reshape([-1 if i == free[0] else 1 for i in range(len(axes))])
    return Axis(np.broadcast_to(lifted, shape).reshape(-1).copy())


def _weighted(t: Tracer, axis: Axis) -> bool:
    """Whether any index is joined to one of a parameter."""
    # the oldest label represents its class, and those of parameters are the oldest
    return bool((t.labels.roots(axis.labels) < t.last_parameter).any())


def _split(t: Tracer, axis: Axis, sizes: list[int]) -> list[Axis]:
    real = [i for i, size in enumerate(sizes) if size > 1]
    axes = [fixed_axis(size) for size in sizes]
    if not t.labels.free(axis.labels).any():
        return axes
    if len(real) <= 1:
        i = real[0] if real else 0
        if axes:
            axes[i] = Axis(axis.labels, None, axis.origin)
        return axes
    number, t.splits = t.splits, t.splits + 1
    grid = t.labels.roots(axis.labels).reshape([sizes[i] for i in real])
    chosen = next((k for k in range(len(real)) if _depends_on(grid, k)), None)
    origin = None
    if chosen is None:
        order = [len(real) - 2, len(real) - 1, *range(len(real) - 3, -1, -1)]
        left = [k for k in order if (number, k) not in t.avoid]
        if not left:
            t.labels.fix(axis.labels, t.because(f"a split into {tuple(sizes)}"))
            return axes
        chosen, origin = left[0], (number, left[0])
    rows = np.moveaxis(grid, chosen, 0).reshape(grid.shape[chosen], -1)
    for column in range(1, rows.shape[1]):
        t.labels.join(rows[:, 0], rows[:, column], t.because("blocks with what cannot be removed"))
    axes[real[chosen]] = Axis(rows[:, 0].copy(), None, origin)
    return axes


def _depends_on(grid: Indices, k: int) -> bool:
    """Whether the labels are the same for all indices of the other factors."""
    rows = np.moveaxis(grid, k, 0).reshape(grid.shape[k], -1)
    return bool((rows == rows[:, :1]).all())
