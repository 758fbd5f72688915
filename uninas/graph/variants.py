"""Variants of a network as edits of its graph: other numbers of classes, drop path, outputs of stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import sqrt

from uninas.errors import error, shown
from uninas.graph.graph import INPUT, Block, Each, Graph, Node, Wire
from uninas.graph.network import is_stage, network_of, place
from uninas.graph.resolve import around
from uninas.ops.linear import Linear
from uninas.ops.merge import Add
from uninas.ops.op import Op, Shape, ShapeError
from uninas.ops.regulariser import Dropout, DropPath
from uninas.ops.shape import Flatten, PixelShuffle, PixelUnshuffle


def transformed(graph: Graph, change: Callable[[Op], Op]) -> Graph:
    """The graph with every elementary operation replaced by `change(operation)`; what stays equal stays shared."""

    def changed(node: Node) -> Node:
        op = node.op
        if isinstance(op, Op):
            other: Op | Block | Each = change(op)
        elif isinstance(op, Block):
            inner = transformed(op.graph, change)
            other = op if inner is op.graph else around(op, inner)
        else:
            body = transformed(op.body, change)
            other = op if body is op.body else around(op, body)
        return node if other is op else replace(node, op=other)

    nodes = tuple(changed(node) for node in graph.nodes)
    return graph if all(a is b for a, b in zip(nodes, graph.nodes, strict=True)) else replace(graph, nodes=nodes)


def with_classes(graph: Graph, classes: int) -> Graph:
    """Another number of outputs for the last linear layer; 0: no linear layer, a vector of features."""
    if classes < 0:
        raise error("UNI060", f"expected num_classes of at least 0, but got {classes}")
    if len(graph.outputs) > 1:
        raise error("UNI060", f"expected a network with one output, to change its number of classes, but it has "
                    f"{len(graph.outputs)}", None, "say in the text how many classes each head has")  # fmt: skip
    last = graph.nodes[-1] if graph.nodes else None
    if last and isinstance(last.op, Block):
        op: Op | Block = Block(with_classes(last.op.graph, classes))
    elif last and isinstance(last.op, Linear):
        try:
            op = Flatten() if classes == 0 else replace(last.op, out=classes)
        except ShapeError as problem:
            raise error("UNI060", f"cannot have {shown(classes)} classes: {problem}") from None
    else:
        raise error("UNI060", "expected a network that ends in a linear layer, to change its number of classes")
    return replace(graph, nodes=(*graph.nodes[:-1], replace(last, op=op)))


def with_dropout(graph: Graph, rate: float) -> Graph:
    """Dropout of this rate before the last linear layer: what stands there takes the rate, or else one is put there."""
    if not 0 <= rate < 1:
        raise error("UNI060", f"expected a drop_rate from 0 up to 1, but got {rate}")
    *before, last = graph.nodes
    if isinstance(last.op, Block):
        return replace(graph, nodes=(*before, replace(last, op=Block(with_dropout(last.op.graph, rate)))))
    if not isinstance(last.op, Linear):
        raise error("UNI060", "expected a network that ends in a linear layer, for drop_rate", None,
                    "say in the text what is dropped where, as in -> dropout(0.1) ->")  # fmt: skip
    taken = graph.by_name.get(last.inputs[0].node)
    if taken is not None and isinstance(taken.op, Dropout):
        return replace(graph, nodes=tuple(replace(n, op=Dropout(rate)) if n is taken else n for n in graph.nodes))
    name = free("dropout", {INPUT, *graph.by_name})
    dropped = Node(name, Dropout(rate), last.inputs)
    return replace(graph, nodes=(*before, dropped, replace(last, inputs=(Wire(name),))))


def with_drop_path(graph: Graph, rate: float) -> Graph:
    """Rates of stochastic depth rising linearly over the blocks (Huang et al. 2016).

    A network without drop_path operations gets one into every residual branch first, see `with_residual_drop_path`.
    """
    if not 0 <= rate < 1:
        raise error("UNI060", f"expected a drop_path_rate from 0 up to 1, but got {rate}")
    if not any(isinstance(node.op, DropPath) for _, _, node in graph.walk()):
        graph = with_residual_drop_path(graph)
    blocks = [path for path, _, node in graph.walk() if isinstance(node.op, DropPath)]
    owners = list(dict.fromkeys(_block_of(path) for path in blocks))
    if not owners:
        raise error(
            "UNI060",
            "expected a network with residual branches, for drop_path",
            None,
            "write a sum of a wire and of what becomes of it, as in: out = in + (in -> conv(C, 3))",
        )
    rates = [rate * number / max(1, len(owners) - 1) for number in range(len(owners))]
    by_path = {path: rates[owners.index(_block_of(path))] for path in blocks}
    remaining = iter(blocks)  # `transformed` meets operations in the order of `walk`
    return transformed(graph, lambda op: DropPath(by_path[next(remaining)]) if isinstance(op, DropPath) else op)


def with_residual_drop_path(graph: Graph) -> Graph:
    """The graph with a drop_path, of rate 0, at the end of every residual branch in its stages.

    A branch is an input of an `add` that is computed from another input of it. Graphs without stages are changed
    everywhere. Wires that others use, too, keep their values there.
    """
    if not network_of(graph).stages:
        return _with_dropped_branches(graph)
    nodes = []
    for node in graph.nodes:
        if is_stage(node) and isinstance(node.op, Block):
            node = replace(node, op=Block(_with_dropped_branches(node.op.graph)))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _with_dropped_branches(graph: Graph) -> Graph:
    reached: dict[str, set[str]] = {INPUT: set()}  # the nodes that each is computed from
    nodes: list[Node] = []
    taken = {INPUT, *graph.by_name}
    for node in graph.nodes:
        reached[node.name] = set().union(*(reached[wire.node] | {wire.node} for wire in node.inputs))
        op, inputs = node.op, list(node.inputs)
        if isinstance(op, Block):
            op = around(op, _with_dropped_branches(op.graph))
        elif isinstance(op, Each):
            op = around(op, _with_dropped_branches(op.body))
        elif isinstance(op, Add):
            for port, wire in enumerate(node.inputs):
                if any(other.node in reached[wire.node] for other in node.inputs if other != wire):
                    name = free("drop_path", taken)
                    nodes.append(Node(name, DropPath(), (wire,)))
                    inputs[port] = Wire(name)
        nodes.append(replace(node, op=op, inputs=tuple(inputs)))
    return replace(graph, nodes=tuple(nodes))


def free(base: str, taken: set[str], number: int = 1) -> str:
    """A name that is not taken, and is from now on: `base`, or with a number behind it, from `number` on."""
    name = base
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name


def _block_of(path: str) -> str:
    """stages.2.blocks.0.attention.drop_path -> stages.2.blocks.0: branches of one block share a rate."""
    return ".".join(path.split(".")[:4]) if place(path).stage >= 0 else path


def with_stage_outputs(graph: Graph, indices: Sequence[int] | None) -> Graph:
    """The graph with the outputs of its stages as outputs, and nothing after the last of them.

    All that a stage makes is returned, where it makes several tensors.
    """
    stages = [node.name for node in network_of(graph).stages]
    chosen = range(len(stages)) if indices is None else indices
    if not stages:
        raise error("UNI060", "expected a network of stages, to return their features, but it has none")
    if not list(chosen) or not all(-len(stages) <= index < len(stages) for index in chosen):
        raise error("UNI060", f"expected out_indices from 0 to {len(stages) - 1}, but got {list(chosen)}")
    names = [stages[index] for index in chosen]
    return graph.edited(graph.nodes, [Wire(name, port) for name in names for port in range(len(graph.shapes(name)))])


def last_operation(graph: Graph) -> tuple[Op, tuple[Shape, ...]]:
    """The last operation of a graph, inside its blocks, and the shapes it takes."""
    node = graph.nodes[-1]
    if isinstance(node.op, Block):
        return last_operation(node.op.graph)
    assert isinstance(node.op, Op)
    return node.op, graph.input_shapes(node)


def with_last(graph: Graph, op: Op) -> Graph:
    """The graph with another last operation, inside its blocks."""
    last = graph.nodes[-1]
    inner = Block(with_last(last.op.graph, op)) if isinstance(last.op, Block) else op
    return replace(graph, nodes=(*graph.nodes[:-1], replace(last, op=inner)))


def reductions(graph: Graph, start: Sequence[Fraction] = (Fraction(1),)) -> dict[Wire, Fraction]:
    """How many rows of the input one row of every wire stands for: the product of the strides on the way.

    Where wires meet, that of the largest map counts. `start` are those of the inputs; one stands for all.
    """
    found = {Wire(INPUT, port): start[min(port, len(start) - 1)] for port in range(len(graph.inputs))}
    for node in graph.nodes:
        before = [found[wire] for wire in node.inputs]
        ends: Sequence[Fraction]
        if isinstance(node.op, Block):
            ends = before
            for _ in range(node.op.times):
                inner = reductions(node.op.graph, ends)
                ends = [inner[wire] for wire in node.op.graph.outputs]
        elif isinstance(node.op, Each):
            each = map(node.op.body_for, node.op.parts(graph.input_shapes(node)))
            parts = [(body, reductions(body, part)) for body, part in zip(each, node.op.parts(before), strict=True)]
            ends = [part[wire] for body, part in parts for wire in body.outputs]
        else:
            shapes = graph.input_shapes(node)
            widest = max(zip(map(_positions, shapes), before, strict=True), default=(1, Fraction(1)))
            after = graph.shapes(node.name)
            ends = [widest[1] * _stride(node.op, widest[0], _positions(after[0]))] * len(after)
        found.update({Wire(node.name, port): end for port, end in enumerate(ends)})
    return found


def _stride(op: Op, before: int, after: int) -> Fraction:
    """The stride of an operation; what resizes maps without one, by the numbers of positions."""
    stride = getattr(op, "stride", None)
    if isinstance(stride, int):
        return Fraction(stride)
    if op.family == "pool" or isinstance(op, PixelShuffle | PixelUnshuffle):
        return Fraction(max(1, round(sqrt(before / after))), max(1, round(sqrt(after / before))))
    return Fraction(1)


def whole(number: Fraction) -> int | float:
    """An integer where the number is one."""
    return int(number) if number.denominator == 1 else float(number)


def _positions(shape: Shape) -> int:
    return shape[1] * shape[2] if len(shape) == 3 else 1
