"""A graph under construction: nodes by number, names given at the end, when all of them are known."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from uninas.errors import Span, error
from uninas.graph.graph import INPUT, RESERVED, Graph, GraphError, Node, Operator, Wire, live
from uninas.ops.op import Shape


@dataclass(frozen=True)
class Wires:
    """Wires of the graph being built: (number of the node, port); one, or a bundle of several.

    A bundle that was put together, as `(a, b)` is, knows the lengths of what it was put together from.
    """

    builder: Builder
    wires: tuple[tuple[int, int], ...]
    lengths: tuple[int, ...] = ()

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple(self.builder.shape(wire) for wire in self.wires)


class Builder:
    """A graph under construction. Nodes have numbers; names are given at the end, when all are known."""

    def __init__(self, inputs: tuple[Shape, ...], work: Callable[[], None]):
        self.inputs = inputs
        self.work = work
        self.ops: list[tuple[Operator, tuple[tuple[int, int], ...], str, Span]] = []
        self.labels: dict[int, str] = {}
        self.taken: set[str] = set()  # the labels
        self.shapes: list[tuple[Shape, ...]] = []

    def shape(self, wire: tuple[int, int]) -> Shape:
        number, port = wire
        return self.inputs[port] if number < 0 else self.shapes[number][port]

    @property
    def input(self) -> Wires:
        return Wires(self, tuple((-1, port) for port in range(len(self.inputs))))

    def add(self, op: Operator, wires: Wires, base: str, span: Span) -> Wires:
        """Append a node. Raises ShapeError."""
        self.work()
        shapes = op.outputs(*wires.shapes)
        self.ops.append((op, wires.wires, base, span))
        self.shapes.append(shapes)
        number = len(self.ops) - 1
        return Wires(self, tuple((number, port) for port in range(len(shapes))))

    def label(self, wires: Wires, name: str) -> None:
        """Name the node that made all these wires, unless it has a name."""
        numbers = {number for number, _ in wires.wires}
        if len(numbers) == 1 and (number := numbers.pop()) >= 0:
            self.taken.add(self.labels.setdefault(number, name))

    def finish(self, outputs: Wires, name: str, init: str = "default") -> Graph:
        names = node_names([op[2] for op in self.ops], self.labels)

        def wire(pair: tuple[int, int]) -> Wire:
            return Wire(INPUT if pair[0] < 0 else names[pair[0]], pair[1])

        nodes = tuple(Node(names[n], op, tuple(map(wire, wires))) for n, (op, wires, _, _) in enumerate(self.ops))
        ends = tuple(map(wire, outputs.wires))
        kept = {node.name for node in live(nodes, ends)}
        for number, (op, _, _, span) in enumerate(self.ops):
            if names[number] not in kept:
                raise error("UNI016", f"the result of {op} is never used", span, "lead it to `out`, or remove it")
        try:
            return Graph(self.inputs, nodes, ends, name, init)
        except GraphError as problem:
            place = next((self.ops[n][3] for n, text in enumerate(names) if text == problem.node), None)
            raise error("UNI011", str(problem), place) from None


def node_names(bases: Sequence[str], labels: Mapping[int, str]) -> list[str]:
    """Names for nodes: their label, or the base name, numbered when several nodes without a label share it."""
    taken = set(labels.values())
    often = Counter(base for number, base in enumerate(bases) if number not in labels)
    alone = {base for base, count in often.items() if count == 1}
    counts: Counter[str] = Counter()
    names: list[str] = []
    for number, base in enumerate(bases):
        if number in labels:
            names.append(labels[number])
        elif often[base] == 1 and base not in taken:
            names.append(base)
        else:
            counts[base] += 1
            while f"{base}_{counts[base]}" in taken or f"{base}_{counts[base]}" in alone:
                counts[base] += 1
            names.append(f"{base}_{counts[base]}")
    return names


MOST = 180  # characters of a node's name that come from a block's, so that a number fits behind


def snake_case(name: str) -> str:
    """MBConv -> mb_conv, ConvNeXtBlock -> conv_ne_xt_block; In -> in_, for `in` is a word of the language."""
    made = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()[:MOST]
    return f"{made}_" if made in RESERVED else made
