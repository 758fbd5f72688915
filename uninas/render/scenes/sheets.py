"""The distinct blocks of a network, so that each is drawn once: what they are called and where they occur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from uninas.graph import INPUT, Block, Each, Graph, Node
from uninas.graph.summary import NAMELESS, describe, is_row, runs
from uninas.ops.op import show_value
from uninas.render.scenes.captions import arrows, brief, flexible
from uninas.render.scenes.drawing import bundles


@dataclass
class Sheet:
    """Blocks of one name and build; they differ in sizes at most."""

    base: str
    variants: list[Graph] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    """Section or owning sheet -> how often."""
    name: str = ""


class Sheets:
    """All sheets of a simplified graph."""

    def __init__(self, graph: Graph, sections: bool, expand: Sequence[str] = ()):
        """`sections`: the nodes of `graph` are the sections of a network. Blocks to expand get no sheet."""
        self.expand = expand
        self.known: dict[tuple[str, str], Sheet] = {}
        self.builds: dict[int, tuple[Graph, str]] = {}
        self.numbers: dict[str, int] = {}
        if not sections:
            self.visit(graph, graph.name or "block", "", 0)
        for node in graph.nodes if sections else ():
            assert isinstance(node.op, Block)
            section = node.op.graph
            if not is_row(section):
                defined = section.name not in (*NAMELESS, node.name)
                self.visit(section, *((section.name, node.name, 1) if defined else (node.name, "", 0)))
                continue
            for run in runs(section):
                assert isinstance(run.first.op, Block)
                self.visit(run.first.op.graph, describe(run.first.op, inner=False), node.name, run.count)
        self.give_names()

    def visit(self, graph: Graph, base: str, place: str, times: int) -> None:
        key = (base, self.build(graph))
        new = key not in self.known
        sheet = self.known.setdefault(key, Sheet(base))
        if place:
            sheet.places[place] = sheet.places.get(place, 0) + times
        if graph in sheet.variants:
            return
        sheet.variants.append(graph)
        for run in runs(graph):
            self.nested(run.first, key if new else None, run.count)

    def nested(self, node: Node, owner: tuple[str, str] | None, times: int) -> None:
        if isinstance(node.op, Block) and node.op.graph.name in self.expand:
            for run in runs(node.op.graph):
                self.nested(run.first, owner, times)
        elif isinstance(node.op, Block) and not brief(node.op.graph):
            place = "\0".join(owner) if owner else ""  # the owner gets its name later
            self.visit(node.op.graph, node.op.graph.name or "block", place, times)
        elif isinstance(node.op, Each):
            for run in runs(node.op.body):
                self.nested(run.first, owner, times)

    def give_names(self) -> None:
        """Numbers where several sheets have one name."""
        by_base: dict[str, list[Sheet]] = {}
        for sheet in self.known.values():
            by_base.setdefault(sheet.base, []).append(sheet)
        for base, sheets in by_base.items():
            for number, sheet in enumerate(sheets, 1):
                sheet.name = base if len(sheets) == 1 else f"{base} {number}"

    def name_of(self, graph: Graph, base: str = "") -> str:
        """What the sheet of a block is called, or the block itself where its box says everything."""
        base = base or graph.name or "block"
        sheet = self.known.get((base, self.build(graph)))
        return sheet.name if sheet else base

    def places(self, sheet: Sheet) -> str:
        """'stages.0, stages.2 ×4' or 'in Unified 1, Unified 2'."""
        sections: list[str] = []
        owners: list[str] = []
        for place, times in sheet.places.items():
            base, _, build = place.partition("\0")
            name = arrows(self.known[base, build].name if build else base)
            (owners if build else sections).append(name + (f" ×{times}" if times > 1 else ""))
        return ", ".join(sections + [f"in {owner}" if n == 0 else owner for n, owner in enumerate(owners)])

    def build(self, graph: Graph) -> str:
        """The structure of a graph without its sizes: equal for graphs that one drawing can show."""
        if id(graph) in self.builds:
            return self.builds[id(graph)][1]
        at = {node.name: str(position) for position, node in enumerate(graph.nodes)} | {INPUT: INPUT}
        lines = [f"{len(graph.inputs)}"]
        for run in runs(graph):
            lines.append(f"x{run.count}")
        for node in graph.nodes:
            wires = [
                f"{at[bundle.source]}." + ("*" if bundle.size > 1 else str(node.inputs[bundle.first].port))
                for bundle in bundles(node, graph)
            ]
            lines.append(f"{self.operator(node)} <- {' '.join(wires)}")
        lines.append(" ".join(f"{at[wire.node]}.{wire.port}" for wire in graph.outputs))
        number = self.numbers.setdefault("\n".join(lines), len(self.numbers))
        self.builds[id(graph)] = graph, str(number)
        return str(number)

    def operator(self, node: Node) -> str:
        op = node.op
        if isinstance(op, Block):
            return f"block {op.graph.name!r} {self.build(op.graph)} {op.times}"
        if isinstance(op, Each):
            return f"{op} {self.build(op.body)}"
        fixed = ["" if flexible(a, op) else show_value(getattr(op, a.name)) for a in op.attrs]
        return f"{op.name}({', '.join(fixed)})"
