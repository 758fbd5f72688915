"""The elementary operations of attention: two matrix products, and what may happen to the map between them.

A map has one row per query position and one column per key position, so it is 1 x P x Q; positions of an image count
row by row. With row_wise, every row of the inputs (H of C x H x W) is a sequence for itself and the map is H x N x N;
window_partition makes such rows.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

from uninas.ops.op import Op, Shape, ShapeError, attr, image, show_shape, size


def sequences(x: Shape, row_wise: bool) -> tuple[int, int, int]:
    """Channels, number of sequences and their length."""
    c, h, w = image(x)
    return (c, h, w) if row_wise else (c, 1, h * w)


class Matmul1(Op, name="matmul1", family="attention", arity=(2, 2)):
    """Scaled scores of all pairs of positions: out[p, q] = C^(-1/2) sum_c x[c, p] y[c, q] (Vaswani et al. 2017)."""

    row_wise: bool = attr("take every row of the inputs for a sequence of its own", default=False)
    scale: float = attr("factor of the scores; 0: C^(-1/2)", default=0.0, later=True)

    def shape(self, x: Shape, y: Shape) -> Shape:
        (c, rows, p), (d, others, q) = sequences(x, self.row_wise), sequences(y, self.row_wise)
        if (c, rows) != (d, others):
            what = "channels and rows" if self.row_wise else "channels"
            raise ShapeError(f"expected inputs with equal {what}, but got {show_shape(x)} and {show_shape(y)}")
        return (rows, p, q)

    def macs(self, x: Shape, y: Shape) -> int:
        return x[0] * size(self.shape(x, y))

    def elementwise(self, x: Shape, y: Shape) -> int:
        return size(x)

    def degree(self, x: int, y: int) -> int:
        return x + y

    def emit(self, nn: Any, x: Shape, y: Shape) -> Any:
        chosen = {"scale": float(self.scale)} if self.scale else {}
        return nn.call(nn.matmul1, row_wise=self.row_wise, **chosen)


class Matmul2(Op, name="matmul2", family="attention", arity=(2, 2)):
    """Values weighted by a map: out[c, p] = sum_q map[p, q] y[c, q].

    The result is laid out like y when there are as many queries as keys, and as tokens C x 1 x P otherwise.
    """

    row_wise: bool = attr("take every row of the inputs for a sequence of its own", default=False)

    def shape(self, a: Shape, y: Shape) -> Shape:
        c, rows, q = sequences(y, self.row_wise)
        if image(a)[0] != rows or a[2] != q:
            raise ShapeError(f"expected a map {rows} x P x {q} beside values {show_shape(y)}, but got {show_shape(a)}")
        return y if a[1] == q else (c, rows, a[1])

    def macs(self, a: Shape, y: Shape) -> int:
        return y[0] * size(a)

    def degree(self, x: int, y: int) -> int:
        return x + y

    def emit(self, nn: Any, a: Shape, y: Shape) -> Any:
        return nn.call(nn.matmul2, row_wise=self.row_wise, shape=self.shape(a, y))


class RelPosBias(Op, name="rel_pos_bias", family="attention", keeps="nothing"):
    """Adds a learned number to every entry of a map, by the offset between its two positions (Liu et al. 2021, Swin).

    The positions lie on a grid of height x width. The table has one entry per offset and is shared by all rows of the
    map: index (dy + height - 1) (2 width - 1) + dx + width - 1, offsets counted from the key to the query. A table for
    another grid, where it was trained, is resized bilinearly in use (Dai et al. 2021, CoAtNet).
    """

    height: int = attr("height of the grid; 0: as the map and the width say, a square if both are 0", default=0, low=0)
    width: int = attr("width of the grid; 0: as the map and the height say, a square if both are 0", default=0, low=0)
    table_height: int = attr("height of the grid of the table; 0: as the grid", default=0, low=0, later=True)
    table_width: int = attr("width of the grid of the table; 0: as the grid", default=0, low=0, later=True)
    heads: int = attr("tables, one for each group of rows; 0: one for all rows", default=0, low=0, later=True)
    mirrored: bool = attr("offsets up and down, left and right share a number", default=False, later=True)

    def grid(self, x: Shape) -> tuple[int, int]:
        """Height and width of the grid of positions; raises ShapeError when the map has other positions."""
        positions = image(x, "a map")[1]
        h = self.height or (positions // self.width if self.width else isqrt(positions))
        w = self.width or (positions // self.height if self.height else h)
        if x[1] != x[2] or h * w != positions:
            grid = f"{self.height or '?'} x {self.width or '?'}" if self.height or self.width else "square"
            raise ShapeError(f"expected a map between the positions of a {grid} grid, but got {show_shape(x)}")
        return h, w

    def table(self, x: Shape) -> tuple[int, int]:
        """Height and width of the grid that the table is for."""
        return self.table_height or self.grid(x)[0], self.table_width or self.grid(x)[1]

    def shape(self, x: Shape) -> Shape:
        self.grid(x)
        if self.heads and x[0] % self.heads:
            raise ShapeError(f"expected a map of rows that {self.heads} heads divide, but got {show_shape(x)}")
        return x

    def params(self, x: Shape) -> int:
        h, w = self.table(x)
        return max(1, self.heads) * (h * w if self.mirrored else (2 * h - 1) * (2 * w - 1))

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        kind = (nn.HeadsBias, self.heads) if self.heads else (nn.RelPosBias,)
        return kind[0](*kind[1:], *self.grid(x), *self.table(x), mirrored=self.mirrored)

    def stackable(self, x: Shape) -> bool:
        return not self.heads


class Mask(Op, name="mask", family="attention", keeps="nothing"):
    """Keeps a band around the diagonal of the last two axes, abs(row - column) <= width, and sets the rest to zero."""

    width: int = attr("largest distance from the diagonal that is kept", default=5, low=0)

    def shape(self, x: Shape) -> Shape:
        return image(x)

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.band, min(self.width, max(x)))


class WindowMask(Op, name="window_mask", family="attention", keeps="nothing"):
    """Adds -100 to a map of shifted windows where two positions were no neighbours before the shift (Swin).

    Stands between row-wise matmul1 and softmax, after roll(-shift, -shift) -> window_partition(window).
    """

    height: int = attr("height of the image that was cut into windows", low=1)
    width: int = attr("width of the image that was cut into windows", low=1)
    window: int = attr("height and width of a window", low=1)
    shift: int = attr("by how much the image was rolled up and to the left", low=0)
    heads: int = attr("groups of rows that the mask holds for; 0: one", default=0, low=0, later=True)

    def shape(self, x: Shape) -> Shape:
        if self.height % self.window or self.width % self.window or self.shift >= self.window:
            raise ShapeError(
                f"expected an image that windows of {self.window} tile, and a smaller shift, "
                f"but got {self.height} x {self.width} and {self.shift}"
            )
        windows = max(1, self.heads) * self.height * self.width // self.window**2
        positions = self.window**2
        if x != (windows, positions, positions):
            raise ShapeError(f"expected a map {windows} x {positions} x {positions}, but got {show_shape(x)}")
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        groups = (self.heads,) if self.heads else ()
        return nn.WindowMask(self.height, self.width, self.window, self.shift, *groups)
