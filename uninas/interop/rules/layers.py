"""Linear layers and convolutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import comb
from typing import Any

import numpy as np

from uninas.graph import INPUT, Each, Graph, Node, Wire
from uninas.interop.lower import Lowering, Weight, rule, weighed
from uninas.interop.rules.elementwise import add, mul
from uninas.interop.rules.placing import (
    channels_first,
    grown,
    merged,
    needs_view,
    on_map,
    pair,
    placed,
    surrounded,
    turned,
)
from uninas.interop.trace import Static
from uninas.interop.views import Axis, Batch, Foreign, Layout, View, extent, made, shape_of, without_batch
from uninas.ops.conv import Blur, Conv, ConvTranspose, DepthwiseConv, window_padding
from uninas.ops.linear import Linear
from uninas.ops.merge import Add, Concat
from uninas.ops.split import Chunk


def shifted(low: Lowering, x: View, bias: Any, dim: int, layer: Callable[[Any], View]) -> View:
    """A layer with a bias; one that is computed from other parameters is added to what the layer gives, on an axis."""
    found = low.computed(bias, x) if isinstance(bias, Static) else None
    if found is None:
        return layer(bias)
    plain = layer(None)
    behind = len(plain.axes) - 1 - placed(plain, dim)
    return merged(low, Add(), plain, replace(found, axes=(*found.axes, *[()] * behind)))


@rule("linear")
def linear(low: Lowering, x: View, weight: Any, bias: Any = None, transposed: bool = False) -> View:
    needs_view(x)
    return shifted(low, x, bias, -1, lambda given: dense(low, x, weight, given, transposed))


def dense(low: Lowering, x: View, weight: Any, bias: Any, transposed: bool = False) -> View:
    """A linear layer along the last axis."""
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
    if (parts := without_batch(x.axes[0])) and len(x.axes) == 4:
        dials = ((sh, sw), -1, dh, groups)
        if kernels == (1, 1) == (sh, sw) and groups == 1:
            return shifted(low, x, bias, 1, lambda given: pointwise(low, x, weight, given))
        return of_parts(low, x, parts, (weight, bias), kernels, dials, padding)
    view = on_map(low, x)
    if dh != dw and kernels[0] > 1 and kernels[1] > 1:
        raise Foreign(f"a convolution with dilations {dh} and {dw}")
    d = dw if kernels[1] > 1 else dh
    view, pad = padded(low, view, kernels, padding, d, flat_map)
    if not weight.sources:
        return blurred(low, view, weight, bias, kernels, ((sh, sw), pad, d, groups))
    dials = ((sh, sw), pad, d, groups)
    if found := standardised(weight):
        return scaled(low, view, found, bias, kernels, dials)
    return shifted(low, view, bias, 1, lambda given: windowed(low, view, weight, given, kernels, dials, flat_map))


def standardised(weight: Static) -> tuple[Static, float, Any] | None:
    """The parameter behind a kernel that is standardised in use, eps, and the gain, None without one."""
    call = weight.made
    while call is not None and call.function in ("reshape_as", "view", "reshape", "view_as"):
        inner = call.arguments[0]
        call = inner.made if isinstance(inner, Static) else None
    if call is None or call.function != "batch_norm" or len(call.arguments) < 8 or not call.arguments[5]:
        return None
    kernel, gain, shift, *_ = call.arguments
    source = kernel.made.arguments[0] if isinstance(kernel, Static) and kernel.made else None
    if not isinstance(source, Static) or not source.is_parameter or source.shape != weight.shape or shift is not None:
        return None
    return source, float(call.arguments[7]), gain


def scaled(
    low: Lowering, view: View, found: tuple[Static, float, Any], bias: Any, kernels: tuple[int, int], dials: Any
) -> View:
    """A convolution with standardised kernels, which may have a learned gain."""
    source, eps, gain = found
    strides, pad, dilation, groups = dials
    k, l = kernels
    across = 0 if strides[0] == strides[1] else strides[1]
    plain = gain is None
    op = Conv(
        source.shape[0], k, strides[0], pad, dilation, groups, bias is not None and plain, 0 if k == l else l, across,
        standardise=True, eps=eps,
    )  # fmt: skip
    (wire,) = low.emit(op, view, weights=weighed({"weight": source, "bias": bias if plain else None}))
    own = tuple(map(made, op.outputs(shape_of(view.own))[0]))
    out = View(wire, own, (view.axes[0], *own))
    if plain:
        return out
    out = mul(low, out, upright(gain))
    return out if bias is None else add(low, out, upright(bias))


def upright(static: Static) -> Static:
    """One number for each channel, as C x 1 x 1."""
    shape = (static.shape[0], 1, 1)
    return replace(static, shape=shape, read=lambda: np.asarray(static.read()).reshape(shape), probe=None)


def pointwise(low: Lowering, x: View, weight: Static, bias: Any) -> View:
    """A convolution of single positions, wherever these lie."""
    view = channels_first(low, x, 1)
    op = Conv(weight.shape[0], 1, bias=bias is not None)
    (wire,) = low.emit(op, view, weights=weighed({"weight": turned(view, 1, weight, 1), "bias": bias}))
    new = made(weight.shape[0])
    return View(wire, (new, *view.own[1:]), (view.axes[0], new, *view.axes[2:]))


MOST_PARTS = 64


def of_parts(
    low: Lowering, x: View, parts: Axis, weights: tuple[Static, Any], kernels: tuple[int, int], dials: Any, padding: Any
) -> View:
    """A convolution of parts of maps, which lie in the batch: heads or windows, all with the same kernels."""
    strides, _, dilation, groups = dials
    count, (weight, bias) = extent(parts), weights
    if count > MOST_PARTS:
        raise Foreign(f"a convolution of {count} parts of maps")
    low_, high = low.mapped(x.fused()), x.axes[1:]
    view = low.laid(low_, (parts + high[0], high[1], high[2]))
    view = View(view.wire, view.own, ((low.batch,), *view.own))
    view, pad = padded(low, view, kernels, padding, dilation)
    c = extent(high[0])
    inside = View(Wire(INPUT), (high[0], *view.own[1:]), ((low.batch,), high[0], *view.own[1:]))
    op = window_op(inside, weight, bias, kernels, (strides, pad, dilation, groups))
    shape = (c, *shape_of(view.own)[1:])
    body = Graph((shape,), (Node(op.name, op, (Wire(INPUT),)),), (Wire(op.name),), "each")
    cut_wires = low.emit(Chunk(count), view)
    each = [View(wire, inside.own, inside.axes) for wire in cut_wires]
    given = {f"{op.name}.{name}": found for name, found in weighed({"weight": weight, "bias": bias}).items()}
    own = tuple(map(made, body.output_shapes[0]))
    done = [View(wire, own, ((low.batch,), *own)) for wire in low.emit(Each(body, True), *each, weights=given)]
    (wire,) = low.emit(Concat(), *done)
    return View(wire, (parts + own[0], *own[1:]), ((low.batch, *parts), *own))


def blurred(
    low: Lowering,
    view: View,
    weight: Static,
    bias: Any,
    kernels: tuple[int, int],
    how: tuple[tuple[int, int], int, int, int],
) -> View:
    """A convolution by a kernel that is not learned, which must be binomial."""
    strides, padding, dilation, groups = how
    k = kernels[0]
    row = np.array([comb(k - 1, n) for n in range(k)]) / 2 ** (k - 1)
    fits = kernels == (k, k) and strides[0] == strides[1] and dilation == 1 and bias is None
    if not fits or groups != shape_of(view.own)[0] or not np.allclose(weight.read(), np.outer(row, row), atol=1e-6):
        raise Foreign("a convolution with a kernel that is not learned")
    op = Blur(k, strides[0], padding)
    (wire,) = low.emit(op, view)
    return View(wire, *grown(view, *op.outputs(shape_of(view.own))[0][1:]))


@rule("conv_transpose2d")
def conv_transpose(
    low: Lowering, x: View, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> View:  # fmt: skip
    needs_view(x)
    if not isinstance(weight, Static) or not weight.sources:
        raise Foreign("a transposed convolution with weights that are not learned")
    pairs = [tuple(weight.shape[2:]), pair(stride), pair(padding, 0), pair(output_padding, 0)]
    if any(a != b for a, b in pairs) or pair(dilation) != (1, 1):
        raise Foreign("a transposed convolution that is not square")
    view = on_map(low, x)
    (k, _), (s, _), (p, _), (more, _) = pairs
    op = ConvTranspose(weight.shape[1] * groups, k, s, p, more, groups, bias is not None)
    (wire,) = low.emit(op, view, weights=weighed({"weight": weight, "bias": bias}))
    own = tuple(map(made, op.outputs(shape_of(view.own))[0]))
    return View(wire, own, (view.axes[0], *own))


def windowed(
    low: Lowering, view: View, weight: Static, bias: Any, kernels: tuple[int, int],
    dials: tuple[tuple[int, int], int, int, int], flat_map: bool,
) -> View:  # fmt: skip
    """A convolution of a map that is padded as it must be."""
    op = window_op(view, weight, bias, kernels, dials, flat_map)
    (wire,) = low.emit(op, view, weights=weighed({"weight": weight, "bias": bias}))
    shape = op.outputs(shape_of(view.own))[0]
    own = tuple(
        side if n and extent(side) == size else made(size)
        for n, (side, size) in enumerate(zip(view.own, shape, strict=True))
    )
    return View(wire, own, (view.axes[0], own[0], own[2]) if flat_map else (view.axes[0], *own))


def window_op(
    view: View, weight: Static, bias: Any, kernels: tuple[int, int], dials: tuple[tuple[int, int], int, int, int],
    flat_map: bool = False,
) -> Conv | DepthwiseConv:  # fmt: skip
    """The operation for a convolution with these kernels."""
    strides, pad, dilation, groups = dials
    out, c = weight.shape[0], shape_of(view.own)[0]
    across = 0 if strides[0] == strides[1] or flat_map else strides[1]
    stride = strides[1] if flat_map else strides[0]
    width = 0 if kernels[0] == kernels[1] else kernels[1]
    if groups == c == out and c > 1:
        return DepthwiseConv(kernels[0], stride, pad, dilation, bias is not None, width, across)
    return Conv(out, kernels[0], stride, pad, dilation, groups, bias is not None, width, across)


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
