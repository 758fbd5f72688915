"""The sections of a network as boxes: name, shape, what they consist of, costs, and FLOPs as bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from uninas.graph import INPUT, Block, Each, Graph, Node, Wire
from uninas.graph.summary import composition, describe, human, is_row, titled
from uninas.ops.op import show_shape
from uninas.render.scenes.captions import arrows, family_of, unit
from uninas.render.scenes.drawing import Drawing, Place, port_name
from uninas.render.scenes.letters import Letters
from uninas.render.scenes.scene import Cluster, Edge, Item, Line, Word, line
from uninas.render.scenes.sheets import Sheets
from uninas.render.scenes.simplify import skips, source

USUAL = ("attributes", "shape", "params", "flops", "share")
WIDE = 40  # characters in a line of a section
PARTS = 8  # tensors of one section that are drawn as wires of their own
LONG = 16  # operations and blocks that are still told one after another


def section_column(drawing: Drawing, into: Cluster, graph: Graph, sheets: Sheets | None) -> None:
    """The sections one after another, and what flows between them."""
    at = Place(into, "", Letters(), (1,))
    for port, shape in enumerate(graph.inputs):
        drawing.terminal(at, port_name("in", port, len(graph.inputs)), at.letters.shape([shape]))
    work = {node.name: flops_by_family(node.op.graph) for node in graph.nodes if isinstance(node.op, Block)}
    most = max((sum(parts.values()) for parts in work.values()), default=0) or 1
    for node in graph.nodes:
        drawing.item(into, section(drawing, graph, node, work[node.name], most, sheets))
        for port, shape in enumerate(graph.shapes(node.name) if parted(graph, node.name) else ()):
            drawing.shape_below(into, node.name, f"{node.name}/{port}", at.letters.shape([shape]))
    for port in range(len(graph.outputs)):
        drawing.terminal(at, port_name("out", port, len(graph.outputs)), "")
    drawing.edges += flows(graph)
    if drawing.options.shows("share", USUAL):
        drawing.families |= {family: None for parts in work.values() for family, flops in parts.items() if flops}


def flows(graph: Graph) -> Iterator[Edge]:
    """The wires between sections, each an arrow. What passes a longer way by is marked."""
    beside = skips(graph)
    ends = [(node.name, node.name, node.inputs) for node in graph.nodes]
    ends += [("out", port_name("out", n, len(graph.outputs)), (wire,)) for n, wire in enumerate(graph.outputs)]
    for name, head, wires in ends:
        for tail, wire in {tail_of(graph, wire): wire for wire in wires}.items():
            yield Edge(tail, head, skip=(source(graph, wire), name) in beside)


def tail_of(graph: Graph, wire: Wire) -> str:
    """The item that a wire between sections leaves: a section, or the shape of one of several tensors that it makes."""
    if wire.node == INPUT:
        return port_name("in", wire.port, len(graph.inputs))
    return f"{wire.node}/{wire.port}" if parted(graph, wire.node) else wire.node


def parted(graph: Graph, name: str) -> bool:
    """Whether the tensors that a section makes are drawn one by one: not where several sections take all of them."""
    made = len(graph.shapes(name))
    taken = [{wire.port for wire in node.inputs if wire.node == name} for node in graph.nodes]
    whole = [ports for ports in taken if len(ports) == made]
    return 1 < made <= PARTS and (len(whole) < 2 or len(whole) < sum(map(bool, taken)))


def section(drawing: Drawing, graph: Graph, node: Node, work: dict[str, int], most: int, sheets: Sheets | None) -> Item:
    """One box."""
    assert isinstance(node.op, Block)
    cost, shows = graph.costs[node.name], drawing.options.shows
    blocks = len(node.op.graph.nodes) if is_row(node.op.graph) else 1
    lines: list[Line] = [(Word(node.name, "bold"), *[Word(f" ×{blocks}")] * (blocks > 1))]
    if shows("attributes", USUAL):
        lines += [line(text, "text") for text in consists(node.op.graph, node, sheets)]
    said = [f"{human(cost.params)} params"] * shows("params", USUAL)
    said += [unit(cost.flops, "FLOPs")] * shows("flops", USUAL)
    if "share" in drawing.options.show and graph.cost.flops:
        said.append(f"{cost.flops / graph.cost.flops:.1%}")
    if said:
        lines.append(line(", ".join(said), "small"))
    shapes = graph.shapes(node.name)
    shape = show_shape(shapes[0]).replace(" x ", "×") if len(shapes) == 1 else f"{len(shapes)} tensors"
    shape = shape if shows("shape", USUAL) else ""
    bar = tuple((family, flops / most) for family, flops in work.items() if flops) if shows("share", USUAL) else None
    tip = f"{node.name} | {cost.params:,} parameters | {cost.flops:,} FLOPs"
    return Item(node.name, "section", tuple(lines), tip=tip, aside=shape, bar=bar)


def consists(graph: Graph, node: Node, sheets: Sheets | None) -> list[str]:
    """What a section is made of, in lines."""
    if not is_row(graph):
        parts = describe(node.op, title=node.name).replace("_", " ").split(" -> ")
        if len(parts) <= LONG:
            return wrapped(parts, " → ")
        often = Counter(parts).most_common()  # nobody follows so many; what there is most of says more
        return wrapped([f"{number} × {part}" if number > 1 else part for part, number in often], ", ")
    if sheets:
        blocks = [n.op for n in graph.nodes if isinstance(n.op, Block)]
        counted = periods([sheets.name_of(block.graph, describe(block, inner=False)) for block in blocks])
    else:
        counted = [((titled(name, inner),), number) for name, number, inner in composition(graph)]
    lines = []
    for names, number in counted:
        names = tuple(map(arrows, names))
        text = ", ".join(names) if len(names) == 1 or number == 1 else f"({', '.join(names)})"
        times = f"{number} × " if number > 1 and len(counted) > 1 else ""
        lines += wrapped(f"{times}{text}".split(", "), ", ")
    return lines


def periods(names: list[str], longest: int = 4) -> list[tuple[tuple[str, ...], int]]:
    """Names in a row as repeats of short patterns: A B B A B A B -> A, 2 B, 2 (A B)."""
    found: list[tuple[tuple[str, ...], int]] = []
    start = 0
    while start < len(names):
        best, times = 1, 1
        for length in range(1, longest + 1):
            pattern = names[start : start + length]
            number = 1
            while names[start + number * length : start + (number + 1) * length] == pattern:
                number += 1
            if number > 1 and number * length > best * times:
                best, times = length, number
        found.append((tuple(names[start : start + best]), times))
        start += best * times
    return found


def wrapped(parts: list[str], joint: str, width: int = WIDE) -> list[str]:
    """Parts joined into lines of at most `width` characters where possible."""
    lines: list[str] = []
    for position, part in enumerate(parts):
        piece = part if position == len(parts) - 1 else part + joint.rstrip()
        if lines and len(lines[-1]) + len(piece) + 1 <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines


def flops_by_family(graph: Graph, known: dict[int, dict[str, int]] | None = None) -> dict[str, int]:
    """FLOPs (2 x MACs) of all operations inside, by family."""
    known = {} if known is None else known
    if id(graph) not in known:
        total: dict[str, int] = {}
        for node in graph.nodes:
            if not isinstance(node.op, (Block, Each)):
                family = family_of(graph, node)
                total[family] = total.get(family, 0) + graph.costs[node.name].flops
            for inner, copies in graph.inside(node):
                for family, flops in flops_by_family(inner, known).items():
                    total[family] = total.get(family, 0) + copies * flops
        known[id(graph)] = total
    return known[id(graph)]
