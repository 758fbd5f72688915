"""Join two points of equal shape, and take such a join away: blocks become any directed acyclic graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uninas.graph import INPUT, Graph, Node, Wire
from uninas.graph.network import INSERTED
from uninas.mutate.edits import Bodies, Edit, Lazy
from uninas.mutate.rebuild import behind, inlined, rewired, with_inputs
from uninas.mutate.sites import Refusal, Site, has, node_of
from uninas.ops.merge import Add
from uninas.ops.op import Op, Shape
from uninas.space import MoveRule


@dataclass(frozen=True)
class Skip(Edit, kind="skip"):
    """Lead the wire `source` to a later one of the same shape, and join both by `what`, or else add them."""

    source: Wire
    target: Wire
    what: str = ""

    def __str__(self) -> str:
        how = f" by {self.what}" if self.what else ""
        return f"lead {self.named(self.source)} to {self.named(self.target)}{how}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        if not site.node:
            return ()
        graph, target = site.graph, Wire(site.node.name)
        earlier = [INPUT, *(node.name for node in graph.nodes[: site.index])]
        sources = [
            Wire(name, port)
            for name in earlier
            for port, shape in enumerate(graph.shapes(name))
            if shape == graph.shape(target)
        ]
        joins = [option.text for option in rule.options] or [""]
        return Lazy(
            len(sources) * len(joins),
            lambda n: cls(site.path, sources[n // len(joins)], target, joins[n % len(joins)]),
        )

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        if not has(graph, self.source) or not has(graph, self.target) or self.target.node == INPUT:
            return Refusal("site", f"there is no wire {self.named(self.source)}, or no {self.named(self.target)}")
        shape = graph.shape(self.target)
        if graph.shape(self.source) != shape:
            return Refusal("type", f"{self.named(self.source)} and {self.named(self.target)} differ in shape")
        if behind(graph, self.source) > behind(graph, self.target):
            return Refusal("site", f"{self.named(self.source)} comes after {self.named(self.target)}")
        body = moves.body(self.what, graph, (shape, shape), (shape,)) if self.what else _sum(shape)
        if isinstance(body, Refusal):
            return body
        new, (end,) = inlined(body, (self.target, self.source), {INPUT, *graph.position})
        start = behind(graph, self.target)
        rest = [with_inputs(node, {self.target: end}) for node in graph.nodes[start:]]
        outputs = (end if wire == self.target else wire for wire in graph.outputs)
        return graph.edited((*graph.nodes[:start], *new, *rest), outputs)


@dataclass(frozen=True)
class Unskip(Edit, kind="unskip", rare=True):
    """Take one of the wires away that a sum, product or maximum joins; what nothing needs any more goes too."""

    node: str
    port: int

    def __str__(self) -> str:
        return f"take input {self.port} from {self.named((self.node, 0))}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        node = site.node
        if not node or not node.op.commutative or len(node.inputs) < 2:
            return ()
        return Lazy(len(node.inputs), lambda port: cls(site.path, node.name, port))

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        node = node_of(graph, self.node)
        if node is None or not isinstance(node.op, Op) or not node.op.commutative:
            return Refusal("site", f"{self.named((self.node, 0))} is no sum, product or maximum")
        if len(node.inputs) < 2 or self.port not in range(len(node.inputs)):
            return Refusal("site", f"{self.named((self.node, 0))} has no input {self.port} to spare")
        left = node.inputs[: self.port] + node.inputs[self.port + 1 :]
        if len(left) == 1:
            if graph.shape(left[0]) != graph.shape(Wire(node.name)):
                return Refusal("type", f"what is left of {self.named((self.node, 0))} has another shape")
            return rewired(graph, {Wire(node.name): left[0]})
        position = graph.position[self.node]
        return graph.edited([*graph.nodes[:position], Node(node.name, node.op, left), *graph.nodes[position + 1 :]])


def _sum(shape: Shape) -> Graph:
    return Graph((shape, shape), (Node("add", Add(), (Wire(INPUT, 0), Wire(INPUT, 1))),), (Wire("add"),), INSERTED)
