"""The syntax tree of a `.uni` text: one small frozen class per rule of the grammar.

The tree is untyped: names are not looked up and shapes are unknown. `uninas.language.elaborate` is the only bridge from
these classes to graphs. Every class carries the span it was written at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from uninas.errors import Source, Span, error


@dataclass(frozen=True)
class Syntax:
    span: Span = field(repr=False, compare=False)


@dataclass(frozen=True)
class Word(Syntax):
    """A name, where it was written."""

    text: str


@dataclass(frozen=True)
class Number(Syntax):
    value: int | float


@dataclass(frozen=True)
class Boolean(Syntax):
    value: bool


@dataclass(frozen=True)
class BlockInput(Syntax):
    """`in`: what flows into the block."""


@dataclass(frozen=True)
class Reference(Syntax):
    """A name, with arguments when it is called: a wire, a parameter, a block, an operation or a function."""

    name: Word
    arguments: tuple[Argument, ...] | None


@dataclass(frozen=True)
class Member(Syntax):
    """`x.C`"""

    of: Expression
    field: Word


@dataclass(frozen=True)
class Item(Syntax):
    """`parts[2]`, or `parts[1..3]` for a bundle of several."""

    of: Expression
    index: Expression | Range


@dataclass(frozen=True)
class Group(Syntax):
    """`(a, b)`: several wires as one bundle."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Operation(Syntax):
    """An infix or prefix operator; `a + b + c` is one operation with three operands."""

    operator: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True)
class Conditional(Syntax):
    """`if c { a } else { b }` as a value; only the chosen side is looked at."""

    condition: Expression
    then: Expression
    otherwise: Expression


