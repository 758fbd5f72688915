"""Graphviz's SVG -> ours: few elements, sizes in millimetres, texts for those who listen, letters as outlines.

Only the elements and attributes named here pass, so nothing that a name could smuggle in reaches a browser.
"""

from __future__ import annotations

import re
from hashlib import sha256
from xml.etree import ElementTree

from uninas.render.fonts import face
from uninas.render.style import escaped

SHAPES = {"path": ("d",), "polygon": ("points",), "polyline": ("points",), "ellipse": ("cx", "cy", "rx", "ry")}
PAINT = ("fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity")
ELEMENTS = {*SHAPES, "svg", "g", "title", "desc", "defs", "use", "text"}
FAMILY = "DejaVu Sans, Verdana, sans-serif"

_NUMBER = re.compile(r"-?\d+\.\d+")


def clean_svg(
    data: bytes, width: float, height: float, scale: float, title: str, description: str, outlines: bool
) -> str:
    """SVG that stands alone or in a page. `width` and `height` in points before `scale`."""
    root = ElementTree.fromstring(data)  # noqa: S314 (made by Graphviz a moment ago)
    writer = _Writer(outlines, sha256(data).hexdigest()[:8])
    for child in root:
        writer.element(child)
    body = "".join(writer.out)
    across, down = (f"{short(side * scale * 25.4 / 72)}mm" for side in (width, height))
    heading = f"<title>{escaped(title)}</title>" if title else ""
    heading += f"<desc>{escaped(description)}</desc>" if description else ""
    label = f' aria-label="{escaped(title)}"' if title else ""
    family = "" if outlines else f' font-family="{FAMILY}"'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img"'
        f'{label} width="{across}" height="{down}" viewBox="0 0 {short(width)} {short(height)}"{family}>'
        f"{heading}{writer.definitions()}\n{body}</svg>\n"
    )


class _Writer:
    def __init__(self, outlines: bool, prefix: str):
        """`prefix` keeps apart what several pictures in one page define."""
        self.outlines = outlines
        self.prefix = prefix
        self.out: list[str] = []
        self.letters: dict[tuple[bool, str], str] = {}
        self.texts: dict[tuple[bool, str], str] = {}
        self.written: list[str] = []

    def element(self, element: ElementTree.Element) -> None:
        tag = element.tag.rpartition("}")[2]
        if tag == "g":
            self.group(element)
        elif tag == "text":
            self.text(element)
        elif tag in SHAPES:
            given = [(name, rounded(element.attrib[name])) for name in SHAPES[tag]]
            given += [(name, element.attrib[name]) for name in PAINT if name in element.attrib]
            self.out.append(f"<{tag}{attributes(given)}/>\n")

    def group(self, element: ElementTree.Element) -> None:
        """A node, edge or cluster, named by its tooltip or else by Graphviz; the page itself; or a tooltip's anchor."""
        kind = element.get("class", "")
        name = next((child.text for child in element if child.tag.endswith("title")), "") or ""
        tip = next((child for child in element.iter() if child.tag.endswith("}a")), None)
        if kind == "graph":
            given = [("transform", re.sub(r"scale\(1 1\) rotate\(0\) ", "", element.get("transform", "")))]
            name = ""
        elif kind in ("node", "edge", "cluster"):
            given = [("class", kind)]
            shown = "" if tip is None else tip.get("{http://www.w3.org/1999/xlink}title", "")
            name = shown or (name.replace("->", " → ") if kind == "edge" else name.removeprefix("cluster_"))
            if name.startswith("corner/"):
                return
        else:  # around an anchor
            given, name = [], ""
        if given:
            self.out.append(f"<g{attributes(given)}>")
        if name:
            self.out.append(f"<title>{escaped(name)}</title>")
        for child in element:
            for inner in child if child.tag.endswith("}a") else (child,):
                self.element(inner)
        if given:
            self.out.append("</g>\n")

    def text(self, element: ElementTree.Element) -> None:
        words = element.text or ""
        bold = element.get("font-weight") == "bold"
        if not words.strip():
            return
        size, x, y = float(element.get("font-size", "11")), float(element.get("x", "0")), float(element.get("y", "0"))
        fill = element.get("fill", "black")
        anchor = element.get("text-anchor", "start")
        if not self.outlines:
            given = [("x", short(x)), ("y", short(y)), ("font-size", short(size)), ("fill", fill)]
            given += [("text-anchor", anchor)] * (anchor != "start") + [("font-weight", "bold")] * bold
            self.out.append(f"<text{attributes(given)}>{escaped(words)}</text>\n")
            return
        used = face(bold)
        units = size / used.units
        if anchor != "start":
            long = sum(map(used.advance, words)) * units
            x -= long if anchor == "end" else long / 2
        name = self.outlined(words, bold)
        at = f"translate({short(x)} {short(y)}) scale({units:.5f})"
        self.out.append(f'<use xlink:href="#{name}" transform="{at}" fill="{fill}"/>\n')

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


def attributes(given: list[tuple[str, str]]) -> str:
    """Attributes as markup."""
    return "".join(f' {name}="{escaped(value)}"' for name, value in given)


def short(number: float) -> str:
    """At most two digits after the point: a hundredth of a point is far below what is seen."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def rounded(numbers: str) -> str:
    """The numbers of a path, shortened."""
    return _NUMBER.sub(lambda match: short(float(match[0])), numbers)
