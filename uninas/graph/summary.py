"""What an architecture costs, as the rows of a table.

    >>> from uninas.language.elaborate import build
    >>> from uninas.language.library import load_text
    >>> gate = build(load_text("block Gate { out = in * (in -> conv(C, 1) -> sigmoid) }"), "Gate")
    >>> [(row.name, row.what, row.cost.flops) for row in summarize(gate).rows]
    [('conv', 'conv(out=64, kernel=1)', 25690112), ('sigmoid', 'sigmoid', 0), ('multiply', 'multiply', 0)]

FLOPs are 2 x multiply-accumulates, for one sample. Memory counts the elements of activations at 4 bytes each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uninas.graph.graph import INPUT, Block, Each, Graph, Node, Operator, Wire
from uninas.graph.memory import Memory, memory
from uninas.graph.network import HEAD, STEM, network_of
from uninas.ops.op import Cost, Op, Shape

BYTES = 4  # of one float32
MIB = 2**20

NAMELESS = ("", STEM, HEAD, "stage", "block")
"""What elaboration calls the graph of a chain that is no definition of its own."""


@dataclass(frozen=True)
class Run:
    """A node, or a row of equal blocks that feed each other, drawn and listed as one with a number of repeats."""

    nodes: tuple[Node, ...]

    @property
    def first(self) -> Node:
        return self.nodes[0]

    @property
    def last(self) -> Node:
        return self.nodes[-1]

    @property
    def count(self) -> int:
        return len(self.nodes)

    @property
    def name(self) -> str:
        """blocks.1, or blocks.1-4 for a row of equal blocks."""
        if self.count == 1:
            return self.first.name
        stem, _, end = self.last.name.rpartition(".")
        return f"{self.first.name}-{end if self.first.name.startswith(stem + '.') else self.last.name}"


def runs(graph: Graph) -> Iterator[Run]:
    """The nodes of a graph in order, equal consecutive blocks together."""
    uses: dict[str, set[str]] = {}
    for user, wires in [*((node.name, node.inputs) for node in graph.nodes), ("out", graph.outputs)]:
        for wire in wires:
            uses.setdefault(wire.node, set()).add(user)
    run: list[Node] = []
    for node in graph.nodes:
        if run and isinstance(node.op, Block) and node.op == run[-1].op:
            everything = tuple(Wire(run[-1].name, port) for port in range(len(graph.shapes(run[-1].name))))
            if node.inputs == everything and uses[run[-1].name] == {node.name}:
                run.append(node)
                continue
        if run:
            yield Run(tuple(run))
        run = [node]
    if run:
        yield Run(tuple(run))


@dataclass(frozen=True)
class Row:
    """One line: a section, a block or an operation with everything inside it."""

    path: str
    name: str
    depth: int
    what: str
    """What it consists of: '5 x Unified', or the operation with its attributes."""
    repeats: int
    outputs: tuple[Shape, ...]
    cost: Cost
    """Of all repeats together."""
    share: float
    """Of the whole architecture's FLOPs, from 0 to 1."""
    memory: Memory

    @property
    def output(self) -> Shape:
        """The first of its outputs."""
        return self.outputs[0]


