"""Graphs as they are drawn: a block of one operation is that operation, identities and blocks of none are wires."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from uninas.graph import INPUT, Each, Graph, Node, Wire
from uninas.graph.resolve import around
from uninas.ops.op import Op


def simplified(graph: Graph, sections: bool = False, known: dict[int, Graph] | None = None) -> Graph:
    """The same function with fewer blocks; with `sections`, the nodes of the graph itself stay blocks."""
    known = {} if known is None else known
    if not sections and id(graph) in known:
        return known[id(graph)]
    ends: dict[Wire, Wire] = {Wire(INPUT, port): Wire(INPUT, port) for port in range(len(graph.inputs))}
    nodes: list[Node] = []
    for node in graph.nodes:
        op, wires = node.op, tuple(ends[wire] for wire in node.inputs)
        if isinstance(op, Each):
            op = around(op, simplified(op.body, known=known))
        elif isinstance(op, Op):
            if op.name == "identity":
                ends[Wire(node.name)] = wires[0]
                continue
        else:
            inner = simplified(op.graph, known=known)
            if not sections and op.times == 1 and is_trivial(inner):
                for alone in inner.nodes:
                    nodes.append(Node(node.name, alone.op, tuple(wires[wire.port] for wire in alone.inputs)))
                for port, wire in enumerate(inner.outputs):
                    outer = wires[wire.port] if wire.node == INPUT else Wire(node.name, wire.port)
                    ends[Wire(node.name, port)] = outer
                continue
            op = around(op, inner)
        nodes.append(replace(node, op=op, inputs=wires))
        for port in range(len(graph.shapes(node.name))):
            ends[Wire(node.name, port)] = Wire(node.name, port)
    made = graph.edited(nodes, [ends[wire] for wire in graph.outputs])
    if not sections:
        known[id(graph)] = made
    return made


def is_trivial(graph: Graph) -> bool:
    """Whether a frame around the graph would say nothing."""
    return not graph.nodes or (len(graph.nodes) == 1 and isinstance(graph.nodes[0].op, Op))


def skips(graph: Graph) -> set[tuple[str, str]]:
    """Edges (from, to) beside a longer way between the same two places: nodes, one of several inputs, or out."""
    targets = [(node.name, [source(graph, wire) for wire in node.inputs]) for node in graph.nodes]
    return bypasses([*targets, ("out", [source(graph, wire) for wire in graph.outputs])])


def source(graph: Graph, wire: Wire) -> str:
    """The place that a wire comes from: a node, or an input, which has a number where there are several."""
    return f"{INPUT}/{wire.port}" if wire.node == INPUT and len(graph.inputs) > 1 else wire.node


def bypasses(targets: Iterable[tuple[str, Iterable[str]]]) -> set[tuple[str, str]]:
    """The same for nodes in topological order with those they get their inputs from.

    Nodes are bits of an integer: fast enough.
    """
    bit: dict[str, int] = {}
    above: dict[str, int] = {}
    found: set[tuple[str, str]] = set()
    for name, given in targets:
        sources = dict.fromkeys(given)
        for source in sources:
            if source not in bit:
                bit[source], above[source] = 1 << len(bit), 0
        found |= {(a, name) for a in sources for b in sources if above[b] & bit[a]}
        bit[name] = 1 << len(bit)
        above[name] = 0
        for source in sources:
            above[name] |= above[source] | bit[source]
    return found
