"""Operations that move elements to other places, and a few that add learned ones. Moving counts nothing."""

from __future__ import annotations

from typing import Any

from uninas.ops.conv import window_padding, window_steps
from uninas.ops.op import Op, Shape, ShapeError, attr, image, show_shape, size


def tokens(x: Shape) -> Shape:
    """Guard: x must be C x 1 x N."""
    if image(x)[1] != 1:
        raise ShapeError(f"expected tokens C x 1 x N, but got {show_shape(x)}")
    return x


class Reshape(Op, name="reshape", family="shape", keeps="view"):
    """The same numbers, channel by channel and row by row, as a tensor of other sizes."""

    channels: int = attr("channels of the result", low=1)
    height: int = attr("height of the result; 0: as many rows as there are numbers for", default=0, low=0)
    width: int = attr("width of the result", default=1, low=1)

    def shape(self, x: Shape) -> Shape:
        height = self.height or max(1, size(x) // (self.channels * self.width))
        wanted = (self.channels, height, self.width)
        if size(wanted) != size(x):
            raise ShapeError(f"expected {size(wanted)} numbers for {show_shape(wanted)}, but got {show_shape(x)}")
        return wanted

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.reshape, self.shape(x))


class Permute(Op, name="permute", family="shape", keeps="view"):
    """Gives the axes other places: order hwc makes the height the channels, the width the height, and so on."""

    order: str = attr(
        "which axes become channels, height and width", default="cwh", choices=("cwh", "hcw", "hwc", "wch", "whc")
    )

    @property
    def axes(self) -> tuple[int, ...]:
        """Where the channels, the height and the width of the result come from."""
        return tuple("chw".index(letter) for letter in self.order)

    def shape(self, x: Shape) -> Shape:
        sizes = image(x)
        return (sizes[self.axes[0]], sizes[self.axes[1]], sizes[self.axes[2]])

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.permute, (0, *(axis + 1 for axis in self.axes)))


class Heads(Op, name="heads", family="shape"):
    """Deals channels out to rows: the n parts of the channels one below the other, C x H x W -> C / n x (n * H) x W.

    With row-wise products each head is a sequence of its own. `unheads` is the inverse.
    """

    n: int = attr("number of heads", low=1)

    def shape(self, x: Shape) -> Shape:
        c, h, w = image(x)
        if c % self.n:
            raise ShapeError(f"expected channels that {self.n} heads divide, but got {c}")
        return (c // self.n, self.n * h, w)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.heads, self.n)


class Unheads(Op, name="unheads", family="shape"):
    """Gathers the rows of n heads in the channels: C x (n * H) x W -> (n * C) x H x W."""

    n: int = attr("number of heads", low=1)

    def shape(self, x: Shape) -> Shape:
        c, h, w = image(x)
        if h % self.n:
            raise ShapeError(f"expected rows that {self.n} heads divide, but got {h}")
        return (self.n * c, h // self.n, w)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.unheads, self.n)


class Learned(Op, name="learned", family="shape"):
    """A learned tensor, the same for every sample; of what flows in it takes the size of the batch alone.

    With trainable=false it is a table that comes with the weights and stays as it is, as for fixed position codes.
    """

    channels: int = attr("channels of the tensor", low=1, channels=True)
    height: int = attr("height of the tensor", default=1, low=1)
    width: int = attr("width of the tensor", default=1, low=1)
    trainable: bool = attr("whether training changes it", default=True)

    def shape(self, x: Shape) -> Shape:
        return (self.channels, self.height, self.width)

    def params(self, x: Shape) -> int:
        return size(self.shape(x)) * self.trainable

    def degree(self, x: int) -> int:
        return 0

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.LearnedTensor(self.shape(x), self.trainable)


class Identity(Op, name="identity", family="shape", keeps="view"):
    """The input itself."""

    def shape(self, x: Shape) -> Shape:
        return x

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Identity()


class Zero(Op, name="zero", family="shape"):
    """The input times zero: no information passes, though gradients (all zero) do (Dong & Yang 2020, NAS-Bench-201)."""

    stride: int = attr("keep only every so many rows and columns", default=1, low=1)
    out: int = attr("number of output channels; 0: as many as flow in", default=0, low=0, later=True)

    def shape(self, x: Shape) -> Shape:
        if self.stride == 1:
            return (self.out or x[0], *x[1:])
        c, h, w = image(x)
        return (self.out or c, -(-h // self.stride), -(-w // self.stride))

    def elementwise(self, x: Shape) -> int:
        return size(self.shape(x))

    def degree(self, x: int) -> int:
        return 0

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.zero, min(self.stride, max(x)), *([self.out] if self.out not in (0, x[0]) else []))


class Flatten(Op, name="flatten", family="shape", keeps="view"):
    """C x H x W -> a vector of C * H * W."""

    def shape(self, x: Shape) -> Shape:
        return (size(x),)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Flatten()


class Tokens(Op, name="tokens", family="shape", keeps="view"):
    """Positions row by row in one line: C x H x W -> C x 1 x (H * W)."""

    def shape(self, x: Shape) -> Shape:
        c, h, w = image(x)
        return (c, 1, h * w)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.reshape, self.shape(x))


class Untokens(Op, name="untokens", family="shape", keeps="view"):
    """Tokens back into an image: C x 1 x (H * W) -> C x H x W."""

    height: int = attr("height of the image", low=1)
    width: int = attr("width of the image", low=1)

    def shape(self, x: Shape) -> Shape:
        if tokens(x)[2] != self.height * self.width:
            raise ShapeError(
                f"expected {self.height * self.width} tokens for {self.height} x {self.width}, but got {x[2]}"
            )
        return (x[0], self.height, self.width)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.reshape, self.shape(x))


class Transpose(Op, name="transpose", family="shape", keeps="view"):
    """Swaps the channels and the positions of tokens: C x 1 x N -> N x 1 x C."""

    def shape(self, x: Shape) -> Shape:
        c, _, n = tokens(x)
        return (n, 1, c)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.transpose, 1, 3)


