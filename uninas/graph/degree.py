"""The polynomial degree of a network: how fast its values grow where nothing bounds or normalises them.

>>> from uninas.language.elaborate import build
>>> from uninas.language.library import load_text
>>> degree(build(load_text("block B { a = in * in\\n out = a * (in -> sigmoid) }"), "B"))
2
"""

from __future__ import annotations

from collections.abc import Sequence

from uninas.graph.graph import INPUT, Block, Each, Graph, Operator, Wire

MAX_DEGREE = 2**40  # numbers stay small in a tower of squares


def degree(graph: Graph) -> int:
    """The largest degree of any value in the graph, as a polynomial in its inputs and in what its last norms make.

    Products add degrees; what is bounded, such as a softmax, has none; norms begin anew. Attention has 1, and 3
    without its softmax; k of these in a row, with no norm between, have 3^k. Every architecture in use is at 1 or
    near; with a degree of d, values that double at the input grow by 2^d.
    """
    return _largest(graph, (1,) * len(graph.inputs))[0]


def _largest(graph: Graph, incoming: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The largest degree inside and the degrees of the outputs, for those of the inputs."""
    known: dict[tuple[int, ...], tuple[int, tuple[int, ...]]] = graph.__dict__.setdefault("_degrees", {})
    if incoming not in known:
        found = {Wire(INPUT, port): entering for port, entering in enumerate(incoming)}
        highest = max(incoming, default=0)
        for node in graph.nodes:
            inside, outgoing = _node(node.op, [found[wire] for wire in node.inputs], len(graph.shapes(node.name)))
            highest = max(highest, inside)
            found.update((Wire(node.name, port), leaving) for port, leaving in enumerate(outgoing))
        known[incoming] = highest, tuple(found[wire] for wire in graph.outputs)
    return known[incoming]


def _node(op: Operator, incoming: Sequence[int], outputs: int) -> tuple[int, Sequence[int]]:
    if isinstance(op, Block):
        highest, ends = _largest(op.graph, tuple(incoming))
        for _ in range(op.times - 1):
            before = ends
            inside, ends = _largest(op.graph, before)
            highest = max(highest, inside)
            if ends == before:
                break
        return highest, ends
    if isinstance(op, Each):
        parts = [_largest(op.body, part) for part in op.parts(incoming)]
        return max(inside for inside, _ in parts), [leaving for _, ends in parts for leaving in ends]
    made = min(op.degree(*incoming), MAX_DEGREE)
    return made, [made] * outputs
