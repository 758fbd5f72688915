"""The architecture graph. Holding a `Graph` means it is typed: the constructor verifies and infers.

A graph is a frozen list of nodes in topological order. A node applies an elementary operation (`Op`), a `Block` (a
graph in a graph, shared by every place that uses it) or an `Each` (one copy of a graph for every wire of a bundle).
Edits build the next graph; shapes, costs and the canonical key are properties of the value. Nodes are never interned:
two equal convolutions have different weights.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

from uninas.fact import fact
from uninas.ops.op import MAX_PORTS, Cost, Op, Shape, ShapeError, show_shape, size

if TYPE_CHECKING:
    import networkx

T = TypeVar("T")

KEY_VERSION = 2
"""Of the canonical text, and so of keys. 2: ties in symmetric graphs are broken; all other graphs kept their keys."""

MAX_REFINEMENTS = 50_000
"""Digests spent on one graph to tell tied nodes apart."""

INPUT = "in"
"""The name under which a node refers to the inputs of its own graph."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}(\.[0-9]+)?")  # as long as a text may have them
# Words that a text could not use for a wire.
RESERVED = frozenset(
    ["in", "out", "_", "C", "H", "W", "as", "if", "else", "or", "and", "not", "each", "repeat", "true", "false"]
)


class Wire(NamedTuple):
    """One output of one node, or (node 'in') one input of the graph."""

    node: str
    port: int = 0


class GraphError(ValueError):
    """A graph that cannot exist; a bare sentence, and the node it is about."""

    def __init__(self, message: str, node: str = ""):
        super().__init__(message)
        self.node = node


@dataclass(frozen=True)
class Block:
    """A graph used as an operation. Twelve equal blocks are one `Graph` object, inferred and costed once.

    Each has weights of its own. With `times` it is applied so often in a row, always with the same weights.
    """

    graph: Graph
    times: int = 1
    commutative: ClassVar[bool] = False

    def outputs(self, *x: Shape) -> tuple[Shape, ...]:
        if self.times > 1 and self.graph.output_shapes != self.graph.inputs:
            raise ShapeError(
                f"expected {_shapes(self.graph.inputs)} out of what is repeated with the same weights, "
                f"but got {_shapes(self.graph.output_shapes)}"
            )
        if x != self.graph.inputs:
            raise ShapeError(
                f"expected {_shapes(self.graph.inputs)} into {self.graph.name or 'the block'}, but got {_shapes(x)}"
            )
        return self.graph.output_shapes

    def cost(self, *x: Shape) -> Cost:
        once = self.graph.cost
        return Cost(once.params, once.macs * self.times, once.elementwise * self.times) if self.times > 1 else once

    @property
    def canonical(self) -> str:
        return f"block {self.graph.key}" if self.times == 1 else f"repeat {self.times} {self.graph.key}"

    def __str__(self) -> str:
        name = self.graph.name or "block"
        return name if self.times == 1 else f"shared repeat {self.times} {{ {name} }}"


def bundled(wires: Sequence[T], copies: int) -> list[tuple[T, ...]]:
    """What each of so many copies takes: one wire of every bundle; the bundles stand one after another."""
    return list(zip(*(wires[start : start + copies] for start in range(0, len(wires), copies)), strict=True))


