"""Graphs as items, edges and clusters of a scene. Several graphs that differ only in sizes are drawn as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from uninas.errors import error
from uninas.graph import INPUT, Block, Each, Graph, Node, Wire
from uninas.graph.summary import NAMELESS, Run, describe, named_blocks, runs
from uninas.ops.op import Cost, Op, Shape
from uninas.render.formats import style
from uninas.render.scenes.captions import FEW, arrows, brief, caption, chained, family_of, spanned, tooltip
from uninas.render.scenes.letters import Letters
from uninas.render.scenes.options import USUAL, Options
from uninas.render.scenes.scene import Cluster, Edge, Item, Line, Panel, Word, line
from uninas.render.scenes.simplify import skips, source

MAX_ITEMS = 50_000  # in one scene, as text; what is laid out is bounded again, by `layout`

Variants = tuple[Graph, ...]


@dataclass(frozen=True)
class End:
    """Where a wire comes from in the picture."""

    item: str
    shapes: tuple[Shape, ...]
    """In every variant."""
    port: str = ""
    """Which of the item's outputs it is, where the item does not say."""
    ports: int = 1
    """How many outputs lead away from the same place."""
    skip: bool = False
    told: bool = False
    """The place itself says the shape."""


MANY = 12
"""Inputs of a block, above which they are drawn as one edge."""


class Bundle(NamedTuple):
    """Consecutive inputs of a node that are drawn as one edge."""

    source: str
    first: int
    """Which of the node's inputs is the first of them."""
    size: int


