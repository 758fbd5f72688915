"""Graph -> DOT at three levels of detail.

`network` draws a row of sections as boxes with shapes and costs, `block` adds every distinct block once, `full` draws
everything inside everything. A graph that is no network is drawn with its own nodes at each level.
"""

from __future__ import annotations

from graphviz import Digraph

from uninas.errors import did_you_mean, error, shown
from uninas.graph import INPUT, Block, Each, Graph, Node, subgraphs
from uninas.op import show_shape
from uninas.render import style
from uninas.render.drawing import Drawing, End, Place, port_name
from uninas.render.letters import Letters
from uninas.render.sheets import Sheet, Sheets
from uninas.render.simplify import simplified
from uninas.summary import composition, describe, human, is_network, is_row, titled

LEVELS = ("network", "block", "full")
DIRECTIONS = ("TB", "LR")
BAR = 200  # points: the length of the bar of the most expensive section


def to_dot(graph: Graph, level: str = "network", direction: str = "TB", title: str | None = None) -> Digraph:
    """The picture of a graph as DOT; equal graphs give equal text.

    Args:
        graph: any graph.
        level: `network`, `block` or `full`, as above.
        direction: `TB` (top to bottom) or `LR` (left to right).
        title: what stands above; by default the graph's name, '' for nothing.

    Raises UninasError for an unknown level or direction (UNI015) and for a picture of too many nodes (UNI030).
    """
    for what, value, known in (("level", level, LEVELS), ("direction", direction, DIRECTIONS)):
        if value not in known:
            raise error("UNI015", f"expected {what} to be {' or '.join(known)}, but got {shown(value)!r}", None,
                        did_you_mean(str(value), known))  # fmt: skip
    root = Digraph("G")
    root.attr(rankdir=direction, ranksep="0.2", nodesep="0.3", fontname=style.FONT, fontcolor=style.INK, pad="0.2")
    root.attr(bgcolor=style.PAPER, fontsize="13", labelloc="t")
    root.attr(
        "node", shape="box", style="rounded,filled", fillcolor=style.PLAIN, color="#4a4a4a", fontname=style.FONT,
        fontsize="11", fontcolor=style.INK, margin="0.11,0.05", height="0.28", penwidth="0.9",
    )  # fmt: skip
    root.attr(
        "edge", color="#4a4a4a", fontname=style.FONT, fontsize="9", fontcolor=style.FAINT, arrowsize="0.6",
        penwidth="1.0", weight="100",
    )  # fmt: skip
    sections = is_network(graph)
    drawn = simplified(graph, sections)
    if level == "block":
        families = block_page(root, drawn, sections, direction)
    elif level == "network" and sections:
        families = network_page(root, drawn)
    else:
        drawing = Drawing(root, expand=level == "full")
        drawing.alone(Place(root, "", Letters()), (drawn,))
        drawing.finish()
        families = drawing.families
    heading = graph.name if title is None else title
    if heading:
        root.attr(label=caption(graph, heading, families))
    return root


def dot(graph: Graph, level: str = "network", direction: str = "TB", title: str | None = None) -> str:
    """The picture of a graph as DOT text."""
    return str(to_dot(graph, level, direction, title).source)


def caption(graph: Graph, heading: str, families: dict[str, None]) -> str:
    """Title, totals, and the colours that occur."""
    cost = graph.cost
    totals = f"{human(cost.params)} parameters, {unit(cost.flops, 'FLOPs')} (2 × MACs)"
    lines = [f'<FONT POINT-SIZE="15"><B>{style.text(heading)}</B></FONT>', style.small(totals, size=10)]
    keys = [
        f'<FONT COLOR="{style.edge_of(family)}">■</FONT> {family}' for family in style.PALETTE if family in families
    ]
    if keys:
        lines.append(style.small("&#160;&#160; ".join(keys), size=9))
    return style.heading(*lines, "&#160;", align="CENTER")


def unit(number: float, word: str) -> str:
    """9.82 GFLOPs"""
    text = human(number)
    return f"{text}{word}" if " " in text else f"{text} {word}"


# ---- network: sections as boxes --------------------------------------------------------------------------------------


