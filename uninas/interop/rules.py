"""How each function is lowered: one rule for each, by its name in ATen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from math import isclose, prod
from typing import Any

import numpy as np

from uninas.graph import INPUT
from uninas.interop.lower import Lowering, Step, Weight, aligned, best, ordered, restricted, rule, weighed
from uninas.interop.offsets import offset_table, shifted_windows
from uninas.interop.trace import Static
from uninas.interop.views import (
    Axis,
    Batch,
    Factor,
    Foreign,
    Layout,
    View,
    extent,
    flat,
    made,
    neighbours,
    refined,
    route,
    shape_of,
    without_batch,
)
from uninas.ops import activation as act
from uninas.ops.attention import Matmul1, Matmul2, RelPosBias, WindowMask
from uninas.ops.conv import Conv, DepthwiseConv, window_padding
from uninas.ops.linear import Linear
from uninas.ops.merge import Add, Concat, ConcatTokens, Divide, Maximum, Multiply, Subtract
from uninas.ops.norm import BatchNorm, GroupNorm, L2Norm, LayerNorm, RmsNorm
from uninas.ops.op import Op
from uninas.ops.pool import AvgPool, GlobalAvgPool, GlobalMaxPool, Length, MaxPool, Mean, Upsample
from uninas.ops.regulariser import Dropout, LayerScale
from uninas.ops.shape import ClassToken, Crop, Pad, PixelShuffle, PixelUnshuffle, PosEmbed, Roll, Token
from uninas.ops.split import Chunk, Slice

ALONG = ("channels", "height", "width")


def placed(view: View, dim: int) -> int:
    """The number of an axis, counted from the front."""
    return dim % max(1, len(view.axes))


def pair(value: Any, default: int = 1) -> tuple[int, int]:
    """Two numbers from one, two, or none."""
    if value is None or value == []:
        return default, default
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1]) if len(value) > 1 else (value[0], value[0])


def sized(view: View, value: Any) -> bool:
    """Whether a view is as large as it should be."""
    return view.shape == tuple(value.shape)


def needs_view(*values: Any) -> None:
    for value in values:
        if not isinstance(value, View):
            raise Foreign("an operation on constants")


# ---- element by element ----------------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, Op] = {
    "relu": act.Relu(),
    "relu6": act.Relu6(),
    "silu": act.Silu(),
    "mish": act.Mish(),
    "sigmoid": act.Sigmoid(),
    "hardsigmoid": act.HardSigmoid(),
    "hardswish": act.HardSwish(),
    "tanh": act.Tanh(),
    "neg": act.Scale(-1.0),
}
for _name, _op in ACTIVATIONS.items():

    def _activation(low: Lowering, x: View, _op: Op = _op) -> View:
        return low.apply(_op, x)

    rule(_name)(_activation)


@rule("gelu")
def gelu(low: Lowering, x: View, approximate: str = "none") -> View:
    return low.apply(act.Gelu(approximate), x)


@rule("hardtanh")
def hardtanh(low: Lowering, x: View, low_: float = -1.0, high: float = 1.0) -> View:
    return clamp(low, x, low_, high)


@rule("clamp")
def clamp(low: Lowering, x: View, min: Any = None, max: Any = None) -> View:
    if min == 0 and max == 6:
        return low.apply(act.Relu6(), x)
    if min == 0 and max is None:
        return low.apply(act.Relu(), x)
    min, max = (uniform(bound) if isinstance(bound, Static) else bound for bound in (min, max))
    if isinstance(min, View) or isinstance(max, View):
        raise Foreign("a clamp with bounds that are tensors")
    min, max = (None if bound is not None and abs(bound) > 1e30 else bound for bound in (min, max))
    if min is None and max is None:
        return x
    bounds = (-1e12 if min is None else float(min), 1e12 if max is None else float(max))
    return low.apply(act.Clamp(*bounds), x)


@rule("clamp_min")
def clamp_min(low: Lowering, x: View, min: float) -> View:
    return clamp(low, x, min)


@rule("addcmul")
def addcmul(low: Lowering, x: Any, one: Any, other: Any, value: float = 1) -> View:
    return add(low, x, mul(low, one, other), value)


@rule("leaky_relu")
def leaky_relu(low: Lowering, x: View, slope: float = 0.01) -> View:
    return low.apply(act.LeakyRelu(float(slope)), x)


@rule("elu")
def elu(low: Lowering, x: View, alpha: float = 1.0, scale: float = 1, input_scale: float = 1) -> View:
    if (alpha, scale, input_scale) != (1, 1, 1):
        raise Foreign(f"an elu with alpha {alpha}")
    return low.apply(act.Elu(), x)


@rule("softplus")
def softplus(low: Lowering, x: View, beta: float = 1, threshold: float = 20) -> View:
    if beta != 1:
        raise Foreign(f"a softplus with beta {beta}")
    return low.apply(act.Softplus(), x)


@rule("prelu")
def prelu(low: Lowering, x: View, weight: Static) -> View:
    if prod(weight.shape) > 1:
        x = channels_first(low, x, 1)
    return low.apply(act.PRelu(shared=prod(weight.shape) == 1), x, weight=weight)


@rule("fixed")
def fixed(low: Lowering, static: Static) -> View:
    batch: Axis = (low.batch,) if static.shape[0] > 1 else ()
    if batch:
        static = one_sample(static, 0)
    axes = tuple(made(size) for size in static.shape)
    start = low.views[low.trace.inputs[0]]
    own = axes[1:] if len(axes) == 4 else (axes[2], (), axes[1])
    view = low.learned(static, start, own, axes)
    return replace(view, axes=(batch, *axes[1:]))


@rule("dropout", "feature_dropout", "alpha_dropout")
def dropout(low: Lowering, x: View, p: float = 0.5, train: bool = False) -> View:
    return low.apply(Dropout(float(p)), x) if p else x


@rule(
    "alias", "detach", "contiguous", "clone", "to", "_to_copy", "lift_fresh_copy", "type_as", "_assert_tensor_metadata"
)
def same(low: Lowering, x: View, *_: Any, **__: Any) -> View:
    return x


def uniform(static: Any) -> float | None:
    """The number that a constant consists of, if it is one, and is not learned."""
    if isinstance(static, int | float):
        return float(static)
    if static.sources:
        return None
    values = np.asarray(static.read())
    return float(values.flat[0]) if values.size and np.all(values == values.flat[0]) else None


@rule("add")
def add(low: Lowering, x: Any, y: Any, alpha: float = 1) -> View:
    if not isinstance(x, View):
        x, y = y, x
        if alpha != 1:
            raise Foreign("a sum with a factor")
    needs_view(x)
    if isinstance(y, View):
        return merged(low, Add(), x, y if alpha == 1 else low.apply(act.Scale(float(alpha)), y))
    if (number := uniform(y)) is not None:
        return low.apply(act.Scale(1.0, number * alpha), x) if number else x
    return added(low, x, y)


@rule("sub", "subtract")
def sub(low: Lowering, x: Any, y: Any, alpha: float = 1) -> View:
    if isinstance(x, View) and isinstance(y, View):
        return merged(low, Subtract(), x, y)
    if isinstance(x, View) and (number := uniform(y)) is not None:
        return low.apply(act.Scale(1.0, -number), x)
    if isinstance(y, View) and (number := uniform(x)) is not None:
        return low.apply(act.Scale(-1.0, number), y)
    if isinstance(x, View):
        return merged(low, Subtract(), x, learned(low, x, y))
    return merged(low, Subtract(), learned(low, y, x), y)


@rule("rsub")
def rsub(low: Lowering, x: View, y: Any, alpha: float = 1) -> View:
    return sub(low, y, x)


@rule("mul", "multiply")
def mul(low: Lowering, x: Any, y: Any) -> View:
    if not isinstance(x, View):
        x, y = y, x
    needs_view(x)
    if isinstance(y, View):
        return merged(low, Multiply(), x, y)
    if (number := uniform(y)) is not None:
        step = low.step_of(x)
        if step is not None and step is low.steps[-1] and isinstance(step.op, Matmul1):
            sums = step_channels(low, step)
            factor: float = step.op.scale or sums**-0.5
            step.op = scores(step.op.row_wise, factor * number, sums)
            found: View = x
            return found
        return low.apply(act.Scale(number), x) if number != 1 else x
    view, axes, own, y = constant(low, x, y)
    if y.sources and own[0] == view.own[0] and own[0] and not any(own[1:]):
        return low.apply(LayerScale(initial(y)), view, weight=ordered(y, axes, own))
    return merged(low, Multiply(), view, low.learned(y, view, own, axes))


def step_channels(low: Lowering, step: Step) -> int:
    """How many channels a product of matrices sums over."""
    wire = step.inputs[0]
    shape = low.inputs[wire.port] if wire.node == INPUT else low.steps[int(wire.node[1:])].shapes[wire.port]
    return shape[0]


def scores(row_wise: bool, scale: float, channels: int) -> Matmul1:
    """The scores of attention with that factor."""
    return Matmul1(row_wise, 0.0 if isclose(scale, channels**-0.5, rel_tol=1e-6) else float(scale))


def initial(static: Static) -> float:
    """What a layer scale begins with, as far as its weights still tell."""
    values = np.asarray(static.read())
    return float(f"{values.flat[0]:.6g}") if values.size and np.all(values == values.flat[0]) else 1.0


@rule("div", "true_divide")
def div(low: Lowering, x: Any, y: Any) -> View:
    if isinstance(x, View) and isinstance(y, View):
        return merged(low, Divide(), x, y)
    if isinstance(x, View) and (number := uniform(y)) is not None:
        return low.apply(act.Scale(1 / number), x)
    if isinstance(x, View):
        return merged(low, Divide(), x, learned(low, x, y))
    raise Foreign("a constant divided by a tensor")


@rule("maximum")
def maximum(low: Lowering, x: View, y: View) -> View:
    needs_view(x, y)
    return merged(low, Maximum(), x, y)


@rule("pow")
def power(low: Lowering, x: View, exponent: Any) -> View:
    if exponent in (0.5, -0.5):
        return low.apply(act.Root(inverse=exponent < 0), x)
    if exponent != 2:
        raise Foreign(f"a power of {exponent}")
    return merged(low, Multiply(), x, x)


@rule("sqrt")
def sqrt(low: Lowering, x: View) -> View:
    return low.apply(act.Root(), x)


@rule("rsqrt")
def rsqrt(low: Lowering, x: View) -> View:
    return low.apply(act.Root(inverse=True), x)


@rule("square")
def square(low: Lowering, x: View) -> View:
    return merged(low, Multiply(), x, x)


def merged(low: Lowering, op: Op, x: View, y: View) -> View:
    """A sum, product, ... of two views."""
    if x == y:
        one = other = x
    else:
        one, other = aligned(low, x, y)
    (wire,) = low.emit(op, one, other)
    axes = tuple(a or b for a, b in zip(one.axes, other.axes, strict=True))
    own = tuple(a or b for a, b in zip(one.own, other.own, strict=True))
    return View(wire, own, axes)


def constant(low: Lowering, x: View, static: Static) -> tuple[View, Layout, Layout, Static]:
    """A view, routed so that a constant broadcasts over it; the axes of the constant, and where they lie."""
    place = x.batch_axis - len(x.axes) + len(static.shape)
    if place >= 0 and static.shape[place] == x.shape[x.batch_axis] > 1:
        static = one_sample(static, place)
    axes = tuple(made(size) for size in static.shape)
    if len(axes) > len(x.axes):
        raise Foreign(f"a constant of {static.shape} with a tensor of {x.shape}")
    stand_in = View(x.wire, (flat(axes), (), ()), axes)
    view, other = refined(x, stand_in)
    if any(isinstance(factor, Batch) for factor in flat(other.axes)):
        raise Foreign(f"a constant of {static.shape} that differs from sample to sample")
    view = low.mapped(view)
    inner = restricted(view.own, View(x.wire, (flat(other.axes),), ()))
    if inner is None or not set(flat(other.axes)) <= set(flat(view.own)):
        inside = flat(other.axes)
        rest = tuple(f for f in flat(view.own) if f not in inside)
        if not set(inside) <= set(flat(view.own)):
            raise Foreign(f"a constant of {static.shape} with a tensor of {x.shape}")
        own = best([(inside, (), rest), (rest, (), inside), (inside, rest, ())], [view])
        view = low.laid(view, own)
        inner = restricted(own, View(x.wire, (inside,), ()))
        assert inner is not None
    return view, other.axes, inner, static


def one_sample(static: Static, place: int) -> Static:
    """A constant that was repeated for every sample, for one of them."""
    values = np.asarray(static.read())
    first = np.take(values, [0], place)
    if not np.array_equal(values, np.broadcast_to(first, values.shape)):
        raise Foreign(f"a constant of {static.shape} that differs from sample to sample")
    return Static(first.shape, lambda: first, None, static.sources)


def learned(low: Lowering, x: View, static: Static) -> View:
    """A constant as a view that broadcasts over x."""
    view, axes, own, static = constant(low, x, static)
    return low.learned(static, view, own, axes)


def added(low: Lowering, x: View, static: Static) -> View:
    """A sum with what does not depend on the input: a bias by offset, a window mask, an embedding, or any tensor."""
    if (found := offset_bias(low, x, static)) or (found := window_mask(low, x, static)):
        return found
    view, axes, own, static = constant(low, x, static)
    if static.sources and own == view.own:
        return low.apply(PosEmbed(), view, weight=ordered(static, axes, own))
    return merged(low, Add(), view, low.learned(static, view, own, axes))


def map_layout(low: Lowering, x: View, shape: Sequence[int]) -> tuple[View, Axis] | None:
    """A map whose last two axes are positions, and the axis of heads in front of its rows; None for other tensors."""
    if len(x.axes) < 3 or x.axes[-1] == () or extent(x.axes[-1]) != extent(x.axes[-2]):
        return None
    rows = [f for axis in x.axes[:-2] for f in axis if not isinstance(f, Batch)]
    heads = x.axes[-3] if len(shape) >= 3 and shape[-3] > 1 else ()
    if len(x.axes) >= 3 and extent(heads) not in (1, shape[-3] if len(shape) >= 3 else 1):
        return None
    order = (*heads, *(f for f in rows if f not in heads))
    return low.laid(x, (order, x.axes[-2], x.axes[-1])), heads


def offset_bias(low: Lowering, x: View, static: Static) -> View | None:
    """A learned bias by the offset between two positions (rel_pos_bias)."""
    shape = [size for size in static.shape if size > 1] if static.shape else []
    if len(shape) not in (2, 3) or shape[-1] != shape[-2] or len(static.sources) != 1 or static.is_parameter:
        return None
    shape_of_source = low.trace.parameters.get(static.sources[0], ())
    mirrored = (found := offset_table(static, shape_of_source)) is None
    found = found or offset_table(static, shape_of_source, mirrored=True)
    if found is None or extent(x.axes[-1]) != shape[-1]:
        return None
    grid, table = found
    laid = map_layout(low, x, (1, *shape) if len(shape) == 2 else shape)
    if laid is None:
        return None
    view, heads = laid
    count = extent(heads) if len(view.own[0]) else 0
    op = RelPosBias(*((0, 0) if grid[0] == grid[1] else grid), heads=count if count > 1 else 0, mirrored=mirrored)

    def values() -> Any:
        again = offset_table(static, None, mirrored=mirrored)
        assert again is not None
        return again[1] if count > 1 else again[1][0]

    source = Static(table.shape if count > 1 else table.shape[1:], values, sources=static.sources)
    return low.apply(op, view, bias__table=source)


def window_mask(low: Lowering, x: View, static: Static) -> View | None:
    """The mask of shifted windows."""
    shape = [size for size in static.shape if size > 1]
    if static.sources or len(shape) != 3 or shape[1] != shape[2] or extent(x.axes[-1]) != shape[-1]:
        return None
    found = shifted_windows(static)
    if found is None:
        return None
    rows = [f for axis in x.axes[:-2] for f in axis if not isinstance(f, Batch)]
    place = len(x.axes) - len(static.shape) + next(n for n, size in enumerate(static.shape) if size > 1)
    windows = without_batch(x.axes[place])
    if extent(windows) != shape[0]:
        return None
    heads = tuple(f for f in rows if f not in windows)
    view = low.laid(x, ((*heads, *windows), x.axes[-2], x.axes[-1]))
    return low.apply(WindowMask(*found, heads=extent(heads) if heads else 0), view)


# ---- axes ------------------------------------------------------------------------------------------------------------


@rule("view", "reshape", "_unsafe_view")
def reshape(low: Lowering, x: View, sizes: Sequence[int]) -> View:
    try:
        return x.reshaped(sizes)
    except Foreign:
        own = best(
            [(flat_own, (), ()) for flat_own in [tuple(f for f in flat(x.axes) if not isinstance(f, Batch))]], [x]
        )
        return low.laid(x, own).reshaped(sizes)


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
    return x.permuted([placed(x, place) for place in order])


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
    if any(count != 1 for count in counts[-len(x.axes) :]):
        raise Foreign(f"a repetition of {x.shape}")
    return replace(x, axes=((),) * (len(counts) - len(x.axes)) + x.axes)


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
    view = low.mapped(view)
    if view.own[1] or view.own[2] or len(grown) > 2 or len(view.axes) != 4 or set(grown) != {2, 3}:
        return view  # what broadcasts needs no copies; whoever does need them says that they are not there
    axes = list(view.axes)
    for n in grown:
        axes[n] = made(sizes[n])
    new = [axes[n] for n in grown]
    own = (view.own[0], new[0] if len(new) == 2 else (), new[-1])
    (wire,) = low.emit(Upsample(extent(own[1]), extent(own[2])), view)
    return View(wire, own, tuple(axes))


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


# ---- parts of axes ---------------------------------------------------------------------------------------------------


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
    layouts: list[tuple[int, int, str, list[Layout]]] = []
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
                cost = sum(len(route(each.own, layout)) for each, layout in zip(views, wanted, strict=True))
                layouts.append((cost, len(layouts), kind, wanted))
    if not layouts:
        raise Foreign("a concatenation of tensors that lie apart")
    _, _, kind, wanted = min(layouts, key=lambda option: option[:2])
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


# ---- along axes ------------------------------------------------------------------------------------------------------


def reduced(low: Lowering, x: View, dims: Any, keep: bool, ops: dict[str, Op]) -> View:
    """A mean, ... along some axes; `ops` by the words positions, channels, height and width."""
    dims = list(range(1, len(x.axes))) if dims is None else [dims] if isinstance(dims, int) else list(dims)
    dims = [placed(x, dim) for dim in dims]
    x = low.mapped(x.fused())
    gone = tuple(f for dim in dims for f in x.axes[dim])
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
        word, own = min(options, key=lambda option: len(route(x.own, option[1])))
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
    return reduced(low, x, dims, keepdim, {"positions": GlobalMaxPool()})


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


# ---- norms -----------------------------------------------------------------------------------------------------------


def channels_first(low: Lowering, x: View, dim: int) -> View:
    """The view with one axis of the tensor, alone, as our channels; its factors may be in another order (`turned`)."""
    x = x.fused()
    axis = x.axes[placed(x, dim)]
    if sorted(map(id, x.own[0])) == sorted(map(id, axis)):
        return x
    if any(isinstance(f, Batch) for f in axis):
        raise Foreign("a layer along the batch")
    rest = tuple(tuple(f for f in own if f not in axis) for own in (*x.own, (), ())[:3])
    joined_rest = rest[0] + rest[1] + rest[2]
    in_order = tuple(f for a in x.axes for f in a if not isinstance(f, Batch) and f not in axis)
    options: list[Layout] = [(axis, rest[1], rest[2]), (axis, rest[0], rest[2])] if not rest[0] or not rest[1] else []
    if len(x.own) == 3:
        options += [own for op, own in neighbours(x.own) if sorted(map(id, own[0])) == sorted(map(id, axis))]
    options += [
        (axis, (), joined_rest),
        (axis, (), in_order),
        (axis, rest[0], rest[1] + rest[2]),
        (axis, rest[1], rest[0] + rest[2]),
    ]
    spatial = [a for n, a in enumerate(x.axes) if a and n != placed(x, dim) and a == without_batch(a)]
    if len(spatial) == 2 and set(spatial[0] + spatial[1]) == set(joined_rest):
        options.append((axis, spatial[0], spatial[1]))
    options = [own for own in options if sorted(map(id, flat(own))) == sorted(map(id, flat(x.own)))]
    return low.laid(x, best(options, [x]))


def turned(view: View, dim: int, static: Any, at: int = 0) -> Weight | None:
    """A weight whose axis `at` is that of our channels, in their order."""
    if static is None:
        return None
    axis = view.axes[placed(view, dim)]
    if view.own[0] == axis:
        return Weight(static)
    sizes = [*static.shape[:at], *(f.size for f in axis), *static.shape[at + 1 :]]
    order = [*range(at), *(at + axis.index(f) for f in view.own[0]), *range(at + len(axis), len(sizes))]
    return Weight(static, tuple(sizes), tuple(order))


@rule("batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
def batch_norm(
    low: Lowering, x: View, weight: Any, bias: Any, mean: Any, var: Any, training: Any = False,
    momentum: float = 0.1, eps: float = 1e-5, cudnn: Any = None,
) -> View:  # fmt: skip
    if isinstance(mean, type(None)) or (weight is None) != (bias is None):
        raise Foreign("a batch norm without statistics, or with a scale alone")
    op = BatchNorm(float(eps), float(momentum), affine=weight is not None)
    view = channels_first(low, x, 1)
    given = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": var}
    return low.apply(op, view, **{name: turned(view, 1, static) for name, static in given.items()})


@rule("layer_norm", "native_layer_norm")
def layer_norm(
    low: Lowering, x: View, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> View:
    if len([size for size in shape if size > 1]) > 1:
        raise Foreign(f"a layer norm over {len(shape)} axes")
    if weight is None and bias is not None:
        raise Foreign("a layer norm with a shift alone")
    op = LayerNorm(float(eps), affine=weight is not None, bias=bias is not None or weight is None)
    dim = len(x.axes) - len(shape)
    view = channels_first(low, x, dim)
    return low.apply(op, view, weight=turned(view, dim, weight), bias=turned(view, dim, bias))


@rule("rms_norm")
def rms_norm(low: Lowering, x: View, shape: Sequence[int], weight: Any = None, eps: Any = None) -> View:
    if len(shape) > 1:
        raise Foreign(f"an rms norm over {len(shape)} axes")
    eps = float(np.finfo(np.float32).eps) if eps is None else float(eps)
    view = channels_first(low, x, -1)
    return low.apply(RmsNorm(eps, affine=weight is not None), view, weight=turned(view, -1, weight))


@rule("group_norm")
def group_norm(
    low: Lowering, x: View, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> View:
    if weight is None or bias is None:
        raise Foreign("a group norm without learned scale and shift")
    view = low.mapped(channels_first(low, x, 1))
    view = low.laid(view, (view.axes[1], *view.own[1:]))
    return low.apply(GroupNorm(groups, float(eps)), view, weight=weight, bias=bias)


# ---- layers with weights ---------------------------------------------------------------------------------------------


@rule("linear", "addmm_linear")
def linear(low: Lowering, x: View, weight: Any, bias: Any = None, transposed: bool = False) -> View:
    needs_view(x)
    if not isinstance(weight, Static):
        raise Foreign("a linear layer with weights that depend on the input")
    out = weight.shape[1] if transposed else weight.shape[0]
    x = x.fused()
    if len(x.axes) == 3 and len(x.own) == 3 and isinstance((*x.axes[0], None)[0], Batch):
        # Tokens, perhaps of windows, are laid out as such before the products that follow.
        x = low.laid(x, (x.axes[2], x.axes[0][1:], x.axes[1])) if x.axes[2] == x.own[0] else x
    view = channels_first(low, x, -1)
    if transposed:
        view = low.laid(view, (view.axes[-1], *view.own[1:]))
    given = Weight(weight, tuple(weight.shape), (1, 0)) if transposed else turned(view, -1, weight, 1)
    new = made(out)
    if len(view.own) == 1:
        (wire,) = low.emit(Linear(out, bias is not None), view, weights=weighed({"weight": given, "bias": bias}))
        own: Layout = (new,)
    else:
        op = Conv(out, 1, bias=bias is not None)
        (wire,) = low.emit(op, view, weights=weighed({"weight": given, "bias": bias}))
        own = (new, *view.own[1:])
    return View(wire, own, (*view.axes[:-1], new))


@rule("conv2d", "conv1d", "convolution")
def conv(
    low: Lowering, x: View, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> View:  # fmt: skip
    needs_view(x)
    if not isinstance(weight, Static):
        raise Foreign("a convolution with weights that depend on the input")
    flat_map = len(weight.shape) == 3
    kernels = (1, weight.shape[2]) if flat_map else tuple(weight.shape[2:])
    if len(kernels) != 2:
        raise Foreign(f"a convolution over {len(kernels)} axes")
    (sh, sw), (dh, dw) = pair(stride), pair(dilation)
    if flat_map:
        sh, dh = 1, dw
        sh = sw if sw != 1 else 1
    view = on_map(low, x)
    _out, (_c, _h, _w) = weight.shape[0], shape_of(view.own)
    if flat_map and sw != 1:
        raise Foreign("a convolution of one axis with a stride")
    if sh != sw or (dh != dw and kernels[0] > 1 and kernels[1] > 1):
        raise Foreign(f"a convolution with strides {sh} and {sw}")
    d = dw if kernels[1] > 1 else dh
    view, pad = padded(low, view, kernels, padding, d, flat_map)
    if not weight.sources:
        raise Foreign("a convolution with a kernel that is not learned")
    return windowed(low, view, weight, bias, kernels, (sh, pad, d, groups), flat_map)


def windowed(
    low: Lowering, view: View, weight: Static, bias: Any, kernels: tuple[int, int], dials: tuple[int, int, int, int],
    flat_map: bool,
) -> View:  # fmt: skip
    """A convolution of a map that is padded as it must be."""
    stride, pad, dilation, groups = dials
    out, c = weight.shape[0], shape_of(view.own)[0]
    op: Op
    if groups == c == out and c > 1 and kernels[0] == kernels[1]:
        op = DepthwiseConv(kernels[0], stride, pad, dilation, bias is not None)
    else:
        width = 0 if kernels[0] == kernels[1] else kernels[1]
        op = Conv(out, kernels[0], stride, pad, dilation, groups, bias is not None, width)
    (wire,) = low.emit(op, view, weights=weighed({"weight": weight, "bias": bias}))
    shape = op.outputs(shape_of(view.own))[0]
    own = tuple(
        side if n and extent(side) == size else made(size)
        for n, (side, size) in enumerate(zip(view.own, shape, strict=True))
    )
    return View(wire, own, (view.axes[0], own[0], own[2]) if flat_map else (view.axes[0], *own))


def on_map(low: Lowering, x: View) -> View:
    """A batch of maps B x C x H x W, or B x C x N, as ours."""
    x = low.mapped(x.fused())
    if len(x.axes) not in (3, 4):
        raise Foreign(f"a layer for maps on a tensor of {x.shape}")
    if x.axes[0] and (len(x.axes[0]) != 1 or not isinstance(x.axes[0][0], Batch)):
        raise Foreign("a layer for maps on parts of maps, which lie in the batch")
    wanted = (x.axes[1], (), x.axes[2]) if len(x.axes) == 3 else x.axes[1:]
    return low.laid(x, wanted)


def padded(
    low: Lowering, view: View, kernels: tuple[int, int], padding: Any, dilation: int, flat_map: bool = False
) -> tuple[View, int]:
    """The map with what must stand around it, and the padding that is left for the operation (-1: by its rule)."""
    if padding == "valid":
        padding = 0
    usual = [window_padding(-1, kernel, dilation) for kernel in kernels]
    if padding == "same":
        totals = [(kernel - 1) * dilation for kernel in kernels]
        if all(total % 2 == 0 for total in totals):
            return view, -1
        return surrounded(low, view, totals[0] // 2, -(-totals[0] // 2), totals[1] // 2, -(-totals[1] // 2)), 0
    ph, pw = pair(padding, 0)
    if flat_map:
        ph = 0
    if [ph, pw] == usual:
        return view, -1
    if ph == pw:
        return view, ph
    return surrounded(low, view, ph, ph, pw, pw), 0


def surrounded(low: Lowering, view: View, top: int, bottom: int, left: int, right: int, *, fill: str = "zero") -> View:
    """Zeros around a map, or what no maximum takes."""
    c, h, w = shape_of(view.own)
    if min(top, bottom, left, right) < 0:
        cropped = Crop(h + min(top, 0) + min(bottom, 0), w + min(left, 0) + min(right, 0), max(-top, 0), max(-left, 0))
        (wire,) = low.emit(cropped, view)
        view = View(wire, *grown(view, *cropped.outputs((c, h, w))[0][1:]))
        top, bottom, left, right = (max(0, side) for side in (top, bottom, left, right))
    if not any((top, bottom, left, right)):
        return view
    (wire,) = low.emit(Pad(top, bottom, left, right, fill), view)
    _, h, w = shape_of(view.own)
    return View(wire, *grown(view, h + top + bottom, w + left + right))


def grown(view: View, height: int, width: int) -> tuple[Layout, Layout]:
    """Own axes and axes of a map of another height and width, whose axes are those of ours."""
    h = view.own[1] if extent(view.own[1]) == height else made(height)
    w = view.own[2] if extent(view.own[2]) == width else made(width)
    changed = {view.own[1]: h, view.own[2]: w} if view.own[1] != view.own[2] else {}
    axes = tuple(changed.get(axis, axis) if axis else axis for axis in view.axes)
    if len(view.axes) == 4:
        axes = (view.axes[0], view.axes[1], h, w)
    return (view.own[0], h, w), axes


@rule("constant_pad_nd", "pad")
def pad(low: Lowering, x: View, sides: Sequence[int], *rest: Any) -> View:
    mode = next((each for each in rest if isinstance(each, str)), "constant")
    value = next((each for each in rest if isinstance(each, int | float)), 0)
    sides = [*sides, *([0] * (2 * len(x.axes) - len(sides)))]
    if not any(sides):
        return x
    lowest = mode == "constant" and value < -1e30
    fill = "lowest" if lowest else "one" if value == 1 else "zero"
    if mode != "constant" or (value not in (0, 1) and not lowest):
        raise Foreign(f"a padding with {value if mode == 'constant' else mode}")
    axes = {
        len(x.axes) - 1 - n: (sides[2 * n], sides[2 * n + 1])
        for n in range(len(x.axes))
        if any(sides[2 * n : 2 * n + 2])
    }
    view = low.mapped(x.fused())
    for dim, (before, after) in axes.items():
        axis = view.axes[dim]
        if axis and axis == view.own[0] and min(before, after) >= 0 and fill == "zero":
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


@rule("max_pool2d", "max_pool2d_with_indices")
def max_pool(
    low: Lowering, x: View, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> View:
    return pooled(low, x, kernel, stride, padding, dilation, lambda k, s, p: MaxPool(k, s, p, ceil))


@rule("avg_pool2d")
def avg_pool(
    low: Lowering, x: View, kernel: Any, stride: Any = None, padding: Any = 0, ceil: bool = False,
    count_padding: bool = True, divisor: Any = None,
) -> View:  # fmt: skip
    if divisor is not None:
        raise Foreign("an average pooling with a divisor")
    counts = bool(count_padding) and pair(padding, 0) != (0, 0)
    return pooled(low, x, kernel, stride, padding, 1, lambda k, s, p: AvgPool(k, s, p, counts, ceil))


def pooled(low: Lowering, x: View, kernel: Any, stride: Any, padding: Any, dilation: Any, make: Any) -> View:
    """A pooling with square windows."""
    kh, kw = pair(kernel)
    sh, sw = pair(stride) if stride not in (None, [], ()) else (kh, kw)
    ph, pw = pair(padding, 0)
    if kh != kw or sh != sw or ph != pw or pair(dilation) != (1, 1):
        raise Foreign(f"a pooling with windows of {kh} x {kw}")
    view = on_map(low, x)
    op = make(kh, sh, -1 if ph == (kh - 1) // 2 else ph)
    (wire,) = low.emit(op, view)
    return View(wire, *grown(view, *op.outputs(shape_of(view.own))[0][1:]))


@rule("adaptive_avg_pool2d", "adaptive_max_pool2d")
def adaptive_pool(low: Lowering, x: View, size: Any) -> View:
    view = on_map(low, x)
    _c, h, w = shape_of(view.own)
    wanted = pair([h if s is None else s for s in size] if isinstance(size, list | tuple) else size)
    if wanted == (h, w):
        return view
    if wanted == (1, 1):
        (wire,) = low.emit(GlobalAvgPool(), view)
    elif h % wanted[0] == 0 == w % wanted[1] and h // wanted[0] == w // wanted[1]:
        (wire,) = low.emit(AvgPool(h // wanted[0], h // wanted[0], 0), view)
    else:
        raise Foreign(f"an adaptive pooling of {h} x {w} to {wanted[0]} x {wanted[1]}")
    return View(wire, *grown(view, *wanted))


@rule("avg_pool1d")
def avg_pool1d(
    low: Lowering, x: View, kernel: Any, stride: Any = None, padding: Any = 0, ceil: bool = False, *_: Any
) -> View:
    k, s = pair(kernel)[0], pair(stride if stride not in (None, [], ()) else kernel)[0]
    total = x.shape[-1]
    if k != s or pair(padding, 0) != (0, 0) or total % k:
        raise Foreign("an average pooling of one axis")
    return mean(low, reshape(low, x, [*x.shape[:-1], total // k, k]), [-1])


@rule("adaptive_avg_pool1d")
def adaptive_pool_1d(low: Lowering, x: View, size: Any) -> View:
    if pair(size)[0] != 1:
        raise Foreign("an adaptive pooling of one axis")
    return mean(low, x, [-1], True)


@rule("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d")
def upsample(low: Lowering, x: View, size: Any, *rest: Any, mode: str = "nearest") -> View:
    view = on_map(low, x)
    _, h, w = shape_of(view.own)
    align = mode != "nearest" and bool(rest and rest[0])
    factors = rest[-1] if rest and isinstance(rest[-1], list | tuple) else None
    height, width = pair(size) if size else (int(h * factors[0]), int(w * factors[1]))  # type: ignore[index]
    (wire,) = low.emit(Upsample(height, width, mode, align), view)
    return View(wire, *grown(view, height, width))


@rule("upsample_bilinear2d")
def bilinear(low: Lowering, x: View, size: Any, *rest: Any) -> View:
    return upsample(low, x, size, *rest, mode="bilinear")


@rule("upsample_bicubic2d")
def bicubic(low: Lowering, x: View, size: Any, *rest: Any) -> View:
    return upsample(low, x, size, *rest, mode="bicubic")


@rule("pixel_shuffle")
def pixel_shuffle(low: Lowering, x: View, factor: int) -> View:
    view = on_map(low, x)
    (wire,) = low.emit(PixelShuffle(factor), view)
    own = tuple(map(made, PixelShuffle(factor).outputs(shape_of(view.own))[0]))
    return View(wire, own, (view.axes[0], *own))


@rule("pixel_unshuffle")
def pixel_unshuffle(low: Lowering, x: View, factor: int) -> View:
    view = on_map(low, x)
    (wire,) = low.emit(PixelUnshuffle(factor), view)
    own = tuple(map(made, PixelUnshuffle(factor).outputs(shape_of(view.own))[0]))
    return View(wire, own, (view.axes[0], *own))


# ---- products of matrices --------------------------------------------------------------------------------------------


@rule("matmul", "bmm", "mm")
def matmul(low: Lowering, a: Any, b: Any, scale: float = 1.0) -> View:
    if isinstance(a, View) and isinstance(b, Static) and len(b.shape) == 2:
        return linear(low, a, b, transposed=True)
    needs_view(a, b)
    a, scale = unscaled(low, a, scale)
    b, scale = unscaled(low, b, scale)
    # One axis for each of rows, columns and the sum, so that only equal factors meet.
    one = replace(a, axes=(*a.axes[:-2], a.axes[-1], a.axes[-2], ()))
    other = replace(b, axes=(*b.axes[:-2], b.axes[-2], (), b.axes[-1]))
    one, other = refined(low.mapped(one), low.mapped(other))
    k, m, n = one.axes[-3], one.axes[-2], other.axes[-1]
    batch = tuple(x or y for x, y in zip(one.axes[:-3], other.axes[:-3], strict=True))
    rows = tuple(f for axis in batch for f in axis if not isinstance(f, Batch))
    inside = [set(flat(view.own)) for view in (one, other)]
    # What only one of them has goes with its own positions.
    m_, n_ = tuple(f for f in rows if f not in inside[1]) + m, tuple(f for f in rows if f not in inside[0]) + n
    rows = tuple(f for f in rows if f in inside[0] and f in inside[1])
    if inside[0] != {*k, *m_, *rows} or inside[1] != {*k, *n_, *rows}:
        raise Foreign("a product of matrices whose factors lie apart")
    axes = (*batch, m, n)
    m, n = m_, n_
    orders = [*permutations(rows)] if len(rows) <= 3 else [rows]
    options: list[tuple[int, int, str, Layout, Layout]] = []
    for order in orders:
        kinds: tuple[tuple[str, Layout, Layout], ...] = (
            ("scores", (k, order, m), (k, order, n)),
            ("sums", (order, m, k), (n, order, k)),
            ("turned sums", (m, order, k), (order, n, k)),
        )
        for kind, first, second in kinds:
            cost = len(route(one.own, first)) + len(route(other.own, second))
            options.append((cost, len(options), kind, first, second))
    _, _, kind, first, second = min(options, key=lambda option: option[:2])
    one, other = low.laid(one, first), low.laid(other, second)
    wire, result = product(low, kind, one, other, scale, (rows != (), k, m, n))
    return View(wire, result, axes)


def product(
    low: Lowering, kind: str, one: View, other: View, scale: float, about: tuple[bool, Axis, Axis, Axis]
) -> tuple[Any, Layout]:
    """The operation for a product of matrices whose factors lie where it wants them."""
    row_wise, k, m, n = about
    if kind == "scores":
        (wire,) = low.emit(scores(row_wise, scale, extent(k)), one, other)
        return wire, (one.own[1], m, n)
    pair_, turned = ((one, other), False) if kind == "sums" else ((other, one), True)
    if scale != 1:
        pair_ = (low.apply(act.Scale(float(scale)), pair_[0]), pair_[1])
    # The result lies as the values do where there are as many of both, so these are tokens.
    (wire,) = low.emit(Matmul2(row_wise), *pair_)
    return wire, ((n if not turned else m), one.own[0] if not turned else one.own[1], m if not turned else n)


def unscaled(low: Lowering, view: View, scale: float) -> tuple[View, float]:
    """The view before a multiplication by a number, which goes into the scale instead."""
    step = low.step_of(view)
    if step and isinstance(step.op, act.Scale) and step.op.offset == 0:
        return replace(view, wire=step.inputs[0]), scale * step.op.factor
    return view, scale


@rule("scaled_dot_product_attention")
def attention(
    low: Lowering, q: View, k: View, v: View, mask: Any = None, dropout_p: float = 0.0, causal: bool = False,
    scale: Any = None, enable_gqa: bool = False,
) -> View:  # fmt: skip
    if causal or enable_gqa:
        raise Foreign("attention with a causal mask or shared keys")
    factor = extent(q.axes[-1]) ** -0.5 if scale is None else scale
    scores = matmul(low, q, transpose(low, k, -2, -1), factor)
    if mask is not None:
        scores = add(low, scores, mask)
    return matmul(low, softmax(low, scores, -1), v)


@rule("einsum")
def einsum(low: Lowering, equation: str, operands: Sequence[Any], path: Any = None) -> View:
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != 2 or "." in equation or len(operands) != 2:
        raise Foreign(f"einsum {equation}")
    a, b = terms
    shared = [x for x in a if x in b]
    sums = [x for x in shared if x not in right]
    rows = [x for x in shared if x in right]
    m, n = [x for x in a if x not in b], [x for x in b if x not in a]
    if len(sums) != 1 or len(m) != 1 or len(n) != 1 or sorted(right) != sorted([*rows, *m, *n]):
        raise Foreign(f"einsum {equation}")
    needs_view(*operands)
    one = operands[0].permuted([a.index(x) for x in (*rows, *m, *sums)])
    other = operands[1].permuted([b.index(x) for x in (*rows, *sums, *n)])
    result = matmul(low, one, other)
    return result.permuted([[*rows, *m, *n].index(x) for x in right])
