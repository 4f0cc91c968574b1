"""Rules of operations with weights, and of sums over dimensions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from howsparse.structured.forms import Axis, Call, Form, fixed_axis
from howsparse.structured.tracing import Rule, Tracer


def _convolution(t: Tracer, call: Call) -> None:
    x, weight = t.form(call.args[0]), t.form(call.args[1])
    bias, transposed, groups = call.args[2], call.args[6], call.args[8]
    channel = len(x.axes) - (len(weight.axes) - 1)
    w_out, w_in = (weight.axes[1], weight.axes[0]) if transposed else weight.axes[:2]
    reason = t.because("a convolution of what cannot be removed")
    for axis in (*x.axes[channel + 1 :], *weight.axes[2:]):
        t.labels.fix(axis.labels, t.because("places in an image"))
    if groups == 1:
        t.labels.join(x.axes[channel].labels, w_in.labels, reason)
        _needs_weight(t, weight, x.axes[channel])
        labels = w_out.labels
    else:
        labels = _grouped(t, x.axes[channel], weight, groups, transposed)
    t.role(w_out, "out")
    t.role(w_in, "in")
    made = Axis(labels, maker=_name(w_out))
    if bias is not None:
        _follow(t, bias, made, "bias")
    axes = [fixed_axis(size) for size in call.out.shape]
    axes[:channel] = x.axes[:channel]
    axes[channel] = made
    t.know(call.out, Form(tuple(axes)))


def _grouped(t: Tracer, x: Axis, weight: Form, groups: int, transposed: bool) -> Any:
    """A group goes as a whole, with its inputs and its outputs; what lies inside a group stays."""
    rows, inner = weight.axes[0], weight.axes[1]
    t.labels.fix(inner.labels, t.because("channels inside a group of a convolution"))
    x_blocks, rows_blocks = x.labels.reshape(groups, -1), rows.labels.reshape(groups, -1)
    first = x_blocks[:, 0]
    for blocks in (x_blocks, rows_blocks):
        for column in blocks.T:
            t.labels.join(first, column, t.because("groups of a convolution"))
    held = isinstance(t.module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    t.site(groups, first, f"{groups} groups", "groups" if held else None)
    if transposed:  # weight (in, out / groups): outputs have no rows of their own
        return np.repeat(first, inner.size)
    return rows.labels


def _needs_weight(t: Tracer, other: Form, axis: Axis) -> None:
    if not other.learned:
        t.labels.fix(axis.labels, t.because("a sum over products of activations"))


def _name(axis: Axis) -> str | None:
    return None if axis.source is None else axis.source[0]


def _follow(t: Tracer, tensor: Tensor, channels: Axis, role: str) -> None:
    """A vector with one entry a channel."""
    axis = t.form(tensor).axes[-1]
    if axis.size == channels.size:
        t.labels.join(channels.labels, axis.labels, t.because("its bias or scale"))
        t.role(axis, role)
        _accompany(t, channels, axis)


def _accompany(t: Tracer, channels: Axis, axis: Axis) -> None:
    if channels.maker is not None and (name := _name(axis)) is not None:
        t.found.companions.setdefault(channels.maker, set()).add(name)


def _matmul(t: Tracer, a: Form, b: Form, out: Tensor) -> None:
    """The last dimension of ``a`` is summed with the last but one of ``b``; dimensions in front go together."""
    summed, other = a.axes[-1], b.axes[-2]
    t.labels.join(summed.labels, other.labels, t.because("a product with what cannot be removed"))
    if not (a.learned or b.learned):
        _needs_weight(t, b, summed)
    for form, inner, outer in ((a, summed, a.axes[-2]), (b, other, b.axes[-1])):
        if form.learned:
            t.role(inner, "in")
            t.role(outer, "out")
    makers = [_name(outer) for form, outer in ((a, a.axes[-2]), (b, b.axes[-1])) if form.learned]
    front = []
    for x, y in zip(a.axes[:-2], b.axes[:-2], strict=True):
        t.labels.join(x.labels, y.labels, t.because("a product with what cannot be removed"))
        front.append(x.bare() if x.labels.any() else y.bare())
    last = replace(b.axes[-1].bare(), maker=makers[-1] if makers and b.learned else None)
    t.know(out, Form((*front, a.axes[-2].bare(), last)))


def _mm(t: Tracer, call: Call) -> None:
    _matmul(t, t.form(call.args[0]), t.form(call.args[1]), call.out)


def _addmm(t: Tracer, call: Call) -> None:
    _matmul(t, t.form(call.args[1]), t.form(call.args[2]), call.out)
    for axis, known in zip(reversed(t.form(call.args[0]).axes), reversed(t.form(call.out).axes), strict=False):
        if axis.size == known.size:
            t.labels.join(known.labels, axis.labels, t.because("added to what cannot be removed"))
            t.role(axis, "bias")
            _accompany(t, known, axis)


def _mv(t: Tracer, call: Call) -> None:
    a, b = t.form(call.args[0]), t.form(call.args[1])
    t.labels.join(a.axes[-1].labels, b.axes[-1].labels, t.because("a product with what cannot be removed"))
    if not (a.learned or b.learned):
        _needs_weight(t, b, a.axes[-1])
    for form in (a, b):
        t.role(form.axes[-1], "in")
    t.know(call.out, Form(tuple(axis.bare() for axis in a.axes[:-1])))


def _embedding(t: Tracer, call: Call) -> None:
    table, ids = t.form(call.args[0]), t.form(call.args[1])
    t.labels.fix(table.axes[0].labels, t.because("rows are looked up by number"))
    t.role(table.axes[1], "out")
    t.know(call.out, Form((*(axis.bare() for axis in ids.axes), table.axes[1].bare())))


def _batch_norm(t: Tracer, call: Call) -> None:
    form = t.form(call.args[0])
    for tensor in call.args[1:5]:
        if tensor is not None:
            _follow(t, tensor, form.axes[1], "norm")
    t.know(call.out[0], Form(tuple(axis.bare() for axis in form.axes)))


def _group_norm(t: Tracer, call: Call) -> None:
    form, groups = t.form(call.args[0]), call.args[6]
    channels = form.axes[1].labels
    if groups == 1:
        t.labels.fix(channels, t.because("group normalisation over all channels"))
    else:
        blocks = channels.reshape(groups, -1)
        for column in blocks.T:
            t.labels.join(blocks[:, 0], column, t.because("groups of a normalisation"))
        held = isinstance(t.module, nn.GroupNorm)
        t.site(groups, blocks[:, 0], f"{groups} groups", "num_groups" if held else None)
    for tensor in call.args[1:3]:
        if tensor is not None:
            _follow(t, tensor, form.axes[1], "norm")
    t.know(call.out[0], Form(tuple(axis.bare() for axis in form.axes)))


def _layer_norm(t: Tracer, call: Call) -> None:
    form, count = t.form(call.args[0]), len(call.args[1])
    for axis in form.axes[len(form.axes) - count :]:
        t.labels.fix(axis.labels, t.because("normalisation over all channels"))
    for tensor in [x for x in call.args[2:4] if isinstance(x, Tensor)]:
        for axis in t.form(tensor).axes:
            t.labels.fix(axis.labels, t.because("normalisation over all channels"))
            t.role(axis, "norm")
    first = call.out[0] if isinstance(call.out, tuple | list) else call.out
    t.know(first, Form(tuple(axis.bare() for axis in form.axes)))


def _reduce(t: Tracer, call: Call) -> None:
    """Means, sums, maxima: what they run over stays, or the number would change."""
    form = t.form(call.args[0])
    place = 2 if call.name == "linalg_vector_norm" else 1
    given = call.args[place] if len(call.args) > place else call.kwargs.get("dim")
    count = len(form.axes)
    dims = {dim % count for dim in ([given] if isinstance(given, int) else given or range(count))}
    for dim in dims:
        if form.axes[dim].size > 1:
            t.labels.fix(form.axes[dim].labels, t.because(f"{call.name} over it"))
    kept = [fixed_axis(1) if dim in dims else axis.bare() for dim, axis in enumerate(form.axes)]
    for result in tree_leaves(call.out):
        if isinstance(result, Tensor):
            whole = len(result.shape) == count
            axes = kept if whole else [axis for dim, axis in enumerate(kept) if dim not in dims]
            t.know(result, Form(tuple(axes), form.learned))


def _along(t: Tracer, call: Call) -> None:
    """Softmax and running sums: every index along the dimension matters to every other."""
    form = t.form(call.args[0])
    axis = form.axes[call.args[1]]
    if axis.size > 1:
        t.labels.fix(axis.labels, t.because(f"{call.name} over it"))
    for result in tree_leaves(call.out):
        if isinstance(result, Tensor):
            t.know(result, Form(tuple(axis.bare() for axis in form.axes)))


def _attention(t: Tracer, call: Call) -> None:
    """Heads go together; positions and the width of a head stay."""
    q, k, v = (t.form(x) for x in call.args[:3])
    for x in (q, k):
        t.labels.fix(x.axes[-1].labels, t.because("the width of a head, by whose root products are divided"))
    for x in (q, k, v):
        t.labels.fix(x.axes[-2].labels, t.because("positions"))
    for a, b, c in zip(q.axes[:-2], k.axes[:-2], v.axes[:-2], strict=True):
        for other in (b, c):  # a key and value head may serve several neighbouring query heads
            t.labels.join(a.labels, np.repeat(other.labels, a.size // other.size), t.because("heads"))
    axes = (*(axis.bare() for axis in q.axes[:-1]), v.axes[-1].bare())
    t.know(call.out[0] if isinstance(call.out, tuple | list) else call.out, Form(axes))


LAYER_RULES: dict[str, Rule] = {
    "convolution": _convolution,
    **dict.fromkeys(("mm", "bmm"), _mm),
    "addmm": _addmm,
    "mv": _mv,
    "embedding": _embedding,
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm"),
        _batch_norm,
    ),
    "native_group_norm": _group_norm,
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm", "rms_norm"), _layer_norm),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "var_mean", "prod"), _reduce),
    **dict.fromkeys(("logsumexp", "linalg_vector_norm", "argmax", "argmin", "any", "all"), _reduce),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod"), _along),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        _attention,
    ),
}
