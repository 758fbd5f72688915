"""Activations. Each counts one element-wise operation per element; softmax three: exponential, sum, division."""

from __future__ import annotations

from typing import Any

from uninas.ops.op import Op, Shape, ShapeError, attr, show_shape, size


class Pointwise:
    """The shape and cost of a function that treats every element alike."""

    def shape(self, x: Shape) -> Shape:
        return x

    def elementwise(self, x: Shape) -> int:
        return size(x)


class Relu(Pointwise, Op, name="relu", family="activation", keeps="outputs"):
    """Rectified linear unit, max(x, 0) (Nair & Hinton 2010)."""

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.ReLU()


class Relu6(Pointwise, Op, name="relu6", family="activation"):
    """Rectified linear unit with a ceiling, min(max(x, 0), 6) (Krizhevsky 2010)."""

    def degree(self, x: int) -> int:
        return 0

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.ReLU6()


class LeakyRelu(Pointwise, Op, name="leaky_relu", family="activation"):
    """x where positive, slope * x elsewhere (Maas et al. 2013)."""

    slope: float = attr("slope for negative values", default=0.01)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.LeakyReLU(self.slope)


class Elu(Pointwise, Op, name="elu", family="activation"):
    """x where positive, exp(x) - 1 elsewhere (Clevert et al. 2016)."""

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.ELU()


class Gelu(Pointwise, Op, name="gelu", family="activation"):
    """Gaussian error linear unit, x * P(N(0, 1) <= x) (Hendrycks & Gimpel 2016)."""

    approximate: str = attr("formula; tanh is an approximation", default="none", choices=("none", "tanh"))

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.GELU(self.approximate)


class Silu(Pointwise, Op, name="silu", family="activation"):
    """x * sigmoid(x), also called swish (Elfwing et al. 2017)."""

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.SiLU()


class Mish(Pointwise, Op, name="mish", family="activation"):
    """x * tanh(log(1 + exp(x))) (Misra 2019)."""

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Mish()


class Sigmoid(Pointwise, Op, name="sigmoid", family="activation", keeps="outputs"):
    """1 / (1 + exp(-x))."""

    def degree(self, x: int) -> int:
        return 0

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Sigmoid()


class HardSigmoid(Pointwise, Op, name="hard_sigmoid", family="activation"):
    """relu6(x + 3) / 6 (Howard et al. 2019, MobileNetV3)."""

    def degree(self, x: int) -> int:
        return 0

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Hardsigmoid()


class HardSwish(Pointwise, Op, name="hard_swish", family="activation"):
    """x * hard_sigmoid(x) (Howard et al. 2019, MobileNetV3)."""

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Hardswish()


class Tanh(Pointwise, Op, name="tanh", family="activation", keeps="outputs"):
    """Hyperbolic tangent."""

    def degree(self, x: int) -> int:
        return 0

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Tanh()


class Softplus(Pointwise, Op, name="softplus", family="activation"):
    """log(1 + exp(x)) (Dugas et al. 2001)."""

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Softplus()


class Clamp(Pointwise, Op, name="clamp", family="activation"):
    """x, but at least low and at most high."""

    low: float = attr("smallest result", default=-1.0)
    high: float = attr("largest result", default=1.0)

    def degree(self, x: int) -> int:
        return 0

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.clamp, float(self.low), float(self.high))


class PRelu(Pointwise, Op, name="prelu", family="activation"):
    """x where positive, a learned slope times x elsewhere (He et al. 2015)."""

    shared: bool = attr("one slope for all channels instead of one for each", default=False)

    def params(self, x: Shape) -> int:
        return 1 if self.shared else x[0]

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.PReLU(1 if self.shared else x[0])

    def stackable(self, x: Shape) -> bool:
        return False


class Root(Pointwise, Op, name="root", family="activation"):
    """The square root of x, or of eps where x is smaller; or one divided by it."""

    inverse: bool = attr("one divided by the root", default=False)
    eps: float = attr("smallest number whose root is taken", default=1e-30, low=0)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.root, self.inverse, float(self.eps))


class Scale(Pointwise, Op, name="scale", family="activation", keeps="nothing"):
    """factor * x + offset, with numbers that are not learned."""

    factor: float = attr("what x is multiplied by", default=1.0)
    offset: float = attr("what is added then", default=0.0)

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.call(nn.scale, float(self.factor), float(self.offset))


class Softmax(Op, name="softmax", family="activation", keeps="outputs"):
    """exp(x) divided by its sum along one axis."""

    axis: str = attr(
        "the axis that sums to 1; width is the last one", default="width", choices=("width", "height", "channels")
    )

    def shape(self, x: Shape) -> Shape:
        if self.axis == "height" and len(x) == 1:
            raise ShapeError(f"expected an input with a height, but got a vector of {show_shape(x)}")
        return x

    def elementwise(self, x: Shape) -> int:
        return 3 * size(x)

    def degree(self, x: int) -> int:
        return 0

    def emit(self, nn: Any, x: Shape) -> Any:
        return nn.Softmax({"width": -1, "height": 2, "channels": 1}[self.axis])
