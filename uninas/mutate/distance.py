"""How far two architectures lie apart: by edits, within a time, and by what they consist of, at once."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from uninas.graph import INPUT, Graph, Node, Wire, subgraphs
from uninas.graph.diff import Change, diff
from uninas.mutate.sites import OUTPUT
from uninas.ops.op import Op

SMALL = 40  # nodes of a block that networkx is asked about


class Distance(NamedTuple):
    """An edit distance; `exact` when no fewer edits would do."""

    value: int
    exact: bool


def edit_distance(a: Graph, b: Graph, seconds: float = 1.0) -> Distance:
    """Number of nodes and edges to add, remove, or (nodes) exchange, so that one architecture becomes the other.

    Blocks are laid side by side as in `diff`; inside those that differ the distance is that of graphs, exact as far as
    `seconds` last (networkx, Abu-Aisheh et al. 2015) and else what the alignment needs, which is never too small.
    """
    until = time.monotonic() + seconds
    found = diff(a, b)
    if not found:
        return Distance(0, True)
    below = _below(a, b, found.changes, until)
    return Distance(below.value + (a.inputs != b.inputs), below.exact)  # other images count as one edit


def _below(a: Graph, b: Graph, changes: tuple[Change, ...], until: float) -> Distance:
    """The distance of two graphs that differ by these changes."""
    if not any(change.inner for change in changes):
        return _pair(a, b, changes, until)
    value, exact = 0, True
    for change in changes:
        x, y = a.by_name.get(change.old), b.by_name.get(change.new)
        if change.inner and x and y:
            part = _below(subgraphs(x)[0][0], subgraphs(y)[0][0], change.inner, until)
            value, exact = value + part.value, exact and part.exact
        else:
            value, exact = value + sum(map(_nodes, filter(None, (x, y)))), False
    return Distance(value, exact)


def _pair(a: Graph, b: Graph, changes: tuple[Change, ...], until: float) -> Distance:
    """The distance of two graphs in which nothing differs deeper inside."""
    import networkx  # here, because it loads slowly

    x, y = _plain(a), _plain(b)
    gone, new = (
        {change.old for change in changes if not change.new},
        {change.new for change in changes if not change.old},
    )
    pairs = zip([n for n in x if n not in gone], [n for n in y if n not in new], strict=True)
    bound = _induced(x, y, dict(pairs))
    began = time.monotonic()
    left = until - began
    if left <= 0 or max(len(x), len(y)) > SMALL:
        return Distance(bound, False)
    found = networkx.graph_edit_distance(
        x, y, node_match=lambda p, q: p["op"] == q["op"], edge_match=lambda p, q: p["ports"] == q["ports"],
        roots=(INPUT, INPUT), upper_bound=bound, timeout=left,
    )  # fmt: skip
    return Distance(bound if found is None else min(bound, int(found)), time.monotonic() - began < left)


def _induced(x: Any, y: Any, pairs: Mapping[str, str]) -> int:
    """The cost of turning one graph into another under this matching of nodes."""
    exchanged: int = sum(x.nodes[p]["op"] != y.nodes[q]["op"] for p, q in pairs.items())
    kept = {(pairs.get(p), pairs.get(q)): data["ports"] for p, q, data in x.edges(data=True)}
    edges = {(p, q): data["ports"] for p, q, data in y.edges(data=True)}
    both = kept.keys() & edges.keys()
    changed: int = sum(kept[edge] != edges[edge] for edge in both)
    return exchanged + len(x) + len(y) - 2 * len(pairs) + changed + len(x.edges) + len(y.edges) - 2 * len(both)


def _plain(graph: Graph) -> Any:
    """A graph as networkx compares it: operations on the nodes, ports on the edges, and a node for the outputs."""
    import networkx

    plain = networkx.DiGraph()
    plain.add_node(INPUT, op=INPUT)
    for node in graph.nodes:
        plain.add_node(node.name, op=node.op.canonical)
        for port, wire in enumerate(node.inputs):
            _connect(plain, wire, node.name, 0 if node.op.commutative else port)
    plain.add_node(OUTPUT, op=OUTPUT)
    for port, wire in enumerate(graph.outputs):
        _connect(plain, wire, OUTPUT, port)
    return plain


def _connect(plain: Any, wire: Wire, target: str, port: int) -> None:
    before = plain.get_edge_data(wire.node, target, {"ports": ()})["ports"]
    plain.add_edge(wire.node, target, ports=tuple(sorted((*before, (wire.port, port)))))


def _weight(graph: Graph) -> int:
    """Number of nodes and edges of a graph and all that is inside it."""
    return sum(_nodes(node) for node in graph.nodes)


def _nodes(node: Node) -> int:
    return 1 + len(node.inputs) + sum(_weight(inner) * copies for inner, copies in subgraphs(node))


# ---- embedding -----------------------------------------------------------------------------------------------------


def features(graph: Graph) -> Counter[str]:
    """Counts of operations: alone, with their channels, and with the operations before them.

    The counts of blocks add up, so that those of a network with one new block take no time.
    """
    known: Counter[str] | None = graph.__dict__.get("_features")  # kept with the graph, as its costs are
    if known is None:
        known = Counter()
        labels = {INPUT: INPUT, **{node.name: _label(node) for node in graph.nodes}}
        for node in graph.nodes:
            label = labels[node.name]
            channels = round(2 * math.log2(graph.shape(Wire(node.name))[0]))
            known.update([label, f"{label} x {channels}", f"{label} < {' '.join(sorted(_sources(node, labels)))}"])
            for inner, copies in subgraphs(node):
                known.update({feature: copies * count for feature, count in features(inner).items()})
        graph.__dict__["_features"] = known
    return known


def embedding(graph: Graph, size: int = 256) -> list[float]:
    """The features as a vector of a fixed length, each hashed to one place (Weinberger et al. 2009): log(1 + count)."""
    vector = [0.0] * size
    for feature, count in features(graph).items():
        place = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "big") % size
        vector[place] += count
    return [math.log1p(count) for count in vector]


def embedding_distance(a: Graph, b: Graph) -> float:
    """0 for the same features, 1 for none in common: sum |x - y| / sum (x + y) (Bray & Curtis 1957)."""
    x, y = features(a), features(b)
    together = x.total() + y.total()
    return sum(abs(x[feature] - y[feature]) for feature in x.keys() | y.keys()) / together if together else 0.0


def _label(node: Node) -> str:
    """The operation; a block is what is inside it, whatever its name."""
    return node.op.name if isinstance(node.op, Op) else type(node.op).__name__


def _sources(node: Node, labels: dict[str, str]) -> set[str]:
    return {labels[wire.node] for wire in node.inputs}
