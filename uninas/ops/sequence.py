"""Sequences of words: numbers into vectors, tables of positions, and a mask that hides what comes later."""

from __future__ import annotations

from typing import Any

from uninas.ops.op import Op, Shape, ShapeError, attr, image, show_shape, size


def _row(x: Shape) -> int:
    """Guard: x must be a row of N numbers, as a vector or as 1 x 1 x N."""
    if len(x) == 3 and x[:2] != (1, 1):
        raise ShapeError(f"expected a vector of numbers, or 1 x 1 x N, but got {show_shape(x)}")
    return x[-1]


class Embedding(Op, name="embedding", family="shape"):
    """A learned vector for every number in a row: N integers from 0 below n become tokens C x 1 x N.

    Where what flows in are no integers, they are rounded, and held between 0 and n - 1.
    """

    n: int = attr("how many vectors there are", low=1)
    width: int = attr("length of a vector", low=1, channels=True)

    def shape(self, x: Shape) -> Shape:
        return (self.width, 1, _row(x))

    def params(self, x: Shape) -> int:
        return self.n * self.width

    def degree(self, x: int) -> int:
        return 1

    def stackable(self, x: Shape) -> bool:
        return False

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Embedding(self.n, self.width)


class Lookup(Op, name="lookup", family="shape", arity=(2, 2)):
    """Columns of a table by their numbers: N integers, and C x 1 x n, become tokens C x 1 x N.

    With a learned tensor as the table, weights that embed words can also tell them in the end (Press & Wolf 2017).
    """

    def shape(self, x: Shape, table: Shape) -> Shape:
        if image(table, "a table")[1] != 1:
            raise ShapeError(f"expected a table C x 1 x n, but got {show_shape(table)}")
        return (table[0], 1, _row(x))

    def degree(self, x: int, table: int) -> int:
        return max(1, table)

    def emit(self, nn: Any, x: Shape, table: Shape) -> Any:
        return nn.lookup


class CausalMask(Op, name="causal_mask", family="attention", keeps="nothing"):
    """Hides from every position of a map what comes after it: adds -1e9 where the column is larger than the row.

    Of a map with more columns than rows the last ones are those of the rows.
    """

    def shape(self, x: Shape) -> Shape:
        if image(x, "a map")[1] > x[2]:
            raise ShapeError(f"expected a map with a column for every row, but got {show_shape(x)}")
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.causal_mask


class SineEmbed(Op, name="sine_embed", family="shape"):
    """Adds sines and cosines of the positions (Vaswani et al. 2017); of a map, half the channels tell the row.

    Channel 2 i of C takes sin(p / base^(2 i / C)) at position p, channel 2 i + 1 the cosine.
    """

    base: float = attr("longest wave, in units of 2 pi", default=10000.0, low=1)

    def shape(self, x: Shape) -> Shape:
        parts = 2 if image(x)[1] == 1 else 4
        if x[0] % parts:
            raise ShapeError(f"expected channels that {parts} divides, but got {x[0]}")
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.sine_embed, float(self.base))


class Rotary(Op, name="rotary", family="shape"):
    """Turns pairs of channels by angles that grow with the position in the row (Su et al. 2021, RoFormer).

    Channels i and i + C / 2 are turned by p / base^(2 i / C) at position p, as queries and keys of one head are.
    """

    base: float = attr("longest wave, in units of 2 pi", default=10000.0, low=1)

    def shape(self, x: Shape) -> Shape:
        if image(x)[0] % 2:
            raise ShapeError(f"expected an even number of channels, but got {x[0]}")
        return x

    def elementwise(self, x: Shape) -> int:
        return 3 * size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.rotary, float(self.base))


class Coordinates(Op, name="coordinates", family="shape"):
    """Puts the row and the column of every position, from -1 to 1, behind the channels (Liu et al. 2018, CoordConv)."""

    def shape(self, x: Shape) -> Shape:
        c, h, w = image(x)
        return (c + 2, h, w)

    def degree(self, x: int) -> int:
        return max(1, x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.coordinates