class Token(Op, name="token", family="shape", keeps="view"):
    """Picks the token at one position: C x 1 x N -> C x 1 x 1."""

    index: int = attr("position, counted from 0", default=0, low=0)

    def shape(self, x: Shape) -> Shape:
        if self.index >= tokens(x)[2]:
            raise ShapeError(f"expected a position below {x[2]}, but got {self.index}")
        return (x[0], 1, 1)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.narrow, 3, self.index, 1)


class ClassToken(Op, name="class_token", family="shape"):
    """Puts one learned token before the others: C x 1 x N -> C x 1 x (N + 1) (Dosovitskiy et al. 2021, ViT)."""

    def shape(self, x: Shape) -> Shape:
        c, _, n = tokens(x)
        return (c, 1, n + 1)

    def params(self, x: Shape) -> int:
        return x[0]

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.ClassToken(x[0])


class PosEmbed(Op, name="pos_embed", family="shape"):
    """Adds a learned tensor of the input's shape (Dosovitskiy et al. 2021, ViT).

    A tensor that was trained on a map of another size keeps it: `table_height` and `table_width` name that size, and
    the tensor is resized bicubically whenever it is used. Of tokens laid out in a row only the number can be named.
    """

    table_height: int = attr("height of the learned tensor; 0: as the input", default=0, low=0, later=True)
    table_width: int = attr("width of the learned tensor; 0: as the input", default=0, low=0, later=True)

    def table(self, x: Shape) -> Shape:
        """The shape of the learned tensor."""
        if len(x) == 1 and (self.table_height or self.table_width):
            raise ShapeError("expected no height and width of a table for a vector")
        return x if len(x) == 1 else (x[0], self.table_height or x[1], self.table_width or x[2])

    def shape(self, x: Shape) -> Shape:
        self.table(x)
        return x

    def params(self, x: Shape) -> int:
        return size(self.table(x))

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.PosEmbed(x, self.table(x))


class ChannelShuffle(Op, name="channel_shuffle", family="shape"):
    """Deals the channels of each group out to all groups: channel i of g goes to place i of all (Zhang et al. 2018)."""

    groups: int = attr("number of channel groups", low=1)

    def shape(self, x: Shape) -> Shape:
        if x[0] % self.groups:
            raise ShapeError(f"expected channels that {self.groups} groups divide, but got {x[0]}")
        return x

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.channel_shuffle, self.groups)


