"""Layers that make training easier. The random ones are the identity in inference and count nothing."""

from __future__ import annotations

from typing import Any

from uninas.ops.op import Op, Shape, attr, size


class Dropout(Op, name="dropout", family="regulariser", keeps="nothing"):
    """Sets elements to zero at random during training and scales the others by 1 / (1 - p) (Srivastava et al. 2014)."""

    p: float = attr("probability of a zero", default=0.5, low=0, high=1)

    def shape(self, x: Shape) -> Shape:
        return x

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Dropout(self.p)


class DropPath(Op, name="drop_path", family="regulariser", keeps="nothing"):
    """Stochastic depth: sets whole samples to zero at random during training and scales the others by 1 / (1 - p).

    Huang et al. 2016.
    """

    p: float = attr("probability that a sample becomes zero", default=0.0, low=0, high=1)

    def shape(self, x: Shape) -> Shape:
        return x

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.DropPath(self.p)


class LayerScale(Op, name="layer_scale", family="regulariser"):
    """Multiplies every channel by a learned number that starts small (Touvron et al. 2021, CaiT)."""

    init: float = attr("initial value of the learned numbers", default=1e-5)

    def shape(self, x: Shape) -> Shape:
        return x

    def params(self, x: Shape) -> int:
        return x[0]

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.LayerScale(x, self.init)
