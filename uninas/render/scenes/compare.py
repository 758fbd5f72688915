"""Two graphs as one, for drawing: which nodes belong together, and the wires of both.

Nodes are aligned by what they compute (`uninas.graph.diff`); names may change freely. Pairs of blocks that differ are
compared inside. The order of a graph is topological, so the merged order is topological for both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from uninas.graph import INPUT, Block, Each, Graph, Node, Operator, Wire
from uninas.graph.diff import paired
from uninas.ops.op import Shape
from uninas.render.scenes.captions import FEW
from uninas.render.scenes.drawing import port_name

SAME, REMOVED, ADDED, CHANGED = "", "removed", "added", "changed"


@dataclass(frozen=True)
class Part:
    """A node of either graph, or one of each that were paired."""

    path: str
    """Of the node in the second graph, or in the first where only that has it."""
    status: str
    before: Operator | None
    after: Operator | None
    shapes: tuple[tuple[Shape, ...], tuple[Shape, ...]]
    """Of the outputs, before and after."""
    like: str = ""
    """The path of a frame in which the same two blocks are compared already."""
    count: int = 1
    """Equal blocks in a row that are shown as one."""

    @property
    def op(self) -> Operator:
        found = self.after or self.before
        assert found is not None
        return found


@dataclass
class Frame:
    """A pair of blocks (or bodies of an `each`) that differ inside, with what is in them."""

    path: str
    name: str
    parts: list[Part | Frame] = field(default_factory=list)
    copies: int = 0
    """Of an `each`: how many parts there are."""


@dataclass(frozen=True)
class Link:
    """A wire between two parts; `port` of the tail."""

    tail: str
    port: int
    head: str
    status: str
    shape: Shape
    times: int


@dataclass
class Comparison:
    """Both graphs as one: parts in frames, and the wires between them."""

    root: Frame
    links: list[Link] = field(default_factory=list)

    def parts(self) -> Iterator[Part]:
        """All parts, however deep."""
        yield from _parts(self.root)

    def counts(self) -> Counter[str]:
        """How many parts have each status but the same."""
        return Counter(part.status for part in self.parts() if part.status)


def _parts(frame: Frame) -> Iterator[Part]:
    for part in frame.parts:
        if isinstance(part, Frame):
            yield from _parts(part)
        else:
            yield part


def compare(before: Graph, after: Graph, path: str = "", seen: dict[tuple[str, str], str] | None = None) -> Comparison:
    """Two graphs as one, with what happened to each part from the first to the second.

    `path` is where they stand; `seen` remembers which pairs of blocks were compared where, for further comparisons.
    """
    walk = _Walk({} if seen is None else seen)
    root = Frame(path, after.name)
    graphs = before, after
    inputs = [
        [(below(path, port_name("in", port, len(graph.inputs))), 0) for port in range(len(graph.inputs))]
        for graph in graphs
    ]
    outputs = walk.inside(root, graphs, (inputs[0], inputs[1]))
    for side, graph in enumerate(graphs):
        for port, end in enumerate(outputs[side]):
            name = below(path, port_name("out", port, len(graph.outputs)))
            walk.wire(side, end, name, graph.output_shapes[port])
    return Comparison(root, walk.links())


def below(path: str, name: str) -> str:
    """The path of something in something."""
    return f"{path}.{name}" if path else name


Pair = tuple[Node | None, Node | None]
"""A node before and a node after; None where there is none."""

End = tuple[str, int]
"""A part's path and an output of it."""


