"""Parts of an `each` and bodies of their own: heads that no longer are alike, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from uninas.graph import INPUT, Block, Each, Graph, Node, Wire, sharing
from uninas.mutate.edits import Bodies, Edit, Lazy
from uninas.mutate.rebuild import fresh, ordered, with_inputs
from uninas.mutate.sites import Refusal, Site, node_of
from uninas.space import MoveRule


@dataclass(frozen=True)
class Untie(Edit, kind="own", rare=True):
    """Give one part of an `each` a block of its own, which may change without the others."""

    node: str
    part: int

    def __str__(self) -> str:
        return f"give part {self.part} of {self.named((self.node, 0))} a body of its own"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        node = site.node
        if not node or not isinstance(node.op, Each) or node.op.shared or node.op.copies(len(node.inputs)) < 2:
            return ()
        return Lazy(node.op.copies(len(node.inputs)), lambda part: cls(site.path, node.name, part))

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        node = node_of(graph, self.node)
        if not node or not isinstance(node.op, Each) or node.op.shared:
            return Refusal("site", f"{self.named((self.node, 0))} is no each with a part {self.part}")
        parts = node.op.parts(node.inputs)
        if self.part not in range(len(parts)):
            return Refusal("site", f"{self.named((self.node, 0))} is no each with a part {self.part}")
        if len(parts) < 2:
            return Refusal("site", f"{self.named((self.node, 0))} has one part only")
        position = graph.position[node.name]
        body = replace(node.op.body, name="Part")
        own = Node(fresh("part", {INPUT, *graph.position}), Block(body), parts[self.part])
        others = Node(node.name, node.op, in_bundles(parts[: self.part] + parts[self.part + 1 :]))
        made = len(body.outputs)
        first = self.part * made
        other = {Wire(node.name, first + port): Wire(own.name, port) for port in range(made)}
        for port in range(first + made, len(parts) * made):
            other[Wire(node.name, port)] = Wire(node.name, port - made)
        rest = [with_inputs(later, other) for later in graph.nodes[position + 1 :]]
        nodes = [*graph.nodes[:position], others, own, *rest]
        return graph.edited(nodes, (other.get(wire, wire) for wire in graph.outputs))


@dataclass(frozen=True)
class Tie(Edit, kind="share", rare=True):
    """Let a block be one more part of an `each`: it gets the body that the other parts have."""

    node: str
    each: str

    def __str__(self) -> str:
        return f"give {self.named((self.node, 0))} the body of {self.each}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        node = site.node
        if not node or not isinstance(node.op, Block):
            return ()
        graph = site.graph
        fitting = [each.name for each in graph.nodes if isinstance(each.op, Each) and _alike(graph, node, each)]
        return Lazy(len(fitting), lambda n: cls(site.path, node.name, fitting[n]))

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        own, each = node_of(graph, self.node), node_of(graph, self.each)
        if not own or not each or not isinstance(each.op, Each) or not _alike(graph, own, each):
            return Refusal("site", f"{self.named((self.node, 0))} is no block like the parts of {self.each}")
        parts = each.op.parts(each.inputs)
        joined = Node(each.name, each.op, in_bundles([*parts, own.inputs]))
        made = len(each.op.body.outputs)
        other = {Wire(own.name, port): Wire(each.name, len(parts) * made + port) for port in range(made)}
        left = [joined if node is each else with_inputs(node, other) for node in graph.nodes if node is not own]
        nodes = ordered(left)
        if nodes is None:
            return Refusal("site", f"{self.named((self.node, 0))} and {self.each} need one another")
        return graph.edited(nodes, (other.get(wire, wire) for wire in graph.outputs))


def in_bundles(parts: Sequence[tuple[Wire, ...]]) -> tuple[Wire, ...]:
    """What all parts take, as the bundles that an `each` is given."""
    return tuple(wire for bundle in zip(*parts, strict=True) for wire in bundle)


def _alike(graph: Graph, own: Node, each: Node) -> bool:
    """Whether a block takes and makes what a part does."""
    return (
        isinstance(each.op, Each)
        and not any(sharing(node.op)[1] or sharing(node.op)[0] > 1 for node in (own, each))
        and graph.input_shapes(own) == each.op.body.inputs
        and graph.shapes(own.name) == each.op.body.output_shapes
    )
