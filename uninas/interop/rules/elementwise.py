"""Functions that go element by element."""

from __future__ import annotations

from math import isclose, prod
from typing import Any

from uninas.graph import INPUT
from uninas.interop.lower import Lowering, Step, ordered, rule
from uninas.interop.rules.axes import expand
from uninas.interop.rules.constants import added, constant, initial, learned, uniform
from uninas.interop.rules.placing import channels_first, merged, needs_view
from uninas.interop.trace import Static
from uninas.interop.views import Foreign, View
from uninas.ops import activation as act
from uninas.ops.attention import Matmul1
from uninas.ops.merge import Add, Divide, Maximum, Multiply, Subtract
from uninas.ops.op import Op
from uninas.ops.regulariser import Dropout, LayerScale

ACTIVATIONS: dict[str, Op] = {
    "relu": act.Relu(),
    "relu6": act.Relu6(),
    "silu": act.Silu(),
    "mish": act.Mish(),
    "sigmoid": act.Sigmoid(),
    "hardsigmoid": act.HardSigmoid(),
    "hardswish": act.HardSwish(),
    "tanh": act.Tanh(),
    "neg": act.Scale(-1.0),
}


for _name, _op in ACTIVATIONS.items():

    def _activation(low: Lowering, x: View, _op: Op = _op) -> View:
        return low.apply(_op, x)

    rule(_name)(_activation)


@rule("gelu")
def gelu(low: Lowering, x: View, approximate: str = "none") -> View:
    return low.apply(act.Gelu(approximate), x)


@rule("hardtanh")
def hardtanh(low: Lowering, x: View, low_: float = -1.0, high: float = 1.0) -> View:
    return clamp(low, x, low_, high)


@rule("clamp")
def clamp(low: Lowering, x: View, min: Any = None, max: Any = None) -> View:
    if min == 0 and max == 6:
        return low.apply(act.Relu6(), x)
    if min == 0 and max is None:
        return low.apply(act.Relu(), x)
    min, max = (uniform(bound) if isinstance(bound, Static) else bound for bound in (min, max))
    if isinstance(min, View) or isinstance(max, View):
        raise Foreign("a clamp with bounds that are tensors")
    min, max = (None if bound is not None and abs(bound) > 1e30 else bound for bound in (min, max))
    if min is None and max is None:
        return x
    bounds = (-1e12 if min is None else float(min), 1e12 if max is None else float(max))
    return low.apply(act.Clamp(*bounds), x)


@rule("clamp_min")
def clamp_min(low: Lowering, x: View, min: float) -> View:
    return clamp(low, x, min)


@rule("addcmul")
def addcmul(low: Lowering, x: Any, one: Any, other: Any, value: float = 1) -> View:
    return add(low, x, mul(low, one, other), value)


@rule("leaky_relu")
def leaky_relu(low: Lowering, x: View, slope: float = 0.01) -> View:
    return low.apply(act.LeakyRelu(float(slope)), x)


@rule("elu")
def elu(low: Lowering, x: View, alpha: float = 1.0, scale: float = 1, input_scale: float = 1) -> View:
    if (alpha, scale, input_scale) != (1, 1, 1):
        raise Foreign(f"an elu with alpha {alpha}")
    return low.apply(act.Elu(), x)


@rule("softplus")
def softplus(low: Lowering, x: View, beta: float = 1, threshold: float = 20) -> View:
    if beta != 1:
        raise Foreign(f"a softplus with beta {beta}")
    return low.apply(act.Softplus(), x)


@rule("prelu")
def prelu(low: Lowering, x: View, weight: Static) -> View:
    if prod(weight.shape) > 1:
        x = channels_first(low, x, 1)
    return low.apply(act.PRelu(shared=prod(weight.shape) == 1), x, weight=weight)


@rule("copy")
def copy(low: Lowering, x: View, y: Any, non_blocking: bool = False) -> View:
    """What is written over a tensor takes its place."""
    return expand(low, y if isinstance(y, View) else learned(low, x, y), x)


@rule("dropout", "feature_dropout", "alpha_dropout")
def dropout(low: Lowering, x: View, p: float = 0.5, train: bool = False) -> View:
    return low.apply(Dropout(float(p)), x) if p else x


@rule(
    "alias", "detach", "contiguous", "clone", "to", "_to_copy", "lift_fresh_copy", "type_as", "_assert_tensor_metadata"
)
def same(low: Lowering, x: View, *_: Any, **__: Any) -> View:
    return x


