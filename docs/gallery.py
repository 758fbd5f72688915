"""Draws all that is shipped: `make gallery` writes docs/gallery.md, its pictures and that of the README."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import uninas
from uninas.graph import Block, Graph
from uninas.language.elaborate import build, check, space
from uninas.language.library import find, load_file, load_text, shipped
from uninas.language.resources import library_root
from uninas.ops.reference import sentence
from uninas.render import Difference, Film, Step, Subject, render, svg

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "pictures" / "gallery"

# Blocks that take a block or a width are drawn as some network uses them; those that none uses, as here.
USES = {
    "Residual": """
from blocks.residual import Residual
from blocks.ffn import MLP

block Use {
    out = in -> Residual(MLP)
}
""",
}


HEAD = """# Gallery

Everything that is shipped, drawn by `make gallery`. Hold the pointer over a node to see its path, its whole operation
and its cost. [Pictures](pictures.md) says how to draw your own.

"""


class Picture(NamedTuple):
    """One picture of the gallery."""

    section: str
    name: str
    doc: str
    subject: Subject
    options: dict[str, Any]

    @property
    def path(self) -> Path:
        return PICTURES / f"{self.name}.svg"

    def draw(self) -> str:
        """The picture as SVG text."""
        return svg(self.subject, **self.options)


def pictures() -> Iterator[Picture]:
    """All pictures, in the order of the page."""
    networks = {name: uninas.load(name) for name in uninas.list_models()}
    for name, graph in networks.items():
        yield Picture("Networks", name, doc_of(name), graph, {"level": "block"})
    for name, path in shipped().items():
        if name not in networks:
            yield Picture("Search spaces", name, doc_of(name), space(*find(path)), {})
    used: dict[str, Graph] = {}
    for graph in networks.values():
        for _, _, node in graph.walk():
            if isinstance(node.op, Block):
                used.setdefault(node.op.graph.name, node.op.graph)
    for file in sorted((library_root() / "blocks").glob("*.uni")):
        module = load_file(file)
        for name, alone in check(module).items():
            graph = alone if isinstance(alone, Graph) else used.get(name) or by_example(name)
            doc = sentence(module.definitions[name].doc)
            yield Picture("Blocks", name, doc, graph, {"level": "full", "title": name})
    yield from examples(networks["coatnet"])


def doc_of(name: str) -> str:
    """The first sentence that a file says about a network or space."""
    module, found = find(name)
    return str(sentence(module.definitions[found].doc))


def by_example(name: str) -> Graph:
    """The graph of a block inside the example that uses it."""
    node = build(load_text(USES[name]), "Use").nodes[0]
    assert isinstance(node.op, Block)
    return node.op.graph


def examples(coatnet: Graph) -> Iterator[Picture]:
    """What else there is to draw."""
    section = "Other pictures"
    yield Picture(section, "coatnet-stage", "The blocks of every stage.", coatnet, {"level": "stage"})
    yield Picture(section, "coatnet-heat", "Where the FLOPs are: shares as a heat scale, in the dark theme.", coatnet,
                  {"level": "block", "theme": "dark", "show": ("attributes", "shape", "flops", "share")})  # fmt: skip
    text = (library_root() / "networks" / "coatnet.uni").read_text(encoding="utf-8")
    edits = [
        ("a wider head", "conv(32, 3", "conv(48, 3"),
        ("one block more", "stage 192 x 3", "stage 192 x 4"),
        ("larger heads", "RelPosAttention, FFN) }\n    stage 768", "RelPosAttention(64), FFN) }\n    stage 768"),
    ]
    steps = [Step(coatnet, "start")]
    for said, old, new in edits:
        text = text.replace(old, new)
        steps.append(Step(uninas.load(text), f"step {len(steps)}", (said,)))
    yield Picture(section, "difference", "What differs between two networks.", Difference(coatnet, steps[-1].graph),
                  {"title": "coatnet and a larger one"})  # fmt: skip
    yield Picture(section, "lineage", "The same, edit by edit.", Film(steps), {})


def page(found: list[Picture]) -> str:
    """The page that shows them."""
    parts = [HEAD]
    section = ""
    for picture in found:
        if picture.section != section:
            section = picture.section
            parts.append(f"## {section}\n\n")
        parts.append(f"### {picture.name}\n\n{picture.doc}\n\n" if picture.doc else f"### {picture.name}\n\n")
        parts.append(f"![{picture.name}]({picture.path.relative_to(DOCS).as_posix()})\n\n")
    return "".join(parts).rstrip() + "\n"


def main() -> None:
    """Write the page and its pictures; those that are no longer drawn go."""
    found = list(pictures())
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in set(PICTURES.glob("*.svg")) - {picture.path for picture in found}:
        old.unlink()
    for picture in found:
        picture.path.write_text(picture.draw(), encoding="utf-8")
    (DOCS / "gallery.md").write_text(page(found), encoding="utf-8")
    render(uninas.load("coatnet"), DOCS / "pictures" / "coatnet.svg", level="block")
    size = sum(picture.path.stat().st_size for picture in found)
    print(f"drew {len(found)} pictures, {size / 1e6:.2f} MB, and docs/gallery.md")


if __name__ == "__main__":
    sys.exit(main())