@dataclass(frozen=True)
class Pipeline(Syntax):
    head: Expression
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Chain(Syntax):
    """Steps without a beginning: a nameless block."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Apply(Syntax):
    """A step that applies an operation or a block, optionally under a name of its own (`as`)."""

    name: Word
    arguments: tuple[Argument, ...] | None
    label: Word | None


@dataclass(frozen=True)
class Repeat(Syntax):
    """The same steps several times, with weights of their own or (`shared`) with the same ones."""

    count: Expression
    body: Chain
    label: Word | None = None
    shared: bool = False


@dataclass(frozen=True)
class Each(Syntax):
    """One copy of the body, with weights of its own or (`shared`) with the same ones, for every wire of a bundle.

    With several names, for the wires of as many bundles of equal length, side by side.
    """

    names: tuple[Word, ...]
    body: tuple[Statement, ...]
    label: Word | None
    shared: bool = False


@dataclass(frozen=True)
class When(Syntax):
    condition: Expression
    then: Chain
    otherwise: Chain | None


@dataclass(frozen=True)
class Alternatives(Syntax):
    """`a | b`: an open choice between steps."""

    options: tuple[Step, ...]


@dataclass(frozen=True)
class Options(Syntax):
    """`{a, b, c}`"""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Range(Syntax):
    """`low..high step s`, both ends included."""

    low: Expression
    high: Expression
    step: Expression | None


@dataclass(frozen=True)
class Argument(Syntax):
    name: Word | None
    value: Value | Options | Range


Expression = Number | Boolean | BlockInput | Reference | Member | Item | Group | Operation | Conditional | Pipeline

Step = Apply | Repeat | Each | When | Alternatives

Value = Expression | Chain

Domain = Options | Range


@dataclass(frozen=True)
class Statement(Syntax):
    names: tuple[Word, ...]
    value: Expression


@dataclass(frozen=True)
class Parameter(Syntax):
    name: Word
    kind: Word | tuple[Word, ...] | None
    default: Value | None


@dataclass(frozen=True)
class Sizes(Syntax):
    """`3 x 224 x 224`"""

    sizes: tuple[Expression, ...]


@dataclass(frozen=True)
class Input(Syntax):
    """`input 3 x 224 x 224, 10`: the shape of every wire that flows in."""

    wires: tuple[Sizes, ...]


@dataclass(frozen=True)
class Init(Syntax):
    scheme: Word


@dataclass(frozen=True)
class Section(Syntax):
    """`stem`, `head`, or `section NAME`; `sources` are the wires that flow in, where these are said."""

    name: Word
    sources: tuple[Expression, ...] | None
    body: Chain


@dataclass(frozen=True)
class Outcome(Syntax):
    """`out = (scores, boxes)`: what a network gives, where that is not what its last section makes."""

    value: Expression


@dataclass(frozen=True)
class StageItem(Syntax):
    body: Chain
    count: Expression | None


@dataclass(frozen=True)
class Stage(Syntax):
    """A row of blocks; with a `label`, other sections may take what it makes."""

    sources: tuple[Expression, ...] | None
    width: Expression | Range
    count: Expression | Range | None
    stride: Expression | Range | None
    label: Word | None
    choices: tuple[Choose, ...]
    items: tuple[StageItem, ...]


@dataclass(frozen=True)
class Choose(Syntax):
    """`a, b in {...} where a < b`: an open choice for each of the names, and a condition on the answers so far."""

    names: tuple[Word, ...]
    domain: Domain
    where: Expression | None = None


@dataclass(frozen=True)
class Start(Syntax):
    network: Word


@dataclass(frozen=True)
class Move(Syntax):
    """`insert 0.7 {conv(C, 3)} where H > 7`: chains to put in, or names with domains, and a condition on the place."""

    name: Word
    weight: float
    options: tuple[Chain | Choose, ...]
    where: Expression | None


@dataclass(frozen=True)
class Moves(Syntax):
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Patience(Syntax):
    """How many draws in a row may be refused before a step is given up."""

    draws: Number


@dataclass(frozen=True)
class Bound(Syntax):
    """One limit of a budget; `relative` limits are fractions of what the start costs."""

    metric: Word
    low: float | None
    high: float | None
    relative: bool
    at: tuple[Number, Number] | None = None
    """Height and width of the images on which it holds."""


@dataclass(frozen=True)
class Budgets(Syntax):
    bounds: tuple[Bound, ...]


_Member = TypeVar("_Member", Input, Init, Outcome, Start, Patience)  # those of which there is one at most

NetworkMember = Input | Init | Section | Stage | Outcome | Choose | Start | Moves | Patience | Budgets


@dataclass(frozen=True)
class Import(Syntax):
    path: tuple[Word, ...]
    names: tuple[Word, ...]


@dataclass(frozen=True)
class Block(Syntax):
    kind: ClassVar = "block"
    name: Word
    parameters: tuple[Parameter, ...]
    input: Input | None
    statements: tuple[Statement, ...]
    doc: str


@dataclass(frozen=True)
class Network(Syntax):
    """A network, or (`is_space`) a search space: a network with open choices, or a start with moves."""

    name: Word
    parameters: tuple[Parameter, ...]
    members: tuple[NetworkMember, ...]
    doc: str
    is_space: bool

    @property
    def kind(self) -> str:
        """The word that it begins with."""
        return "space" if self.is_space else "network"

    def only(self, kind: type[_Member]) -> _Member | None:
        """The member of that kind, if there is one. Raises UNI011 where there are more."""
        found = [member for member in self.members if isinstance(member, kind)]
        if len(found) > 1:
            word = _MEMBERS.get(kind.__name__, kind.__name__.lower())
            raise error("UNI011", f"expected one {word} in {self.name.text}, but it has {len(found)}", found[1].span)
        return found[0] if found else None


_MEMBERS = {"Outcome": "out"}
"""How the text calls members of a network that are not called like their class."""

Definition = Block | Network


@dataclass(frozen=True)
class File:
    source: Source
    imports: tuple[Import, ...]
    definitions: tuple[Definition, ...]
