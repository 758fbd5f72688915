"""Linear layers and convolutions."""

from __future__ import annotations

from typing import Any

from uninas.interop.lower import Lowering, Weight, rule, weighed
from uninas.interop.rules.placing import channels_first, needs_view, on_map, pair, surrounded, turned
from uninas.interop.trace import Static
from uninas.interop.views import Batch, Foreign, Layout, View, extent, made, shape_of
from uninas.ops.conv import Conv, DepthwiseConv, window_padding
from uninas.ops.linear import Linear
from uninas.ops.op import Op


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
