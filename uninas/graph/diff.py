"""What differs between two architectures: sections, blocks and nodes laid side by side.

    print(diff(before, after).text())

Nodes are aligned in their order, so that as few operations as possible come, go or change. Blocks that are the same
graph, or have the same key, are not looked into, and no pair of graphs is compared twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from uninas.graph.graph import INPUT, Each, Graph, Node, Operator, Wire, sharing, subgraphs
from uninas.ops.op import Op

Status = Literal["added", "removed", "changed", "rewired", "inside"]
SIGNS: Mapping[Status, str] = {"added": "+", "removed": "-", "changed": "~", "rewired": "~", "inside": " "}
MAX_CELLS = 1_000_000  # of one alignment; longer rows are compared position by position
FINE = 1 << 16  # more than there are nodes in a row
T = TypeVar("T")


@dataclass(frozen=True)
class Change:
    """One node that is not the same: `before` and `after` are what it does, '' where it is not there.

    A node is 'inside' when its block is there on both sides, but not the same; then `inner` says what is not.
    """

    status: Status
    old: str
    new: str
    before: str = ""
    after: str = ""
    operations: int = 1
    inner: tuple[Change, ...] = ()

    @property
    def cost(self) -> int:
        """Number of operations that come, go, change, or take from elsewhere."""
        return sum(change.cost for change in self.inner) if self.inner else self.operations

    def lines(self, indent: str = "  ") -> Iterator[str]:
        """The change as a person reads it."""
        name = self.new or self.old
        if self.old and self.new and self.old != self.new:
            name = f"{self.old} = {self.new}"
        text = " -> ".join(part for part in dict.fromkeys((self.before, self.after)) if part)
        yield f"{SIGNS[self.status]} {indent}{name}{f': {text}' if text else ''}"
        for change in self.inner:
            yield from change.lines(indent + "  ")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values: dict[str, Any] = {
            "status": self.status, "old": self.old, "new": self.new, "before": self.before, "after": self.after,
            "operations": self.cost,
        }  # fmt: skip
        return {**values, "inner": [change.as_dict() for change in self.inner]} if self.inner else values


@dataclass(frozen=True)
class Difference:
    """All that differs between two architectures."""

    before: Graph
    after: Graph
    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return self.before.key != self.after.key

    @property
    def distance(self) -> int:
        """Number of operations that come, go, change, or take from elsewhere: an edit distance, seen from above."""
        return sum(change.cost for change in self.changes)

    def text(self) -> str:
        """Lines that begin with + (added), - (removed), ~ (changed) or a space (changed inside)."""
        a, b = self.before, self.after
        if not self:
            return f"{a.name} and {b.name} are the same architecture"
        costs = [("params", a.cost.params, b.cost.params), ("FLOPs", a.cost.flops, b.cost.flops),
                 ("operations", a.operations, b.operations)]  # fmt: skip
        listed = ", ".join(f"{name} {old:,} -> {new:,} ({new - old:+,})" for name, old, new in costs)
        head = [f"{a.name} -> {b.name}: distance {self.distance}", listed]
        if (a.inputs, a.init) != (b.inputs, b.init):
            head.append(f"input {a.inputs} -> {b.inputs}, init {a.init} -> {b.init}")
        return "\n".join([*head, *(line for change in self.changes for line in change.lines(""))])

    def marks(self) -> tuple[dict[str, Status], dict[str, Status]]:
        """For both sides the dotted paths of the nodes that differ, with how: what a picture needs."""
        marks: tuple[dict[str, Status], dict[str, Status]] = ({}, {})

        def mark(change: Change, prefixes: tuple[str, str]) -> None:
            paths = [prefix + name for prefix, name in zip(prefixes, (change.old, change.new), strict=True)]
            for known, path, name in zip(marks, paths, (change.old, change.new), strict=True):
                if name:
                    known[path] = change.status
            for inner in change.inner:
                mark(inner, (f"{paths[0]}.", f"{paths[1]}."))

        for change in self.changes:
            mark(change, ("", ""))
        return marks

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: both sides, the tree of changes, and the marks of both sides."""
        sides = [{"name": graph.name, "key": graph.key, "params": graph.cost.params, "flops": graph.cost.flops,
                  "operations": graph.operations} for graph in (self.before, self.after)]  # fmt: skip
        old, new = self.marks()
        return {
            "before": sides[0], "after": sides[1], "distance": self.distance,
            "changes": [change.as_dict() for change in self.changes], "marks": {"before": old, "after": new},
        }  # fmt: skip


def diff(before: Graph, after: Graph) -> Difference:
    """What differs between two architectures."""
    return Difference(before, after, _Comparison().changes(before, after))


def paired(before: Graph, after: Graph) -> list[tuple[Node | None, Node | None]]:
    """The nodes of two graphs side by side, None where one has nothing."""
    return _Comparison().rows(before, after)


