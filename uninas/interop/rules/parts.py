"""Functions that cut axes into parts, and put parts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from uninas.interop.lower import Lowering, best, rule, weighed
from uninas.interop.rules.axes import reshape, unsqueeze
from uninas.interop.rules.placing import placed, surrounded
from uninas.interop.trace import Static
from uninas.interop.views import (
    Axis,
    Batch,
    Factor,
    Foreign,
    Layout,
    View,
    cheapest,
    extent,
    flat,
    made,
    refined,
    shape_of,
    without_batch,
)
from uninas.ops.merge import Concat, ConcatTokens
from uninas.ops.shape import ClassToken, Crop, Token
from uninas.ops.split import Chunk, Slice


def led(low: Lowering, x: View, dim: int) -> tuple[View, Axis]:
    """The view with an axis of the tensor outermost in our channels, or as a whole on our height or width."""
    axis = without_batch(x.axes[dim])
    if axis != x.axes[dim]:
        raise Foreign("a part of the batch")
    if axis and (axis in x.own[1:] or x.own[0][: len(axis)] == axis):
        return x, axis
    rest = tuple(tuple(f for f in own if f not in axis) for own in (*x.own, (), ())[:3])
    options = [
        (axis + rest[0], rest[1], rest[2]),
        (rest[0], rest[1] + rest[2], axis),
        (rest[0], axis, rest[1] + rest[2]),
    ]
    return low.laid(x, best(options, [x])), axis


def cut(low: Lowering, x: View, dim: int, pieces: Sequence[tuple[int, int]]) -> list[View]:
    """Parts of an axis, from a number to another."""
    dim = placed(x, dim)
    x = x.fused()
    total = extent(x.axes[dim])
    if list(pieces) == [(0, total)]:
        return [x]
    view, axis = led(low, x, dim)
    inner = view.own[0][len(axis) :]

    def part(wire: Any, length: int) -> View:
        new = made(length)
        own = tuple(
            new + inner if n == 0 and leading else new if side == axis and not leading else side
            for n, side in enumerate(view.own)
        )
        return View(wire, own, (*view.axes[:dim], new, *view.axes[dim + 1 :]))

    leading = view.own[0][: len(axis)] == axis
    lengths = [stop - start for start, stop in pieces]
    if leading:
        step = extent(inner)
        whole = [start for start, _ in pieces] == list(range(0, total, lengths[0])) and total % lengths[0] == 0
        if len(pieces) > 1 and len(set(lengths)) == 1 and whole:
            wires = low.emit(Chunk(len(pieces)), view)
        else:
            wires = [low.emit(Slice(start * step, stop * step), view)[0] for start, stop in pieces]
    else:
        row = view.own[1] == axis
        _c, h, w = shape_of(view.own)
        wires = [
            low.emit(Crop(stop - start, w, start, 0) if row else Crop(h, stop - start, 0, start), view)[0]
            if row or stop - start > 1 or h > 1
            else low.emit(Token(start), view)[0]
            for start, stop in pieces
        ]
    return [part(wire, length) for wire, length in zip(wires, lengths, strict=True)]


def dropped(view: View, dim: int) -> View:
    """Without an axis of size 1."""
    return replace(view, axes=view.axes[:dim] + view.axes[dim + 1 :])


@rule("slice", "narrow_slice")
def slice_(low: Lowering, x: View, dim: int = 0, start: Any = None, stop: Any = None, step: int = 1) -> View:
    dim = placed(x, dim)
    total = x.shape[dim]
    start, stop, _ = slice(start, stop).indices(total)
    if start >= stop:
        nothing: Axis = (Factor(0),)
        return replace(x, axes=(*x.axes[:dim], nothing, *x.axes[dim + 1 :]))
    if step != 1:
        if (stop != total or total % step or start >= step) and start == 0 and stop == total:
            return thinned(low, x, dim, step)
        if stop != total or total % step or start >= step:
            raise Foreign(f"a slice with a step of {step}")
        view = reshape(low, x, [*x.shape[:dim], total // step, step, *x.shape[dim + 1 :]])
        return dropped(cut(low, view, dim + 1, [(start, start + 1)])[0], dim + 1)
    return cut(low, x, dim, [(start, stop)])[0]


def thinned(low: Lowering, x: View, dim: int, step: int) -> View:
    """Every so many rows or columns, from the first on, of a number that the step does not divide."""
    total = x.shape[dim]
    count = -(-total // step)
    view = pad(low, x, [*[0] * (2 * (len(x.axes) - 1 - dim)), 0, count * step - total])
    return slice_(low, view, dim, 0, count * step, step)


@rule("narrow")
def narrow(low: Lowering, x: View, dim: int, start: int, length: int) -> View:
    return cut(low, x, dim, [(start, start + length)])[0]


@rule("select")
def select(low: Lowering, x: View, dim: int, index: int) -> View:
    dim = placed(x, dim)
    index %= x.shape[dim]
    return dropped(cut(low, x, dim, [(index, index + 1)])[0], dim)


@rule("unbind")
def unbind(low: Lowering, x: View, dim: int = 0) -> list[View]:
    dim = placed(x, dim)
    return [dropped(view, dim) for view in cut(low, x, dim, [(n, n + 1) for n in range(x.shape[dim])])]


@rule("split", "split_with_sizes")
def split(low: Lowering, x: View, sizes: Any, dim: int = 0) -> list[View]:
    total = x.shape[placed(x, dim)]
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    starts = np.cumsum([0, *sizes]).tolist()
    return cut(low, x, dim, [(start, start + size) for start, size in zip(starts, sizes, strict=False)])


@rule("chunk")
def chunk(low: Lowering, x: View, n: int, dim: int = 0) -> list[View]:
    return split(low, x, -(-x.shape[placed(x, dim)] // n), dim)


@rule("cat", "concat")
def cat(low: Lowering, parts: Sequence[Any], dim: int = 0) -> View:
    parts = [part for part in parts if 0 not in part.shape]
    views = [part for part in parts if isinstance(part, View)]
    if not views:
        raise Foreign("a concatenation of constants")
    dim = placed(views[0], dim)
    if len(parts) > 1 and isinstance(parts[0], Static) and len(views) == 1:
        return prefixed(low, parts, dim)
    if len(views) < len(parts):
        views = [part if isinstance(part, View) else beside(low, views[0], part, dim) for part in parts]
    return joined(low, views, dim)


def beside(low: Lowering, like: View, static: Static, dim: int) -> View:
    """A constant, to be put beside a view along an axis."""
    if static.shape[0] not in (1, like.shape[0]):
        raise Foreign("a constant along the batch")
    if static.shape[0] != 1:
        values = static
        static = Static((1, *static.shape[1:]), lambda: np.asarray(values.read())[:1], None, values.sources)
    axes = tuple(made(size) for size in static.shape)
    own = (axes[-1], (), axes[1]) if len(axes) == 3 else (*axes[1:], (), ())[:3]
    view = low.learned(static, like, own, axes)
    return replace(view, axes=((low.batch,), *axes[1:]))


def prefixed(low: Lowering, parts: Sequence[Any], dim: int) -> View:
    """Learned tokens in front of others."""
    *before, x = parts
    if not isinstance(x, View):
        like = next(part for part in parts if isinstance(part, View))
        return joined(low, [part if isinstance(part, View) else beside(low, like, part, dim) for part in parts], dim)
    single = all(prod(part.shape) == prod(part.shape[-1:]) and part.sources for part in before)
    if len(x.axes) != 3 or dim != 1 or not single:
        return joined(low, [*(beside(low, x, part, dim) for part in before), x], dim)
    view = low.laid(x, (x.axes[2], (), x.axes[1]))
    for part in reversed(before):
        (wire,) = low.emit(ClassToken(), view, weights=weighed({"weight": part}))
        new = made(extent(view.own[2]) + 1)
        view = View(wire, (view.own[0], (), new), (view.axes[0], new, view.axes[2]))
    return view


def joined(low: Lowering, views: Sequence[View], dim: int) -> View:
    """Views beside each other along an axis."""
    hidden: list[View] = []
    parts: list[Axis] = []
    for view in views:
        view = view.fused()
        axis = view.axes[dim]
        if any(isinstance(f, Batch) for f in axis):
            raise Foreign("a concatenation along the batch")
        parts.append(axis)
        hidden.append(replace(view, axes=(*view.axes[:dim], (), *view.axes[dim + 1 :])))
    # All other axes are made of the same factors.
    first = hidden[0]
    for _ in range(2):
        for n in range(1, len(hidden)):
            lone = View(hidden[n].wire, hidden[n].own, (*hidden[n].axes, parts[n], ()))
            base = View(first.wire, first.own, (*first.axes, (), parts[0]))
            base, lone = refined(base, lone)
            parts[0], parts[n] = base.axes[-1], lone.axes[-2]
            first, hidden[n] = replace(base, axes=base.axes[:-2]), replace(lone, axes=lone.axes[:-2])
    hidden[0] = first
    views = [low.mapped(view) for view in hidden]
    layouts: list[tuple[str, list[Layout]]] = []
    for view, part in zip(views, parts, strict=True):
        others = tuple(tuple(f for f in own if f not in part) for own in view.own)
        rest = others[1] + others[2]
        for kind, own in (
            ("channels", others),
            ("channels", (others[0], (), rest)),
            ("tokens", (others[0] + rest, (), ())),
        ):
            wanted: list[Layout] = []
            for each, piece in zip(views, parts, strict=True):
                if kind == "channels":
                    wanted.append((piece + own[0], own[1], own[2]))
                else:
                    wanted.append((own[0], (), piece))
                if sorted(map(id, flat(wanted[-1]))) != sorted(map(id, flat(each.own))):
                    break
            else:
                layouts.append((kind, wanted))
    if not layouts:
        raise Foreign("a concatenation of tensors that lie apart")
    own_of = [view.own for view in views]
    kind, wanted = layouts[cheapest([(0, list(zip(own_of, each, strict=True))) for _, each in layouts])]
    laid = [low.laid(view, own) for view, own in zip(views, wanted, strict=True)]
    (wire,) = low.emit(Concat() if kind == "channels" else ConcatTokens(), *laid)
    new = made(sum(extent(part) for part in parts))
    inner = wanted[0][0][len(parts[0]) :]
    own = (new + inner, *wanted[0][1:]) if kind == "channels" else (wanted[0][0], (), new)
    axes = views[0].axes
    return View(wire, own, (*axes[:dim], new, *axes[dim + 1 :]))


@rule("stack")
def stack(low: Lowering, parts: Sequence[View], dim: int = 0) -> View:
    dim = dim % (len(parts[0].axes) + 1)
    return joined(low, [unsqueeze(low, part, dim) for part in parts], dim)


@rule("constant_pad_nd", "pad")
def pad(low: Lowering, x: View, sides: Sequence[int], *rest: Any) -> View:
    mode = next((each for each in rest if isinstance(each, str)), "constant")
    value = next((each for each in rest if isinstance(each, int | float)), 0)
    sides = [*sides, *([0] * (2 * len(x.axes) - len(sides)))]
    if not any(sides):
        return x
    lowest = mode == "constant" and value < -1e30
    fill = "lowest" if lowest else "one" if value == 1 else "reflect" if mode == "reflect" else "zero"
    if mode not in ("constant", "reflect") or (value not in (0, 1) and not lowest):
        raise Foreign(f"a padding with {value if mode == 'constant' else mode}")
    axes = {
        len(x.axes) - 1 - n: (sides[2 * n], sides[2 * n + 1])
        for n in range(len(x.axes))
        if any(sides[2 * n : 2 * n + 2])
    }
    view = low.mapped(x.fused())
    for dim, (before, after) in axes.items():
        axis = view.axes[dim]
        whole = not without_batch(view.axes[0])
        if axis and axis == view.own[0] and min(before, after) >= 0 and fill == "zero" and whole:
            zeros = [_zeros(low, view, dim, count) for count in (before, after)]
            parts = [*([zeros[0]] if before else []), view, *([zeros[1]] if after else [])]
            view = joined(low, parts, dim)
            continue
        rest_ = [tuple(f for f in own if f not in axis) for own in view.own]
        if axis not in view.own[1:] or not axis:
            view = low.laid(view, (rest_[0], rest_[1] + rest_[2], axis))
        row = view.own[1] == axis
        wide = surrounded(low, view, *((before, after, 0, 0) if row else (0, 0, before, after)), fill=fill)
        new = wide.own[1] if row else wide.own[2]
        own = (view.own[0], new, view.own[2]) if row else (view.own[0], view.own[1], new)
        view = View(wide.wire, own, (*view.axes[:dim], new, *view.axes[dim + 1 :]))
    return view


def _zeros(low: Lowering, like: View, dim: int, count: int) -> View:
    """Zeros of the size of a view, but for one axis of channels."""
    if not count:
        return like
    shape = tuple(count if n == dim else size for n, size in enumerate(like.shape))
    static = Static((1, *shape[1:]), lambda: np.zeros((1, *shape[1:]), np.float32))
    return beside(low, like, static, dim)
