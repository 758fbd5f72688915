"""Graphviz's SVG -> ours: few elements, sizes in millimetres, texts for those who listen, letters as outlines.

Only the elements and attributes named here pass, so nothing that a name could smuggle in reaches a browser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple
from xml.etree import ElementTree

from uninas.render.formats.fonts import face
from uninas.render.formats.layout import Laid
from uninas.render.formats.style import escaped

SHAPES = {"path": ("d",), "polygon": ("points",), "polyline": ("points",), "ellipse": ("cx", "cy", "rx", "ry")}
SIZE = 11  # of most text
PAINT = ("fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity")
TITLE = "{http://www.w3.org/1999/xlink}title"
FAMILY = "DejaVu Sans, Verdana, sans-serif"

_NUMBER = re.compile(r"-?\d+\.\d+")


class Piece(NamedTuple):
    """Some text of one look, from one place on."""

    words: str
    bold: bool
    size: float
    fill: str
    x: float
    y: float

    @property
    def long(self) -> float:
        """Its true length in points; Graphviz, which rounds the width of every letter, takes it for a little more."""
        used = face(self.bold)
        return sum(map(used.advance, self.words)) * self.size / used.units


def clean_svg(data: bytes, laid: Laid, *, title: str, description: str, ink: str, outlines: bool) -> str:
    """SVG that stands alone or in a page, of what Graphviz made of a layout. `ink` is the colour of most text."""
    root = ElementTree.fromstring(data)  # noqa: S314 (made by Graphviz a moment ago)
    writer = _Writer(outlines, ink, laid.centres, sha256(data).hexdigest()[:6])
    for child in root:
        writer.element(child)
    across, down = (f"{short(side * laid.scale * 25.4 / 72)}mm" for side in (laid.width, laid.height))
    heading = f"<title>{escaped(title)}</title>" if title else ""
    heading += f"<desc>{escaped(description)}</desc>" if description else ""
    label = f' aria-label="{escaped(title)}"' if title else ""
    family = "" if outlines else f' font-family="{FAMILY}" font-size="{SIZE}" fill="{ink}"'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img"'
        f'{label} width="{across}" height="{down}" viewBox="0 0 {short(laid.width)} {short(laid.height)}"{family}>'
        f"{heading}{writer.definitions()}\n{''.join(writer.out)}</svg>\n"
    )


class _Writer:
    def __init__(self, outlines: bool, ink: str, centres: Mapping[str, float], prefix: str):
        """`centres`: where the lines of an item are centred. `prefix` keeps apart what pictures in one page define."""
        self.outlines = outlines
        self.ink = ink
        self.centres = centres
        self.prefix = prefix
        self.out: list[str] = []
        self.pieces: list[Piece] = []
        self.letters: dict[tuple[bool, str], str] = {}
        self.texts: dict[tuple[bool, str], str] = {}
        self.written: list[str] = []

    def element(self, element: ElementTree.Element) -> None:
        tag = element.tag.rpartition("}")[2]
        if tag == "g":
            self.group(element)
        elif tag == "text":
            self.pieces.append(piece(element))
        elif tag in SHAPES:
            given = [(name, rounded(element.attrib[name])) for name in SHAPES[tag]]
            given += [(name, element.attrib[name]) for name in PAINT if name in element.attrib]
            self.out.append(f"<{tag}{attributes(given)}/>\n")

    def group(self, element: ElementTree.Element) -> None:
        """The page itself, a node, edge or cluster, or the anchor of a tooltip, which becomes a title."""
        kind = element.get("class", "")
        given: list[tuple[str, str]] = []
        if kind == "graph":
            given = [("transform", element.get("transform", "").replace("scale(1 1) rotate(0) ", ""))]
        elif kind in ("node", "edge", "cluster"):
            given = [("class", kind)]
        name = next((child.text for child in element if child.tag.endswith("title")), None) or ""
        before = len(self.out)
        for child in element:
            anchor = child.tag.endswith("}a")
            if anchor:
                self.out.append(f"<title>{escaped(child.get(TITLE, ''))}</title>")
            for inner in child if anchor else (child,):
                self.element(inner)
        if kind:
            for pieces in lines(self.pieces):
                self.line(pieces, self.centres.get(name) if kind == "node" else None)
            self.pieces = []
        if given and len(self.out) > before:
            self.out.insert(before, f"<g{attributes(given)}>")
            self.out.append("</g>\n")

    # ---- texts ---------------------------------------------------------------------------------------------------

    def line(self, pieces: Sequence[Piece], centre: float | None) -> None:
        """A line of text, around its centre or from its left end on."""
        first = pieces[0]
        if self.outlines:
            x = first.x if centre is None else centre - sum(piece.long for piece in pieces) / 2
            for one in pieces:
                name = self.outlined(one.words, one.bold)
                at = f"translate({short(x)} {short(one.y)}) scale({one.size / face(one.bold).units:.5f})"
                self.out.append(f'<use xlink:href="#{name}" transform="{at}" fill="{one.fill}"/>\n')
                x += one.long
            return
        given = [("x", short(first.x if centre is None else centre)), ("y", short(first.y))]
        given += [("text-anchor", "middle")] * (centre is not None)
        if len(pieces) == 1:
            self.out.append(f"<text{attributes(given + self.looks(first))}>{escaped(first.words)}</text>\n")
            return
        spans = (f"<tspan{attributes(self.looks(one))}>{escaped(one.words)}</tspan>" for one in pieces)
        self.out.append(f"<text{attributes(given)}>{''.join(spans)}</text>\n")

    def looks(self, piece: Piece) -> list[tuple[str, str]]:
        """The attributes in which a text differs from most."""
        given = [("font-size", short(piece.size))] * (piece.size != SIZE)
        given += [("fill", piece.fill)] * (piece.fill != self.ink)
        return given + [("font-weight", "bold")] * piece.bold

    def outlined(self, words: str, bold: bool) -> str:
        """The name of a definition that draws these words."""
        if (bold, words) in self.texts:
            return self.texts[bold, words]
        used = face(bold)
        at = 0
        parts = []
        for letter in words:
            if not letter.isspace():
                parts.append(f'<use xlink:href="#{self.letter(letter, bold)}" x="{at}"/>')
            at += used.advance(letter)
        name = self.texts[bold, words] = f"{self.prefix}t{len(self.texts)}"
        self.written.append(f'<g id="{name}">{"".join(parts)}</g>')
        return name

    def letter(self, letter: str, bold: bool) -> str:
        """The name of a definition that draws one letter."""
        if (bold, letter) not in self.letters:
            name = self.letters[bold, letter] = f"{self.prefix}g{len(self.letters)}"
            self.written.append(f'<path id="{name}" transform="scale(1 -1)" d="{face(bold).outline(letter)}"/>')
        return self.letters[bold, letter]

    def definitions(self) -> str:
        return f"<defs>{''.join(self.written)}</defs>" if self.written else ""


def piece(element: ElementTree.Element) -> Piece:
    """A text of Graphviz's SVG. Spaces that a reader of SVG would drop become ones that stay."""
    words = (element.text or "").replace("  ", "\u00a0 ")
    found = Piece(
        words, element.get("font-weight") == "bold", float(element.get("font-size", "11")),
        element.get("fill", "black"), float(element.get("x", "0")), float(element.get("y", "0")),
    )  # fmt: skip
    anchor = element.get("text-anchor", "start")
    return found if anchor == "start" else found._replace(x=found.x - found.long / (2 if anchor == "middle" else 1))


def lines(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces that follow each other closely at one height."""
    found: list[list[Piece]] = []
    for one in pieces:
        last = found[-1][-1] if found else None
        if last and last.y == one.y and abs(last.x + last.long - one.x) < 0.15 * last.long + 3:
            found[-1].append(one)
        elif one.words.strip():
            found.append([one])
    return found


def attributes(given: list[tuple[str, str]]) -> str:
    """Attributes as markup."""
    return "".join(f' {name}="{escaped(value)}"' for name, value in given)


def short(number: float) -> str:
    """At most one digit after the point: a tenth of a point is less than the width of a line."""
    return f"{number:.1f}".removesuffix(".0")


def rounded(numbers: str) -> str:
    """The numbers of a path, shortened."""
    return _NUMBER.sub(lambda match: short(float(match[0])), numbers)
