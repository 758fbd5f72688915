"""What names mean while a text is elaborated: values, and the scopes that bind names to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from uninas.errors import Span
from uninas.graph.builder import Builder, Wires
from uninas.language import tree as ast
from uninas.language.library import Module
from uninas.ops.op import Op, Shape


@dataclass(frozen=True)
class Symbol:
    """A bare word that stands for itself: a value of a choice parameter."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Callee:
    """An operation or a block, perhaps with its arguments already given, and where these were written."""

    target: type[Op] | tuple[Module, ast.Definition]
    arguments: tuple[ast.Argument, ...] | None = None
    scope: Scope | None = None
    span: Span | None = None
    guessed: bool = False
    """It stands for a block that is not known, and so takes any arguments."""

    def __str__(self) -> str:
        return self.target.name if isinstance(self.target, type) else self.target[1].name.text


@dataclass(frozen=True)
class Nameless:
    """A chain of steps given as an argument: a block without a name."""

    steps: tuple[ast.Step, ...]
    scope: Scope
    origin: ast.Syntax

    def __str__(self) -> str:
        return f"a chain of {len(self.steps)} steps"


class Poison:
    """Stands for a value that already caused a message."""


class Poisoned(Exception):
    """A computation met a poisoned value; the cause has been reported."""


Value = int | float | bool | Symbol | Wires | Callee | Nameless | Poison


@dataclass
class Binding:
    """A value, where it was bound, and whether anything has looked at it."""

    value: Value
    span: Span | None
    used: bool = False


class Scope:
    """Names visible at a place, and the graph that steps written there add to."""

    def __init__(self, module: Module, builder: Builder | None, parent: Scope | None = None):
        self.module, self.builder, self.parent = module, builder, parent
        self.names: dict[str, Binding] = {}

    def bind(self, name: str, value: Value, span: Span | None = None) -> None:
        self.names[name] = Binding(value, span)

    def find(self, name: str) -> Binding | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None

    def known(self) -> Iterator[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.names
            scope = scope.parent
        yield from self.module.names()

    def inner(self, builder: Builder | None = None, shape: Shape | None = None) -> Scope:
        """A scope inside this one; with a shape, `C`, `H` and `W` mean that shape."""
        scope = Scope(self.module, builder or self.builder, self)
        if shape is not None:
            scope.bind_shape(shape)
        return scope

    def bind_shape(self, shape: Shape) -> None:
        for letter, extent in zip("CHW", shape, strict=False):
            self.bind(letter, extent)
