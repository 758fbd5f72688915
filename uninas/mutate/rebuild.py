"""Building the next graph: along the path to a change, and inside the graph that changes.

Twelve equal blocks are one `Graph`. An edit of one of them builds that block anew, puts it into its stage and that into
the network, and leaves everything else shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from uninas.graph import INPUT, Block, Graph, GraphError, Node, Operator, Wire, sharing, subgraphs
from uninas.graph.builder import snake_case
from uninas.graph.network import INSERTED, block_name, is_stage, stages
from uninas.graph.resolve import around
from uninas.mutate.edits import Edit
from uninas.mutate.sites import OUTPUT, Port, Refusal, fixed_depth, transparent
from uninas.ops.op import Op, ShapeError
from uninas.ops.shape import Identity

Allow = Callable[[Graph, Graph, int], Refusal | None]
"""Asked before the network is built: a graph inside it, what shall stand there instead, and in how many copies."""


def changed(graph: Graph, edit: Edit, change: Callable[[Graph], Graph | Refusal], allow: Allow) -> Graph | Refusal:
    """The architecture in which the graph at the edit's path is changed.

    A block inside a block that becomes empty is left out.
    """
    trail: list[tuple[Graph, Node]] = []
    inner, copies = graph, 1
    for name in edit.path:
        node = inner.nodes[inner.position[name]] if name in inner.position else None
        if node is None or isinstance(node.op, Op):
            return Refusal("site", f"there is no block {'.'.join(edit.path)}")
        trail.append((inner, node))
        ((inner, times),) = subgraphs(node)
        # Weights that are shared cost their parameters once; what else that leaves out, the whole budget sees.
        copies *= 1 if sharing(node.op)[0] > 1 or sharing(node.op)[1] else times
    if refusal := _misplaced(graph, edit):
        return refusal
    try:
        result = change(inner)
        if isinstance(result, Refusal):
            return result
        if refusal := allow(inner, result, copies):
            return refusal
        fixed = fixed_depth(graph)
        for depth, (outer, node) in reversed(list(enumerate(trail))):
            if depth >= fixed and isinstance(node.op, Block) and transparent(result):
                result = rewired(outer, {Wire(node.name): node.inputs[0]})
            else:
                assert not isinstance(node.op, Op)
                result = outer.with_op(node.name, around(node.op, result))
    except (GraphError, ShapeError) as problem:
        return Refusal("type", str(problem))
    return result


def _misplaced(graph: Graph, edit: Edit) -> Refusal | None:
    fixed, depth = fixed_depth(graph), len(edit.path)
    if edit.level == "whole":
        return Refusal("site", "only a whole architecture can be exchanged") if depth else None
    if edit.level == "inner" and depth < fixed:
        return Refusal("site", "a network changes inside its blocks only")
    if edit.level == "stage" and (depth != 1 or not is_stage(graph.by_name[edit.path[0]])):
        return Refusal("site", f"{'.'.join(edit.path) or 'this'} is no stage")
    rows = [inner for node in stages(graph) for inner, _ in subgraphs(node)] if edit.level != "inner" else []
    if edit.level == "network" and (depth or fixed != 2 or not all(isinstance(n.op, Block) for n in graph.nodes)):
        return Refusal("site", "this is no network of stages")
    return None if all(map(_of_blocks, rows)) else Refusal("site", "a stage is no row of blocks")


def _of_blocks(graph: Graph) -> bool:
    """Whether a graph is blocks in a row, as a stage is; each takes all that the one before it makes."""
    before = INPUT
    for node in graph.nodes:
        everything = tuple(Wire(before, port) for port in range(len(graph.shapes(before))))
        if not isinstance(node.op, Block) or node.inputs != everything:
            return False
        before = node.name
    return graph.outputs == tuple(Wire(before, port) for port in range(len(graph.shapes(before))))


# ---- wires ---------------------------------------------------------------------------------------------------------


def rewired(graph: Graph, other: Mapping[Wire, Wire]) -> Graph:
    """Everything that used a wire uses the other one; what nothing needs any more is gone."""
    nodes = [with_inputs(node, other) for node in graph.nodes]
    return graph.edited(nodes, (other.get(wire, wire) for wire in graph.outputs))


def with_inputs(node: Node, other: Mapping[Wire, Wire]) -> Node:
    """The node with some of its wires exchanged."""
    if not any(wire in other for wire in node.inputs):
        return node
    return Node(node.name, node.op, tuple(other.get(wire, wire) for wire in node.inputs))


def ordered(nodes: Sequence[Node]) -> list[Node] | None:
    """The nodes with each behind those it takes from, otherwise in their order; None when they go round in a circle."""
    waiting, made, done = list(nodes), {INPUT}, list[Node]()
    while waiting:
        ready = next((node for node in waiting if all(wire.node in made for wire in node.inputs)), None)
        if ready is None:
            return None
        waiting.remove(ready)
        made.add(ready.name)
        done.append(ready)
    return done


def behind(graph: Graph, wire: Wire) -> int:
    """The first position in `nodes` at which a wire exists."""
    return 0 if wire.node == INPUT else 1 + graph.position[wire.node]


# ---- nodes that move in --------------------------------------------------------------------------------------------


def inlined(body: Graph, inputs: Sequence[Wire], taken: set[str]) -> tuple[list[Node], tuple[Wire, ...]]:
    """Nodes that do what `body` does to these wires, under fresh names, and the wires that come out.

    A block stays one node; the nodes of a chain move in one by one.
    """
    if body.name != INSERTED:
        node = Node(fresh(snake_case(body.name or "block"), taken), Block(body), tuple(inputs))
        return [node], tuple(Wire(node.name, port) for port in range(len(body.outputs)))
    names = {node.name: fresh(base(node.op), taken) for node in body.nodes}

    def moved(wire: Wire) -> Wire:
        return inputs[wire.port] if wire.node == INPUT else Wire(names[wire.node], wire.port)

    nodes = [Node(names[node.name], node.op, tuple(map(moved, node.inputs))) for node in body.nodes]
    return nodes, tuple(map(moved, body.outputs))


def inserted(graph: Graph, body: Graph, after: Wire, before: Port | None) -> Graph | Refusal:
    """`body` behind the wire `after`, for all its users or only for the one `before`."""
    new, (end,) = inlined(body, (after,), {INPUT, *graph.position})
    nodes, outputs = list(graph.nodes), list(graph.outputs)
    if before is None:
        nodes = [with_inputs(node, {after: end}) for node in nodes]
        outputs = [end if wire == after else wire for wire in outputs]
    elif before.node == OUTPUT and before.port in range(len(outputs)) and outputs[before.port] == after:
        outputs[before.port] = end
    else:
        position = graph.position.get(before.node, -1)
        user = graph.nodes[position] if position >= 0 else None
        if user is None or before.port not in range(len(user.inputs)) or user.inputs[before.port] != after:
            return Refusal("site", f"{before.node} does not use {after.node}")
        inputs = (*user.inputs[: before.port], end, *user.inputs[before.port + 1 :])
        nodes[position] = Node(user.name, user.op, inputs)
    start = behind(graph, after)
    return graph.edited((*nodes[:start], *new, *nodes[start:]), outputs)


def substituted(graph: Graph, name: str, body: Graph) -> Graph:
    """`body` in the place of a node, with the same inputs; its outputs take the place of the node's."""
    position = graph.position[name]
    node = graph.nodes[position]
    new, ends = inlined(body, node.inputs, {INPUT, *graph.position} - {name})
    other = {Wire(name, port): end for port, end in enumerate(ends)}
    rest = [with_inputs(later, other) for later in graph.nodes[position + 1 :]]
    return graph.edited((*graph.nodes[:position], *new, *rest), (other.get(wire, wire) for wire in graph.outputs))