@dataclass(frozen=True)
class Each:
    """One copy of `body` for every input; the outputs of all copies, one after the other.

    A body of several inputs is for bundles of equal length, which stand one after another in the inputs: the first copy
    takes the first wire of every bundle, and so on.

    Each copy has weights of its own. Or they are `shared`: there is one set of weights for all. Then inputs may differ
    in height and width, and `variants` are what the body is for the other shapes.
    """

    body: Graph
    shared: bool = False
    variants: tuple[Graph, ...] = ()
    commutative: ClassVar[bool] = False

    def copies(self, inputs: int) -> int:
        """How many copies of the body so many inputs are for."""
        return inputs // len(self.body.inputs)

    def parts(self, inputs: Sequence[T]) -> list[tuple[T, ...]]:
        """What every copy takes: one wire of each bundle."""
        return bundled(inputs, self.copies(len(inputs)))

    def body_for(self, part: tuple[Shape, ...]) -> Graph:
        """What is done to a part of these shapes. Raises ShapeError where nothing is."""
        for body in (self.body, *self.variants):
            if part == body.inputs:
                return body
        raise ShapeError(f"expected every part to be {_shapes(self.body.inputs)}, but got {_shapes(part)}")

    def outputs(self, *x: Shape) -> tuple[Shape, ...]:
        if not 1 <= len(x) <= MAX_PORTS:
            raise ShapeError(f"expected 1 to {MAX_PORTS} parts, but got {len(x)}")
        if len(x) % len(self.body.inputs):
            raise ShapeError(f"expected {len(self.body.inputs)} bundles of equal length, but got {len(x)} wires")
        parts = self.parts(x)
        made = {part: self.body_for(part).output_shapes for part in dict.fromkeys(parts)}
        return tuple(shape for part in parts for shape in made[part])

    def cost(self, *x: Shape) -> Cost:
        if not self.shared:
            return self.body.cost * self.copies(len(x))
        costs = [self.body_for(part).cost for part in self.parts(x)]
        return Cost(self.body.cost.params, sum(cost.macs for cost in costs), sum(cost.elementwise for cost in costs))

    @property
    def canonical(self) -> str:
        if not self.shared:
            return f"each {self.body.key}"
        return f"shared each {' '.join(sorted(graph.key for graph in (self.body, *self.variants)))}"

    def __str__(self) -> str:
        return "shared each" if self.shared else "each"


Operator = Op | Block | Each


@dataclass(frozen=True)
class Node:
    """One application of an operator to wires; `name` is also the name of the torch module."""

    name: str
    op: Operator
    inputs: tuple[Wire, ...]


