"""Rules of moves: which kinds of edits a space allows, with their weights, options and filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from uninas.errors import Span, did_you_mean, error, shown
from uninas.graph import Graph
from uninas.plugins import Registry


@dataclass(frozen=True)
class MoveOption:
    """What a move may put somewhere: a chain of steps that types itself for the shapes it meets.

    `on` takes these and, as `width`, the channels that the result shall have, as `extents` the height and width of what
    flows into the block around; it raises UninasError when it cannot.
    """

    text: str
    on: Callable[..., Graph] = field(repr=False)


@dataclass(frozen=True)
class Facts:
    """What a filter may ask of a site, by these names."""

    stage: int
    """number of the stage, counted from 0; -1 outside all stages"""
    index: int
    """number of the block in its stage, counted from 0; -1 outside all blocks"""
    depth: int
    """how many blocks lie around the site"""
    op: str
    """the operation or block that stands there, or 'out'"""
    after: str
    """the operation or block that its first input comes from, or 'input' where that is the block's own"""
    block: str
    """the block that it stands in"""
    C: int
    H: int
    W: int


class MoveForm(NamedTuple):
    """The form of a kind of move: what may stand in its braces."""

    doc: str
    chains: str = ""
    """'must' or 'may' have chains of steps to put in; otherwise it has none"""
    values: tuple[str, ...] = ()
    """names that may get values; '*' stands for any attribute of an operation"""


MOVES: Registry[MoveForm] = Registry("move", {
    "insert": MoveForm("puts a chain onto a wire", "must"),
    "remove": MoveForm("takes out a node, with the region that ends there"),
    "replace": MoveForm("puts a chain in the place of a node", "must"),
    "attribute": MoveForm("gives an attribute of an operation another value", values=("*",)),
    "wrap": MoveForm("puts a form around a wire or a region", "must"),
    "skip": MoveForm("adds a wire to a later one of its shape", "may"),
    "unskip": MoveForm("takes an input from a sum, product or maximum"),
    "own": MoveForm("gives one part of an each a body of its own"),
    "share": MoveForm("lets a block be one more part of an each"),
    "swap": MoveForm("lets two blocks of a stage change places"),
    "duplicate": MoveForm("puts a second block like it behind a block"),
    "delete": MoveForm("leaves a block out"),
    "move": MoveForm("takes a block to another place of any stage"),
    "depth": MoveForm("changes the number of blocks of a stage", values=("count",)),
    "width": MoveForm("changes the channels of a stage", values=("width",)),
    "stride": MoveForm("changes which stages halve the map"),
    "resolution": MoveForm("changes the height and width of the images", values=("size",)),
})  # fmt: skip
"""Every kind of move that a space can name."""


@dataclass(frozen=True)
class MoveRule:
    """A kind of move with its relative weight, what it may put in, the values it may give, and where it may act."""

    name: str
    weight: float
    options: tuple[MoveOption, ...] = ()
    values: Mapping[str, tuple[int | float | bool | str, ...]] = field(default_factory=dict)
    where: Callable[[Facts], bool] | None = field(default=None, repr=False)
    condition: str = ""
    """The filter, as it was written."""
    span: Span | None = field(default=None, repr=False, compare=False)

    def check(self) -> None:
        """Raise UninasError unless there is that kind of move, and the rule gives what it takes."""
        form = MOVES.get(self.name)
        if form is None:
            hint = did_you_mean(self.name, MOVES) or f"there are {', '.join(MOVES)}"
            raise error("UNI010", f"unknown move {shown(self.name)}", self.span, hint)
        if form.chains == "must" and not self.options:
            example = f"moves {self.name} 0.7 {{conv(C, 3), gelu}}, ..."
            raise error("UNI013", f"expected what to {self.name}", self.span, example)
        if self.options and not form.chains:
            raise error("UNI012", f"expected nothing to put in, because {self.name} only {form.doc}", self.span)
        for name in self.values:
            if name not in form.values and "*" not in form.values:
                hint = did_you_mean(name, form.values) or f"it takes {', '.join(form.values) or 'none'}"
                raise error("UNI012", f"{self.name} has no values called {shown(name)}", self.span, hint)