def cut(graph: Graph, since: Wire, end: str) -> Graph | Refusal:
    """The nodes between a wire and the node `end`, which is included, as a graph of their own."""
    wanted, inside = {end}, []
    for node in reversed(graph.nodes):
        if node.name in wanted:
            inside.append(node)
            wanted.update(wire.node for wire in node.inputs if wire != since)
    names = {node.name for node in inside}
    if any(wire.node not in names and wire != since for node in inside for wire in node.inputs):
        return Refusal("site", f"{end} sees more than {since.node}")
    nodes = tuple(with_inputs(node, {since: Wire(INPUT)}) for node in reversed(inside))
    return Graph((graph.shape(since),), nodes, (Wire(end),), INSERTED)


def exchanged(graph: Graph, body: Graph, since: Wire, end: str) -> Graph:
    """The graph with `body` in the place of what leads from a wire to the node `end`."""
    position = graph.position[end]
    hole = Node(end, Identity(), (since,))
    return substituted(graph.edited([*graph.nodes[:position], hole, *graph.nodes[position + 1 :]]), end, body)


def base(op: Operator) -> str:
    """The name that elaboration gives a node without a name of its own."""
    if isinstance(op, Op):
        return op.name
    if not isinstance(op, Block):
        return "parts"
    return snake_case(op.graph.name or "block") if op.times == 1 else "again"


def fresh(base: str, taken: set[str]) -> str:
    """A free name, which is taken from now on: conv, or the next of conv_1, conv_2, ..."""
    name, number = base, 0
    while name in taken or (number == 0 and f"{base}_1" in taken):
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name


def row(graph: Graph, operators: Iterable[Operator]) -> Graph:
    """A stage with these blocks, one after the other. Raises GraphError when they do not fit."""
    nodes: list[Node] = []
    ends = tuple(Wire(INPUT, port) for port in range(len(graph.inputs)))
    for number, op in enumerate(operators):
        nodes.append(Node(block_name(number), op, ends))
        made = len(op.graph.outputs) if isinstance(op, Block) else 1
        ends = tuple(Wire(nodes[-1].name, port) for port in range(made))
    return replace(graph, nodes=tuple(nodes), outputs=ends)