@dataclass(frozen=True)
class Graph:
    """Nodes between inputs and outputs. Raises GraphError when it does not type.

    Invariant: names are unique and none lies below another (`a` and `a.1`), every wire is produced before it is used,
    every node reaches an output, and every shape is known. `name` is a label and `init` the scheme for initial
    weights; neither is part of the canonical key, and the label is not part of equality.
    """

    inputs: tuple[Shape, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Wire, ...]
    name: str = field(default="", compare=False)
    init: str = "default"
    output_shapes: tuple[Shape, ...] = field(init=False, repr=False, compare=False)
    _shapes: dict[str, tuple[Shape, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shapes: dict[str, tuple[Shape, ...]] = {INPUT: self.inputs}
        used: set[str] = set()
        for node in self.nodes:
            self._check_name(node.name, shapes)
            incoming = [_shape_of(wire, shapes, node.name) for wire in node.inputs]
            used.update(wire.node for wire in node.inputs)
            try:
                shapes[node.name] = node.op.outputs(*incoming)
            except ShapeError as problem:
                raise GraphError(str(problem), node.name) from None
        if not self.outputs:
            raise GraphError("expected at least one output")
        output_shapes = tuple(_shape_of(wire, shapes, "the output") for wire in self.outputs)
        used.update(wire.node for wire in self.outputs)
        for node in self.nodes:
            if node.name not in used:
                raise GraphError(f"expected every node to reach an output, but nothing uses {node.name}", node.name)
        object.__setattr__(self, "_shapes", shapes)
        object.__setattr__(self, "output_shapes", output_shapes)

    @staticmethod
    def _check_name(name: str, taken: Mapping[str, object]) -> None:
        if not _NAME.fullmatch(name) or (name in RESERVED):
            raise GraphError(f"expected a node name like conv_1 or stages.0, but got {name!r}", name)
        if name in taken:
            raise GraphError(f"expected different names, but {name} is there twice", name)
        if "." in name and name.split(".")[0] in taken:  # torch would nest one module inside the other
            raise GraphError(f"expected no node {name} beside a node {name.split('.')[0]}", name)

    # ---- types and costs ---------------------------------------------------------------------------------------

    @fact
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @fact
    def position(self) -> dict[str, int]:
        """Where each node stands in `nodes`."""
        return {node.name: position for position, node in enumerate(self.nodes)}

    @fact
    def uses(self) -> dict[Wire, int]:
        """Number of uses of each wire that is used, by nodes and as an output."""
        return Counter([wire for node in self.nodes for wire in node.inputs] + list(self.outputs))

    def shape(self, wire: Wire) -> Shape:
        return self._shapes[wire.node][wire.port]

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        return tuple(self._shapes[wire.node][wire.port] for wire in node.inputs)

    def shapes(self, name: str) -> tuple[Shape, ...]:
        """Shapes of all outputs of a node ('in': of the graph's inputs)."""
        return self._shapes[name]

    @fact
    def costs(self) -> dict[str, Cost]:
        """Parameters, multiply-accumulates and element-wise operations of every node."""
        return {node.name: node.op.cost(*self.input_shapes(node)) for node in self.nodes}

    @fact
    def cost(self) -> Cost:
        params = macs = elementwise = 0
        for cost in self.costs.values():
            params, macs, elementwise = params + cost.params, macs + cost.macs, elementwise + cost.elementwise
        return Cost(params, macs, elementwise)

    @fact
    def operations(self) -> int:
        """Number of elementary operations, those inside blocks counted each time they are used."""
        return sum(map(_operations, self.nodes))

    @fact
    def places(self) -> int:
        """Number of nodes at all levels, blocks among them: how long a walk through the graph is."""
        return sum(1 + sum(graph.places * copies for graph, copies in subgraphs(node)) for node in self.nodes)

    @fact
    def activations(self) -> int:
        """Elements of all operations' outputs, for one sample: what a training step keeps, at most."""
        return sum(
            sum(map(size, self._shapes[node.name])) if isinstance(node.op, Op)
            else sum(graph.activations * copies for graph, copies in self.inside(node))
            for node in self.nodes
        )  # fmt: skip

    def inside(self, node: Node) -> tuple[tuple[Graph, int], ...]:
        """The graphs inside a node and how often each is applied; several where the parts of an `each` differ."""
        if isinstance(node.op, Each) and node.op.variants:
            return tuple(Counter(map(node.op.body_for, node.op.parts(self.input_shapes(node)))).items())
        return subgraphs(node)

    @fact
    def peak(self) -> int:
        """Largest number of elements alive at one time in inference, for one sample, in the order of the nodes.

        Inputs stay alive until their last use; an operation needs its inputs and outputs together.
        """
        last: dict[str, int] = {wire.node: len(self.nodes) for wire in self.outputs}
        for position in range(len(self.nodes) - 1, -1, -1):
            for wire in self.nodes[position].inputs:
                last.setdefault(wire.node, position)
        ends: dict[int, list[str]] = {}
        for name, position in last.items():
            ends.setdefault(position, []).append(name)
        weight = {name: sum(map(size, shapes)) for name, shapes in self._shapes.items()}
        alive = highest = weight[INPUT]
        for position, node in enumerate(self.nodes):
            inside = 0
            for graph, copies in subgraphs(node):
                kept = copies - 1 if isinstance(node.op, Each) else 0
                inside = graph.peak - sum(map(size, graph.inputs)) + kept * sum(map(size, graph.output_shapes))
            highest = max(highest, alive + max(weight[node.name], inside))
            alive += weight[node.name] - sum(weight[name] for name in ends.get(position, ()))
        return highest

    @fact
    def depth(self) -> int:
        """Number of elementary operations on the longest path from an input to an output."""
        reached = {INPUT: 0}
        for node in self.nodes:
            inside = [g.depth * (n if isinstance(node.op, Block) else 1) for g, n in subgraphs(node)]
            before = max((reached[wire.node] for wire in node.inputs), default=0)
            reached[node.name] = before + (inside[0] if inside else 1)
        return max(reached[wire.node] for wire in self.outputs)

    # ---- identity ----------------------------------------------------------------------------------------------

    @fact
    def canonical(self) -> str:
        """The graph as text without names, whatever the order of its nodes and of the inputs of commutative operations.

        Nodes are numbered depth-first from the outputs in port order. Inputs of a commutative operation are ordered by
        what computes them, on a tie by what uses them, and where that is the same, too, by colour refinement with
        individualisation (McKay 1981): one of the tied nodes is given a colour of its own, and so on. Graphs of equal
        text are isomorphic. Isomorphic graphs have equal text but for highly regular ones, whose nodes no refinement
        tells apart, and for those with so many ties that the work is cut off (`MAX_REFINEMENTS`). The text changes
        between releases only where `KEY_VERSION` does.
        """
        return "\n".join(self._lines)

    @fact
    def _lines(self) -> list[str]:
        """The canonical text, line by line."""
        order = _Canonical(self)
        lines = [f"in {_shapes(self.inputs)}"]
        lines += [f"{n} = {node.op.canonical} <- {order.show(node)}" for n, node in enumerate(order.nodes)]
        lines.append("out " + ", ".join(order.wire(wire) for wire in self.outputs))
        return lines

    @fact
    def key(self) -> str:
        """SHA-256 of the canonical text, in hexadecimal."""
        return sha256(self.canonical.encode()).hexdigest()

    @fact
    def _hash(self) -> int:
        return hash((self.inputs, self.nodes, self.outputs, self.init))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return self is other or (hash(self) == hash(other) and _equal(self, other, set()))

    def __repr__(self) -> str:
        shapes = f"{_shapes(self.inputs)} -> {_shapes(self.output_shapes)}"
        return f"<Graph {self.name or 'without a name'}: {shapes}, {len(self.nodes)} nodes, key {self.key[:12]}>"

    def __deepcopy__(self, memo: dict[int, object]) -> Graph:
        return self  # nothing in it can change

    # ---- views and edits ---------------------------------------------------------------------------------------

    @fact
    def dag(self) -> networkx.MultiDiGraph:
        """A frozen networkx view: nodes by name (with 'in' and 'out'), edges with `source` and `target` ports."""
        import networkx  # here, because it doubles the start-up time of commands that never look

        dag = networkx.MultiDiGraph()
        dag.add_node(INPUT)
        for node in self.nodes:
            dag.add_node(node.name, op=node.op)
            for port, wire in enumerate(node.inputs):
                dag.add_edge(wire.node, node.name, source=wire.port, target=port)
        for port, wire in enumerate(self.outputs):
            dag.add_edge(wire.node, "out", source=wire.port, target=port)
        return networkx.freeze(dag)

    def fresh(self, base: str) -> str:
        """A node name that is still free: `base`, or `base_1`, `base_2`, ..."""
        if base not in self._shapes:
            return base
        number = 1
        while f"{base}_{number}" in self._shapes:
            number += 1
        return f"{base}_{number}"

    def edited(self, nodes: Iterable[Node], outputs: Iterable[Wire] | None = None) -> Graph:
        """The graph with other nodes (in topological order); those that no longer reach an output are dropped."""
        kept = tuple(nodes)
        ends = self.outputs if outputs is None else tuple(outputs)
        return replace(self, nodes=live(kept, ends), outputs=ends)

    def with_op(self, name: str, op: Operator) -> Graph:
        """The graph with another operator at one node. Raises GraphError when it does not type.

        Where the shapes stay what they were nothing is inferred anew, and costs are carried over, so that a change of
        one block of a network takes no longer when there are more blocks.
        """
        position = self.position[name]
        node = self.nodes[position]
        nodes = (*self.nodes[:position], Node(name, op, node.inputs), *self.nodes[position + 1 :])
        try:
            shapes = op.outputs(*self.input_shapes(node))
        except ShapeError as problem:
            raise GraphError(str(problem), name) from None
        if shapes != self._shapes[name]:
            return replace(self, nodes=nodes)
        other = object.__new__(Graph)
        known = self.__dict__
        other.__dict__.update({name: known[name] for name in _OF_WIRES if name in known}, nodes=nodes)
        if "cost" in self.__dict__:
            incoming = self.input_shapes(node)
            other.__dict__["cost"] = self.cost + op.cost(*incoming) + node.op.cost(*incoming) * -1
        if "operations" in self.__dict__:
            other.__dict__["operations"] = self.operations + _operations(nodes[position]) - _operations(node)
        if "_lines" in self.__dict__ and self.is_row:
            lines = self._lines.copy()  # a row of nodes: node n is line n + 1
            lines[position + 1] = f"{position} = {op.canonical} <- " + lines[position + 1].rpartition(" <- ")[2]
            other.__dict__["_lines"] = lines
        return other

    @fact
    def is_row(self) -> bool:
        """Whether every node takes what the one before it makes, so that the canonical order is that of the nodes."""
        ends = [INPUT, *(node.name for node in self.nodes)]
        takes = [*(node.inputs for node in self.nodes), self.outputs]
        return all(len(wires) == 1 and wires[0].node == end for wires, end in zip(takes, ends, strict=True))

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Graph, Node]]:
        """Every node with its dotted path and the graph it stands in, blocks before what is inside them."""
        for node in self.nodes:
            path = f"{prefix}{node.name}"
            yield path, self, node
            for graph, _ in subgraphs(node):
                yield from graph.walk(f"{path}.")