@rule("add")
def add(low: Lowering, x: Any, y: Any, alpha: float = 1) -> View:
    needs_view(x if isinstance(x, View) else y)
    if alpha != 1 and (number := None if isinstance(y, View) else uniform(y)) is not None:
        y = number * alpha
    elif alpha != 1:
        y = low.apply(act.Scale(float(alpha)), y if isinstance(y, View) else learned(low, x, y))
    if not isinstance(x, View):
        x, y = y, x
    if isinstance(y, View):
        return merged(low, Add(), x, y)
    if (number := uniform(y)) is not None:
        return low.apply(act.Scale(1.0, number), x) if number else x
    return added(low, x, y)


@rule("sub", "subtract")
def sub(low: Lowering, x: Any, y: Any, alpha: float = 1) -> View:
    if alpha != 1:
        return add(low, x, y, -alpha)
    if isinstance(x, View) and isinstance(y, View):
        return merged(low, Subtract(), x, y)
    if isinstance(x, View) and (number := uniform(y)) is not None:
        return low.apply(act.Scale(1.0, -number), x)
    if isinstance(y, View) and (number := uniform(x)) is not None:
        return low.apply(act.Scale(-1.0, number), y)
    if isinstance(x, View):
        return merged(low, Subtract(), x, learned(low, x, y))
    return merged(low, Subtract(), learned(low, y, x), y)


@rule("rsub")
def rsub(low: Lowering, x: View, y: Any, alpha: float = 1) -> View:
    return sub(low, y, x, alpha)


@rule("mul", "multiply")
def mul(low: Lowering, x: Any, y: Any) -> View:
    if not isinstance(x, View):
        x, y = y, x
    needs_view(x)
    if isinstance(y, View):
        return merged(low, Multiply(), x, y)
    if (number := uniform(y)) is not None:
        step = low.step_of(x)
        if step is not None and step is low.steps[-1] and isinstance(step.op, Matmul1):
            sums = step_channels(low, step)
            factor: float = step.op.scale or sums**-0.5
            step.op = scores(step.op.row_wise, factor * number, sums)
            found: View = x
            return found
        return low.apply(act.Scale(number), x) if number != 1 else x
    if (other := low.computed(y, x)) is not None:
        return merged(low, Multiply(), x, other)
    view, axes, own, y = constant(low, x, y)
    if y.sources and own[0] == view.own[0] and own[0] and not any(own[1:]):
        return low.apply(LayerScale(initial(y)), view, weight=ordered(y, axes, own))
    return merged(low, Multiply(), view, low.learned(y, view, own, axes))


def step_channels(low: Lowering, step: Step) -> int:
    """How many channels a product of matrices sums over."""
    wire = step.inputs[0]
    shape = low.inputs[wire.port] if wire.node == INPUT else low.steps[int(wire.node[1:])].shapes[wire.port]
    return shape[0]


def scores(row_wise: bool, scale: float, channels: int) -> Matmul1:
    """The scores of attention with that factor."""
    return Matmul1(row_wise, 0.0 if isclose(scale, channels**-0.5, rel_tol=1e-6) else float(scale))


@rule("div", "true_divide")
def div(low: Lowering, x: Any, y: Any) -> View:
    if isinstance(x, View) and isinstance(y, View):
        return merged(low, Divide(), x, y)
    if isinstance(x, View) and (number := uniform(y)) is not None:
        return low.apply(act.Scale(1 / number), x)
    if isinstance(x, View):
        return merged(low, Divide(), x, learned(low, x, y))
    raise Foreign("a constant divided by a tensor")


@rule("maximum")
def maximum(low: Lowering, x: View, y: View) -> View:
    needs_view(x, y)
    return merged(low, Maximum(), x, y)


@rule("pow")
def power(low: Lowering, x: View, exponent: Any) -> View:
    if exponent in (0.5, -0.5):
        return low.apply(act.Root(inverse=exponent < 0), x)
    if exponent != 2:
        raise Foreign(f"a power of {exponent}" if isinstance(exponent, int | float) else "a power by a tensor")
    return merged(low, Multiply(), x, x)


@rule("sqrt")
def sqrt(low: Lowering, x: View) -> View:
    return low.apply(act.Root(), x)


@rule("rsqrt")
def rsqrt(low: Lowering, x: View) -> View:
    return low.apply(act.Root(inverse=True), x)


@rule("square")
def square(low: Lowering, x: View) -> View:
    return merged(low, Multiply(), x, x)