class _Walk:
    """Goes through both graphs at once."""

    def __init__(self, compared: dict[tuple[str, str], str]) -> None:
        self.compared = compared
        self.wires: tuple[Counter[tuple[str, int, str]], Counter[tuple[str, int, str]]] = Counter(), Counter()
        self.shapes: dict[tuple[str, int, str], Shape] = {}

    def wire(self, side: int, end: End, head: str, shape: Shape) -> None:
        self.wires[side][(*end, head)] += 1
        self.shapes[(*end, head)] = shape

    def inside(
        self, frame: Frame, graphs: tuple[Graph, Graph], ends: tuple[list[End], list[End]]
    ) -> tuple[list[End], list[End]]:
        """Compare two graphs that get their inputs from `ends`. Returns where their outputs come from."""
        known: tuple[dict[Wire, End], dict[Wire, End]] = (
            {Wire(INPUT, port): end for port, end in enumerate(ends[0])},
            {Wire(INPUT, port): end for port, end in enumerate(ends[1])},
        )
        taken: set[str] = set()
        for pair in paired(*graphs):
            node = pair[1] or pair[0]
            assert node is not None
            name = node.name
            while name in taken:  # a removed node may have the name of one that was added
                name += "'"
            taken.add(name)
            path = below(frame.path, name)
            made = self.pair(frame, path, graphs, pair, known)
            for side in (0, 1):
                here = pair[side]
                if here is not None:
                    known[side].update((Wire(here.name, port), end) for port, end in enumerate(made[side]))
        return tuple([known[side][wire] for wire in graphs[side].outputs] for side in (0, 1))  # type: ignore[return-value]

    def pair(
        self,
        frame: Frame,
        path: str,
        graphs: tuple[Graph, Graph],
        pair: Pair,
        known: tuple[dict[Wire, End], dict[Wire, End]],
    ) -> tuple[list[End], list[End]]:
        """One node of either graph or of both. Returns where its outputs come from, on both sides."""
        before, after = pair
        incoming = tuple(
            [(known[side][wire], graphs[side].shape(wire)) for wire in (node.inputs if node else ())]
            for side, node in enumerate(pair)
        )
        shapes = tuple(graphs[side].shapes(node.name) if node else () for side, node in enumerate(pair))
        like = ""
        if before and after and before.op.canonical != after.op.canonical:
            inner = _bodies(before.op, after.op)
            like = self.compared.setdefault((before.op.canonical, after.op.canonical), path) if inner else path
            if inner and like == path:
                one_body = isinstance(after.op, Each)
                copies = after.op.copies(len(after.inputs)) if isinstance(after.op, Each) else 0
                within = Frame(path, inner[1].name, copies=copies)
                frame.parts.append(within)
                ends = tuple(
                    list(_first(node.op, [end for end, _ in side]))
                    for node, side in zip((before, after), incoming, strict=True)
                )
                outs = self.inside(within, inner, ends)  # type: ignore[arg-type]
                return tuple(  # type: ignore[return-value]
                    outs[side] * len(shapes[side]) if one_body else outs[side] for side in (0, 1)
                )
        status = REMOVED if after is None else ADDED if before is None else SAME
        if before and after:
            moved = [end for end, _ in incoming[0]] != [end for end, _ in incoming[1]] and not after.op.commutative
            swapped = moved and Counter(incoming[0]) == Counter(incoming[1])
            if before.op.canonical != after.op.canonical or swapped:
                status = CHANGED
        part = Part(
            path,
            status,
            before.op if before else None,
            after.op if after else None,
            (shapes[0], shapes[1]),
            like if like != path else "",
        )
        frame.parts.append(part)
        for side in (0, 1):
            for end, shape in incoming[side]:
                self.wire(side, end, path, shape)
        return tuple([(path, port) for port in range(len(of))] for of in shapes)  # type: ignore[return-value]

    def links(self) -> list[Link]:
        """The wires of both graphs: those of both, then what only one has."""
        between: tuple[Counter[tuple[str, str]], ...] = tuple(
            Counter((tail, head) for (tail, _, head), n in side.items() for _ in range(n)) for side in self.wires
        )
        many = {ends for side in between for ends, times in side.items() if times > FEW}  # drawn as one
        before, after = (self._bundled(side, many) for side in self.wires)
        found = []
        for key in dict.fromkeys([*before, *after]):
            both = min(before[key], after[key])
            for times, status in ((both, SAME), (before[key] - both, REMOVED), (after[key] - both, ADDED)):
                if times:
                    found.append(Link(*key, status, self.shapes[key], times))
        return found

    def _bundled(
        self, wires: Counter[tuple[str, int, str]], many: set[tuple[str, str]]
    ) -> Counter[tuple[str, int, str]]:
        """The wires, many between the same two parts as if they came from one output."""
        found: Counter[tuple[str, int, str]] = Counter()
        for (tail, port, head), times in wires.items():
            key = (tail, 0, head) if (tail, head) in many else (tail, port, head)
            self.shapes.setdefault(key, self.shapes[tail, port, head])
            found[key] += times
        return found


def _first(op: Operator, ends: Sequence[End]) -> Sequence[End]:
    """The inputs of an operator; of an `each`, those of its first part."""
    return op.parts(ends)[0] if isinstance(op, Each) else ends


def _bodies(before: Operator, after: Operator) -> tuple[Graph, Graph] | None:
    """The graphs inside two blocks or two `each`, where it makes sense to compare them."""
    if isinstance(before, Block) and isinstance(after, Block):
        few = min(len(before.graph.nodes), len(after.graph.nodes))
        return (before.graph, after.graph) if few else None
    if isinstance(before, Each) and isinstance(after, Each):
        return before.body, after.body
    return None


def folded(comparison: Comparison) -> Comparison:
    """Equal blocks in a row, untouched or all removed or all added, as one part."""
    into: Counter[str] = Counter()
    outof: Counter[str] = Counter()
    chained: set[tuple[str, str]] = set()
    for link in comparison.links:
        into[link.head] += 1
        outof[link.tail] += 1
        chained.add((link.tail, link.head))
    names: dict[str, str] = {}

    def fold(frame: Frame) -> Frame:
        parts: list[Part | Frame] = []
        last = ""
        for part in frame.parts:
            if isinstance(part, Frame):
                parts.append(fold(part))
                continue
            first = parts[-1] if parts else None
            if (
                isinstance(first, Part) and isinstance(part.op, Block) and part.status == first.status
                and (part.like == first.like if part.like or first.like else part.status != CHANGED)
                and part.op.canonical == first.op.canonical and (last, part.path) in chained
                and into[part.path] == outof[last] == 1
            ):  # fmt: skip
                parts[-1] = replace(first, count=first.count + 1)
                names[part.path] = first.path
            else:
                parts.append(part)
            last = part.path
        return replace(frame, parts=parts)

    root = fold(comparison.root)
    links = [
        replace(link, tail=names.get(link.tail, link.tail), head=names.get(link.head, link.head))
        for link in comparison.links
        if names.get(link.head, link.head) != names.get(link.tail, link.tail)
    ]
    return Comparison(root, links)