def _equal(one: Graph, other: Graph, known: set[tuple[int, int]]) -> bool:
    """Whether two graphs are equal; `known` are pairs that were found so, by identity.

    A block may stand in a graph more often than anyone can count, so each pair is compared once.
    """
    if one is other or (id(one), id(other)) in known:
        return True
    if (one.inputs, one.outputs, one.init, len(one.nodes)) != (
        other.inputs,
        other.outputs,
        other.init,
        len(other.nodes),
    ):
        return False
    for a, b in zip(one.nodes, other.nodes, strict=True):
        if a is b:
            continue
        if (a.name, a.inputs, type(a.op)) != (b.name, b.inputs, type(b.op)):
            return False
        pairs = zip(subgraphs(a), subgraphs(b), strict=True)
        if (isinstance(a.op, Op) and a.op != b.op) or sharing(a.op) != sharing(b.op):
            return False
        if not all(_equal(inner, outer, known) for (inner, _), (outer, _) in pairs):
            return False
    known.add((id(one), id(other)))
    return True


def live(nodes: tuple[Node, ...], outputs: tuple[Wire, ...]) -> tuple[Node, ...]:
    """The nodes that reach one of the outputs, in the same order."""
    needed = {wire.node for wire in outputs}
    kept: list[Node] = []
    for node in reversed(nodes):
        if node.name in needed:
            kept.append(node)
            needed.update(wire.node for wire in node.inputs)
    return tuple(reversed(kept))


