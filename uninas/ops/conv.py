"""Convolutions, and the arithmetic of sliding windows that pooling shares.

A bias counts one element-wise operation per output element.
"""

from __future__ import annotations

from typing import Any

from uninas.ops.op import Op, Shape, ShapeError, attr, image, size


def window_padding(padding: int, kernel: int, dilation: int = 1) -> int:
    """The padding that -1 stands for: half the kernel's reach, which keeps sizes at stride 1 and odd kernels."""
    return (kernel - 1) * dilation // 2 if padding < 0 else padding


def window_steps(length: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil: bool = False) -> int:
    """Number of windows that fit along an axis of this length. Raises ShapeError when none does.

    With `ceil`, a last incomplete window counts, unless it would begin in the padding (torch's rule).
    """
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


class Conv(Op, name="conv", family="conv"):
    """Two-dimensional convolution (cross-correlation), grouped, strided or dilated on demand."""

    out: int = attr("number of output channels", low=1, channels=True)
    kernel: int = attr("height of the kernel, and its width unless `width` is given", default=3, low=1)
    stride: int = attr("step between windows", default=1, low=1)
    padding: int = attr("zeros around the map; -1: (kernel - 1) * dilation // 2 on each axis", default=-1, low=-1)
    dilation: int = attr("distance between the taps of the kernel", default=1, low=1)
    groups: int = attr("number of channel groups that do not see each other", default=1, low=1)
    bias: bool = attr("add a learned constant to every output channel", default=True)
    width: int = attr("width of the kernel; 0: square", default=0, low=0)

    @property
    def kernels(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return self.kernel, self.width or self.kernel

    def shape(self, x: Shape) -> Shape:
        c, *lengths = image(x)
        if c % self.groups or self.out % self.groups:
            raise ShapeError(
                f"expected input and output channels that {self.groups} groups divide, but got {c} and {self.out}"
            )
        steps = [
            window_steps(length, kernel, self.stride, self.padding, self.dilation)
            for length, kernel in zip(lengths, self.kernels, strict=True)
        ]
        return (self.out, *steps)

    def params(self, x: Shape) -> int:
        k, l = self.kernels
        return self.out * (x[0] // self.groups * k * l + self.bias)

    def macs(self, x: Shape) -> int:
        k, l = self.kernels
        return size(self.shape(x)) * (x[0] // self.groups) * k * l

    def elementwise(self, x: Shape) -> int:
        return size(self.shape(x)) * self.bias

    def emit(self, nn: Any, x: Shape) -> Any:
        pads = tuple(window_padding(self.padding, k, self.dilation) for k in self.kernels)
        return nn.Conv2d(x[0], self.out, self.kernels, self.stride, pads, self.dilation, self.groups, self.bias)


class DepthwiseConv(Op, name="depthwise_conv", family="conv"):
    """Convolution of every channel by a kernel of its own (Chollet 2017)."""

    kernel: int = attr("height and width of the kernel", default=3, low=1)
    stride: int = attr("step between windows", default=1, low=1)
    padding: int = attr("zeros around the map; -1: (kernel - 1) * dilation // 2", default=-1, low=-1)
    dilation: int = attr("distance between the taps of the kernel", default=1, low=1)
    bias: bool = attr("add a learned constant to every channel", default=True)

    def shape(self, x: Shape) -> Shape:
        c, *lengths = image(x)
        steps = [window_steps(length, self.kernel, self.stride, self.padding, self.dilation) for length in lengths]
        return (c, *steps)

    def params(self, x: Shape) -> int:
        return x[0] * (self.kernel**2 + self.bias)

    def macs(self, x: Shape) -> int:
        return size(self.shape(x)) * self.kernel**2

    def elementwise(self, x: Shape) -> int:
        return size(self.shape(x)) * self.bias

    def emit(self, nn: Any, x: Shape) -> Any:
        pad = window_padding(self.padding, self.kernel, self.dilation)
        return nn.Conv2d(x[0], x[0], self.kernel, self.stride, pad, self.dilation, x[0], self.bias)


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
