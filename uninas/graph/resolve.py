"""The same structure for other shapes: channels, and sizes of maps, solved anew.

A number that stood for the channels of the input or the output, or for a multiple or fraction of these, does so again;
any other stays what it is. This is what the text of a block would say relative to `C` and `width`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from uninas.graph.graph import INPUT, Block, Each, Graph, GraphError, Node, Operator, Wire
from uninas.ops.attention import RelPosBias
from uninas.ops.op import Attr, Op, Shape, ShapeError, show_shape
from uninas.ops.shape import PosEmbed

SPATIAL = {"height": 1, "width": 2}  # attributes that speak of the height and width of a map, and the axes


Rewrite = Callable[[Op], Op]


def resolved(
    graph: Graph, inputs: Sequence[Shape], channels: int | None = None, rewrite: Rewrite | None = None
) -> Graph:
    """The graph for these inputs, with `channels` in its first output (None: what follows from the inputs).

    `rewrite` may exchange operations before they are solved. Raises GraphError when no solution is found; whether the
    outputs are those that are wanted is left to the caller.
    """
    if len(inputs) != len(graph.inputs) or any(len(a) != len(b) for a, b in zip(inputs, graph.inputs, strict=True)):
        raise GraphError(f"expected inputs like those of {graph.name or 'the block'}")
    if rewrite is None and tuple(inputs) == graph.inputs and channels in (None, graph.output_shapes[0][0]):
        return graph
    frame = _Frame(graph, inputs, channels, rewrite)
    shapes: dict[str, tuple[Shape, ...]] = {INPUT: tuple(inputs)}
    nodes: list[Node] = []
    for node in graph.nodes:
        wires = _wires(node.inputs, graph, shapes)
        incoming = tuple(shapes[wire.node][wire.port] for wire in wires)
        try:
            op = frame.operator(node.op, graph.input_shapes(node), incoming)
            shapes[node.name] = op.outputs(*incoming)
            frame.learn(graph.shapes(node.name)[0], shapes[node.name][0])
        except ShapeError as problem:
            raise GraphError(str(problem), node.name) from None
        nodes.append(Node(node.name, op, wires))
    ends = _wires(graph.outputs, graph, shapes)
    return dataclasses.replace(graph, inputs=tuple(inputs), nodes=tuple(nodes), outputs=ends)


def around(op: Block | Each, inner: Graph) -> Block | Each:
    """The same operator with another graph inside, for the same inputs; weights are shared as they were."""
    if isinstance(op, Block):
        return dataclasses.replace(op, graph=inner)
    if not op.shared:
        return Each(inner)
    return shared_each(inner, [body.inputs for body in (op.body, *op.variants)])


def shared_each(body: Graph, parts: Sequence[tuple[Shape, ...]]) -> Each:
    """`body` for parts of these shapes, with one set of weights. Raises GraphError where it would have others."""
    others = [part for part in dict.fromkeys(parts) if part != body.inputs]
    variants = tuple(resolved(body, part) for part in others)
    for variant in variants:
        if variant.cost.params != body.cost.params or _weighted(variant) != _weighted(body):
            sizes = ", ".join(map(show_shape, variant.inputs))
            raise GraphError(f"expected the same weights for parts of {sizes}, as they are shared")
    return Each(body, True, variants)


def _weighted(graph: Graph) -> list[tuple[str, str, int]]:
    """The operations that have weights, and how many."""
    return [
        (path, node.op.canonical, inner.costs[node.name].params)
        for path, inner, node in graph.walk()
        if isinstance(node.op, Op) and inner.costs[node.name].params
    ]


def at_size(graph: Graph, size: tuple[int, int]) -> Graph:
    """The same network on images of another height and width, with tables for the grids that it has now.

    Its learned position tables keep their sizes, so it has the same parameters. Raises GraphError with the operation
    where it does not exist at that size.
    """
    image = graph.inputs[0]
    if len(graph.inputs) != 1 or len(image) != 3:
        raise GraphError(f"expected an image as the input of {graph.name or 'the network'}, to change its size")
    if image[1:] == tuple(size):
        return graph
    other = with_tables_of(resolved(graph, [(image[0], *size)]), graph)
    if other.cost.params != graph.cost.params:
        path = _first_of_other_size(graph, other)
        raise GraphError(f"expected weights of the same shapes at every size, but those of {path} are others", path)
    return other


def _first_of_other_size(graph: Graph, other: Graph) -> str:
    """The path of the first operation that has other weights in the one than in the other."""
    for (path, inner, node), (_, outer, same) in zip(graph.walk(), other.walk(), strict=True):
        if isinstance(node.op, Op) and inner.costs[node.name].params != outer.costs[same.name].params:
            return path
    return ""


def with_tables_of(graph: Graph, trained: Graph) -> Graph:
    """The graph with position tables for the grids of another one: of the same network, at the size of its training.

    Raises GraphError where tables of tokens in a row have other lengths: nobody knows how the tokens lie in an image.
    """
    nodes = []
    for node, before in zip(graph.nodes, trained.nodes, strict=True):
        op, other = node.op, before.op
        if isinstance(op, Block) and isinstance(other, Block):
            op = op if op.graph is other.graph else around(op, with_tables_of(op.graph, other.graph))
        elif isinstance(op, Each) and isinstance(other, Each):
            op = op if op.body is other.body else around(op, with_tables_of(op.body, other.body))
        elif isinstance(op, RelPosBias) and isinstance(other, RelPosBias):
            op = _with_table(op, op.table(*graph.input_shapes(node)), other.table(*trained.input_shapes(before)))
        elif isinstance(op, PosEmbed) and isinstance(other, PosEmbed):
            now, then = op.table(*graph.input_shapes(node)), other.table(*trained.input_shapes(before))
            if now != then and 1 in (len(now), len(then), then[1]):
                raise GraphError(f"expected {then[-1]} tokens, as its embedding has, but got {now[-1]}", node.name)
            op = _with_table(op, now[1:], then[1:])
        nodes.append(node if op is node.op else Node(node.name, op, node.inputs))
    return (
        graph
        if all(a is b for a, b in zip(nodes, graph.nodes, strict=True))
        else dataclasses.replace(graph, nodes=tuple(nodes))
    )


def _with_table(op: Op, now: Sequence[int], then: Sequence[int]) -> Op:
    return op if tuple(now) == tuple(then) else op.having(table_height=then[0], table_width=then[1])


class _Frame:
    """The sizes that attributes inside a graph may repeat, before and after an edit: channels and extents of maps."""

    def __init__(self, graph: Graph, inputs: Sequence[Shape], channels: int | None, rewrite: Rewrite | None):
        self.pairs = [(before[0], after[0]) for before, after in zip(graph.inputs, inputs, strict=True)]
        if channels is not None:
            self.pairs.insert(0, (graph.output_shapes[0][0], channels))
        self.sizes: dict[tuple[int, int], int] = {}
        for before, after in zip(graph.inputs, inputs, strict=True):
            self.learn(before, after)
        self.rewrite = rewrite

    def learn(self, before: Shape, after: Shape) -> None:
        """Sizes of a map, and what became of them."""
        for axis in range(1, min(len(before), len(after))):
            self.sizes.setdefault((axis, before[axis]), after[axis])

    def operator(self, op: Operator, before: tuple[Shape, ...], after: tuple[Shape, ...]) -> Operator:
        if isinstance(op, Block):
            return around(op, resolved(op.graph, after, self.inner(op.graph, after[0]), self.rewrite))
        if isinstance(op, Each):
            parts = op.parts(after)
            if not parts:
                op.outputs(*after)  # raises
            body = resolved(op.body, parts[0], self.inner(op.body, after[0]), self.rewrite)
            return shared_each(body, parts) if op.shared else Each(body)
        if self.rewrite:
            op = self.rewrite(op)
        numbers = {
            a.name: self.number(a, getattr(op, a.name), before[0][0], after[0][0]) for a in op.attrs if a.type is int
        }
        changed = {name: number for name, number in numbers.items() if number != getattr(op, name)}
        return op.having(**changed) if changed else op

    def inner(self, graph: Graph, after: Shape) -> int:
        """The channels that a block inside shall make."""
        made = graph.output_shapes[0][0]
        return after[0] if made == graph.inputs[0][0] else self.channels(made)

    def number(self, attribute: Attr, value: int, before: int, after: int) -> int:
        """An attribute's value; before and after are the channels that flow into its operation."""
        if attribute.channels:
            return self.channels(value)
        if attribute.name == "groups" and value == before:
            return after
        return self.sizes.get((SPATIAL.get(attribute.name, 0), value), value)

    def channels(self, value: int) -> int:
        for old, new in self.pairs:
            if value == old:
                return new
        for old, new in self.pairs:
            if old > 1 and value % old == 0:
                return value // old * new
            if value > 1 and old % value == 0 and new % (old // value) == 0:
                return new // (old // value)
        return value


def _wires(wires: tuple[Wire, ...], graph: Graph, shapes: dict[str, tuple[Shape, ...]]) -> tuple[Wire, ...]:
    """The wires again; where all outputs of a node were taken in a row, all that it has now."""
    found: list[Wire] = []
    position = 0
    while position < len(wires):
        node, port = wires[position]
        ports = len(shapes[node])
        run = tuple(Wire(node, number) for number in range(len(graph.shapes(node))))
        if len(run) != ports and wires[position : position + len(run)] == run:
            found += (Wire(node, number) for number in range(ports))
            position += len(run)
        elif port < ports:
            found.append(wires[position])
            position += 1
        else:
            raise GraphError(f"expected {node} to have an output {port}, but it has {ports}", node)
    return tuple(found)