# What depends on the wires and shapes of a graph alone, and not on its operators.
_OF_WIRES = ("inputs", "outputs", "name", "init", "output_shapes", "_shapes", "position", "uses", "is_row")


def _operations(node: Node) -> int:
    for graph, copies in subgraphs(node):
        return graph.operations * copies
    return 1


def subgraphs(node: Node) -> tuple[tuple[Graph, int], ...]:
    """The graph inside a node, if it has one, and in how many copies or how often in a row."""
    if isinstance(node.op, Block):
        return ((node.op.graph, node.op.times),)
    if isinstance(node.op, Each):
        return ((node.op.body, node.op.copies(len(node.inputs))),)
    return ()


def sharing(op: Operator) -> tuple[int, bool, tuple[tuple[Shape, ...], ...]]:
    """How an operator shares its weights: times in a row, whether among parts, and of which other shapes these are."""
    if isinstance(op, Each):
        return 1, op.shared, tuple(variant.inputs for variant in op.variants)
    return (op.times if isinstance(op, Block) else 1), False, ()


def _shape_of(wire: Wire, shapes: Mapping[str, tuple[Shape, ...]], user: str) -> Shape:
    ports = shapes.get(wire.node)
    if ports is None:
        raise GraphError(f"expected {wire.node} to be defined before {user} uses it", user)
    if not 0 <= wire.port < len(ports):
        raise GraphError(f"expected {wire.node} to have an output {wire.port}, but it has {len(ports)}", user)
    return ports[wire.port]


def _shapes(shapes: Iterable[Shape]) -> str:
    return ", ".join(map(show_shape, shapes)) or "nothing"


