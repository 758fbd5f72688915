"""What a tracer tells about somebody's network: calls of functions in order, on tensors of which only shapes are known.

Tracers (`uninas.backend.trace` for torch modules, `uninas.interop.onnx` for ONNX files) write a `Trace`; `lower` reads
it. Names of functions are those of torch's ATen library without overload and trailing underscore: conv2d, add, view.
Shapes include the batch axis, which is the first one of every input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Sizes = tuple[int, ...]


@dataclass(eq=False)
class Value:
    """A tensor that depends on the input. Without a shape it gets that which lowering finds."""

    shape: Sizes


@dataclass(frozen=True, eq=False)
class Static:
    """A tensor that does not depend on the input: a parameter, a buffer, a constant, or what is computed from these."""

    shape: Sizes
    read: Callable[[], Any]
    """Its numbers, as a NumPy array; only called where the numbers matter."""
    probe: Callable[[], Any] | None = None
    """The same computed from random parameters, all different, to find out how it depends on them."""
    sources: tuple[str, ...] = ()
    """Names of the parameters that it is computed from."""
    name: str = ""
    """The name in the state dict, when it is an entry of it as it stands."""
    made: Call | None = None
    """The call that computes it from others."""

    @property
    def is_parameter(self) -> bool:
        return self.sources == (self.name,)


@dataclass(frozen=True)
class Place:
    """Where in the tree of modules a call was made: dotted path, and the names of the classes on the way."""

    path: str = ""
    classes: tuple[tuple[str, str], ...] = ()
    """(path, class) of every module around, outermost first; the whole network is the path ''. A module's second call
    has @1 behind the path, and so on."""

    def __str__(self) -> str:
        return self.path or "the network itself"


@dataclass(frozen=True)
class Call:
    """One call. Arguments are values, statics, numbers, words, None, or lists of these."""

    function: str
    arguments: Sequence[Any]
    keywords: Mapping[str, Any]
    outputs: Sequence[Value]
    place: Place = Place()
    macs: Callable[[], int] | None = None
    """Counts multiply-accumulates for the whole batch, where the tracer can do that."""


@dataclass(frozen=True)
class Trace:
    """All calls of one run, in order."""

    inputs: Sequence[Value]
    calls: Iterable[Call]
    outputs: Sequence[Value]
    parameters: Mapping[str, Sizes] = field(default_factory=dict)
    """Shapes of the trainable parameters by name."""
    name: str = ""
    fixed: Callable[[], int] | None = None
    """Counts multiply-accumulates of what depends neither on the input nor on parameters: it comes in as numbers."""