class PixelShuffle(Op, name="pixel_shuffle", family="shape"):
    """Channels into positions: C x H x W -> C / f^2 x (H * f) x (W * f) (Shi et al. 2016)."""

    factor: int = attr("how many times higher and wider the result is (f)", low=1)

    def shape(self, x: Shape) -> Shape:
        c, h, w = image(x)
        if c % self.factor**2:
            raise ShapeError(f"expected channels that {self.factor}^2 divides, but got {c}")
        return (c // self.factor**2, h * self.factor, w * self.factor)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.PixelShuffle(self.factor)


class PixelUnshuffle(Op, name="pixel_unshuffle", family="shape"):
    """Positions into channels: C x H x W -> (C * f^2) x H / f x W / f, the inverse of pixel_shuffle."""

    factor: int = attr("how many times lower and narrower the result is (f)", low=1)

    def shape(self, x: Shape) -> Shape:
        c, h, w = image(x)
        if h % self.factor or w % self.factor:
            raise ShapeError(f"expected a height and width that {self.factor} divides, but got {h} x {w}")
        return (c * self.factor**2, h // self.factor, w // self.factor)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.PixelUnshuffle(self.factor)


class Pad(Op, name="pad", family="shape"):
    """Puts rows and columns around a map, of zeros unless told."""

    top: int = attr("rows above", default=0, low=0)
    bottom: int = attr("rows below", default=0, low=0)
    left: int = attr("columns to the left", default=0, low=0)
    right: int = attr("columns to the right", default=0, low=0)
    fill: str = attr(
        "what they hold; lowest: less than all others; reflect: what lies as far inside", default="zero",
        choices=("zero", "one", "lowest", "reflect"), later=True,
    )  # fmt: skip

    def shape(self, x: Shape) -> Shape:
        c, h, w = image(x)
        if self.fill == "reflect" and (max(self.top, self.bottom) >= h or max(self.left, self.right) >= w):
            raise ShapeError(f"expected fewer rows and columns to reflect than there are, but got {h} x {w}")
        return (c, h + self.top + self.bottom, w + self.left + self.right)

    def emit(self, nn: Any, x: Shape) -> Any:
        sides = (self.left, self.right, self.top, self.bottom)
        if self.fill == "reflect":
            return nn.call(nn.pad, sides, mode="reflect")
        value = {"zero": {}, "one": {"value": 1.0}, "lowest": {"value": -3e38}}[self.fill]
        return nn.call(nn.pad, sides, **value)


class Crop(Op, name="crop", family="shape", keeps="view"):
    """Cuts a rectangle out of a map."""

    height: int = attr("height of the rectangle", low=1)
    width: int = attr("width of the rectangle", low=1)
    top: int = attr("first row of the rectangle, counted from 0", default=0, low=0)
    left: int = attr("first column of the rectangle, counted from 0", default=0, low=0)

    def shape(self, x: Shape) -> Shape:
        c, h, w = image(x)
        if self.top + self.height > h or self.left + self.width > w:
            raise ShapeError(
                f"expected a rectangle inside {h} x {w}, but got rows {self.top} to {self.top + self.height} "
                f"and columns {self.left} to {self.left + self.width}"
            )
        return (c, self.height, self.width)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.crop, self.top, self.left, self.height, self.width)


class Roll(Op, name="roll", family="shape"):
    """Shifts a map in a circle: what leaves at one edge enters at the opposite one."""

    down: int = attr("rows downwards; negative: upwards", default=0)
    right: int = attr("columns to the right; negative: to the left", default=0)

    def shape(self, x: Shape) -> Shape:
        return image(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.roll, (self.down % x[1], self.right % x[2]), (2, 3))


class WindowPartition(Op, name="window_partition", family="shape"):
    """Cuts a map into square windows: C x H x W -> C x windows x size^2, windows and their positions row by row."""

    size: int = attr("height and width of a window", low=1)

    def shape(self, x: Shape) -> Shape:
        c, h, w = image(x)
        if h % self.size or w % self.size:
            raise ShapeError(f"expected a map that windows of {self.size} tile, but got {h} x {w}")
        return (c, h * w // self.size**2, self.size**2)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.window_partition, self.size)


class WindowMerge(Op, name="window_merge", family="shape"):
    """Puts square windows back into a map: the inverse of window_partition."""

    size: int = attr("height and width of a window", low=1)
    height: int = attr("height of the map", low=1)
    width: int = attr("width of the map", low=1)

    def shape(self, x: Shape) -> Shape:
        if self.height % self.size or self.width % self.size:
            raise ShapeError(f"expected a map that windows of {self.size} tile, but got {self.height} x {self.width}")
        windows = self.height * self.width // self.size**2
        if image(x)[1:] != (windows, self.size**2):
            raise ShapeError(f"expected C x {windows} x {self.size**2}, but got {show_shape(x)}")
        return (x[0], self.height, self.width)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.window_merge, self.size, self.height, self.width)


class Unfold(Op, name="unfold", family="shape"):
    """What lies under a square kernel, at every place of it: C x H x W -> (C * k^2) x H' x W', channel by channel."""

    kernel: int = attr("height and width of the kernel (k)", default=3, low=1)
    stride: int = attr("step between windows", default=1, low=1)
    padding: int = attr("zeros around the map; -1: (kernel - 1) // 2", default=-1, low=-1)

    def shape(self, x: Shape) -> Shape:
        c, *lengths = image(x)
        h, w = (window_steps(length, self.kernel, self.stride, self.padding) for length in lengths)
        return (c * self.kernel**2, h, w)

    def emit(self, nn: Any, x: Shape) -> Any:
        pad = window_padding(self.padding, self.kernel)
        return nn.call(nn.unfold, self.kernel, self.stride, pad, self.shape(x))


class Fold(Op, name="fold", family="shape"):
    """Puts what `unfold` took apart back to its place, as sums: (C * k^2) x H' x W' -> C x height x width."""

    height: int = attr("height of the map", low=1)
    width: int = attr("width of the map", low=1)
    kernel: int = attr("height and width of the kernel (k)", default=3, low=1)
    stride: int = attr("step between windows", default=1, low=1)
    padding: int = attr("zeros that were around the map; -1: (kernel - 1) // 2", default=-1, low=-1)

    def shape(self, x: Shape) -> Shape:
        c, *places = image(x)
        fit = [window_steps(n, self.kernel, self.stride, self.padding) for n in (self.height, self.width)]
        if c % self.kernel**2 or places != fit:
            raise ShapeError(f"expected (C * {self.kernel**2}) x {show_shape(tuple(fit))}, but got {show_shape(x)}")
        return (c // self.kernel**2, self.height, self.width)

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        pad = window_padding(self.padding, self.kernel)
        return nn.call(nn.fold, (self.height, self.width), self.kernel, self.stride, pad)
