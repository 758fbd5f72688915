"""Graphs as nodes, edges and clusters of a Digraph. Several graphs that differ only in sizes are drawn as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from graphviz import Digraph

from uninas.errors import error
from uninas.graph import INPUT, Block, Each, Graph, Node, Wire
from uninas.op import Attr, Cost, Op, Shape, show_value
from uninas.render import style
from uninas.render.letters import Letters
from uninas.render.simplify import skips
from uninas.summary import NAMELESS, Run, human, runs

MAX_DRAWN = 1000  # nodes in one picture; more take minutes to lay out and cannot be read

FEW = 3  # as many parallel wires are drawn one by one

Variants = tuple[Graph, ...]


@dataclass(frozen=True)
class End:
    """Where a wire comes from in the picture."""

    node: str
    shapes: tuple[Shape, ...]
    """In every variant."""
    port: str = ""
    """Which of the node's outputs it is, where the node does not say."""
    ports: int = 1
    """How many outputs lead away from the same place."""
    skip: bool = False
    told: bool = False
    """The place itself says the shape."""


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
    for source, group in groupby(node.inputs, key=lambda wire: wire.node):
        size = len(list(group))
        each = isinstance(node.op, Each) or (source != INPUT and isinstance(graph.by_name[source].op, Each))
        if (each and size > 1) or size > FEW:
            found.append(Bundle(source, position, size))
        else:
            found += [Bundle(source, position + n, 1) for n in range(size)]
        position += size
    return found


@dataclass(frozen=True)
class Place:
    """Where something is drawn, what its nodes are called, and how its sizes are written."""

    into: Digraph
    path: str
    letters: Letters


