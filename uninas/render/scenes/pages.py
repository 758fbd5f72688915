"""Graph -> scene, at four levels of detail: see `Options`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from uninas.graph import INPUT, Block, Graph, Wire, subgraphs
from uninas.graph.summary import Run, human, is_network, is_row, runs
from uninas.render.formats.style import LIGHT
from uninas.render.scenes.captions import arrows, unit
from uninas.render.scenes.drawing import Drawing, Place, port_name
from uninas.render.scenes.letters import Letters
from uninas.render.scenes.options import Options
from uninas.render.scenes.scene import Cluster, Edge, Panel, Scene, Word, line
from uninas.render.scenes.sections import section_column, wrapped
from uninas.render.scenes.sheets import Sheet, Sheets
from uninas.render.scenes.simplify import simplified


def scene_of(graph: Graph, options: Options) -> Scene:
    """The picture of a graph."""
    sections = is_network(graph)
    drawn = simplified(graph, sections)
    drawing = Drawing(options, graph.cost.flops)
    joins: list[Edge] = []
    if options.level == "block":
        panels = block_panels(drawing, drawn, sections)
    elif sections and options.opened == 0 and not options.expand:
        body = Cluster("", "bare")
        section_column(drawing, body, drawn, None)
        panels = [drawing.panel(body)]
    elif sections and options.direction == "TB":
        panels, joins = section_panels(drawing, drawn)
    else:
        body = Cluster("", "bare")
        drawing.alone(Place(body, "", Letters(), (1,)), (drawn,))
        panels = [drawing.panel(body)]
    return finished(Scene(panels, options.direction, joins=joins), graph, drawing)


def finished(scene: Scene, graph: Graph, drawing: Drawing) -> Scene:
    """The scene with title, totals and legend."""
    options = drawing.options
    scene.title = graph.name if options.title is None else options.title
    scene.caption = options.caption
    cost = graph.cost
    if scene.title:
        scene.notes = (line(f"{human(cost.params)} parameters, {unit(cost.flops, 'FLOPs')} (2 × MACs)", "small"),)
    scene.families = tuple(family for family in LIGHT.palette if family in drawing.families)
    hottest = max((item.heat for item in scene.items() if item.heat), default=0.0)
    scene.heat = f"{hottest:.1%} of all FLOPs" if hottest else ""
    return scene


# ---- everything, section by section ----------------------------------------------------------------------------------


def section_panels(drawing: Drawing, graph: Graph) -> tuple[list[Panel], list[Edge]]:
    """A panel for every section, with what is in it, and the wires between them."""
    panels: list[Panel] = []
    joins: list[Edge] = []
    row = is_row(graph) and len(graph.inputs) == len(graph.outputs) == 1
    row = row and all(len(graph.shapes(node.name)) == len(node.inputs) == 1 for node in graph.nodes)
    before = ""
    for run in runs(graph) if row else (Run((node,)) for node in graph.nodes):
        node = run.first
        assert isinstance(node.op, Block)
        inner = node.op.graph
        blocks = len(inner.nodes) if is_row(inner) else 1
        cost = graph.costs[node.name] * run.count
        name = (Word(run.name, "bold"), *[Word(f" ×{blocks}", "bold")] * (blocks > 1))
        said = line(f"{human(cost.params)} params, {unit(cost.flops, 'FLOPs')}", "small")
        panel = Cluster(node.name, "panel", (name, said))
        told = () if row else [origin(graph, wire) for wire in node.inputs]
        drawing.alone(Place(panel, f"{node.name}.", Letters(), (run.count,), 1), (inner,), told)
        panels.append(drawing.panel(panel))
        if row and before:
            joins.append(Edge(before, f"{node.name}.in"))
        before = f"{node.name}.out"
    return panels, joins if row else list(between(graph))


def between(graph: Graph) -> Iterator[Edge]:
    """A wire from the panel of a section to the next, where that takes something of it.

    What comes from further away is written at the inputs instead, for a line would cross the panels between.
    """
    for before, node in pairwise(graph.nodes):
        ports = [(wire.port, port) for port, wire in enumerate(node.inputs) if wire.node == before.name]
        for made, taken in ports[:1]:
            tail = port_name("out", made, len(graph.shapes(before.name)))
            yield Edge(f"{before.name}.{tail}", f"{node.name}.{port_name('in', taken, len(node.inputs))}")


def origin(graph: Graph, wire: Wire) -> str:
    """Where what flows into a section comes from."""
    return "" if wire.node == INPUT else f"of {port_name(wire.node, wire.port, len(graph.shapes(wire.node)))}"


# ---- block: every distinct block once --------------------------------------------------------------------------------


def block_panels(drawing: Drawing, graph: Graph, sections: bool) -> list[Panel]:
    """Every distinct block once, beside the row of sections."""
    sheets = Sheets(graph, sections, drawing.options.expand)
    drawing.call = sheets.name_of
    panels = []
    if sections:
        body = Cluster("network", "panel", (line(graph.name or "network", "bold"),))
        section_column(drawing, body, graph, sheets)
        panels.append(drawing.panel(body))
    often = occurrences(graph)
    for number, sheet in enumerate(sheets.known.values()):
        panels.append(one_sheet(drawing, sheet, sheets, f"b{number}.", often))
    return panels


def one_sheet(drawing: Drawing, sheet: Sheet, sheets: Sheets, path: str, often: dict[Graph, int]) -> Panel:
    """The panel of a sheet: its name, where it occurs, what its letters stand for, and its graph."""
    variants = tuple(sheet.variants)
    letters = Letters([graph.inputs[0] for graph in variants])
    body = Cluster(path, "panel")
    drawing.alone(Place(body, path, letters, tuple(often[graph] for graph in variants)), variants)
    notes = wrapped(sheets.places(sheet).split(", "), ", ") + wrapped(letters.legend(), ";")
    body.lines = (line(arrows(sheet.name), "bold"), *(line(note, "small") for note in notes if note))
    return drawing.panel(body)


def occurrences(graph: Graph) -> dict[Graph, int]:
    """Number of occurrences of every graph inside a graph, itself included."""
    order: dict[Graph, None] = {}

    def visit(outer: Graph) -> None:
        if outer in order:
            return
        for node in outer.nodes:
            for inner, _ in subgraphs(node):
                visit(inner)
        order[outer] = None

    visit(graph)
    often = dict.fromkeys(order, 0) | {graph: 1}
    for outer in reversed(order):  # whoever holds a graph comes before it
        for node in outer.nodes:
            for inner, copies in subgraphs(node):
                often[inner] += often[outer] * copies
    return often
