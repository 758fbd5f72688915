"""Convolutions, and the arithmetic of sliding windows that pooling shares.

A bias counts one element-wise operation per output element.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from uninas.ops.op import Op, Shape, ShapeError, attr, image, size

SAME = -2
"""The padding of TensorFlow: as much as gives ceil(length / stride) windows, the odd one at the end."""


def window_padding(padding: int, kernel: int, dilation: int = 1) -> int:
    """The padding that -1 stands for: half the kernel's reach, which keeps sizes at stride 1 and odd kernels."""
    return (kernel - 1) * dilation // 2 if padding < 0 else padding


def window_sides(length: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> tuple[int, int]:
    """The padding before and behind an axis of this length."""
    if padding != SAME:
        return (window_padding(padding, kernel, dilation),) * 2
    total = max(0, (-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length)
    return total // 2, total - total // 2


def window_steps(length: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil: bool = False) -> int:
    """Number of windows that fit along an axis of this length. Raises ShapeError when none does.

    With `ceil`, a last incomplete window counts, unless it would begin in the padding (torch's rule).
    """
    if padding == SAME:
        return -(-length // stride)
    padding = window_padding(padding, kernel, dilation)
    room = length + 2 * padding - (kernel - 1) * dilation - 1
    if room < 0:
        raise ShapeError(
            f"expected a length of at least {length - room} for kernel {kernel}, dilation {dilation} and "
            f"padding {padding}, but got {length}"
        )
    steps = room // stride + 1
    if ceil and room % stride and steps * stride < length + padding:
        steps += 1
    return steps


PADDING = "zeros around the map; -1: (kernel - 1) * dilation // 2 on each axis; -2: TensorFlow's same"
Pair = tuple[int, int]


def windows(
    lengths: Sequence[int], kernels: Pair, strides: Pair, padding: int, dilation: int = 1, *, ceil: bool = False
) -> Iterator[int]:
    """How many windows fit below and beside each other. Raises ShapeError."""
    for length, kernel, stride in zip(lengths, kernels, strides, strict=True):
        yield window_steps(length, kernel, stride, padding, dilation, ceil)


def sides(x: Shape, kernels: Pair, strides: Pair, padding: int, dilation: int = 1) -> tuple[Pair, Pair]:
    """The padding at the top and left, and at the bottom and right."""
    pairs = [window_sides(n, k, s, padding, dilation) for n, k, s in zip(x[1:], kernels, strides, strict=True)]
    return (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1])


def even(pads: tuple[Pair, Pair]) -> bool:
    """Whether opposite sides have the same padding, as layers of torch want it."""
    return pads[0] == pads[1]


class Conv(Op, name="conv", family="conv"):
    """Two-dimensional convolution (cross-correlation), grouped, strided or dilated on demand."""

    out: int = attr("number of output channels", low=1, channels=True)
    kernel: int = attr("height of the kernel, and its width unless `width` is given", default=3, low=1)
    stride: int = attr("step between windows", default=1, low=1)
    padding: int = attr(PADDING, default=-1, low=SAME)
    dilation: int = attr("distance between the taps of the kernel", default=1, low=1)
    groups: int = attr("number of channel groups that do not see each other", default=1, low=1)
    bias: bool = attr("add a learned constant to every output channel", default=True)
    width: int = attr("width of the kernel; 0: square", default=0, low=0)
    stride_width: int = attr("step to the right; 0: as downwards", default=0, low=0, later=True)
    standardise: bool = attr(
        "give the kernel of every output channel mean 0 and variance 1 in use (Qiao et al. 2019)", default=False,
        later=True,
    )  # fmt: skip
    eps: float = attr("added to the variance of a standardised kernel", default=1e-6, low=0, later=True)

    @property
    def kernels(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return self.kernel, self.width or self.kernel

    @property
    def strides(self) -> tuple[int, int]:
        """Steps downwards and to the right."""
        return self.stride, self.stride_width or self.stride

    def shape(self, x: Shape) -> Shape:
        c, *lengths = image(x)
        if c % self.groups or self.out % self.groups:
            raise ShapeError(
                f"expected input and output channels that {self.groups} groups divide, but got {c} and {self.out}"
            )
        return (self.out, *windows(lengths, self.kernels, self.strides, self.padding, self.dilation))

    def params(self, x: Shape) -> int:
        k, l = self.kernels
        return self.out * (x[0] // self.groups * k * l + self.bias)

    def macs(self, x: Shape) -> int:
        k, l = self.kernels
        return size(self.shape(x)) * (x[0] // self.groups) * k * l

    def elementwise(self, x: Shape) -> int:
        return size(self.shape(x)) * self.bias + self.standardise * 2 * self.params(x)

    def stackable(self, x: Shape) -> bool:
        return not self.standardise and even(sides(x, self.kernels, self.strides, self.padding, self.dilation))

    def emit(self, nn: Any, x: Shape) -> Any:
        pads = sides(x, self.kernels, self.strides, self.padding, self.dilation)
        given = x[0], self.out, self.kernels, self.strides, pads[1], self.dilation, self.groups, self.bias
        if self.standardise or not even(pads):
            return nn.OwnConv2d(*given, sides=pads, eps=self.eps if self.standardise else None)
        return nn.Conv2d(*given)


class DepthwiseConv(Op, name="depthwise_conv", family="conv"):
    """Convolution of every channel by a kernel of its own (Chollet 2017)."""

    kernel: int = attr("height of the kernel, and its width unless `width` is given", default=3, low=1)
    stride: int = attr("step between windows", default=1, low=1)
    padding: int = attr(PADDING, default=-1, low=SAME)
    dilation: int = attr("distance between the taps of the kernel", default=1, low=1)
    bias: bool = attr("add a learned constant to every channel", default=True)
    width: int = attr("width of the kernel; 0: square", default=0, low=0, later=True)
    stride_width: int = attr("step to the right; 0: as downwards", default=0, low=0, later=True)

    def along(self, c: int) -> Conv:
        """The same as a convolution of c channels in c groups."""
        return Conv(c, self.kernel, self.stride, self.padding, self.dilation, c, self.bias, self.width,
                    self.stride_width)  # fmt: skip

    def shape(self, x: Shape) -> Shape:
        return self.along(image(x)[0]).shape(x)

    def params(self, x: Shape) -> int:
        return x[0] * (self.kernel * (self.width or self.kernel) + self.bias)

    def macs(self, x: Shape) -> int:
        return size(self.shape(x)) * self.kernel * (self.width or self.kernel)

    def elementwise(self, x: Shape) -> int:
        return size(self.shape(x)) * self.bias

    def stackable(self, x: Shape) -> bool:
        return self.along(x[0]).stackable(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return self.along(x[0]).emit(nn, x)


class Blur(Op, name="blur", family="conv", keeps="nothing"):
    """Every channel by a fixed binomial kernel, as (1, 2, 1) / 4 in both directions (Zhang 2019, BlurPool)."""

    kernel: int = attr("height and width of the kernel", default=3, low=1)
    stride: int = attr("step between windows", default=1, low=1)
    padding: int = attr(PADDING, default=-1, low=SAME)

    def shape(self, x: Shape) -> Shape:
        c, *lengths = image(x)
        return (c, *windows(lengths, (self.kernel,) * 2, (self.stride,) * 2, self.padding))

    def macs(self, x: Shape) -> int:
        return size(self.shape(x)) * self.kernel**2

    def emit(self, nn: Any, x: Shape) -> Any:
        pads = sides(x, (self.kernel,) * 2, (self.stride,) * 2, self.padding)
        return nn.call(nn.blur, self.kernel, self.stride, pads)


class ConvTranspose(Op, name="conv_transpose", family="conv"):
    """Transposed convolution: every position writes a weighted kernel into a larger map (Dumoulin & Visin 2016)."""

    out: int = attr("number of output channels", low=1, channels=True)
    kernel: int = attr("height and width of the kernel", default=2, low=1)
    stride: int = attr("how far apart neighbours write", default=2, low=1)
    padding: int = attr("rows and columns cut off at every edge", default=0, low=0)
    output_padding: int = attr("further rows and columns below and to the right", default=0, low=0)
    groups: int = attr("number of channel groups that do not see each other", default=1, low=1)
    bias: bool = attr("add a learned constant to every output channel", default=True)

    def shape(self, x: Shape) -> Shape:
        c, *lengths = image(x)
        if c % self.groups or self.out % self.groups:
            raise ShapeError(
                f"expected input and output channels that {self.groups} groups divide, but got {c} and {self.out}"
            )
        if self.output_padding >= self.stride:
            raise ShapeError(f"expected an output padding below the stride of {self.stride}")
        h, w = ((n - 1) * self.stride - 2 * self.padding + self.kernel + self.output_padding for n in lengths)
        if h < 1 or w < 1:
            raise ShapeError(f"expected less padding for a map of {lengths[0]} x {lengths[1]}")
        return (self.out, h, w)

    def params(self, x: Shape) -> int:
        return x[0] * (self.out // self.groups) * self.kernel**2 + self.out * self.bias

    def macs(self, x: Shape) -> int:
        return size(x) * (self.out // self.groups) * self.kernel**2

    def elementwise(self, x: Shape) -> int:
        return size(self.shape(x)) * self.bias

    def stackable(self, x: Shape) -> bool:
        return False

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.ConvTranspose2d(
            x[0], self.out, self.kernel, self.stride, self.padding, self.output_padding, self.groups, self.bias
        )