class _Canonical:
    """The canonical order of a graph's nodes, and how it writes wires."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.sources = {node.name: self._ordered(node) for node in graph.nodes}
        self.number: dict[str, int | str] = {INPUT: INPUT}
        self.nodes: list[Node] = []
        stack = [wire.node for wire in reversed(graph.outputs)]
        while stack:
            name = stack[-1]
            if name in self.number:
                stack.pop()
            elif waiting := [node for node, _ in reversed(self.sources[name]) if node not in self.number]:
                stack += waiting
            else:
                self.number[name] = len(self.nodes)
                self.nodes.append(graph.by_name[name])

    def show(self, node: Node) -> str:
        wires = map(self.wire, self.sources[node.name])
        return ", ".join(sorted(wires) if node.op.commutative else wires)

    def wire(self, wire: Wire) -> str:
        node, port = wire
        return f"{self.number[node]}.{port}"

    def _ordered(self, node: Node) -> tuple[Wire, ...]:
        """The inputs of a node; those of a commutative operation by what computes them, and what uses them."""
        different = len(set(node.inputs))
        if different == 1 or not node.op.commutative:
            return node.inputs
        tags = [self.above[wire.node] + _port(wire) for wire in node.inputs]
        if len(set(tags)) == different:
            return tuple(wire for _, wire in sorted(zip(tags, node.inputs, strict=True)))
        below = self.below
        pairs = {wire: (self.above[wire.node] + _port(wire), below[wire.node]) for wire in node.inputs}
        if len(set(pairs.values())) == different:
            return tuple(sorted(node.inputs, key=pairs.__getitem__))
        colours = self.colours
        return tuple(sorted(node.inputs, key=lambda wire: (*pairs[wire], colours[wire.node])))

    @fact
    def above(self) -> dict[str, bytes]:
        """A digest of each node and of everything that it is computed from."""
        digests = {INPUT: b"in"}
        for node in self.graph.nodes:
            tags = [digests[wire.node] + _port(wire) for wire in node.inputs]
            digests[node.name] = _digest(node.op.canonical.encode(), *(sorted(tags) if node.op.commutative else tags))
        return digests

    @fact
    def below(self) -> dict[str, bytes]:
        """A digest of the users of each node and of everything that these are computed from."""
        uses: dict[str, list[bytes]] = {name: [] for name in self.above}
        for port, wire in enumerate(self.graph.outputs):
            uses[wire.node].append(b"out" + port.to_bytes(4, "big") + _port(wire))
        digests: dict[str, bytes] = {}
        for node in reversed(self.graph.nodes):
            digests[node.name] = _digest(self.above[node.name], *sorted(uses[node.name]))
            for port, wire in enumerate(node.inputs):
                target = b"any" if node.op.commutative else port.to_bytes(4, "big")
                uses[wire.node].append(digests[node.name] + target + _port(wire))
        digests[INPUT] = b"in"
        return digests

    @fact
    def colours(self) -> dict[str, bytes]:
        """Digests that tell apart also what `above` and `below` do not."""
        return _individualised(self.graph, {name: self.above[name] + below for name, below in self.below.items()})


def _individualised(graph: Graph, colours: dict[str, bytes]) -> dict[str, bytes]:
    """The colours of nodes, refined until no commutative operation has two inputs of one colour."""
    work = [MAX_REFINEMENTS]
    colours = _refined(graph, colours, work)
    while work[0] > 0 and (tied := _first_tie(graph, colours)):
        tries = []
        for name in tied:
            tries.append(_refined(graph, {**colours, name: _digest(b"chosen", colours[name])}, work))
            if work[0] <= 0:
                break
        colours = min(tries, key=lambda found: sorted(found.values()))
    return colours


def _refined(graph: Graph, colours: dict[str, bytes], work: list[int]) -> dict[str, bytes]:
    """Each node coloured also by the colours of what it takes and what takes it, until that tells no more apart.

    Every digest is taken off the `work` that is left; without any it ends early.
    """
    different = 0
    while work[0] > 0 and len(set(colours.values())) > different:
        work[0] -= len(colours)
        different = len(set(colours.values()))
        around: dict[str, list[bytes]] = {name: [] for name in colours}
        for port, wire in enumerate(graph.outputs):
            around[wire.node].append(b"out" + port.to_bytes(4, "big") + _port(wire))
        for node in graph.nodes:
            for port, wire in enumerate(node.inputs):
                target = b"any" if node.op.commutative else port.to_bytes(4, "big")
                around[wire.node].append(b"to" + colours[node.name] + target + _port(wire))
                around[node.name].append(b"from" + colours[wire.node] + target + _port(wire))
        colours = {name: _digest(colours[name], *sorted(around[name])) for name in colours}
    return colours


def _first_tie(graph: Graph, colours: dict[str, bytes]) -> list[str]:
    """The nodes of the smallest colour that two inputs of some commutative operation share."""
    shared = set()
    for node in graph.nodes:
        if node.op.commutative:
            inputs = Counter(colours[wire.node] + _port(wire) for wire in set(node.inputs))
            shared |= {tag[:-4] for tag, count in inputs.items() if count > 1}
    return [name for name, colour in colours.items() if colour == min(shared)] if shared else []


def _port(wire: Wire) -> bytes:
    return wire.port.to_bytes(4, "big")


def _digest(*parts: bytes) -> bytes:
    return blake2b(b"".join(len(part).to_bytes(4, "big") + part for part in parts), digest_size=16).digest()
