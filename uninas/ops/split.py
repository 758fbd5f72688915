"""One tensor into several, along channels. They move data and count nothing."""

from __future__ import annotations

from typing import Any

from uninas.ops.op import MAX_PORTS, Op, Shape, ShapeError, attr


class Chunk(Op, name="chunk", family="split"):
    """Cuts the channels into n equal parts."""

    n: int = attr("number of parts", low=1, high=MAX_PORTS)

    def shape(self, x: Shape) -> list[Shape]:
        if x[0] % self.n:
            raise ShapeError(f"expected channels that {self.n} parts divide, but got {x[0]}")
        return [(x[0] // self.n, *x[1:])] * self.n

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.split, x[0] // self.n, 1)


class Split(Op, name="split", family="split"):
    """Cuts the channels into parts of the given size."""

    size: int = attr("channels of each part", low=1)

    def shape(self, x: Shape) -> list[Shape]:
        if x[0] % self.size:
            raise ShapeError(f"expected channels that parts of {self.size} divide, but got {x[0]}")
        if x[0] // self.size > MAX_PORTS:
            raise ShapeError(f"expected at most {MAX_PORTS} parts, but got {x[0] // self.size}")
        return [(self.size, *x[1:])] * (x[0] // self.size)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.split, self.size, 1)


class Slice(Op, name="slice", family="split"):
    """Takes the channels from start to stop, counted from 0; stop is not among them."""

    start: int = attr("first channel", low=0, channels=True)
    stop: int = attr("channel after the last one", low=1, channels=True)

    def shape(self, x: Shape) -> Shape:
        if not self.start < self.stop <= x[0]:
            raise ShapeError(f"expected start < stop <= {x[0]} channels, but got {self.start} and {self.stop}")
        return (self.stop - self.start, *x[1:])

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.narrow, 1, self.start, self.stop - self.start)


class Copy(Op, name="copy", family="split"):
    """The same tensor n times."""

    n: int = attr("number of outputs", default=2, low=1, high=MAX_PORTS)

    def shape(self, x: Shape) -> list[Shape]:
        return [x] * self.n

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.copies, self.n)
