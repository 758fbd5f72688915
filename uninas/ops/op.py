"""What an operation is: attributes with domains, a shape rule, a cost rule, and the torch object it becomes.

An operation is a small frozen class. Defining the class registers it; nothing else has to know:

    class Gelu(Op, name="gelu", family="activation"):
        \"\"\"Gaussian error linear unit (Hendrycks & Gimpel 2016).\"\"\"
        approximate: str = attr("formula", default="none", choices=("none", "tanh"))

        def shape(self, x): return x
        def elementwise(self, x): return size(x)
        def emit(self, nn, x): return nn.GELU(self.approximate)

Nothing here imports torch: `emit` receives the torch side (`uninas.backend.layers`) as its argument `nn`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from uninas.errors import did_you_mean, error, shown
from uninas.fact import fact
from uninas.plugins import Registry

R = TypeVar("R")

Shape = tuple[int, ...]
"""A tensor without its batch axis: (C, H, W) for images and tokens (tokens are C x 1 x N), (C,) for a vector."""

MAX_SIZE = 2**40  # elements of one tensor; far beyond any machine, small enough for exact arithmetic
MAX_INT = 2**40
MAX_PORTS = 4096  # inputs or outputs of one node


class ShapeError(ValueError):
    """A shape or attribute that an operation cannot accept; a bare sentence, the caller adds the place."""


def size(shape: Shape) -> int:
    """Number of elements."""
    return math.prod(shape)


def show_shape(shape: Shape) -> str:
    """A shape as messages and the language write it: 64 x 56 x 56."""
    return " x ".join(map(str, shape))


def image(x: Shape, what: str = "an input") -> Shape:
    """Guard of most shape rules: x must be C x H x W."""
    if len(x) != 3:
        raise ShapeError(f"expected {what} of shape C x H x W, but got a vector of {show_shape(x)}")
    return x


@dataclass(frozen=True)
class Cost:
    """The cost of a graph for one sample.

    `macs` counts multiply-accumulates of convolutions, linear layers and matrix products, so that `flops` = 2 x macs
    agrees with torch's FlopCounterMode. `elementwise` counts everything else (normalisation, activation, pooling,
    sums) in operations on single elements.
    """

    params: int = 0
    macs: int = 0
    elementwise: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations: 2 x multiply-accumulates."""
        return 2 * self.macs

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs, self.elementwise + other.elementwise)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.params * times, self.macs * times, self.elementwise * times)


@dataclass(frozen=True)
class Attr:
    """The declared domain of one attribute."""

    name: str
    type: type
    doc: str
    default: Any = dataclasses.MISSING
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    channels: bool = False
    """The value counts channels, so that a printer may write it relative to C."""
    later: bool = False
    """It came after the first release: at its default it is left out of the canonical text, so that keys stay."""

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING

    @property
    def domain(self) -> str:
        """The domain in words, as messages and the reference show it."""
        if self.choices:
            return " or ".join(self.choices)
        word = {int: "an integer", float: "a number", bool: "true or false"}[self.type]
        if self.low is not None and self.high is not None:
            return f"{word} from {self.low} to {self.high}"
        return f"{word} of at least {self.low}" if self.low is not None else word

    def check(self, value: Any) -> None:
        """Raise ShapeError unless `value` lies in the domain."""
        fits = type(value) is self.type or (self.type is float and type(value) is int)
        if fits and self.choices:
            fits = value in self.choices
        elif fits and self.type is not bool:
            fits = (
                math.isfinite(value)
                and (self.low is None or value >= self.low)
                and value <= (MAX_INT if self.high is None else self.high)
            )
        if not fits:
            raise ShapeError(f"expected {self.name} to be {self.domain}, but got {shown(show_value(value))}")


def attr(
    doc: str,
    *,
    default: Any = dataclasses.MISSING,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    channels: bool = False,
    later: bool = False,
) -> Any:
    """Declare an attribute: its meaning, default and domain."""
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices, "channels": channels, "later": later}
    return dataclasses.field(default=default, metadata=metadata)


