"""Width and stride of the stages, and the size of the images, with everything behind them solved anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from uninas.graph import INPUT, Block, Graph, Node, Wire
from uninas.graph.network import is_stage, stages
from uninas.graph.resolve import resolved
from uninas.mutate.edits import Bodies, Edit, Lazy
from uninas.mutate.rebuild import with_inputs
from uninas.mutate.sites import Refusal, Site, node_of, transparent
from uninas.ops.op import Op, Shape
from uninas.ops.pool import AvgPool
from uninas.ops.shape import Identity
from uninas.space import MoveRule

MAX_WIDTH, MAX_SIZE = 1 << 16, 1 << 12


@dataclass(frozen=True)
class Width(Edit, kind="width", level="network"):
    """Give a stage another number of channels."""

    stage: str
    width: int

    def __str__(self) -> str:
        return f"let {self.stage} be {self.width} channels wide"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        found = []
        for node in stages(site.graph):
            now = site.graph.shapes(node.name)[0][0]
            near = (now * 3 // 4 // 8 * 8, now - 8, now + 8, now * 5 // 4 // 8 * 8)
            wanted = dict.fromkeys(n for n in rule.values.get("width", near) if isinstance(n, int) and n > 0)
            found += [cls(site.path, node.name, width) for width in wanted if width != now]
        return found

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        node = node_of(graph, self.stage)
        if not node or not is_stage(node) or not 0 < self.width <= MAX_WIDTH:
            return Refusal("site", f"there is no stage {self.stage}, or {self.width} is no width")
        return _through(graph, graph.inputs, {self.stage: self.width})


@dataclass(frozen=True)
class Strides(Edit, kind="stride", level="network"):
    """Let the first block of each stage halve the map or not: 2 or 1 for every stage."""

    pattern: tuple[int, ...]

    def __str__(self) -> str:
        return f"let the strides of the stages be {', '.join(map(str, self.pattern))}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        """One stage more or less that halves the map, or two stages that change places in this."""
        now = pattern(site.graph)
        found = {(*now[:n], 3 - now[n], *now[n + 1 :]) for n in range(len(now)) if now[n] in (1, 2)}
        for m in range(len(now)):
            for n in range(m + 1, len(now)):
                found.add((*now[:m], now[n], *now[m + 1 : n], now[m], *now[n + 1 :]))
        return [cls(site.path, strides) for strides in sorted(found - {now})]

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        now = pattern(graph)
        if len(now) != len(self.pattern) or not set(self.pattern) <= {1, 2}:
            return Refusal("site", f"expected a stride of 1 or 2 for each of {len(now)} stages")
        strides = {
            node.name: after
            for node, before, after in zip(stages(graph), now, self.pattern, strict=True)
            if before != after
        }
        changed = _through(graph, graph.inputs, {}, strides)
        if isinstance(changed, Graph) and pattern(changed) != self.pattern:
            return Refusal("type", "the maps do not follow the strides")
        return changed


@dataclass(frozen=True)
class Resolution(Edit, kind="resolution", level="network"):
    """Give the network images of another height and width."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"let the images be {self.height} x {self.width}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        _, height, width = (*site.graph.inputs[0], 0, 0)[:3]
        if "size" in rule.values:
            sizes = [(n, n) for n in rule.values["size"] if isinstance(n, int)]
        else:
            sizes = [(height + step, width + step) for step in (-32, 32)]
        found = [(h, w) for h, w in sizes if h > 0 and w > 0 and (h, w) != (height, width)]
        return Lazy(len(found), lambda n: cls(site.path, *found[n]))

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        if (
            len(graph.inputs) != 1
            or len(graph.inputs[0]) != 3
            or not 0 < self.height <= MAX_SIZE
            or not 0 < self.width <= MAX_SIZE
        ):
            return Refusal("site", "this network takes no images, or they would be too large")
        return _through(graph, ((graph.inputs[0][0], self.height, self.width),), {})