@dataclass(frozen=True)
class Summary:
    """The rows, and the totals of the whole architecture for one sample."""

    name: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    rows: tuple[Row, ...]
    cost: Cost
    operations: int
    activations: int
    """Elements of all operations' outputs together."""
    peak: int
    """Largest number of elements alive at one time."""
    kept: int
    """Elements that training keeps for the backward pass."""

    @property
    def peak_mib(self) -> float:
        """Peak activation memory in MiB, float32, batch of 1."""
        return self.peak * BYTES / MIB

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON. Names that end in `_bytes` are in bytes, all others count things."""
        return {
            "name": self.name,
            "inputs": [list(shape) for shape in self.inputs],
            "outputs": [list(shape) for shape in self.outputs],
            **_costs(self.cost),
            "operations": self.operations,
            "activations": self.activations,
            "kept_activations": self.kept,
            "peak_activations": self.peak,
            "peak_activation_bytes": self.peak * BYTES,
            "rows": [
                {
                    "path": row.path,
                    "depth": row.depth,
                    "block": row.what,
                    "repeats": row.repeats,
                    "output": list(row.output),
                    "outputs": [list(shape) for shape in row.outputs],
                    **_costs(row.cost),
                    "flops_share": row.share,
                    "activations": row.memory.activations,
                    "kept_activations": row.memory.kept,
                    "peak_activations": row.memory.peak,
                }
                for row in self.rows
            ],
        }


def summarize(graph: Graph, depth: int = 1) -> Summary:
    """The table of a graph: its nodes, and down to `depth` levels what is inside them."""
    total = graph.cost.flops
    known = memory(graph)

    def rows(
        graph: Graph, prefix: str, level: int, times: int, weights: int, real: tuple[str, ...] = ("",)
    ) -> Iterator[Row]:  # `real`: the paths of all blocks that a row stands for
        for run in runs(graph):
            if isinstance(run.first.op, Block) and not run.first.op.graph.nodes:
                continue  # it hands on what it gets
            copies, sets = times * run.count, weights * run.count
            once = graph.costs[run.first.name]
            cost = Cost(once.params * sets, once.macs * copies, once.elementwise * copies)
            op, outputs = run.first.op, graph.shapes(run.last.name)
            share = cost.flops / total if total else 0.0
            what = describe(op, title=run.first.name)
            path = prefix + run.name
            paths = tuple(f"{each}{node.name}" for each in real for node in run.nodes)
            yield Row(path, run.name, level, what, run.count, outputs, cost, share, together(known, paths))
            if level + 1 < depth:
                own = isinstance(op, Each) and not op.shared
                for number, (inner, each) in enumerate(graph.inside(run.first)):
                    inside = sets * each if own else 0 if number else sets  # shared weights stand in the first rows
                    below = tuple(f"{one}." for one in paths)
                    yield from rows(inner, f"{path}.", level + 1, copies * each, inside, below)

    return Summary(
        graph.name,
        graph.inputs,
        graph.output_shapes,
        tuple(rows(graph, "", 0, 1, 1)),
        graph.cost,
        graph.operations,
        graph.activations,
        graph.peak,
        known[""].kept if graph.nodes else 0,
    )


def together(known: Mapping[str, Memory], paths: Sequence[str]) -> Memory:
    """The memory of several nodes, one after the other."""
    parts = [known[path] for path in paths if path in known]
    return Memory(
        sum(part.activations for part in parts),
        sum(part.kept for part in parts),
        max((part.peak for part in parts), default=0),
    )


def describe(op: Operator, inner: bool = True, title: str = "") -> str:
    """What stands in a node: 'conv(out=64)', 'MBConv (SqueezeExcite)', '2 x Unified', 'conv -> batch_norm'.

    `title` is the name of a section, whose steps bear it, too, where they are no definition of their own.
    """
    if isinstance(op, Each):
        return "each part, shared" if op.shared else "each part"
    if not isinstance(op, Block):
        return str(op)
    if is_row(op.graph):
        return ", ".join(
            titled(name, inner) if count == 1 else f"{count} x {titled(name, inner)}"
            for name, count, inner in composition(op.graph)
        )
    if op.graph.name in (*NAMELESS, title):
        return " -> ".join(n.op.name if isinstance(n.op, Op) else str(n.op) for n in op.graph.nodes) or "identity"
    return titled(op.graph.name, named_blocks(op.graph) if inner else ())


def titled(name: str, inner: Sequence[str]) -> str:
    """'MBConv (SqueezeExcite)': a block and the blocks it is made of."""
    return f"{name} ({', '.join(inner)})" if inner else name


def is_row(graph: Graph) -> bool:
    """Whether the graph is blocks in a row, as a stage is."""
    previous = INPUT
    for node in graph.nodes:
        if not isinstance(node.op, Block) or {wire.node for wire in node.inputs} != {previous}:
            return False
        previous = node.name
    return bool(graph.nodes) and all(wire.node == previous for wire in graph.outputs)


def is_network(graph: Graph) -> bool:
    """Whether the graph consists of sections, among them a stem, stages or a head."""
    network = network_of(graph)
    return bool(network.stages or network.stem or network.head) and all(
        isinstance(node.op, Block) for node in graph.nodes
    )


def composition(graph: Graph) -> list[tuple[str, int, tuple[str, ...]]]:
    """The blocks in a row: each name with how often it comes before the next, and the blocks it is made of."""
    found: list[tuple[str, int, tuple[str, ...]]] = []
    for node in graph.nodes:
        assert isinstance(node.op, Block)
        nameless = node.op.graph.name in NAMELESS
        name = describe(node.op) if nameless else node.op.graph.name
        inner = () if nameless else named_blocks(node.op.graph)
        if found and found[-1][0] == name:
            _, count, earlier = found[-1]
            found[-1] = (name, count + 1, tuple(dict.fromkeys([*earlier, *inner])))
        else:
            found.append((name, 1, inner))
    return found


def named_blocks(graph: Graph) -> tuple[str, ...]:
    """Names of the blocks that stand in a graph, each once; those that do nothing are left out."""
    blocks = [node.op.graph for node in graph.nodes if isinstance(node.op, Block)]
    return tuple(dict.fromkeys(block.name for block in blocks if block.nodes and block.name not in NAMELESS))


def human(number: float) -> str:
    """A count with three digits and a unit: 4.16 k, 24.1 M, 9.82 G."""
    for unit in ("", " k", " M", " G", " T", " P"):
        if abs(number) < 999.5 or unit == " P":
            break
        number /= 1000
    digits = 0 if number == int(number) and not unit else 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    return f"{number:.{digits}f}{unit}"


def _costs(cost: Cost) -> dict[str, int]:
    return {"params": cost.params, "macs": cost.macs, "flops": cost.flops, "elementwise": cost.elementwise}


def attention_share(graph: Graph) -> float:
    """The share of a graph's FLOPs that products of two maps take, as in attention; from 0 to 1."""
    total = graph.cost.flops
    found = sum(
        2 * node.op.macs(*inner.input_shapes(node))
        for _, inner, node in graph.walk()
        if isinstance(node.op, Op) and node.op.family == "attention"
    )
    return min(1.0, found / total) if total else 0.0