class Drawing:
    """What is drawn so far. Edges are written last, by `finish`, because an edge inside a cluster would move nodes."""

    def __init__(self, root: Digraph, expand: bool, call: Callable[[Graph], str] | None = None):
        """`expand` draws what is inside blocks; else `call` gives the name that a block goes by."""
        self.root = root
        self.expand = expand
        self.call = call or (lambda graph: graph.name or "block")
        self.edges: list[tuple[str, str, dict[str, str]]] = []
        self.families: dict[str, None] = {}
        self.drawn = 0

    def node(self, into: Digraph, name: str, label: str, **attributes: str) -> None:
        self.drawn += 1
        if self.drawn > MAX_DRAWN:
            raise error(
                "UNI030",
                f"expected at most {MAX_DRAWN:,} nodes in one picture, but there are more",
                None,
                "draw less detail: level network or block, or a single block",
            )
        into.node(name, label, **attributes)

    def finish(self) -> None:
        for tail, head, attributes in self.edges:
            self.root.edge(tail, head, **attributes)

    # ---- graphs --------------------------------------------------------------------------------------------------

    def alone(self, at: Place, graphs: Variants) -> None:
        """Graphs with their inputs and outputs as nodes."""
        inputs, outputs = graphs[0].inputs, graphs[0].outputs
        ends = []
        for port in range(len(inputs)):
            name = port_name("in", port, len(inputs))
            shapes = tuple(graph.inputs[port] for graph in graphs)
            self.terminal(at, name, at.letters.shape(shapes))
            ends.append(End(at.path + name, shapes))
        skipping = skips(graphs[0])
        for port, end in enumerate(self.inside(at, graphs, ends)):
            name = port_name("out", port, len(outputs))
            self.terminal(at, name, "" if end.told else at.letters.shape(end.shapes))
            self.edge(end, at.path + name, skip=(outputs[port].node, "out") in skipping)

    def terminal(self, at: Place, word: str, shape: str) -> None:
        """The word `in` or `out` and a shape."""
        markup = style.small(style.bold(word), style.INK, 10) + (f"&#160; {style.small(shape)}" if shape else "")
        self.node(at.into, at.path + word, style.label(markup), **TERMINAL)

    def inside(self, at: Place, graphs: Variants, ends: Sequence[End]) -> list[End]:
        """The nodes of graphs that get their inputs from `ends`. Returns where their outputs come from."""
        graph = graphs[0]
        known = {Wire(INPUT, port): end for port, end in enumerate(ends)}
        for port, end in enumerate(ends):
            if users(graph, port) > 1:
                known[Wire(INPUT, port)] = self.fork(at.into, f"{at.path}in/{port}", [end])
        skipping = skips(graph)
        joined = {bundle.source for node in graph.nodes for bundle in bundles(node, graph) if bundle.size > 1}
        position = {node.name: n for n, node in enumerate(graph.nodes)}
        for run in runs(graph):
            incoming = []
            for bundle in bundles(run.first, graph):
                end = known[run.first.inputs[bundle.first]]
                which = end.port if bundle.size == 1 else "" if bundle.size == end.ports else f"×{bundle.size}"
                skip = end.skip or (bundle.source, run.first.name) in skipping
                incoming.append(replace(end, port=which, skip=skip))
            made = self.run(at, graphs, position[run.first.name], run, incoming, run.last.name in joined)
            known.update((Wire(run.last.name, port), end) for port, end in enumerate(made))
        return [known[wire] for wire in graph.outputs]

    def fork(self, into: Digraph, name: str, ends: Sequence[End]) -> End:
        """A dot at which one wire becomes several, or several become one."""
        self.node(into, name, "", **DOT)
        for end in ends:
            self.edge(end, name, arrow=False)
        return End(name, ends[0].shapes)

    # ---- nodes ---------------------------------------------------------------------------------------------------

    def run(
        self, at: Place, graphs: Variants, position: int, run: Run, incoming: Sequence[End], joined: bool
    ) -> list[End]:
        """One node, or equal blocks in a row. Returns where its outputs come from; `joined`: they lead on as one."""
        nodes = [graph.nodes[position] for graph in graphs]
        name, op = at.path + run.first.name, nodes[0].op
        if isinstance(op, Each):
            return self.each(at, name, nodes, incoming)
        if isinstance(op, Block) and self.expand:
            inner = self.cluster(name, style.heading(name_plate(op.graph, run)), FRAME)
            blocks = tuple(node.op.graph for node in nodes if isinstance(node.op, Block))
            ends = self.inside(Place(inner, f"{name}.", at.letters), blocks, incoming)
            at.into.subgraph(inner)
            return ends
        tip = tooltip(name, nodes, graphs[0].costs[run.first.name] * run.count)
        if isinstance(op, Block):
            lines = [style.bold(style.text(self.call(op.graph))) + f" ×{run.count}" * (run.count > 1)]
            if brief(op.graph):
                lines.append(style.small(style.escaped(" → ".join(captions(nodes, at.letters)))))
            self.node(at.into, name, style.label(*lines), tooltip=tip, **CALL)
        else:
            self.operation(at, name, [node.op for node in nodes if isinstance(node.op, Op)], tip)
        for end in incoming:
            self.edge(end, name)
        made = [graph.shapes(graph.nodes[position].name) for graph in graphs]
        return self.outputs(at, name, made, [end.shapes for end in incoming], joined)

    def operation(self, at: Place, name: str, ops: Sequence[Op], tip: str) -> None:
        """A box in the colour of the family, or a circle with a symbol."""
        symbol = style.SYMBOLS.get(ops[0].name)
        if symbol:
            self.node(at.into, name, style.label(symbol), tooltip=tip, **CIRCLE)
        else:
            self.families[ops[0].family] = None
            label = style.label(style.escaped(caption(ops, at.letters)))
            self.node(at.into, name, label, tooltip=tip, fillcolor=style.PALETTE[ops[0].family])

    def each(self, at: Place, name: str, nodes: Sequence[Node], incoming: Sequence[End]) -> list[End]:
        """A card with two borders, like a stack of cards, for one copy of a body."""
        bodies = tuple(node.op.body for node in nodes if isinstance(node.op, Each))
        parts = tuple(len(node.inputs) for node in nodes)
        times = at.letters.size(parts)
        outer = self.cluster(name, style.label(""), CARD | {"margin": "3"})
        inner = self.cluster(f"{name}/card", style.heading(f"each {style.bold(f'×{times}')}"), CARD)
        end = incoming[0] if len(incoming) == 1 else self.fork(inner, f"{name}.in", incoming)
        out = self.inside(Place(inner, f"{name}.", at.letters), bodies, [end])[0]
        outer.subgraph(inner)
        at.into.subgraph(outer)
        return self.bundle(at, out.node, f"{name}/0", times, [out.shapes] * parts[0])

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
            told = len(shapes) > 1 or shape not in before
            if told:
                number = f"[{port}] " if len(shapes) > 1 else ""
                self.shape_below(at.into, name, f"{name}/{port}", number + at.letters.shape(shape))
            ends.append(End(f"{name}/{port}" if told else name, shape, told=told))
        return ends

    def bundle(self, at: Place, tail: str, written: str, times: str, shapes: Sequence[tuple[Shape, ...]]) -> list[End]:
        """Ends for many outputs that are drawn as one wire: '12 of 32×14×14'."""
        equal = f"{times} of {at.letters.shape(shapes[0])}" if len(set(shapes)) == 1 else f"{times} parts"
        self.shape_below(at.into, tail, written, equal if len(shapes) > 1 else at.letters.shape(shapes[0]))
        several = len(shapes) > 1
        return [End(written, s, f"[{port}]" * several, len(shapes), told=True) for port, s in enumerate(shapes)]

    def shape_below(self, into: Digraph, tail: str, written: str, text: str) -> None:
        """A shape on the wire that leaves a node. Not the label of an edge: Graphviz bends edges around those."""
        self.node(into, written, style.label(style.small(style.escaped(text))), **TERMINAL)
        self.edges.append((tail, written, {"arrowhead": "none"}))

    @staticmethod
    def cluster(name: str, label: str, look: dict[str, str]) -> Digraph:
        inner = Digraph(f"cluster_{name}")
        inner.attr(label=label, **look)
        return inner

    # ---- edges ---------------------------------------------------------------------------------------------------

    def edge(self, end: End, head: str, arrow: bool = True, skip: bool = False) -> None:
        attributes: dict[str, str] = {}
        if end.port:
            attributes["label"] = style.label(style.escaped(f" {end.port}"))
        if end.skip or skip:
            attributes.update(SKIP)
        if not arrow:
            attributes["arrowhead"] = "none"
        self.edges.append((end.node, head, attributes))


