"""The same function with fewer operations: what does nothing, or the same twice, is left out.

>>> from uninas.language.elaborate import build
>>> from uninas.language.library import load_text
>>> text = "block B { a = in -> relu -> relu -> identity\\n out = a + (a -> zero) }"
>>> [node.name for node in simplified(build(load_text(text), "B")).nodes]
['relu_1']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_

from uninas.graph.graph import INPUT, Block, Each, Graph, Node, Operator, Wire, subgraphs
from uninas.graph.resolve import around
from uninas.ops.activation import Relu, Relu6
from uninas.ops.attention import Mask, Matmul1, Matmul2
from uninas.ops.merge import Add, Concat, Maximum, Multiply
from uninas.ops.pool import Upsample
from uninas.ops.shape import Identity, Zero
from uninas.ops.split import Chunk, Copy, Split

IDEMPOTENT = (Relu, Relu6, Mask)
"""Operations that change nothing when they are applied again."""

PRODUCTS = (Multiply, Matmul1, Matmul2)
"""Operations whose output is zero if one of their inputs is."""

Influence = tuple[int, bool]
"""The inputs of a graph that a wire depends on, as a bit set, and whether it is zero throughout."""


def simplified(graph: Graph) -> Graph:
    """The graph without identities, copies, sums of one, zeros in sums, and doubled operations; also inside blocks.

    It computes the same from the same weights. A graph that is as simple as that already is returned itself.
    """
    known: Graph | None = graph.__dict__.get("_simplified")  # kept with the graph, as its costs are
    if known is None:
        known = _simplified(graph)
        known = graph.__dict__["_simplified"] = graph if known == graph else known
    return known


def redundant(graph: Graph) -> int:
    """Number of operations that `simplified` would leave out."""
    return graph.operations - simplified(graph).operations


def is_dead(graph: Graph) -> bool:
    """Whether an output is the same whatever comes in, as all that leads to it passes a `zero`."""
    return not all(sources for sources, _ in influence(graph))


def influence(graph: Graph) -> tuple[Influence, ...]:
    """The inputs on which each output depends; a `zero` ends dependence."""
    if len(graph.inputs) == 1 and not _has_zeros(graph):
        return ((1, False),) * len(graph.outputs)
    found = _influences(graph)
    return tuple(found[wire] for wire in graph.outputs)


def _has_zeros(graph: Graph) -> bool:
    known: bool | None = graph.__dict__.get("_zeros")
    if known is None:
        known = graph.__dict__["_zeros"] = any(
            isinstance(node.op, Zero) or any(_has_zeros(inner) for inner, _ in subgraphs(node)) for node in graph.nodes
        )
    return known


def _influences(graph: Graph) -> dict[Wire, Influence]:
    known: dict[Wire, Influence] | None = graph.__dict__.get("_influence")
    if known is None:
        found = {Wire(INPUT, port): (1 << port, False) for port in range(len(graph.inputs))}
        for node in graph.nodes:
            outputs = len(graph.shapes(node.name))
            for port, reaches in enumerate(_outgoing(node.op, [found[wire] for wire in node.inputs], outputs)):
                found[Wire(node.name, port)] = reaches
        known = graph.__dict__["_influence"] = found
    return known


def _outgoing(op: Operator, incoming: Sequence[Influence], outputs: int) -> Sequence[Influence]:
    if isinstance(op, Block):
        for _ in range(min(op.times, len(incoming) + 1)):  # after so many, nothing new is reached
            incoming = _through(op.graph, incoming)
        return incoming
    if isinstance(op, Each):
        return [made for part in op.parts(incoming) for made in _through(op.body, part)]
    if isinstance(op, Zero) or (isinstance(op, PRODUCTS) and any(is_zero for _, is_zero in incoming)):
        return [(0, True)] * outputs
    return [(_union(incoming), False)] * outputs


def _through(graph: Graph, incoming: Sequence[Influence]) -> list[Influence]:
    """What the outputs of a graph depend on, where its inputs depend on this."""
    return [
        (_union(of for port, of in enumerate(incoming) if ports >> port & 1), is_zero)
        for ports, is_zero in influence(graph)
    ]


def _union(influences: Iterable[Influence]) -> int:
    return reduce(or_, (sources for sources, _ in influences), 0)


def _simplified(graph: Graph) -> Graph:
    ends: dict[Wire, Wire] = {}
    nodes: dict[str, Node] = {}
    zeros = {wire for wire, (_, is_zero) in _influences(graph).items() if is_zero} if _has_zeros(graph) else ()
    for node in graph.nodes:
        op = _inside(node.op)
        inputs = tuple(ends.get(wire, wire) for wire in node.inputs)
        if isinstance(op, Add) and (left := [wire for wire in node.inputs if wire not in zeros]):
            shapes = [graph.shape(wire) for wire in left]
            if op.outputs(*shapes) == graph.shapes(node.name):
                inputs = tuple(ends.get(wire, wire) for wire in left)
        if isinstance(op, Zero) and graph.shape(Wire(INPUT)) == graph.shape(inputs[0]):
            inputs = (Wire(INPUT),)
        same = _same(op, inputs, graph, nodes)
        if same is None:
            nodes[node.name] = Node(node.name, op, inputs)
        else:
            ends.update({Wire(node.name, port): same for port in range(len(graph.shapes(node.name)))})
    return graph.edited(nodes.values(), (ends.get(wire, wire) for wire in graph.outputs))


def _inside(op: Operator) -> Operator:
    if isinstance(op, Block):
        inner = simplified(op.graph)
        return op if inner is op.graph else around(op, inner)
    if isinstance(op, Each):
        inner = simplified(op.body)
        return op if inner is op.body else around(op, inner)
    return op


def _same(op: Operator, inputs: Sequence[Wire], graph: Graph, nodes: Mapping[str, Node]) -> Wire | None:
    """The wire that already is what the operation makes (of which all outputs are alike), if there is one."""
    first = inputs[0] if inputs else Wire(INPUT)
    before = nodes[first.node].op if first.node in nodes else None
    if isinstance(op, Block):
        return first if len(inputs) == 1 and op.graph.outputs == (Wire(INPUT),) else None
    if isinstance(op, (Identity, Copy)):
        return first
    if isinstance(op, (Add, Multiply, Concat, Maximum)) and len(inputs) == 1:
        return first
    if isinstance(op, Maximum) and len(set(inputs)) == 1:
        return first
    if isinstance(op, Upsample) and graph.shape(first)[1:] == (op.height, op.width):
        return first
    if isinstance(op, IDEMPOTENT) and op == before:
        return first
    if isinstance(op, Concat) and isinstance(before, (Chunk, Split)):
        parts = tuple(Wire(first.node, port) for port in range(len(graph.shapes(first.node))))
        return nodes[first.node].inputs[0] if tuple(inputs) == parts else None
    return None
