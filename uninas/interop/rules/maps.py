"""Functions of maps: pooling, resizing, shuffling of pixels."""

from __future__ import annotations

from typing import Any

from uninas.interop.lower import Lowering, rule
from uninas.interop.rules.along import mean
from uninas.interop.rules.axes import reshape
from uninas.interop.rules.placing import grown, on_map, pair
from uninas.interop.views import Foreign, View, made, shape_of, without_batch
from uninas.ops.conv import window_padding, window_steps
from uninas.ops.op import Op
from uninas.ops.pool import AdaptivePool, AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool, Upsample
from uninas.ops.shape import Fold, PixelShuffle, PixelUnshuffle, Unfold


@rule("max_pool2d", "max_pool2d_with_indices")
def max_pool(
    low: Lowering, x: View, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> View:
    return pooled(low, x, kernel, stride, padding, dilation, lambda k, s, p, w, a: MaxPool(k, s, p, ceil, w, a))


@rule("avg_pool2d")
def avg_pool(
    low: Lowering, x: View, kernel: Any, stride: Any = None, padding: Any = 0, ceil: bool = False,
    count_padding: bool = True, divisor: Any = None,
) -> View:  # fmt: skip
    if divisor is not None:
        raise Foreign("an average pooling with a divisor")
    counts = bool(count_padding) and pair(padding, 0) != (0, 0)
    return pooled(low, x, kernel, stride, padding, 1, lambda k, s, p, w, a: AvgPool(k, s, p, counts, ceil, w, a))


def pooled(low: Lowering, x: View, kernel: Any, stride: Any, padding: Any, dilation: Any, make: Any) -> View:
    """A pooling."""
    kh, kw = pair(kernel)
    sh, sw = pair(stride) if stride not in (None, [], ()) else (kh, kw)
    ph, pw = pair(padding, 0)
    usual = [ph, pw] == [window_padding(-1, k) for k in (kh, kw)]
    if pair(dilation) != (1, 1) or (ph != pw and not usual):
        raise Foreign(f"a pooling with windows of {kh} x {kw}, a padding of {ph} and {pw}, and dilation {dilation}")
    op = make(kh, sh, -1 if usual else ph, kw * (kw != kh), sw * (sw != sh))
    if (kh, kw) == (sh, sw) and (ph, pw) == (0, 0) and (found := tiled(low, x, op, kh, kw)):
        return found
    view = on_map(low, x)
    (wire,) = low.emit(op, view)
    return View(wire, *grown(view, *op.outputs(shape_of(view.own))[0][1:]))


def tiled(low: Lowering, x: View, op: Op, height: int, width: int) -> View | None:
    """A pooling of parts of maps, which lie in the batch: they go one below the other, and no window takes of two."""
    parts = without_batch(x.axes[0]) if len(x.axes) == 4 else ()
    if not parts or x.shape[2] % height or x.shape[3] % width:
        return None
    x = low.mapped(x)
    view = low.laid(x, (x.axes[1], parts + x.axes[2], x.axes[3]))
    (wire,) = low.emit(op, view)
    h, w = made(x.shape[2] // height), made(x.shape[3] // width)
    return View(wire, (view.own[0], parts + h, w), (*view.axes[:2], h, w))


@rule("adaptive_avg_pool2d")
def adaptive_pool(low: Lowering, x: View, size: Any, largest: bool = False) -> View:
    view = on_map(low, x)
    _c, h, w = shape_of(view.own)
    wanted = pair([h if s is None else s for s in size] if isinstance(size, list | tuple) else size)
    if wanted == (h, w):
        return view
    op: Op
    if wanted == (1, 1):
        op = GlobalMaxPool() if largest else GlobalAvgPool()
    elif h % wanted[0] == 0 == w % wanted[1]:
        kh, kw = h // wanted[0], w // wanted[1]
        across = kw * (kw != kh)
        op = MaxPool(kh, kh, 0, False, across, across) if largest else AvgPool(kh, kh, 0, False, False, across, across)
    elif not largest:
        op = AdaptivePool(*wanted)
    else:
        raise Foreign(f"the largest values of {h} x {w} in {wanted[0]} x {wanted[1]} uneven windows")
    (wire,) = low.emit(op, view)
    return View(wire, *grown(view, *wanted))


@rule("adaptive_max_pool2d")
def adaptive_max_pool(low: Lowering, x: View, size: Any) -> list[View]:
    return [adaptive_pool(low, x, size, largest=True)]


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


@rule("upsample_nearest2d")
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


@rule("upsample_linear1d", "upsample_nearest1d")
def resized_row(low: Lowering, x: View, size: Any, *rest: Any) -> View:
    length = pair(size)[0] if size else int(x.shape[-1] * rest[-1][0])
    axis = x.axes[-1]
    others = tuple(f for own in x.own for f in own if f not in axis)
    view = low.laid(low.mapped(x.fused()), (others, (), axis))
    align = len(rest) > 1 and bool(rest[0])
    (wire,) = low.emit(Upsample(1, length, "bilinear" if len(rest) > 1 else "nearest", align), view)
    new = made(length)
    return View(wire, (others, (), new), (*view.axes[:-1], new))


@rule("im2col")
def unfold(low: Lowering, x: View, kernel: Any, dilation: Any, padding: Any, stride: Any) -> View:
    (k, l), (s, t), (p, q) = pair(kernel), pair(stride), pair(padding, 0)
    if (k, s, p) != (l, t, q) or pair(dilation) != (1, 1):
        raise Foreign("an unfolding that is not square")
    view = on_map(low, x)
    c, _, _ = shape_of(view.own)
    op = Unfold(k, s, -1 if p == (k - 1) // 2 else p)
    (wire,) = low.emit(op, view)
    _, h, w = op.outputs(shape_of(view.own))[0]
    channels, rows, columns = made(c) + made(k) + made(k), made(h), made(w)
    return View(wire, (channels, rows, columns), (view.axes[0], channels, rows + columns))


@rule("col2im")
def fold(low: Lowering, x: View, size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> View:
    (k, l), (s, t), (p, q), (h, w) = pair(kernel), pair(stride), pair(padding, 0), pair(size)
    if (k, s, p) != (l, t, q) or pair(dilation) != (1, 1):
        raise Foreign("a folding that is not square")
    rows, columns = (window_steps(n, k, s, p) for n in (h, w))
    x = reshape(low, x, [*x.shape[:-1], rows, columns])
    x = low.laid(low.mapped(x), x.axes[1:])
    op = Fold(h, w, k, s, -1 if p == (k - 1) // 2 else p)
    (wire,) = low.emit(op, x)
    own = tuple(map(made, op.outputs(shape_of(x.own))[0]))
    return View(wire, own, (x.axes[0], *own))


@rule("pixel_shuffle")
def pixel_shuffle(low: Lowering, x: View, factor: int) -> View:
    return _shuffled(low, x, PixelShuffle(factor))


@rule("pixel_unshuffle")
def pixel_unshuffle(low: Lowering, x: View, factor: int) -> View:
    return _shuffled(low, x, PixelUnshuffle(factor))


def _shuffled(low: Lowering, x: View, op: PixelShuffle | PixelUnshuffle) -> View:
    view = on_map(low, x)
    (wire,) = low.emit(op, view)
    own = tuple(map(made, op.outputs(shape_of(view.own))[0]))
    return View(wire, own, (view.axes[0], *own))
