"""Sites: where a network may change, each found with even odds, and what a filter may ask of one.

A network changes inside the blocks of its stages, in the rows of blocks that its stages are, and as a whole.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from uninas.fact import fact
from uninas.graph import INPUT, Block, Graph, Node, Operator, Wire, subgraphs
from uninas.graph.network import HEAD, STEM, is_stage, network_of, place, stages
from uninas.ops.op import Op, show_shape
from uninas.ops.shape import Identity
from uninas.space import Facts

OUTPUT = "out"

Level = Literal["inner", "stage", "network", "whole"]
"""Where an edit acts: on a graph inside a block of a stage, on the row of blocks of a stage, on a network of stages, or
on an architecture of any form."""

Reason = Literal["type", "site", "budget", "known", "dead"]


class Port(NamedTuple):
    """One input of one node, or (node 'out') one output of the graph."""

    node: str
    port: int = 0


@dataclass(frozen=True)
class Refusal:
    """Why a move is not possible.

    `reason` is 'type' (what is put in does not fit the shape), 'site' (nothing can change at this place), 'budget' (the
    result is too large or too small), 'known' (the result was there before) or 'dead' (the result is cut off from its
    input); `why` is a sentence.
    """

    reason: Reason
    why: str


@dataclass(frozen=True)
class Site:
    """A place in a graph: the number of a node or, after these, of an output.

    At level 'stage' the graph is that of a stage and the nodes are its blocks; at level 'network' there is one site.
    """

    path: tuple[str, ...]
    graph: Graph
    index: int
    block: str = ""
    """The name of the definition that the graph came from, or of the nearest one around it."""

    @fact
    def node(self) -> Node | None:
        """The node, unless this is an output."""
        return self.graph.nodes[self.index] if self.index < len(self.graph.nodes) else None

    def edges(self) -> list[tuple[Wire, Port | None]]:
        """The wires that arrive here; each for all of its users and, where there are several, for the one here."""
        if self.node is None:
            number = self.index - len(self.graph.nodes)
            arriving = [(self.graph.outputs[number], Port(OUTPUT, number))]
        else:
            arriving = [(wire, Port(self.node.name, port)) for port, wire in enumerate(self.node.inputs)]
        found: list[tuple[Wire, Port | None]] = []
        for wire, port in arriving:
            after, before = wire, port
            while (node := node_of(self.graph, after.node)) and transparent(node.op):
                before, after = Port(node.name), node.inputs[0]  # the same place, by its first name
            several = self.graph.uses[after] > 1
            found += [(after, None), (after, before if several else None)]
        return found

    @property
    def facts(self) -> Facts:
        """The facts that a filter in a space may use."""
        stage, index = place(self.path)
        if stage >= 0 and index < 0:
            index = self.index
        if self.node is None:
            op, wire = OUTPUT, self.graph.outputs[self.index - len(self.graph.nodes)]
        else:
            op, wire = _word(self.node.op), (self.node.inputs or (Wire(INPUT),))[0]
        maker = node_of(self.graph, wire.node)
        after = _word(maker.op) if maker else "input"
        shape = (*self.graph.shape(wire), 1, 1)[:3]
        return Facts(stage, index, len(self.path), op, after, self.block or "block", *shape)


def _word(op: Operator) -> str:
    if isinstance(op, Op):
        return op.name
    return op.graph.name or "block" if isinstance(op, Block) else "each"


# ---- which graphs may change ---------------------------------------------------------------------------------------


def blocks(graph: Graph) -> Iterator[tuple[tuple[str, ...], Graph]]:
    """The graphs that moves may change, with their paths: the blocks of all stages.

    A network without stages may change in its sections but stem and head, and any other graph everywhere.
    """
    depth = fixed_depth(graph)
    if depth == 0:
        yield (), graph
    for node in graph.nodes if depth else ():
        if depth == 1 and node.name not in (STEM, HEAD):
            yield from (((node.name,), inner) for inner, _ in subgraphs(node))
        elif depth == 2 and is_stage(node):
            for stage, _ in subgraphs(node):
                for block in stage.nodes:
                    yield from (((node.name, block.name), inner) for inner, _ in subgraphs(block))


def fixed_depth(graph: Graph) -> int:
    """Number of names at the start of a path that belong to sections and blocks, which keep their places."""
    if any(map(is_stage, graph.nodes)):
        return 2
    return 1 if network_of(graph).stem or network_of(graph).head else 0


# ---- drawing and listing -------------------------------------------------------------------------------------------


def draw_site(graph: Graph, level: Level, rng: random.Random) -> Site | Refusal:
    """A site of that level, all with even odds."""
    if level in ("network", "whole"):
        return Site((), graph, 0)
    if level == "stage":
        rows = [(node.name, inner) for node in stages(graph) for inner, _ in subgraphs(node)]
        number = rng.randrange(sum(len(row.nodes) for _, row in rows)) if rows else -1
        for name, row in rows:
            if number < len(row.nodes):
                return Site((name,), row, number)
            number -= len(row.nodes)
        return Refusal("site", "this network has no stages")
    in_rows = fixed_depth(graph) == 2
    parts: list[tuple[tuple[str, ...], Graph, int]]
    if in_rows:
        parts = [((node.name,), inner, _row_places(inner)) for node in stages(graph) for inner, _ in subgraphs(node)]
    else:
        parts = [(path, block, places(block)) for path, block in blocks(graph)]
    total = sum(count for _, _, count in parts)
    if not total:
        return Refusal("site", "no part of this network may change")
    number = rng.randrange(total)
    for path, part, count in parts:
        if number < count:
            return _in_row(path, part, number) if in_rows else _descend(path, part, number)
        number -= count
    raise AssertionError


def sites(graph: Graph, level: Level) -> Iterator[Site]:
    """All sites of that level."""
    if level in ("network", "whole"):
        yield Site((), graph, 0)
    elif level == "stage":
        for node in stages(graph):
            for row, _ in subgraphs(node):
                yield from (Site((node.name,), row, index) for index in range(len(row.nodes)))
    else:
        for path, block in blocks(graph):
            yield from (_descend(path, block, number) for number in range(places(block)))


def places(graph: Graph) -> int:
    """Number of nodes and outputs of a block and of all that is inside it, once per definition."""
    known: int | None = graph.__dict__.get("_places")  # kept with the graph, as its costs are: neither can change
    if known is None:
        inner = (places(part) for node in graph.nodes for part, _ in subgraphs(node) if not transparent(part))
        known = graph.__dict__["_places"] = len(graph.nodes) + len(graph.outputs) + sum(inner)
    return known


def _row_places(row: Graph) -> int:
    """Number of places in all blocks of a stage; an empty block has its output alone."""
    known: int | None = row.__dict__.get("_row_places")
    if known is None:
        known = row.__dict__["_row_places"] = sum(places(block) for node in row.nodes for block, _ in subgraphs(node))
    return known


def _in_row(path: tuple[str, ...], row: Graph, number: int) -> Site:
    """The place of that number in the blocks of a stage."""
    for node in row.nodes:
        for block, _ in subgraphs(node):
            count = places(block)
            if number < count:
                return _descend((*path, node.name), block, number)
            number -= count
    raise AssertionError


def _descend(path: tuple[str, ...], graph: Graph, number: int, block: str = "") -> Site:
    block = graph.name or block
    own = len(graph.nodes) + len(graph.outputs)
    if number < own:
        return Site(path, graph, number, block)
    number -= own
    for node in graph.nodes:
        for part, _ in subgraphs(node):
            count = 0 if transparent(part) else places(part)
            if number < count:
                return _descend((*path, node.name), part, number, block)
            number -= count
    raise AssertionError


# ---- what may be taken out -----------------------------------------------------------------------------------------


def transparent(what: Graph | Operator) -> bool:
    """Whether one input comes out as it went in: a place before it and one behind it are the same."""
    if isinstance(what, Block):
        what = what.graph
    return isinstance(what, Identity) or (isinstance(what, Graph) and what.outputs == (Wire(INPUT),))


def region(graph: Graph, end: Node) -> Wire | Refusal:
    """The nearest wire of the same shape through which alone `end` sees the input, and beyond which nothing else looks.

    Between the two lies what a removal takes out: the node itself, if it keeps its shape, or an expansion with its
    reduction, or a fork with all its branches.
    """
    if len(graph.shapes(end.name)) != 1 or transparent(end.op) or not end.inputs:
        return Refusal("site", f"{end.name} has several outputs, or does nothing")
    shape = graph.shape(Wire(end.name))
    inside = {end.name}
    frontier = set(end.inputs)
    while len(frontier) > 1 or graph.shape(next(iter(frontier))) != shape:
        latest = max((wire.node for wire in frontier), key=lambda name: graph.position.get(name, -1))
        if latest == INPUT or not users(graph, latest) <= inside:
            return Refusal("site", f"{end.name} cannot be left out: nothing else has its shape {show_shape(shape)}")
        inside.add(latest)
        frontier = {wire for wire in frontier if wire.node != latest} | set(graph.by_name[latest].inputs)
    return frontier.pop()


def users(graph: Graph, name: str) -> set[str]:
    """The nodes that use an output of a node, and 'out'."""
    found = {node.name for node in graph.nodes if any(wire.node == name for wire in node.inputs)}
    return found | {OUTPUT for wire in graph.outputs if wire.node == name}


def node_of(graph: Graph, name: str) -> Node | None:
    """The node of that name, if there is one."""
    return graph.nodes[graph.position[name]] if name in graph.position else None


def has(graph: Graph, wire: Wire) -> bool:
    """Whether the graph has that wire."""
    return (wire.node == INPUT or wire.node in graph.position) and 0 <= wire.port < len(graph.shapes(wire.node))