TERMINAL = {"shape": "plain", "style": "", "margin": "0.02", "height": "0.14"}
DOT = {"shape": "point", "width": "0.05", "height": "0.05", "style": "filled", "fillcolor": style.INK}
CIRCLE = {
    "shape": "circle", "fixedsize": "true", "width": "0.27", "height": "0.27", "margin": "0",
    "style": "filled", "fillcolor": style.PALETTE["merge"], "fontsize": "13",
}  # fmt: skip
CALL = {"style": "filled", "fillcolor": style.PLAIN, "penwidth": "1.4"}
FRAME = {
    "style": "rounded",
    "color": "#8a8a8a",
    "bgcolor": "#00000008",
    "fontsize": "11",
    "margin": "10",
    "labeljust": "l",
}
CARD = {
    "style": "rounded", "color": "#5c5c5c", "bgcolor": "#ffffffa0", "fontsize": "11", "margin": "10", "labeljust": "l",
}  # fmt: skip
SKIP = {"color": style.SKIP, "penwidth": "1.5", "weight": "1"}


def name_plate(graph: Graph, run: Run) -> str:
    """'MBConv ×4  blocks.1-4'"""
    nameless = graph.name in NAMELESS
    parts = [style.bold(style.text(run.name if nameless else graph.name))]
    if run.count > 1:
        parts.append(style.bold(f"×{run.count}"))
    if not nameless:
        parts.append(style.small(f"&#160;{style.text(run.name)}"))
    return " ".join(parts)