def pattern(graph: Graph) -> tuple[int, ...]:
    """By how much each stage divides the height of the map (rounded up)."""
    found = []
    for node in stages(graph):
        before, after = graph.input_shapes(node)[0], graph.shapes(node.name)[0]
        found.append(-(-before[1] // after[1]) if len(before) == len(after) == 3 else 1)
    return tuple(found)


def _through(
    graph: Graph, inputs: Sequence[Shape], widths: Mapping[str, int], strides: Mapping[str, int] | None = None
) -> Graph | Refusal:
    """The network for these inputs, with some stages of another width or stride, its own outputs kept."""
    shapes = {INPUT: tuple(inputs)}
    nodes = []
    for node in graph.nodes:
        assert isinstance(node.op, Block)
        incoming = tuple(shapes[wire.node][wire.port] for wire in node.inputs)
        width = widths.get(node.name, graph.shapes(node.name)[0][0])
        if is_stage(node):
            inner = _row(node.op.graph, incoming, width, (strides or {}).get(node.name, 0))
        else:
            inner = resolved(node.op.graph, incoming, width)
        shapes[node.name] = inner.output_shapes
        nodes.append(Node(node.name, Block(inner), node.inputs))
    made = replace(graph, inputs=tuple(inputs), nodes=tuple(nodes))
    return made if made.output_shapes == graph.output_shapes else Refusal("type", "the network makes another shape")


def _row(stage: Graph, incoming: Sequence[Shape], width: int, stride: int) -> Graph:
    """A stage, each of its blocks solved for what the one before it makes; `stride` changes the first one.

    Equal blocks stay one graph.
    """
    made = stage.output_shapes[0][0]
    known: dict[tuple[int, tuple[Shape, ...]], Graph] = {}
    nodes: list[Node] = []
    shapes = tuple(incoming)
    for node in stage.nodes:
        assert isinstance(node.op, Block)
        own = stage.shapes(node.name)[0][0]
        wanted = width if own == made else own
        if stride and not nodes:
            block = (_less_identities(resolved(node.op.graph, shapes, wanted, _unstrided)) if stride == 1
                     else _pooled(node.op.graph, shapes, wanted))  # fmt: skip
        else:
            key = id(node.op.graph), shapes
            block = known[key] = known.get(key) or resolved(node.op.graph, shapes, wanted)
        shapes = block.output_shapes
        nodes.append(Node(node.name, Block(block), node.inputs))
    return replace(stage, inputs=tuple(incoming), nodes=tuple(nodes))


def _unstrided(op: Op) -> Op:
    """The operation without its stride; what only halved the map goes."""
    if getattr(op, "stride", 1) != 2:
        return op
    return Identity() if op.family == "pool" and getattr(op, "kernel", 0) == 2 else op.having(stride=1)


def _less_identities(graph: Graph) -> Graph:
    """The graph without what does nothing to its one input, also inside blocks."""
    ends: dict[Wire, Wire] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        op = Block(_less_identities(node.op.graph)) if isinstance(node.op, Block) else node.op
        node = with_inputs(Node(node.name, op, node.inputs), ends)
        if transparent(op):
            ends[Wire(node.name)] = node.inputs[0]
        else:
            nodes.append(node)
    return graph.edited(nodes, (ends.get(wire, wire) for wire in graph.outputs))


def _pooled(block: Graph, incoming: tuple[Shape, ...], width: int) -> Graph:
    """The block behind a pooling that halves the map."""
    pool = AvgPool(2, 2) if all(extent % 2 == 0 for extent in incoming[0][1:]) else AvgPool(3, 2)
    solved = resolved(block, pool.outputs(*incoming), width)
    node = Node(solved.fresh("avg_pool"), pool, (Wire(INPUT),))
    nodes = [with_inputs(each, {Wire(INPUT): Wire(node.name)}) for each in solved.nodes]
    outputs = tuple(Wire(node.name) if wire == Wire(INPUT) else wire for wire in solved.outputs)
    return Graph(tuple(incoming), (node, *nodes), outputs, solved.name, solved.init)
