"""Edits: what was done to an architecture, as records that print as a sentence and can be replayed.

An edit is a small frozen class with a `kind`. It knows how it changes the one graph that its path leads to
(`change`), and, so that it can be drawn, what of its kind is possible at a site (`at`). Defining the class
registers it: records, the language's `moves` (with a `form`) and the neighbours of an architecture find it by its kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, TypeVar

from uninas.errors import error, shown
from uninas.graph import Graph, Wire
from uninas.mutate.sites import Level, Port, Refusal, Site
from uninas.ops.op import Shape
from uninas.plugins import Registry
from uninas.space import MOVES, MoveForm, MoveRule

Value = int | float | bool | str
T = TypeVar("T")


class Bodies(Protocol):
    """Gives the graph of an option of the space between shapes: all that an edit needs of the moves."""

    def body(self, what: str, around: Graph, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> Graph | Refusal:
        """The graph to put into the one around, or why there is none."""


KINDS: Registry[type[Edit]] = Registry("kind of edit")
"""Every kind of edit by its name."""


@dataclass(frozen=True)
class Edit(ABC):
    """A change of one graph inside an architecture; `path` names the nodes that lead to it from the top."""

    kind: ClassVar[str]
    level: ClassVar[Level]
    rare: ClassVar[bool]
    """Few sites allow it, so that one is looked for where it is possible."""

    path: tuple[str, ...]

    def __init_subclass__(
        cls, *, kind: str, level: Level = "inner", rare: bool = False, form: MoveForm | None = None
    ) -> None:
        """Registers the kind. `form` is what a space may write for it, where `space.rules` has no entry."""
        cls.kind, cls.level, cls.rare = kind, level, rare
        KINDS.add(kind, cls)
        if form is not None:
            MOVES.add(kind, form, owner=cls.__module__)

    @abstractmethod
    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        """The graph at `path` after this edit. May raise GraphError, which stands for a 'type' refusal."""

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        """The edits of this kind at a site, all equally likely. Some may turn out not to be possible."""
        return ()

    def named(self, wire: tuple[str, int]) -> str:
        """A wire or port with its whole path: stages.1.blocks.0.conv_1, or ...chunk[1]."""
        node, port = wire
        return ".".join((*self.path, node)) + (f"[{port}]" if port else "")


class Lazy(Sequence[T]):
    """A sequence that makes its items when they are looked at: of many edits, one is drawn."""

    def __init__(self, length: int, make: Callable[[int], T]):
        self.length, self.make = length, make

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return self.make(index)

    def __iter__(self) -> Iterator[T]:
        return map(self.make, range(self.length))


# ---- edits as plain values -----------------------------------------------------------------------------------------


def record(edit: Edit) -> dict[str, Any]:
    """An edit as plain values, ready for JSON; `read_edit` is the way back."""
    values = {name: value for name, value in vars(edit).items() if value is not None}
    return {"move": edit.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


def read_edit(values: Mapping[str, Any]) -> Edit:
    """The edit that `record` wrote. Raises UNI080 for anything else."""
    try:
        cls = KINDS[values["move"]]
        given = {field.name: _READERS[_written(field.type)](values.get(field.name)) for field in fields(cls)}
        return cls(**given)
    except (KeyError, TypeError, ValueError):
        raise error("UNI080", f"expected the record of an edit, but got {shown(dict(values))}") from None


def _written(annotation: Any) -> str:
    """An annotation as it was written, also where it is a type already."""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _value(value: Any) -> Value:
    if not isinstance(value, (int, float, bool, str)):
        raise TypeError
    return value


def _place(value: Any) -> tuple[str, int]:
    node, port = value
    return _text(node), _integer(port)


def _optional(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else read(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "str | None": _optional(_text),
    "int": _integer,
    "float": _number,
    "bool": _flag,
    "Value": _value,
    "Wire": lambda value: Wire(*_place(value)),
    "Wire | None": _optional(lambda value: Wire(*_place(value))),
    "Port | None": _optional(lambda value: Port(*_place(value))),
    "tuple[str, ...]": lambda value: tuple(map(_text, value)),
    "tuple[str, ...] | None": _optional(lambda value: tuple(map(_text, value))),
    "tuple[int, ...]": lambda value: tuple(map(_integer, value)),
}
