"""Pooling and resizing.

Pooling counts one element-wise operation per element of every window; resizing moves data and counts nothing.
"""

from __future__ import annotations

from typing import Any

from uninas.ops.conv import SAME, Pair, even, sides, windows
from uninas.ops.op import Op, Shape, ShapeError, attr, image, size

AROUND = "padding around the map; -1: (kernel - 1) // 2 on each axis; -2: TensorFlow's same"


def pooled(x: Shape, kernels: Pair, strides: Pair, padding: int, ceil: bool) -> Shape:
    """Shape after pooling; raises ShapeError where torch would refuse the padding."""
    c, *lengths = image(x)
    for kernel in kernels:
        if padding > kernel // 2:
            raise ShapeError(f"expected a padding of at most half the kernel of {kernel}, but got {padding}")
    return (c, *windows(lengths, kernels, strides, padding, ceil=ceil))


class MaxPool(Op, name="max_pool", family="pool"):
    """Largest value of each window; padding never wins."""

    kernel: int = attr("height of the window, and its width unless `width` is given", default=3, low=1)
    stride: int = attr("step between windows", default=1, low=1)
    padding: int = attr(AROUND, default=-1, low=SAME)
    ceil: bool = attr("let a last incomplete window count", default=False)
    width: int = attr("width of the window; 0: square", default=0, low=0, later=True)
    stride_width: int = attr("step to the right; 0: as downwards", default=0, low=0, later=True)

    kernels = property(lambda self: (self.kernel, self.width or self.kernel))
    strides = property(lambda self: (self.stride, self.stride_width or self.stride))

    def shape(self, x: Shape) -> Shape:
        return pooled(x, self.kernels, self.strides, self.padding, self.ceil)

    def elementwise(self, x: Shape) -> int:
        return size(self.shape(x)) * self.kernel * (self.width or self.kernel)

    def emit(self, nn: Any, x: Shape) -> Any:
        pads = sides(x, self.kernels, self.strides, self.padding)
        if not even(pads):
            return nn.call(nn.max_pool, self.kernels, self.strides, pads)
        return nn.MaxPool2d(self.kernels, self.strides, pads[0], ceil_mode=self.ceil)


class AvgPool(Op, name="avg_pool", family="pool"):
    """Mean of each window."""

    kernel: int = attr("height of the window, and its width unless `width` is given", default=3, low=1)
    stride: int = attr("step between windows", default=1, low=1)
    padding: int = attr(AROUND, default=-1, low=SAME)
    count_padding: bool = attr("let the zeros around the map count in the mean", default=False)
    ceil: bool = attr("let a last incomplete window count", default=False)
    width: int = attr("width of the window; 0: square", default=0, low=0, later=True)
    stride_width: int = attr("step to the right; 0: as downwards", default=0, low=0, later=True)

    kernels = property(lambda self: (self.kernel, self.width or self.kernel))
    strides = property(lambda self: (self.stride, self.stride_width or self.stride))

    def shape(self, x: Shape) -> Shape:
        return pooled(x, self.kernels, self.strides, self.padding, self.ceil)

    def elementwise(self, x: Shape) -> int:
        return size(self.shape(x)) * self.kernel * (self.width or self.kernel)

    def emit(self, nn: Any, x: Shape) -> Any:
        pads = sides(x, self.kernels, self.strides, self.padding)
        if not even(pads):
            return nn.call(nn.avg_pool, self.kernels, self.strides, pads, self.count_padding)
        return nn.AvgPool2d(self.kernels, self.strides, pads[0], self.ceil, self.count_padding)


class GlobalAvgPool(Op, name="global_avg_pool", family="pool", keeps="nothing"):
    """Mean of every channel over all positions (Lin et al. 2014): C x H x W -> C x 1 x 1."""

    def shape(self, x: Shape) -> Shape:
        return (image(x)[0], 1, 1)

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.AdaptiveAvgPool2d(1)


class GlobalMaxPool(Op, name="global_max_pool", family="pool", keeps="both"):
    """Largest value of every channel over all positions: C x H x W -> C x 1 x 1."""

    def shape(self, x: Shape) -> Shape:
        return (image(x)[0], 1, 1)

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.amax, (2, 3), True)


class AdaptivePool(Op, name="adaptive_pool", family="pool", keeps="nothing"):
    """Mean of height x width windows that cover the map evenly, side by side or with a common row where it must be.

    Window n of h reaches from floor(n H / h) to ceil((n + 1) H / h) (He et al. 2014, spatial pyramid pooling).
    """

    height: int = attr("height of the result", low=1)
    width: int = attr("width of the result", low=1)

    def shape(self, x: Shape) -> Shape:
        return (image(x)[0], self.height, self.width)

    def elementwise(self, x: Shape) -> int:
        c, height, width = image(x)
        return c * _covered(height, self.height) * _covered(width, self.width)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.AdaptiveAvgPool2d((self.height, self.width))


def _covered(length: int, windows: int) -> int:
    """The lengths of all windows of an adaptive pooling along one axis, together: each common position once more."""
    return sum(-(-(n + 1) * length // windows) - n * length // windows for n in range(windows))


AXES = {"positions": (2, 3), "height": (2,), "width": (3,), "channels": (1,)}
"""Axes of a batch of maps, by the words of `mean`, `largest` and `length`."""


class _Reduced:
    """What operations share that make one number of those along an axis, or of all positions."""

    axis: str

    def shape(self, x: Shape) -> Shape:
        return tuple(1 if n in AXES[self.axis] else length for n, length in enumerate(image(x), start=1))

    def elementwise(self, x: Shape) -> int:
        return size(x)


class Mean(_Reduced, Op, name="mean", family="pool", keeps="nothing"):
    """Mean along one axis, or over all positions; the axis stays, with size 1."""

    axis: str = attr("what the mean is taken over", default="positions", choices=tuple(AXES))

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.mean, AXES[self.axis], True)


class Largest(_Reduced, Op, name="largest", family="pool", keeps="both"):
    """Largest value along one axis, or over all positions (Woo et al. 2018, CBAM); the axis stays, with size 1."""

    axis: str = attr("what the largest value is taken of", default="positions", choices=tuple(AXES))

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.amax, AXES[self.axis], True)


class Length(_Reduced, Op, name="length", family="pool", keeps="both"):
    """Euclidean length along one axis, or over all positions (Woo et al. 2023, ConvNeXt V2); the axis stays."""

    axis: str = attr("what the length is taken of", default="positions", choices=tuple(AXES))

    def elementwise(self, x: Shape) -> int:
        return 2 * size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.length, AXES[self.axis])


class Upsample(Op, name="upsample", family="pool", keeps="nothing"):
    """Resizes a map: every new position takes the value of the nearest old one, or a mixture of those around it."""

    height: int = attr("height of the result", low=1)
    width: int = attr("width of the result", low=1)
    mode: str = attr("how values are found", default="nearest", choices=("nearest", "bilinear", "bicubic"), later=True)
    align: bool = attr("let the corners of both maps meet; not for nearest", default=False, later=True)

    def shape(self, x: Shape) -> Shape:
        return (image(x)[0], self.height, self.width)

    def emit(self, nn: Any, x: Shape) -> Any:
        if self.mode == "nearest":
            return nn.Upsample((self.height, self.width))
        return nn.Upsample((self.height, self.width), mode=self.mode, align_corners=self.align)