def port_name(name: str, port: int, ports: int) -> str:
    """in, or in[0] where there are several."""
    return name if ports == 1 else f"{name}[{port}]"


def users(graph: Graph, port: int) -> int:
    """How many edges leave an input of the graph."""
    wires = [node.inputs[bundle.first] for node in graph.nodes for bundle in bundles(node, graph)]
    return sum(wire == Wire(INPUT, port) for wire in [*wires, *graph.outputs])


def brief(graph: Graph) -> bool:
    """Whether a box can say all that is in a block: a short chain in which one operation at most sets channels."""
    ops = [node.op for node in graph.nodes if isinstance(node.op, Op)]
    chain = all(
        node.inputs == (Wire(before),)
        for before, node in zip([INPUT, *(node.name for node in graph.nodes)], graph.nodes, strict=False)
    )
    setting = sum(any(attribute.channels for attribute in op.attrs) for op in ops)
    return chain and 0 < len(ops) == len(graph.nodes) <= FEW and setting <= 1


def captions(nodes: Sequence[Node], letters: Letters) -> list[str]:
    """The operations of a brief block, in all variants."""
    chains = [
        [n.op for n in node.op.graph.nodes if isinstance(n.op, Op)] for node in nodes if isinstance(node.op, Block)
    ]
    return [caption(ops, letters) for ops in zip(*chains, strict=True)]


def caption(ops: Sequence[Op], letters: Letters) -> str:
    """An operation as people say it: 'conv 3×3, stride 2'. What the shapes at its edges say is left out."""
    op = ops[0]
    words = op.name.replace("_", " ")
    spread = {attribute.name for attribute in op.attrs}
    if "kernel" in spread:
        words += " {}×{}".format(*window(op))
    if "n" in spread:
        words += f" {getattr(op, 'n', '')}"
    details = []
    if {"height", "width"} <= spread:
        sides = [tuple(getattr(one, side) for one in ops) for side in ("height", "width")]
        if any(map(any, sides)):
            details.append("×".join(letters.size(side, axis) for side, axis in zip(sides, "HW", strict=True)))
    details += [detail(a, getattr(op, a.name)) for a in op.attrs if named(a, getattr(op, a.name), spread)]
    return ", ".join([words, *details])


def window(op: Op) -> tuple[int, int]:
    """Height and width of a kernel."""
    kernel = getattr(op, "kernel", 1)
    return kernel, getattr(op, "width", 0) or kernel


SAID_OTHERWISE = {"kernel", "n", "bias", "padding", "ceil", "eps", "momentum"}  # or of no interest in a picture


def named(attribute: Attr, value: object, spread: set[str]) -> bool:
    """Whether a caption names the attribute."""
    if attribute.channels or attribute.name in SAID_OTHERWISE:
        return False
    if attribute.name in ("height", "width") and ("kernel" in spread or {"height", "width"} <= spread):
        return False
    return attribute.required or value != attribute.default


def detail(attribute: Attr, value: object) -> str:
    """'stride 2', or 'row wise' and 'no affine' for a switch."""
    words = attribute.name.replace("_", " ")
    if value is True:
        return words
    return f"no {words}" if value is False else f"{words} {show_value(value)}"


def flexible(attribute: Attr, spread: set[str]) -> bool:
    """Whether variants of one drawing may differ in the attribute, because it is written as a size or not at all."""
    return attribute.channels or (attribute.name in ("height", "width") and {"height", "width"} <= spread)


def tooltip(name: str, nodes: Sequence[Node], cost: Cost) -> str:
    """What a browser shows over a node: its path, the whole operation, its cost."""
    parts = [name, str(nodes[0].op)]
    if cost.params:
        parts.append(f"{cost.params:,} parameters")
    if cost.flops:
        parts.append(f"{human(cost.flops)}FLOPs")
    return style.plain(" | ".join(parts))