def network_page(root: Digraph, graph: Graph) -> dict[str, None]:
    """The row of sections alone."""
    drawing = Drawing(root, expand=False)
    families = section_column(drawing, root, graph, None)
    drawing.finish()
    return families


def section_column(drawing: Drawing, into: Digraph, graph: Graph, sheets: Sheets | None) -> dict[str, None]:
    """The sections one after another. Returns the families of operations that their bars show."""
    at = Place(into, "", Letters())
    drawing.terminal(at, "in", at.letters.shape([graph.inputs[0]]))
    end = End("in", graph.inputs)
    work = {node.name: flops_by_family(node.op.graph) for node in graph.nodes if isinstance(node.op, Block)}
    most = max((sum(parts.values()) for parts in work.values()), default=0)
    for node in graph.nodes:
        drawing.node(into, node.name, f"<{section(graph, node, work[node.name], most, sheets)}>", margin="0.06", **BOX)
        drawing.edge(end, node.name)
        end = End(node.name, graph.shapes(node.name))
    drawing.terminal(at, "out", at.letters.shape(graph.output_shapes))
    drawing.edge(end, "out")
    found = {family for parts in work.values() for family, flops in parts.items() if flops}
    return dict.fromkeys(family for family in style.PALETTE if family in found)


BOX = {"fillcolor": style.PAPER}


def section(graph: Graph, node: Node, work: dict[str, int], most: int, sheets: Sheets | None) -> str:
    """The inside of a section's box: name, output shape, what it consists of, costs, and a bar of its FLOPs."""
    cost = graph.costs[node.name]
    assert isinstance(node.op, Block)
    blocks = len(node.op.graph.nodes) if is_row(node.op.graph) else 1
    name = style.bold(style.text(node.name)) + (f" ×{blocks}" if blocks > 1 else "")
    shape = style.small(show_shape(graph.shapes(node.name)[0]).replace(" x ", "×"), style.INK, 10)
    costs = f"{human(cost.params)} params, {unit(cost.flops, 'FLOPs')}"
    half = (BAR + 8) // 2
    rows = [
        f'<TR><TD ALIGN="LEFT" WIDTH="{half}">{name}</TD><TD ALIGN="RIGHT" WIDTH="{half}">{shape}</TD></TR>',
        *(wide(style.small(line, style.INK, 10)) for line in consists(node.op.graph, node, sheets)),
        wide(style.small(costs)),
        wide(bar(work, most)),
    ]
    return style.table(rows)


def wide(markup: str) -> str:
    """A row of one cell."""
    return f'<TR><TD ALIGN="LEFT" BALIGN="LEFT" COLSPAN="2">{markup}</TD></TR>'


def consists(graph: Graph, node: Node, sheets: Sheets | None) -> list[str]:
    """What a section is made of, in lines of markup."""
    if not is_row(graph):
        return wrapped(describe(node.op).replace("_", " ").split(" -> "), " → ")
    if sheets:
        blocks = [n.op for n in graph.nodes if isinstance(n.op, Block)]
        counted = periods([sheets.name_of(block.graph, describe(block, inner=False)) for block in blocks])
    else:
        counted = [((titled(name, inner),), number) for name, number, inner in composition(graph)]
    lines = []
    for names, number in counted:
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


def wrapped(parts: list[str], joint: str, indent: str = "", width: int = 38) -> list[str]:
    """Parts joined into lines of at most `width` characters where possible."""
    lines: list[str] = []
    for position, part in enumerate(parts):
        piece = part if position == len(parts) - 1 else part + joint.rstrip()
        if lines and len(lines[-1]) + len(piece) + 1 <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return [indent + style.text(line) for line in lines]


def bar(work: dict[str, int], most: int) -> str:
    """FLOPs as a bar, by family; as long as the section is expensive."""
    cells = []
    for family in style.PALETTE:
        width = round(BAR * work.get(family, 0) / most) if most else 0
        if width:
            cells.append(f'<TD BGCOLOR="{style.PALETTE[family]}" FIXEDSIZE="TRUE" WIDTH="{width}" HEIGHT="5"></TD>')
    cells.append('<TD HEIGHT="5"></TD>')
    return style.table([f"<TR>{''.join(cells)}</TR>"], CELLPADDING=0, WIDTH=BAR + 8)


