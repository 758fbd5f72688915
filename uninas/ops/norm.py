"""Normalisations.

Each counts two element-wise operations per element: one to normalise, one to scale and shift. A normalisation
without learned scale is still counted as two, since its statistics cost more than it saves.
"""

from __future__ import annotations

from typing import Any

from uninas.ops.op import Op, Shape, ShapeError, attr, image, size


class BatchNorm(Op, name="batch_norm", family="norm"):
    """Normalises every channel over the batch and all positions (Ioffe & Szegedy 2015)."""

    eps: float = attr("added to the variance", default=1e-5, low=0)
    momentum: float = attr("weight of a new batch in the running statistics", default=0.1, low=0, high=1)
    affine: bool = attr("learn a scale and a shift per channel", default=True)

    def shape(self, x: Shape) -> Shape:
        return x

    def params(self, x: Shape) -> int:
        return 2 * x[0] * self.affine

    def elementwise(self, x: Shape) -> int:
        return 2 * size(x)

    def degree(self, x: int) -> int:
        return 1

    def emit(self, nn: Any, x: Shape) -> Any:
        kind = nn.BatchNorm2d if len(x) == 3 else nn.BatchNorm1d
        return kind(x[0], self.eps, self.momentum, self.affine)


class LayerNorm(Op, name="layer_norm", family="norm"):
    """Normalises over the channels at each position (Ba et al. 2016)."""

    eps: float = attr("added to the variance", default=1e-6, low=0)
    affine: bool = attr("learn a scale and a shift per channel", default=True)
    bias: bool = attr("whether the shift is learned, too", default=True, later=True)

    def shape(self, x: Shape) -> Shape:
        return x

    def params(self, x: Shape) -> int:
        return (1 + self.bias) * x[0] * self.affine

    def elementwise(self, x: Shape) -> int:
        return 2 * size(x)

    def degree(self, x: int) -> int:
        return 1

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.LayerNorm(x[0], self.eps, self.affine, *(() if self.bias else (False,)))

    def stackable(self, x: Shape) -> bool:
        return self.bias


class RmsNorm(Op, name="rms_norm", family="norm"):
    """Divides by the root of the mean square of the channels at each position (Zhang & Sennrich 2019)."""

    eps: float = attr("added to the mean square", default=1e-6, low=0)
    affine: bool = attr("learn a scale per channel", default=True)

    def shape(self, x: Shape) -> Shape:
        return x

    def params(self, x: Shape) -> int:
        return x[0] * self.affine

    def elementwise(self, x: Shape) -> int:
        return 2 * size(x)

    def degree(self, x: int) -> int:
        return 1

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.RMSNorm(x[0], self.eps, self.affine)

    def stackable(self, x: Shape) -> bool:
        return not self.affine


class L2Norm(Op, name="l2_norm", family="norm"):
    """Divides by the Euclidean length along one axis, or by eps where that is larger."""

    axis: str = attr("the axis whose length becomes 1", default="channels", choices=("channels", "height", "width"))
    eps: float = attr("smallest divisor", default=1e-12, low=0)

    def shape(self, x: Shape) -> Shape:
        return image(x)

    def elementwise(self, x: Shape) -> int:
        return 2 * size(x)

    def degree(self, x: int) -> int:
        return 0

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.normalize, 2.0, ("channels", "height", "width").index(self.axis) + 1, float(self.eps))


class GroupNorm(Op, name="group_norm", family="norm"):
    """Normalises over each group of channels and all positions, for every sample (Wu & He 2018)."""

    groups: int = attr("number of channel groups", low=1)
    eps: float = attr("added to the variance", default=1e-5, low=0)
    affine: bool = attr("learn a scale and a shift per channel", default=True, later=True)
    bias: bool = attr("whether the shift is learned, too", default=True, later=True)

    def shape(self, x: Shape) -> Shape:
        if image(x)[0] % self.groups:
            raise ShapeError(f"expected channels that {self.groups} groups divide, but got {x[0]}")
        return x

    def params(self, x: Shape) -> int:
        return (1 + self.bias) * x[0] * self.affine

    def elementwise(self, x: Shape) -> int:
        return 2 * size(x)

    def degree(self, x: int) -> int:
        return 1

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.group_norm(self.groups, x[0], self.eps, self.affine, self.bias)

    def stackable(self, x: Shape) -> bool:
        return self.bias
