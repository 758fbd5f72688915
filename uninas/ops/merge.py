"""Several tensors into one.

Sums, products and maxima broadcast over axes of size 1 and count one element-wise operation per output element and
further input; concatenations move data and count nothing.
"""

from __future__ import annotations

from typing import Any

from uninas.ops.op import MAX_PORTS, Op, Shape, ShapeError, attr, image, show_shape, size


def broadcast(*x: Shape) -> Shape:
    """The common shape of tensors of equal rank, axes of size 1 stretched; raises ShapeError."""
    if len({len(shape) for shape in x}) == 1:
        common = tuple(next((n for n in axis if n != 1), 1) for axis in zip(*x, strict=True))
        if all(n in (1, m) for shape in x for n, m in zip(shape, common, strict=True)):
            return common
    found = " and ".join(map(show_shape, dict.fromkeys(x)))
    raise ShapeError(f"expected inputs of equal shape (an axis of size 1 fits any), but got {found}")


class Add(Op, name="add", family="merge", arity=(1, MAX_PORTS), commutative=True):
    """Sum of all inputs."""

    def shape(self, *x: Shape) -> Shape:
        return broadcast(*x)

    def elementwise(self, *x: Shape) -> int:
        return (len(x) - 1) * size(broadcast(*x))

    def emit(self, nn: Any, *x: Shape) -> Any:
        return nn.add


class Subtract(Op, name="subtract", family="merge", arity=(2, 2)):
    """First input minus second."""

    def shape(self, x: Shape, y: Shape) -> Shape:
        return broadcast(x, y)

    def elementwise(self, x: Shape, y: Shape) -> int:
        return size(broadcast(x, y))

    def emit(self, nn: Any, x: Shape, y: Shape) -> Any:
        return nn.subtract


class Divide(Op, name="divide", family="merge", arity=(2, 2), keeps="inputs"):
    """First input divided by the second, whose absolute value counts as eps where it is smaller."""

    eps: float = attr("smallest divisor", default=1e-12, low=0)

    def shape(self, x: Shape, y: Shape) -> Shape:
        return broadcast(x, y)

    def elementwise(self, x: Shape, y: Shape) -> int:
        return size(broadcast(x, y))

    def degree(self, x: int, y: int) -> int:
        return x

    def emit(self, nn: Any, x: Shape, y: Shape) -> Any:
        return nn.call(nn.divide, float(self.eps))


class Multiply(Op, name="multiply", family="merge", arity=(1, MAX_PORTS), commutative=True, keeps="inputs"):
    """Element-wise product of all inputs."""

    def shape(self, *x: Shape) -> Shape:
        return broadcast(*x)

    def elementwise(self, *x: Shape) -> int:
        return (len(x) - 1) * size(broadcast(*x))

    def degree(self, *x: int) -> int:
        return sum(x)

    def emit(self, nn: Any, *x: Shape) -> Any:
        return nn.multiply


class Maximum(Op, name="maximum", family="merge", arity=(1, MAX_PORTS), commutative=True, keeps="inputs"):
    """Element-wise largest of all inputs."""

    def shape(self, *x: Shape) -> Shape:
        return broadcast(*x)

    def elementwise(self, *x: Shape) -> int:
        return (len(x) - 1) * size(broadcast(*x))

    def emit(self, nn: Any, *x: Shape) -> Any:
        return nn.maximum


class Concat(Op, name="concat", family="merge", arity=(1, MAX_PORTS)):
    """Joins along channels: the inputs' channels one after another."""

    def shape(self, *x: Shape) -> Shape:
        if len({shape[1:] for shape in x}) != 1:
            found = " and ".join(map(show_shape, dict.fromkeys(x)))
            raise ShapeError(f"expected inputs that differ in channels only, but got {found}")
        return (sum(shape[0] for shape in x), *x[0][1:])

    def emit(self, nn: Any, *x: Shape) -> Any:
        return nn.concat


class ConcatTokens(Op, name="concat_tokens", family="merge", arity=(1, MAX_PORTS)):
    """Joins tokens along their positions: C x 1 x N and C x 1 x M -> C x 1 x (N + M)."""

    def shape(self, *x: Shape) -> Shape:
        if len({shape[:-1] for shape in x}) != 1 or image(x[0])[1] != 1:
            found = " and ".join(map(show_shape, dict.fromkeys(x)))
            raise ShapeError(f"expected tokens C x 1 x N of equally many channels, but got {found}")
        return (x[0][0], 1, sum(shape[2] for shape in x))

    def emit(self, nn: Any, *x: Shape) -> Any:
        return nn.concat_tokens
