"""Functions of maps: pooling, resizing, shuffling of pixels."""

from __future__ import annotations

from typing import Any

from uninas.interop.lower import Lowering, rule
from uninas.interop.rules.along import mean
from uninas.interop.rules.axes import reshape
from uninas.interop.rules.placing import grown, on_map, pair
from uninas.interop.views import Foreign, View, made, shape_of
from uninas.ops.pool import AvgPool, GlobalAvgPool, MaxPool, Upsample
from uninas.ops.shape import PixelShuffle, PixelUnshuffle


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