class _Comparison:
    """Compares graphs, each pair once."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], tuple[Change, ...]] = {}  # by identity, because names are part of it

    def changes(self, a: Graph, b: Graph) -> tuple[Change, ...]:
        if a is b or a.key == b.key:
            return ()
        pair = id(a), id(b)
        if pair not in self.known:
            self.known[pair] = self._compared(a, b)
        return self.known[pair]

    def _compared(self, a: Graph, b: Graph) -> tuple[Change, ...]:
        rows = self.rows(a, b)
        names = {INPUT: INPUT, **{y.name: x.name for x, y in rows if x and y}}
        changes = [self._change(a, b, x, y, names) for x, y in rows]
        return tuple(change for change in changes if change is not None)

    def rows(self, a: Graph, b: Graph) -> list[tuple[Node | None, Node | None]]:
        """The nodes side by side; of alignments that cost the same, names decide."""
        return align(
            a.nodes,
            b.nodes,
            lambda x, y: FINE * self.cost(x.op, y.op) + (x.name != y.name),
            lambda node: FINE * _size(node),
        )

    def _change(self, a: Graph, b: Graph, x: Node | None, y: Node | None, names: Mapping[str, str]) -> Change | None:
        if x is None or y is None:
            there = x or y
            assert there is not None
            status: Status = "removed" if y is None else "added"
            text = str(there.op)
            old, new = ("", there.name) if x is None else (there.name, "")
            return Change(status, old, new, text if x else "", text if y else "", _size(there))
        inner = [graph for node in (x, y) for graph, _ in subgraphs(node)]
        if len(inner) == 2 and type(x.op) is type(y.op):
            below = self.changes(*inner)
            if below:
                return Change("inside", x.name, y.name, str(x.op), str(y.op), 0, below)
            if sharing(x.op) != sharing(y.op):
                return Change("changed", x.name, y.name, str(x.op), str(y.op))
        elif x.op != y.op:
            return Change("changed", x.name, y.name, str(x.op), str(y.op))
        before = [_origin(a, wire, set(names.values())) for wire in x.inputs]
        after = [_origin(b, wire, set(names)) for wire in y.inputs]
        if [Wire(names[wire.node], wire.port) for wire in after] != before:
            return Change("rewired", x.name, y.name, f"from {_listed(x.inputs)}", f"from {_listed(y.inputs)}")
        return None

    def cost(self, x: Operator, y: Operator) -> int:
        """The cost of turning one operator into another; at most that of deleting one and inserting the other."""
        if x == y:
            return 0
        if isinstance(x, Op) and isinstance(y, Op):
            return 1 if x.name == y.name else 2
        if isinstance(x, Op) or isinstance(y, Op) or type(x) is not type(y):
            return 1 << 30
        below = [op.body if isinstance(op, Each) else op.graph for op in (x, y)]
        if sharing(x) != sharing(y):
            return 1 + below[0].operations
        return min(sum(change.cost for change in self.changes(*below)), below[0].operations + below[1].operations)


def align(
    a: Sequence[T], b: Sequence[T], cost: Callable[[T, T], int], size: Callable[[T], int]
) -> list[tuple[T | None, T | None]]:
    """Two sequences side by side, None where one has nothing, at the least cost of changes, gaps costing their size."""
    start = 0
    while start < min(len(a), len(b)) and cost(a[start], b[start]) == 0:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and cost(a[-1 - end], b[-1 - end]) == 0:
        end += 1
    same: list[tuple[T | None, T | None]] = list(zip(a[:start], b[:start], strict=True))
    tail: list[tuple[T | None, T | None]] = list(zip(a[len(a) - end :], b[len(b) - end :], strict=True))
    return same + _aligned(a[start : len(a) - end], b[start : len(b) - end], cost, size) + tail


def _aligned(
    a: Sequence[T], b: Sequence[T], cost: Callable[[T, T], int], size: Callable[[T], int]
) -> list[tuple[T | None, T | None]]:
    """The alignment by dynamic programming (Needleman & Wunsch 1970)."""
    if len(a) * len(b) > MAX_CELLS:
        longest = max(len(a), len(b))
        return [(a[n] if n < len(a) else None, b[n] if n < len(b) else None) for n in range(longest)]
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    pair = [[cost(x, y) for y in b] for x in a]
    for i in range(len(a), -1, -1):
        for j in range(len(b), -1, -1):
            ways = []
            if i < len(a) and j < len(b):
                ways.append(best[i + 1][j + 1] + pair[i][j])
            if i < len(a):
                ways.append(best[i + 1][j] + size(a[i]))
            if j < len(b):
                ways.append(best[i][j + 1] + size(b[j]))
            best[i][j] = min(ways, default=0)
    rows: list[tuple[T | None, T | None]] = []
    i = j = 0
    while i < len(a) or j < len(b):
        if i < len(a) and j < len(b) and best[i][j] == best[i + 1][j + 1] + pair[i][j]:
            rows.append((a[i], b[j]))
            i, j = i + 1, j + 1
        elif i < len(a) and best[i][j] == best[i + 1][j] + size(a[i]):
            rows.append((a[i], None))
            i += 1
        else:
            rows.append((None, b[j]))
            j += 1
    return rows


def _size(node: Node) -> int:
    """Number of operations of a node, and at least one."""
    return max([1, *(graph.operations * copies for graph, copies in subgraphs(node))])


def _origin(graph: Graph, wire: Wire, kept: set[str]) -> Wire:
    """Where a wire comes from, past what was added or removed in a row."""
    while wire.node not in kept and wire.node != INPUT:
        wire = graph.by_name[wire.node].inputs[0]
    return wire


def _listed(wires: Sequence[Wire]) -> str:
    listed = ", ".join(wire.node + (f"[{wire.port}]" if wire.port else "") for wire in wires[:4])
    return listed + (f" and {len(wires) - 4} more" if len(wires) > 4 else "")
