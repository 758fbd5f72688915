"""Replace an operation by another one between the same shapes; change one of its attributes inside its domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uninas.graph import Graph
from uninas.mutate.edits import Bodies, Edit, Lazy, Value
from uninas.mutate.rebuild import substituted
from uninas.mutate.sites import Refusal, Site, node_of
from uninas.ops.op import Attr, Op, ShapeError, show_value
from uninas.space import MoveRule


@dataclass(frozen=True)
class Replace(Edit, kind="replace"):
    """Put `what` where `node` stands, between the same wires."""

    node: str
    what: str

    def __str__(self) -> str:
        return f"replace {self.named((self.node, 0))} by {self.what}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        node, options = site.node, rule.options
        return Lazy(len(options), lambda n: cls(site.path, node.name, options[n].text)) if node else ()

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        node = node_of(graph, self.node)
        if node is None:
            return Refusal("site", f"there is no node {self.named((self.node, 0))}")
        body = moves.body(self.what, graph, graph.input_shapes(node), graph.shapes(self.node))
        return body if isinstance(body, Refusal) else substituted(graph, self.node, body)


@dataclass(frozen=True)
class SetAttribute(Edit, kind="attribute"):
    """Give one attribute of an operation another value of its domain, such that everything still fits."""

    node: str
    name: str
    value: Value

    def __str__(self) -> str:
        return f"set {self.name} of {self.named((self.node, 0))} to {show_value(self.value)}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        op = site.node.op if site.node else None
        if not site.node or not isinstance(op, Op):
            return ()
        node = site.node.name
        wanted = [(attribute, value) for attribute in op.attrs for value in values(op, attribute, rule)]
        return Lazy(len(wanted), lambda n: cls(site.path, node, wanted[n][0].name, wanted[n][1]))

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        node = node_of(graph, self.node)
        op = node.op if node else None
        if not isinstance(op, Op) or self.name not in {attribute.name for attribute in op.attrs}:
            return Refusal("site", f"there is no operation {self.named((self.node, 0))} with an attribute {self.name}")
        try:
            changed = graph.with_op(self.node, op.having(**{self.name: self.value}))
        except ShapeError as problem:
            return Refusal("type", str(problem))
        if changed.output_shapes != graph.output_shapes:
            return Refusal("type", f"{self.name} = {show_value(self.value)} would change what the block makes")
        return changed


def values(op: Op, attribute: Attr, rule: MoveRule) -> list[Value]:
    """Other values of an attribute: those that the rule names or, if it names none at all, the nearest ones."""
    now: Value = getattr(op, attribute.name)
    if rule.values:
        near: Sequence[Value] = rule.values.get(attribute.name, ())
    elif attribute.choices:
        near = attribute.choices
    elif isinstance(now, bool):
        near = (not now,)
    elif isinstance(now, int):
        near = (now - 2, now - 1, now + 1, now + 2, now // 2, now * 2)
    else:
        near = (float(now) / 2, float(now) * 2)
    return [value for value in dict.fromkeys(near) if value != now and _fits(attribute, value)]


def _fits(attribute: Attr, value: Value) -> bool:
    try:
        attribute.check(value)
    except ShapeError:
        return False
    return True
