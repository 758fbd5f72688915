"""What is in a picture, before anything has a place, a colour or a format.

A scene is panels of items and edges; `dot` writes it for Graphviz, `mermaid` for READMEs. Texts are plain here: each
format escapes them in its own way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Word(NamedTuple):
    """Some text in one look: plain, bold, text (smaller), note (smaller and bold), small (and faint) or title."""

    text: str
    look: str = "plain"


Line = tuple[Word, ...]


def line(text: str, look: str = "plain") -> Line:
    """A line of one look."""
    return (Word(text, look),)


def plain(lines: tuple[Line, ...]) -> str:
    """The text of lines, without looks."""
    return " ".join("".join(word.text for word in one) for one in lines).strip()


@dataclass(frozen=True)
class Item:
    """One thing that is drawn.

    `kind` is operation, merge (a circle with a sign), block, section, terminal (in, out), shape (of a wire), fork (a
    dot) or text. `mark` says what happened to it between two graphs (added, removed, changed), or that it is one of
    several alternatives (choice).
    """

    name: str
    kind: str
    lines: tuple[Line, ...] = ()
    family: str = ""
    tip: str = ""
    heat: float | None = None
    """Share of all FLOPs against that of the most expensive item, from 0 to 1."""
    mark: str = ""
    aside: str = ""
    """At the right end of the first line, in a section."""
    bar: tuple[tuple[str, float], ...] | None = None
    """FLOPs by family, as parts of the longest bar, in a section."""


@dataclass
class Cluster:
    """Items with a frame around them: panel, frame (of a block), stack (of equal cards), card, choice, or bare."""

    name: str
    kind: str
    lines: tuple[Line, ...] = ()
    members: list[Item | Cluster] = field(default_factory=list)
    mark: str = ""

    def items(self) -> Iterator[Item]:
        """All items, however deep."""
        for member in self.members:
            if isinstance(member, Cluster):
                yield from member.items()
            else:
                yield member

    def clusters(self) -> Iterator[Cluster]:
        """This cluster and all inside it."""
        yield self
        for member in self.members:
            if isinstance(member, Cluster):
                yield from member.clusters()


@dataclass(frozen=True)
class Edge:
    """A wire, or several that are drawn as one."""

    tail: str
    head: str
    label: str = ""
    skip: bool = False
    arrow: bool = True
    mark: str = ""
    hidden: bool = False
    """Not drawn: it only keeps its head below its tail."""


@dataclass
class Panel:
    """A part of the page that is laid out by itself."""

    body: Cluster
    edges: list[Edge] = field(default_factory=list)


@dataclass
class Scene:
    """A whole picture."""

    panels: list[Panel]
    direction: str = "TB"
    title: str = ""
    notes: tuple[Line, ...] = ()
    """Below the title."""
    caption: str = ""
    families: tuple[str, ...] = ()
    """Which colours the legend explains."""
    marks: tuple[str, ...] = ()
    """Which marks the legend explains."""
    heat: str = ""
    """What full heat stands for: '31 % of FLOPs'. Empty where nothing is coloured by cost."""
    joins: list[Edge] = field(default_factory=list)
    """Wires from panel to panel."""

    def items(self) -> Iterator[Item]:
        """All items of all panels."""
        for panel in self.panels:
            yield from panel.body.items()

    def edges(self) -> Iterator[Edge]:
        """All edges, those between panels last."""
        for panel in self.panels:
            yield from panel.edges
        yield from self.joins
