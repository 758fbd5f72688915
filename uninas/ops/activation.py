"""Activations. Each counts one element-wise operation per element; softmax three: exponential, sum, division."""

from __future__ import annotations

from typing import Any

from uninas.op import Op, Shape, ShapeError, attr, show_shape, size


class Relu(Op, name="relu", family="activation"):
    """max(x, 0)."""

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.ReLU()


class Relu6(Op, name="relu6", family="activation"):
    """min(max(x, 0), 6) (Krizhevsky 2010)."""

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.ReLU6()


class LeakyRelu(Op, name="leaky_relu", family="activation"):
    """x where positive, slope * x elsewhere (Maas et al. 2013)."""

    slope: float = attr("slope for negative values", 0.01)

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.LeakyReLU(self.slope)


class Elu(Op, name="elu", family="activation"):
    """x where positive, exp(x) - 1 elsewhere (Clevert et al. 2016)."""

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.ELU()


class Gelu(Op, name="gelu", family="activation"):
    """Gaussian error linear unit, x * P(N(0, 1) <= x) (Hendrycks & Gimpel 2016)."""

    approximate: str = attr("none: by the error function; tanh: by a hyperbolic tangent", "none", choices=("none", "tanh"))

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.GELU(self.approximate)


class Silu(Op, name="silu", family="activation"):
    """x * sigmoid(x), also called swish (Elfwing et al. 2017)."""

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.SiLU()


class Mish(Op, name="mish", family="activation"):
    """x * tanh(log(1 + exp(x))) (Misra 2019)."""

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Mish()


class Sigmoid(Op, name="sigmoid", family="activation"):
    """1 / (1 + exp(-x))."""

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Sigmoid()


class HardSigmoid(Op, name="hard_sigmoid", family="activation"):
    """relu6(x + 3) / 6 (Howard et al. 2019, MobileNetV3)."""

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Hardsigmoid()


class HardSwish(Op, name="hard_swish", family="activation"):
    """x * hard_sigmoid(x) (Howard et al. 2019, MobileNetV3)."""

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Hardswish()


class Tanh(Op, name="tanh", family="activation"):
    """Hyperbolic tangent."""

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Tanh()


class Softmax(Op, name="softmax", family="activation"):
    """exp(x) divided by its sum along one axis."""

    axis: str = attr("the axis that sums to 1; width is the last one", "width", choices=("width", "height", "channels"))

    def shape(self, x: Shape) -> Shape:
        if self.axis == "height" and len(x) == 1:
            raise ShapeError(f"expected an input with a height, but got a vector of {show_shape(x)}")
        return x

    def elementwise(self, x: Shape) -> int:
        return 3 * size(x)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Softmax({"width": -1, "height": 2, "channels": 1}[self.axis])
