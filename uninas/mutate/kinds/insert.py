"""Insert what keeps the shape on any edge; remove a node, or the region that ends in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uninas.graph import INPUT, Graph, Wire
from uninas.mutate.edits import Bodies, Edit, Lazy
from uninas.mutate.rebuild import inserted, rewired
from uninas.mutate.sites import Port, Refusal, Site, has, region
from uninas.space import MoveRule


@dataclass(frozen=True)
class Insert(Edit, kind="insert"):
    """Put `what` behind the wire `after`, for all its users or only for the one `before`."""

    what: str
    after: Wire
    before: Port | None = None

    def __str__(self) -> str:
        only = f" before {self.before.node}" if self.before else ""
        return f"insert {self.what} after {self.named(self.after)}{only}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        edges, options = site.edges(), rule.options
        return Lazy(
            len(edges) * len(options),
            lambda n: cls(site.path, options[n % len(options)].text, *edges[n // len(options)]),
        )

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        if not has(graph, self.after):
            return Refusal("site", f"there is no wire {self.named(self.after)}")
        shape = graph.shape(self.after)
        body = moves.body(self.what, graph, (shape,), (shape,))
        return body if isinstance(body, Refusal) else inserted(graph, body, self.after, self.before)


@dataclass(frozen=True)
class Remove(Edit, kind="remove"):
    """Take out `node` and all that leads to it from the wire `since`, whose users it then feeds instead."""

    node: str
    since: Wire

    def __str__(self) -> str:
        since = f"{self.since.node}[{self.since.port}]" if self.since.port else self.since.node
        return f"remove {self.named((self.node, 0))} back to {since}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        since = region(site.graph, site.node) if site.node else None
        return [cls(site.path, site.node.name, since)] if site.node and isinstance(since, Wire) else ()

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        if self.node not in graph.position or not has(graph, self.since):
            return Refusal(
                "site", f"there is no node {self.named((self.node, 0))}, or no wire {self.named(self.since)}"
            )
        earlier = self.since.node == INPUT or graph.position[self.since.node] < graph.position[self.node]
        if not earlier or graph.shapes(self.node) != (graph.shape(self.since),):
            return Refusal("site", f"{self.since.node} cannot stand for {self.node}")
        return rewired(graph, {Wire(self.node): self.since})