def show_value(value: Any) -> str:
    """A value as the language writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _last_again(method: Callable[..., R]) -> Callable[..., R]:
    """The result of the last call again for the same shapes: what an edit leaves alone in a graph meets these."""
    slot = f"_last_{method.__name__}"

    @wraps(method)
    def again(self: Op, *x: Shape) -> R:
        known: tuple[tuple[Shape, ...], R] | None = self.__dict__.get(slot)
        if known is None or known[0] != x:
            known = self.__dict__[slot] = x, method(self, *x)
        return known[1]

    return again


def _kind_of(field: dataclasses.Field[Any]) -> type:
    """The type of an attribute; its annotation is a type, or a text under `from __future__ import annotations`."""
    kinds: dict[str, type] = {kind.__name__: kind for kind in (int, float, bool, str)}
    written = field.type.__name__ if isinstance(field.type, type) else str(field.type)
    if written not in kinds:
        raise error("UNI140", f"expected the attribute {field.name} to be int, float, bool or str, but got {written}")
    if written == "str" and not field.metadata.get("choices"):
        raise error("UNI140", f"expected choices for the attribute {field.name}, whose values are words", None,
                    f'{field.name}: str = attr("...", choices=("one", "other"))')  # fmt: skip
    return kinds[written]


REGISTRY: Registry[type[Op]] = Registry("operation")
FAMILIES = ("conv", "linear", "norm", "activation", "pool", "merge", "split", "attention", "shape", "regulariser")


KEEPS = {"merge": "nothing", "split": "view", "shape": "nothing"}
"""What derivatives of a family need, unless an operation says something else; the inputs in all others."""


@dataclass_transform(frozen_default=True, field_specifiers=(attr,))
class Op:
    """One operation with its attributes. Subclasses are frozen dataclasses and register themselves by name."""

    name: ClassVar[str]
    family: ClassVar[str]
    arity: ClassVar[tuple[int, int]]
    """Smallest and largest number of inputs."""
    commutative: ClassVar[bool]
    """The order of the inputs does not matter."""
    keeps: ClassVar[str]
    """What its derivative needs: inputs, outputs, both or nothing; or it is a view of its first input."""
    attrs: ClassVar[tuple[Attr, ...]]

    def __init_subclass__(
        cls, *, name: str, family: str, arity: tuple[int, int] = (1, 1), commutative: bool = False, keeps: str = ""
    ) -> None:
        if family not in FAMILIES:
            raise error("UNI140", f"expected a family of operations for {name}, but got {shown(family)}", None,
                        did_you_mean(family, FAMILIES) or f"there are {', '.join(FAMILIES)}")  # fmt: skip
        cls.name, cls.family, cls.arity, cls.commutative = name, family, arity, commutative
        cls.keeps = keeps or KEEPS.get(family, "inputs")
        dataclass(frozen=True)(cls)
        cls.attrs = tuple(
            Attr(f.name, _kind_of(f), default=f.default, **f.metadata)
            for f in dataclasses.fields(cls)  # type: ignore[arg-type]  # made a dataclass two lines above
        )
        REGISTRY.add(name, cls)

    def __post_init__(self) -> None:
        for attribute in self.attrs:
            attribute.check(getattr(self, attribute.name))

    # ---- what a subclass defines -------------------------------------------------------------------------------

    def shape(self, *x: Any, **none: Any) -> Shape | list[Shape]:
        """Output shape for these input shapes; a list when there are several outputs. Raises ShapeError."""
        raise NotImplementedError

    def params(self, *x: Any, **none: Any) -> int:
        """Number of trainable scalars."""
        return 0

    def macs(self, *x: Any, **none: Any) -> int:
        """Multiply-accumulates of convolutions and matrix products, for one sample."""
        return 0

    def elementwise(self, *x: Any, **none: Any) -> int:
        """Number of all other operations on single elements, for one sample."""
        return 0

    def degree(self, *x: int) -> int:
        """Polynomial degree of the outputs for those of the inputs: 0 where they are bounded, 1 behind a norm."""
        return max(x)

    def emit(self, nn: Any, *x: Any, **none: Any) -> Any:
        """The torch object: an nn.Module, or a function of the input tensors."""
        raise NotImplementedError

    def stackable(self, *x: Shape) -> bool:
        """Whether n copies, each with its own weights, can run as one on a batch that holds n parts of every sample."""
        return True

    def emit_stacked(self, nn: Any, n: int, *x: Shape) -> Any:
        """n copies as one torch object; takes and gives tensors (B n) x ..., the part running fastest."""
        return nn.stacked(self.emit(nn, *x), n)

    # ---- what every operation has ------------------------------------------------------------------------------

    @_last_again
    def outputs(self, *x: Shape) -> tuple[Shape, ...]:
        """Shapes of all outputs, after the checks that hold for every operation."""
        low, high = self.arity
        if not low <= len(x) <= high:
            wanted = str(low) if low == high else f"{low} or more" if high >= MAX_PORTS else f"{low} to {high}"
            raise ShapeError(f"expected {wanted} input{'s' * (wanted != '1')} for {self.name}, but got {len(x)}")
        found = self.shape(*x)
        shapes = tuple(found) if isinstance(found, list) else (found,)
        for shape in shapes:
            if size(shape) > MAX_SIZE:
                raise ShapeError(f"expected a tensor of at most 2^40 elements, but got {show_shape(shape)}")
        return shapes

    def having(self, **values: Any) -> Self:
        """The operation with other values for some attributes. Raises ShapeError when one lies outside its domain."""
        return dataclasses.replace(self, **values)  # type: ignore[type-var]  # subclasses are dataclasses

    @_last_again
    def cost(self, *x: Shape) -> Cost:
        return Cost(self.params(*x), self.macs(*x), self.elementwise(*x))

    @fact
    def canonical(self) -> str:
        """The operation with every attribute written out."""
        values = ((a, getattr(self, a.name)) for a in self.attrs)
        written = (f"{a.name}={show_value(value)}" for a, value in values if not (a.later and value == a.default))
        return f"{self.name}({', '.join(written)})"

    def __str__(self) -> str:
        """The operation as a person writes it: defaults left out."""
        parts = [
            f"{a.name}={show_value(value)}"
            for a in self.attrs
            if (value := getattr(self, a.name)) != a.default or a.required
        ]
        return f"{self.name}({', '.join(parts)})" if parts else self.name
