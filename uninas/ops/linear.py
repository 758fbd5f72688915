"""Dense layers on vectors."""

from __future__ import annotations

from typing import Any

from uninas.ops.op import Op, Shape, ShapeError, attr, show_shape


class Linear(Op, name="linear", family="linear"):
    """Dense layer on a vector, or on a map of one position, which it takes for a vector."""

    out: int = attr("length of the output vector", low=1, channels=True)
    bias: bool = attr("add a learned constant to every output", default=True)

    def shape(self, x: Shape) -> Shape:
        if x[1:] not in ((), (1, 1)):
            raise ShapeError(f"expected a vector or C x 1 x 1 (global_avg_pool or flatten), but got {show_shape(x)}")
        return (self.out,)

    def params(self, x: Shape) -> int:
        return self.out * (x[0] + self.bias)

    def macs(self, x: Shape) -> int:
        return self.out * x[0]

    def elementwise(self, x: Shape) -> int:
        return self.out * self.bias

    def emit(self, nn: Any, x: Shape) -> Any:
        return (nn.FlatLinear if len(x) == 3 else nn.Linear)(x[0], self.out, self.bias)
