"""Functions that only give axes other sizes, names and places."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import Any

from uninas.interop.lower import Lowering, best, natural, rule
from uninas.interop.rules.placing import placed
from uninas.interop.trace import Static
from uninas.interop.views import Batch, Foreign, Layout, View, extent, flat, made
from uninas.ops.shape import Roll


@rule("view", "reshape", "_unsafe_view")
def reshape(low: Lowering, x: View, sizes: Sequence[int]) -> View:
    try:
        return x.reshaped(sizes)
    except Foreign:
        return recut(low, x, sizes)


def recut(low: Lowering, x: View, sizes: Sequence[int]) -> View:
    """A reshape that cuts across axes: the numbers as they lie in the tensor, in its axes or in one row, cut anew."""
    own = natural(x.axes)
    if len(own) == 3 and len(x.axes) == 4 and x.axes[0] == (low.batch,):
        with suppress(Foreign):
            return low.laid(x, own).reshaped(sizes)
    inner = tuple(f for f in flat(x.axes) if not isinstance(f, Batch))
    view = low.laid(x, (inner, (), ()))
    if not isinstance((*x.axes[0], None)[0], Batch):
        return view.reshaped(sizes)
    total = extent(inner)
    wanted = prod(size for size in sizes if size != -1)
    sizes = [total * low.batch.size // max(1, wanted) if size == -1 else size for size in sizes]
    if not sizes or sizes[0] % low.batch.size or prod(sizes) != total * low.batch.size:
        raise Foreign(f"a reshape of {x.shape} to {tuple(sizes)}")
    axes = [made(sizes[0] // low.batch.size), *map(made, sizes[1:])]
    return View(view.wire, (flat(tuple(axes)), (), ()), ((low.batch, *axes[0]), *axes[1:]))


@rule("flatten")
def flatten(low: Lowering, x: View, start: int = 0, end: int = -1) -> View:
    start, end = placed(x, start), placed(x, end)
    shape = x.shape
    return reshape(low, x, [*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :]])


@rule("unflatten")
def unflatten(low: Lowering, x: View, dim: int, sizes: Sequence[int]) -> View:
    dim = placed(x, dim)
    total = x.shape[dim]
    known = prod(size for size in sizes if size != -1)
    sizes = [total // known if size == -1 else size for size in sizes]
    return reshape(low, x, [*x.shape[:dim], *sizes, *x.shape[dim + 1 :]])


@rule("permute")
def permute(low: Lowering, x: View, order: Sequence[int]) -> View:
    places = [placed(x, place) for place in order]
    if sorted(places) != list(range(len(x.axes))):
        raise Foreign(f"a permutation of {len(x.axes)} axes by {list(order)}")
    return x.permuted(places)


@rule("transpose", "swapaxes")
def transpose(low: Lowering, x: View, one: int, other: int) -> View:
    order = list(range(len(x.axes)))
    one, other = placed(x, one), placed(x, other)
    order[one], order[other] = other, one
    return x.permuted(order)


@rule("movedim")
def movedim(low: Lowering, x: View, source: Any, target: Any) -> View:
    source = [source] if isinstance(source, int) else list(source)
    target = [target] if isinstance(target, int) else list(target)
    order = [n for n in range(len(x.axes)) if n not in [placed(x, s) for s in source]]
    for to, axis in sorted(zip([placed(x, t) for t in target], [placed(x, s) for s in source], strict=True)):
        order.insert(to, axis)
    return x.permuted(order)


@rule("t")
def t(low: Lowering, x: View) -> View:
    return x.permuted(range(len(x.axes))[::-1])


@rule("unsqueeze")
def unsqueeze(low: Lowering, x: View, dim: int) -> View:
    dim = dim % (len(x.axes) + 1)
    return replace(x, axes=(*x.axes[:dim], (), *x.axes[dim:]))


@rule("squeeze")
def squeeze(low: Lowering, x: View, dims: Any = None) -> View:
    chosen = range(len(x.axes)) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {placed(x, dim) for dim in chosen}
    return replace(x, axes=tuple(axis for n, axis in enumerate(x.axes) if axis or n not in gone))


@rule("repeat")
def repeat(low: Lowering, x: View, counts: Sequence[int]) -> View:
    if len(counts) == len(x.axes) and not x.axes[0] and counts[0] == low.batch.size:
        x, counts = replace(x, axes=((low.batch,), *x.axes[1:])), (1, *counts[1:])
    axes = ((),) * (len(counts) - len(x.axes)) + x.axes
    if counts[0] != 1 and any(isinstance(factor, Batch) for factor in axes[0]):
        raise Foreign("a repetition of the batch")
    return replace(x, axes=tuple(made(count) + axis for count, axis in zip(counts, axes, strict=True)))


@rule("tile")
def tile(low: Lowering, x: View, counts: Sequence[int]) -> View:
    return repeat(low, x, [1] * (len(x.axes) - len(counts)) + list(counts))


@rule("reshape_as", "view_as")
def reshape_as(low: Lowering, x: View, other: Any) -> View:
    return reshape(low, x, other.shape)


@rule("expand", "expand_as")
def expand(low: Lowering, x: View, sizes: Any, implicit: bool = False) -> View:
    sizes = sizes.shape if isinstance(sizes, View | Static) else tuple(sizes)
    view = replace(x, axes=((),) * (len(sizes) - len(x.axes)) + x.axes)
    grown = [n for n, size in enumerate(sizes) if size not in (-1, 1) and extent(view.axes[n]) == 1]
    if not grown:
        return view
    axes = list(view.axes)
    for n in grown:
        axes[n] = (low.batch,) if n == 0 and sizes[n] == low.batch.size else made(sizes[n])
    return replace(view, axes=tuple(axes))  # copies are made where something needs them


@rule("repeat_interleave")
def repeat_interleave(low: Lowering, x: View, count: int, dim: int, **_: Any) -> View:
    dim = placed(x, dim)
    return replace(x, axes=(*x.axes[:dim], x.axes[dim] + made(count), *x.axes[dim + 1 :]))


@rule("roll")
def roll(low: Lowering, x: View, shifts: Sequence[int], dims: Sequence[int]) -> View:
    shifts, dims = ([each] if isinstance(each, int) else list(each) for each in (shifts, dims))
    x = x.fused()
    axes = [x.axes[placed(x, dim)] for dim in dims]
    rest = tuple(f for f in flat(x.own) if not any(f in axis for axis in axes))
    own: Layout
    if len(axes) == 1:
        own = best([(rest, axes[0], ()), (rest, (), axes[0])], [x])
    else:
        own = best([(rest, axes[0], axes[1]), (rest, axes[1], axes[0])], [x])
    view = low.laid(x, own)
    moved = {id(axis): shift for axis, shift in zip(axes, shifts, strict=True)}
    amounts = [next((moved[id(axis)] for axis in axes if axis and axis == side), 0) for side in own[1:]]
    return low.apply(Roll(*amounts), view)