def bundles(node: Node, graph: Graph) -> list[Bundle]:
    """The inputs of a node as edges: many wires from the same node, or into or out of an `each`, are one edge."""
    found: list[Bundle] = []
    position = 0
    length = node.op.copies(len(node.inputs)) if isinstance(node.op, Each) else len(node.inputs)  # of one bundle
    sources = [(wire.node, number // max(1, length)) for number, wire in enumerate(node.inputs)]
    for (before, _), group in groupby(sources):
        size = len(list(group))
        each = isinstance(node.op, Each) or (before != INPUT and isinstance(graph.by_name[before].op, Each))
        joined = each and size > 1 and (before != INPUT or size > MANY)  # each input is an item of its own
        if joined or size > (FEW if before != INPUT else MANY):
            found.append(Bundle(before, position, size))
        else:
            found += [Bundle(before, position + n, 1) for n in range(size)]
        position += size
    return found


def gathered(graph: Graph) -> set[str]:
    """Nodes whose outputs are drawn as one wire: a bundle, or several that lead to so many places that they cross."""
    found = set()
    leaving: Counter[str] = Counter(wire.node for wire in graph.outputs)
    for node in graph.nodes:
        for bundle in bundles(node, graph):
            leaving[bundle.source] += 1
            if bundle.size > 1:
                found.add(bundle.source)
    return found | {name for name, edges in leaving.items() if name != INPUT and crowded(graph, name, edges)}


def crowded(graph: Graph, name: str, edges: int) -> bool:
    """Whether a node has several outputs, each of which leads to several places."""
    outputs = len(graph.shapes(name))
    return outputs >= FEW and edges > 2 * outputs


def together(parts: Sequence[Bundle], ends: Sequence[End]) -> list[tuple[Bundle, End]]:
    """The inputs of a node as they are drawn: a bundle is one edge as far as its wires leave the same place."""
    found: list[tuple[Bundle, End]] = []
    for bundle in parts:
        first = bundle.first
        for _, group in groupby(ends[first : first + bundle.size], key=lambda end: end.item):
            leaving = list(group)
            size, end = len(leaving), leaving[0]
            which = end.port if size == 1 else "" if size == end.ports else f"×{size}"
            found.append((Bundle(bundle.source, first, size), replace(end, port=which)))
            first += size
    return found


@dataclass(frozen=True)
class Place:
    """Where something is drawn: in which cluster and below which path, and what holds there."""

    into: Cluster
    path: str
    letters: Letters
    times: tuple[int, ...]
    """How often each variant occurs in the whole picture."""
    depth: int = 0
    """How many blocks are open around it."""


class Drawing:
    """Draws graphs into clusters, and gathers their edges and the families of operations that occur."""

    def __init__(self, options: Options, flops: int, call: Callable[[Graph], str] | None = None):
        """`flops` of the whole picture, for shares; `call` gives the name of the panel that draws a closed block."""
        self.options = options
        self.flops = flops
        self.call = call
        self.choices: dict[str, tuple[str, str]] = {}
        """Blocks that stand for a choice, by name, with what is shown of them."""
        self.edges: list[Edge] = []
        self.families: dict[str, None] = {}
        self.drawn = 0

    def panel(self, body: Cluster) -> Panel:
        """A panel with the edges drawn since the last one."""
        panel, self.edges = Panel(body, self.edges), []
        return panel

    def item(self, into: Cluster, item: Item) -> None:
        self.drawn += 1
        if self.drawn > MAX_ITEMS:
            raise error(
                "UNI030",
                f"expected at most {MAX_ITEMS:,} nodes in one picture, but there are more",
                None,
                "draw less detail: --level network or block, a --depth, or a single block",
            )
        into.members.append(item)

    # ---- graphs --------------------------------------------------------------------------------------------------

    def alone(self, at: Place, graphs: Variants, origins: Sequence[str] = ()) -> None:
        """Graphs with their inputs and outputs as items; `origins` say where the inputs come from."""
        inputs, outputs = graphs[0].inputs, graphs[0].outputs
        ends = []
        for port in range(len(inputs)):
            name = port_name("in", port, len(inputs))
            shapes = tuple(graph.inputs[port] for graph in graphs)
            come = f"  {origins[port]}" if origins else ""
            self.terminal(at, name, at.letters.shape(shapes) + come.rstrip())
            ends.append(End(at.path + name, shapes, told=True))
        skipping = skips(graphs[0])
        for port, end in enumerate(self.inside(at, graphs, ends)):
            name = port_name("out", port, len(outputs))
            self.terminal(at, name, "" if end.told else at.letters.shape(end.shapes))
            self.edge(end, at.path + name, skip=(source(graphs[0], outputs[port]), "out") in skipping)

    def terminal(self, at: Place, word: str, shape: str) -> None:
        """The word `in` or `out` and a shape."""
        said = (Word(word, "note"), Word(f"  {shape}", "small")) if shape else (Word(word, "note"),)
        self.item(at.into, Item(at.path + word, "terminal", (said,)))

    def inside(self, at: Place, graphs: Variants, ends: Sequence[End]) -> list[End]:
        """The nodes of graphs that get their inputs from `ends`. Returns where their outputs come from."""
        graph = graphs[0]
        known = {Wire(INPUT, port): end for port, end in enumerate(ends)}
        for port, end in enumerate(ends):
            if users(graph, port) > 1:
                known[Wire(INPUT, port)] = self.fork(at.into, f"{at.path}in/{port}", [end])
        skipping = skips(graph)
        joined = gathered(graph)
        position = {node.name: n for n, node in enumerate(graph.nodes)}
        for run in runs(graph):
            arriving = [
                replace(known[wire], skip=known[wire].skip or (source(graph, wire), run.first.name) in skipping)
                for wire in run.first.inputs
            ]
            made = self.run(at, graphs, position[run.first.name], run, arriving, run.last.name in joined)
            known.update((Wire(run.last.name, port), end) for port, end in enumerate(made))
        return [known[wire] for wire in graph.outputs]

    def fork(self, into: Cluster, name: str, ends: Sequence[End]) -> End:
        """A dot at which one wire becomes several, or several become one."""
        self.item(into, Item(name, "fork"))
        for end in ends:
            self.edge(end, name, arrow=False)
        return End(name, ends[0].shapes, told=ends[0].told)

    # ---- nodes ---------------------------------------------------------------------------------------------------

    def run(self, at: Place, graphs: Variants, position: int, run: Run, ends: Sequence[End], joined: bool) -> list[End]:
        """One node, or equal blocks in a row, with an end for each input. Returns where its outputs come from.

        `joined`: they lead on as one.
        """
        nodes = [graph.nodes[position] for graph in graphs]
        name, op = at.path + run.first.name, nodes[0].op
        incoming = together(bundles(nodes[0], graphs[0]), ends)
        if isinstance(op, Each):
            return self.each(at, name, nodes, incoming, graphs[0].shapes(nodes[0].name))
        costs = [graph.costs[node.name] * run.count for graph, node in zip(graphs, nodes, strict=True)]
        if isinstance(op, Block):
            blocks = tuple(node.op.graph for node in nodes if isinstance(node.op, Block))
            if self.opens(op.graph, name, at.depth):
                return self.opened(at, name, blocks, run, ends)
            lines = self.closed(at, blocks, run)
        else:
            ops = [node.op for node in nodes if isinstance(node.op, Op)]
            lines = (line(caption(ops, at.letters, self.shows("attributes"))),)
        self.node(at, name, op, lines, costs, run, family_of(graphs[0], nodes[0]))
        for _, end in incoming:
            self.edge(end, name)
        made = [graph.shapes(graph.nodes[position].name) for graph in graphs]
        return self.outputs(at, name, made, [end.shapes for _, end in incoming], joined)

    def shows(self, part: str) -> bool:
        return self.options.shows(part, USUAL)

    def opens(self, graph: Graph, path: str, depth: int) -> bool:
        """Whether the inside of a block is drawn where the block stands."""
        return depth < self.options.opened or graph.name in self.options.expand or path in self.options.expand

    def opened(self, at: Place, name: str, blocks: Variants, run: Run, incoming: Sequence[End]) -> list[End]:
        """A frame with everything that is in the blocks."""
        inner = Cluster(name, "frame", (name_plate(blocks[0], run),))
        at.into.members.append(inner)
        times = tuple(times * run.count for times in at.times)
        return self.inside(Place(inner, f"{name}.", at.letters, times, at.depth + 1), blocks, incoming)

    def closed(self, at: Place, blocks: Variants, run: Run) -> tuple[Line, ...]:
        """The lines in the box of a block."""
        if blocks[0].name in self.choices:
            shown, options = self.choices[blocks[0].name]
            return line(shown, "bold"), line(options, "small")
        if not self.call and blocks[0].name in NAMELESS:
            times = [*[Word(f" ×{run.count}")] * (run.count > 1), *again(run)]
            return ((Word(arrows(describe(run.first.op)), "bold"), *times),)
        name = arrows(self.call(blocks[0])) if self.call else blocks[0].name
        title = (Word(name, "bold"), *[Word(f" ×{run.count}")] * (run.count > 1), *again(run))
        if not self.shows("attributes"):
            return (title,)
        if brief(blocks[0]):
            return title, line(chained(blocks, at.letters), "small")
        inner = () if self.call else named_blocks(blocks[0])  # with a drawing of its own elsewhere, the name is enough
        return (title, line(", ".join(inner), "small")) if inner else (title,)

    def node(
        self, at: Place, name: str, op: Op | Block, lines: tuple[Line, ...], costs: Sequence[Cost], run: Run,
        family: str,
    ) -> None:  # fmt: skip
        """A box in the colour of the family, or a circle with a sign."""
        tip = tooltip(name, op, costs[0])
        if isinstance(op, Op) and op.name in style.SYMBOLS:
            self.item(at.into, Item(name, "merge", (line(style.SYMBOLS[op.name]),), family, tip))
            return
        share = sum(cost.flops * times for cost, times in zip(costs, at.times, strict=True)) / (self.flops or 1)
        if self.shows("name"):
            lines += (line(run.name, "small"),)
        said = [spanned([cost.params for cost in costs], "params") if self.shows("params") else "",
                spanned([cost.flops for cost in costs], "FLOPs") if self.shows("flops") else "",
                f"{share:.1%}" if self.shows("share") and share else ""]  # fmt: skip
        if any(said):
            lines += (line(", ".join(filter(None, said)), "small"),)
        heat = share if self.shows("share") else None
        if heat is None and family:
            self.families[family] = None
        mark = "choice" if isinstance(op, Block) and op.graph.name in self.choices else ""
        self.item(at.into, Item(name, "operation" if family else "block", lines, family, tip, heat, mark))

    def each(
        self, at: Place, name: str, nodes: Sequence[Node], incoming: Sequence[tuple[Bundle, End]], made: Sequence[Shape]
    ) -> list[End]:
        """A card with two borders, like a stack of cards, for one copy of a body; `made` are the shapes of all."""
        bodies = tuple(node.op.body for node in nodes if isinstance(node.op, Each))
        parts = tuple(node.op.copies(len(node.inputs)) for node in nodes if isinstance(node.op, Each))
        written = at.letters.size(parts)
        inner = Cluster(f"{name}/card", "card", ((Word(f"{nodes[0].op} "), Word(f"×{written}", "bold")),))
        at.into.members.append(Cluster(name, "stack", (), [inner]))
        entering = []
        for port in range(len(bodies[0].inputs)):
            ends = [end for bundle, end in incoming if bundle.first // parts[0] == port]
            called = f"{name}.in" + (f".{port}" if port else "")
            entering.append(ends[0] if len(ends) == 1 else self.fork(at.into, called, ends))
        times = tuple(outer * copies for outer, copies in zip(at.times, parts, strict=True))
        outs = self.inside(Place(inner, f"{name}.", at.letters, times, at.depth), bodies, entering)
        last = outs[0] if len(outs) == 1 else self.fork(inner, f"{name}.out", outs)
        total = at.letters.size(tuple(n * len(outs) for n in parts))
        shapes = [out.shapes for out in outs] * parts[0]
        if len(nodes) == 1:  # parts that share weights may differ in size
            shapes = [(shape,) for shape in made]
        return self.bundle(at, last.item, f"{name}/0", total, shapes)

    # ---- what leaves a node --------------------------------------------------------------------------------------

    def outputs(
        self, at: Place, name: str, made: Sequence[tuple[Shape, ...]], before: Sequence[object], joined: bool
    ) -> list[End]:
        """Ends for the outputs of a node, with their shapes written below it where they are new."""
        shapes = list(zip(*made, strict=False))
        if joined or len(shapes) > FEW:
            return self.bundle(at, name, f"{name}/0", at.letters.size(tuple(map(len, made))), shapes)
        ends = []
        for port, shape in enumerate(shapes):
            number = f"[{port}]" if len(shapes) > 1 else ""
            told = bool(number) or (shape not in before and self.shows("shape"))
            if told:
                written = at.letters.shape(shape) if self.shows("shape") else ""
                self.shape_below(at.into, name, f"{name}/{port}", f"{number} {written}".strip())
            ends.append(End(f"{name}/{port}" if told else name, shape, told=told))
        return ends

    def bundle(self, at: Place, tail: str, name: str, times: str, shapes: Sequence[tuple[Shape, ...]]) -> list[End]:
        """Ends for many outputs that are drawn as one wire: '12 of 32×14×14'."""
        several = len(shapes) > 1
        equal = len(set(shapes)) == 1 and self.shows("shape")
        written = at.letters.shape(shapes[0]) if equal else ""
        if several:
            written = f"{times} of {written}" if equal else f"{times} parts"
        if 1 < len(shapes) <= 4 and not equal and self.shows("shape"):
            written = ", ".join(f"[{port}] {at.letters.shape(shape)}" for port, shape in enumerate(shapes))
        self.shape_below(at.into, tail, name, written)
        return [End(name, s, f"[{port}]" * several, len(shapes), told=True) for port, s in enumerate(shapes)]

    def shape_below(self, into: Cluster, tail: str, name: str, written: str) -> None:
        """A shape on the wire that leaves a node. Not the label of an edge: Graphviz bends edges around those."""
        self.item(into, Item(name, "shape", (line(written, "small"),)))
        self.edges.append(Edge(tail, name, arrow=False))

    # ---- edges ---------------------------------------------------------------------------------------------------

    def edge(self, end: End, head: str, arrow: bool = True, skip: bool = False) -> None:
        self.edges.append(Edge(end.item, head, end.port, end.skip or skip, arrow))


def name_plate(graph: Graph, run: Run) -> Line:
    """'MBConv ×4  blocks.1-4'"""
    nameless = graph.name in NAMELESS
    times = [*[Word(f" ×{run.count}", "bold")] * (run.count > 1), *again(run)]
    if nameless:
        return (Word(run.name, "bold"), *times)
    return (Word(graph.name, "bold"), *times, Word(f"  {run.name}", "small"))


def again(run: Run) -> list[Word]:
    """' shared ×12' for a block that is applied several times with the same weights."""
    op = run.first.op
    return [Word(f" shared ×{op.times}")] if isinstance(op, Block) and op.times > 1 else []


def port_name(name: str, port: int, ports: int) -> str:
    """in, or in[0] where there are several."""
    return name if ports == 1 else f"{name}[{port}]"


def users(graph: Graph, port: int) -> int:
    """Number of edges that leave an input of the graph."""
    wires = [node.inputs[bundle.first] for node in graph.nodes for bundle in bundles(node, graph)]
    return sum(wire == Wire(INPUT, port) for wire in [*wires, *graph.outputs])
