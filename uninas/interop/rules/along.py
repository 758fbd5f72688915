"""Functions along axes: means, sums, maxima, softmax."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from uninas.interop.lower import Lowering, best, rule
from uninas.interop.rules.axes import unsqueeze
from uninas.interop.rules.parts import cut, dropped, led
from uninas.interop.rules.placing import placed
from uninas.interop.views import Batch, Foreign, Layout, View, cheapest, extent, flat
from uninas.ops import activation as act
from uninas.ops.merge import Add
from uninas.ops.norm import L2Norm
from uninas.ops.op import Op
from uninas.ops.pool import GlobalAvgPool, GlobalMaxPool, Largest, Length, Mean

ALONG = ("channels", "height", "width")


def reduced(low: Lowering, x: View, dims: Any, keep: bool, ops: dict[str, Op]) -> View:
    """A mean, ... along some axes; `ops` by the words positions, channels, height and width."""
    dims = list(range(1, len(x.axes))) if dims is None else [dims] if isinstance(dims, int) else list(dims)
    dims = [placed(x, dim) for dim in dims]
    x = low.mapped(x.fused())
    there = set(flat(x.own)) | {low.batch}
    gone = tuple(f for dim in dims for f in x.axes[dim] if f in there)
    if any(isinstance(f, Batch) for f in gone):
        raise Foreign("a mean over the batch")
    inside = set(gone)
    rest = tuple(f for f in flat(x.own) if f not in inside)
    if not gone:
        view = x
    else:
        options: list[tuple[str, Layout]] = [
            (word, x.own)
            for word, axes in (("positions", x.own[1] + x.own[2]), ("channels", x.own[0]), ("height", x.own[1]),
                               ("width", x.own[2]))
            if set(axes) == inside and word in ops
        ]  # fmt: skip
        groups = [tuple(f for f in own if f not in inside) for own in x.own]
        options += [
            ("positions", (rest, (), gone)),
            ("width", (groups[0], groups[1] + groups[2], gone)),
            ("height", (groups[0], gone, groups[1] + groups[2])),
            ("channels", (gone, groups[0], groups[1] + groups[2])),
        ]
        options = [option for option in options if option[0] in ops]
        word, own = options[cheapest([(0, ((x.own, layout),)) for _, layout in options])]
        view = low.laid(x, own)
        (wire,) = low.emit(ops[word], view)
        taken = {"positions": (1, 2), "channels": (0,), "height": (1,), "width": (2,)}[word]
        view = View(wire, tuple(() if n in taken else axis for n, axis in enumerate(own)), view.axes)
    axes = tuple(() if n in dims else axis for n, axis in enumerate(view.axes) if keep or n not in dims)
    return replace(view, axes=axes)


@rule("mean")
def mean(low: Lowering, x: View, dims: Any = None, keepdim: bool = False, dtype: Any = None) -> View:
    ops: dict[str, Op] = {word: Mean(word) for word in ALONG}
    return reduced(low, x, dims, keepdim, {"positions": GlobalAvgPool(), **ops})


@rule("amax")
def amax(low: Lowering, x: View, dims: Any = None, keepdim: bool = False) -> View:
    return reduced(low, x, dims, keepdim, {"positions": GlobalMaxPool(), **{word: Largest(word) for word in ALONG}})


@rule("max")
def largest(low: Lowering, x: View, dim: int, keepdim: bool = False) -> list[View]:
    return [amax(low, x, dim, keepdim)]


@rule("linalg_vector_norm", "norm")
def vector_norm(low: Lowering, x: View, order: Any = 2, dims: Any = None, keepdim: bool = False) -> View:
    if order != 2:
        raise Foreign(f"a norm of order {order}")
    return reduced(low, x, dims, keepdim, {word: Length(word) for word in ("positions", *ALONG)})


@rule("sum")
def sum_(low: Lowering, x: View, dims: Any = None, keepdim: bool = False, dtype: Any = None) -> View:
    listed = [dims] if isinstance(dims, int) else dims
    if listed and len(listed) == 1 and extent(x.axes[placed(x, listed[0])]) <= 8:
        dim = placed(x, listed[0])
        count = x.shape[dim]
        view, axis = led(low, x.fused(), dim)
        if view.own[0][: len(axis)] == axis and axis:
            pieces = [dropped(part, dim) for part in cut(low, view, dim, [(n, n + 1) for n in range(count)])]
            (wire,) = low.emit(Add(), *pieces)
            total = replace(pieces[0], wire=wire)
            return unsqueeze(low, total, dim) if keepdim else total
    count = prod(x.shape[placed(x, dim)] for dim in (listed or range(1, len(x.axes))))
    return low.apply(act.Scale(float(count)), mean(low, x, dims, keepdim))


@rule("softmax", "_softmax")
def softmax(low: Lowering, x: View, dim: int, *_: Any) -> View:
    x = low.mapped(x.fused())
    axis = x.axes[placed(x, dim)]
    for n, word in enumerate(("channels", "height", "width")):
        if x.own[n] == axis:
            return low.apply(act.Softmax(word), x)
    groups = [tuple(f for f in own if f not in axis) for own in x.own]
    own = best([(groups[0], groups[1] + groups[2], axis), (axis, groups[0], groups[1] + groups[2])], [x])
    return low.apply(act.Softmax("width" if own[2] == axis else "channels"), low.laid(x, own))


@rule("normalize")
def normalize(low: Lowering, x: View, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> View:
    x = low.mapped(x.fused())
    axis = x.axes[placed(x, dim)]
    for n, word in enumerate(ALONG):
        if x.own[n] == axis:
            return low.apply(L2Norm(word, eps), x)
    groups = [tuple(f for f in own if f not in axis) for own in x.own]
    return low.apply(L2Norm("width", eps), low.laid(x, (groups[0], groups[1] + groups[2], axis)))
