"""Crossover: a block, or a region inside one, of a second parent takes the place of one between the same shapes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from uninas.graph import Graph, Wire, subgraphs
from uninas.graph.resolve import resolved
from uninas.mutate.edits import Bodies, Edit
from uninas.mutate.rebuild import cut, exchanged
from uninas.mutate.sites import Refusal, Site, draw_site, has, node_of, region

TRIES = 64  # places of the second parent that are looked at for one that fits


@dataclass(frozen=True)
class Graft(Edit, kind="graft"):
    """Put what the architecture with the key `mate` has at `origin` into the block at the path.

    With nodes and wires, only what leads from `since` to `node` is exchanged, for what leads from `from_wire` to
    `from_node` there; without them, the whole block is, its channels solved for its new place.
    """

    mate: str
    origin: tuple[str, ...]
    node: str | None = None
    since: Wire | None = None
    from_node: str | None = None
    from_wire: Wire | None = None

    def __str__(self) -> str:
        there = ".".join(self.origin)
        if self.node is None or self.from_node is None:
            return f"put {there} of {self.mate[:8]} in the place of {'.'.join(self.path)}"
        return f"put {there}.{self.from_node} of {self.mate[:8]} in the place of {self.named((self.node, 0))}"

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        return Refusal("site", "a crossover needs its second parent")

    def from_mate(self, graph: Graph, mate: Graph | None) -> Graph | Refusal:
        """The block after the crossover; `mate` is the whole second parent."""
        if mate is None or mate.key != self.mate:
            return Refusal("site", f"it needs the architecture {self.mate[:8]} as its second parent")
        donor = follow(mate, self.origin)
        if donor is None:
            return Refusal("site", f"{self.mate[:8]} has no block {'.'.join(self.origin)}")
        if self.node is None:
            whole = resolved(donor, graph.inputs, graph.output_shapes[0][0])
            fits = whole.output_shapes == graph.output_shapes
            return whole if fits else Refusal("type", f"{'.'.join(self.origin)} does not fit here")
        if not self.since or not self.from_wire or not self.from_node:
            return Refusal("site", "a region needs both of its ends")
        if not node_of(graph, self.node) or not has(graph, self.since):
            return Refusal("site", f"there is no node {self.node}, or no wire {self.since.node}")
        if not node_of(donor, self.from_node) or not has(donor, self.from_wire):
            return Refusal("site", f"{self.mate[:8]} has no node {self.from_node}, or no wire {self.from_wire.node}")
        body = cut(donor, self.from_wire, self.from_node)
        if isinstance(body, Refusal):
            return body
        shape = graph.shape(self.since)
        body = resolved(body, (shape,), graph.shape(Wire(self.node))[0])
        if body.output_shapes != graph.shapes(self.node):
            return Refusal("type", f"{self.from_node} does not fit here")
        return exchanged(graph, body, self.since, self.node)


def follow(graph: Graph, path: tuple[str, ...]) -> Graph | None:
    """The graph that a path leads to, if there is one."""
    for name in path:
        node = node_of(graph, name)
        inner = subgraphs(node) if node else ()
        if not inner:
            return None
        graph = inner[0][0]
    return graph


def draw_graft(graph: Graph, mate: Graph, rng: random.Random) -> Edit | Refusal:
    """A random crossover: half of the time of whole blocks of stages, otherwise of regions."""
    site, other = (draw_site(each, "inner", rng) for each in (graph, mate))
    if isinstance(site, Refusal) or isinstance(other, Refusal):
        return Refusal("site", "no part of these networks may change")
    if rng.random() < 0.5:
        return _of_blocks(graph, mate, rng)
    since = region(site.graph, site.node) if site.node else None
    if not site.node or not isinstance(since, Wire):
        return Refusal("site", "no region ends here")
    for _ in range(TRIES):
        start = region(other.graph, other.node) if other.node else None
        if isinstance(start, Wire) and other.node and _spatial(other, start) == _spatial(site, since):
            return Graft(site.path, mate.key, other.path, site.node.name, since, other.node.name, start)
        other = draw_site(mate, "inner", rng)
        assert isinstance(other, Site)
    return Refusal("type", "the second parent has nothing that fits here")


def _of_blocks(graph: Graph, mate: Graph, rng: random.Random) -> Edit | Refusal:
    """A block of a stage for one between the same sizes of maps."""
    site, other = (draw_site(each, "stage", rng) for each in (graph, mate))
    for _ in range(TRIES):
        if isinstance(site, Refusal) or isinstance(other, Refusal):
            return Refusal("site", "one of these networks has no stages")
        (here, block), (there, origin) = _whole(site), _whole(other)
        if _sizes(block) == _sizes(origin):
            return Graft(here, mate.key, there)
        other = draw_site(mate, "stage", rng)
    return Refusal("type", "the second parent has no block that fits here")


def _whole(site: Site) -> tuple[tuple[str, ...], Graph]:
    """The block of a stage at a site, with its path."""
    node = site.graph.nodes[site.index]
    return (*site.path, node.name), subgraphs(node)[0][0]


def _spatial(site: Site, since: Wire) -> tuple[int, ...]:
    return site.graph.shape(since)[1:]


def _sizes(graph: Graph) -> tuple[object, ...]:
    return graph.inputs[0][1:], graph.output_shapes[0][1:]