def flops_by_family(graph: Graph, known: dict[int, dict[str, int]] | None = None) -> dict[str, int]:
    """FLOPs (2 x MACs) of all operations inside, by family."""
    known = {} if known is None else known
    if id(graph) not in known:
        total: dict[str, int] = {}
        for node in graph.nodes:
            if not isinstance(node.op, (Block, Each)):
                total[node.op.family] = total.get(node.op.family, 0) + graph.costs[node.name].flops
            for inner, copies in subgraphs(node):
                for family, flops in flops_by_family(inner, known).items():
                    total[family] = total.get(family, 0) + copies * flops
        known[id(graph)] = total
    return known[id(graph)]


# ---- block: every distinct block once --------------------------------------------------------------------------------


def block_page(root: Digraph, graph: Graph, sections: bool, direction: str) -> dict[str, None]:
    """Every distinct block once, beside the row of sections."""
    sheets = Sheets(graph, sections)
    drawing = Drawing(root, expand=False, call=sheets.name_of)
    columns: list[list[Digraph]] = [[]]
    filled, previous = 0, ""
    if sections:
        panel = Digraph("cluster_network")
        panel.attr(label=style.heading(style.bold(style.text(graph.name or "network"))), **PANEL)
        drawing.families |= section_column(drawing, panel, graph, sheets)
        columns = [[panel], []]
    listed = list(sheets.known.values())
    heights = [ranks(sheet.variants[0]) + 4 for sheet in listed]
    room = max(sections * (3 * len(graph.nodes) + 3), *heights, round((5 * sum(heights)) ** 0.5))
    for number, (sheet, height) in enumerate(zip(listed, heights, strict=True)):
        path = f"b{number}."
        if columns[-1] and filled + height > room:
            columns.append([])
            filled = 0
        if columns[-1]:
            drawing.edges.append((previous, first(sheet, path), {"style": "invis"}))
        columns[-1].append(one_sheet(drawing, sheet, sheets, path))
        filled, previous = filled + height, last(sheet, path)
    for column in columns if direction == "TB" else reversed(columns):
        for cluster in column:
            root.subgraph(cluster)
    drawing.finish()
    # Graphviz lays out each column for itself and then sets it beside the others.
    root.attr(pack="18", packmode=f"array_tu{len(columns)}", nodesep="0.25")
    return drawing.families


def first(sheet: Sheet, path: str) -> str:
    """The node at the beginning of a sheet."""
    return port_name(f"{path}in", 0, len(sheet.variants[0].inputs))


def last(sheet: Sheet, path: str) -> str:
    """The node at the end of a sheet."""
    return port_name(f"{path}out", 0, len(sheet.variants[0].outputs))


def ranks(graph: Graph) -> int:
    """About how many lines stand above each other when the graph is drawn."""
    depth = {INPUT: 0}
    for node in graph.nodes:
        lines = ranks(node.op.body) + 3 if isinstance(node.op, Each) else 1
        lines += graph.shapes(node.name)[0] not in graph.input_shapes(node)  # the shape is written below
        depth[node.name] = lines + max(depth[wire.node] for wire in node.inputs)
    return max(depth.values())


PANEL = {
    "style": "rounded",
    "color": "#8a8a8a",
    "bgcolor": "#fafafa",
    "fontsize": "12",
    "margin": "12",
    "labeljust": "l",
}


def one_sheet(drawing: Drawing, sheet: Sheet, sheets: Sheets, path: str) -> Digraph:
    """The cluster of a sheet: its name, where it occurs, what its letters stand for, and its graph."""
    variants = tuple(sheet.variants)
    letters = Letters([graph.inputs[0] for graph in variants])
    cluster = Digraph(f"cluster_{path}")
    drawing.alone(Place(cluster, path, letters), variants)
    notes = [*wrapped(sheets.places(sheet).split(", "), ", "), *map(style.text, letters.legend())]
    lines = [style.bold(style.text(sheet.name)), *(style.small(note) for note in notes if note)]
    cluster.attr(label=style.heading(*lines), **PANEL)
    return cluster
