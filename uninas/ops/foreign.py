"""A stand-in for what has no operation here: known by its shape and costs alone."""

from __future__ import annotations

from typing import Any

from uninas.errors import error
from uninas.ops.op import MAX_PORTS, Op, Shape, attr


class Foreign(Op, name="foreign", family="shape", arity=(1, MAX_PORTS)):
    """Something that has no operation here: it is drawn, and its costs are summed, but nothing can be built of it."""

    channels: int = attr("channels of what it gives, or the length of a vector", low=1)
    height: int = attr("height of what it gives; 0: a vector", default=0, low=0)
    width: int = attr("width of what it gives", default=1, low=1)
    parameters: int = attr("trainable parameters inside", default=0, low=0)
    products: int = attr("multiply-accumulates of convolutions and matrix products inside", default=0, low=0)

    def shape(self, *x: Shape) -> Shape:
        return (self.channels, self.height, self.width) if self.height else (self.channels,)

    def params(self, *x: Shape) -> int:
        return self.parameters

    def macs(self, *x: Shape) -> int:
        return self.products

    def stackable(self, *x: Shape) -> bool:
        return False

    def emit(self, nn: Any, *x: Shape) -> Any:
        raise error("UNI054", "expected operations only, but a foreign part cannot be built", None,
                    "it stands for what uninas import --partial found no operation for")  # fmt: skip
