"""Wrap an edge, or what a region does, in a form: a fork with its merge, an expansion with its reduction, a gate, ...

A form is a chain of the language in which `body` stands for what is wrapped: `conv(C * 4, 1) -> body -> conv(C, 1)`,
or `Residual(body)` where a block takes a block. Behind the form's steps the region may meet another shape than before;
its channels are then solved anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uninas.graph import Block, Graph, Wire
from uninas.graph.resolve import around, resolved
from uninas.mutate.edits import Bodies, Edit, Lazy
from uninas.mutate.rebuild import cut, exchanged, inserted, rewired, substituted
from uninas.mutate.sites import Port, Refusal, Site, has, region
from uninas.ops.shape import Identity
from uninas.space import MoveRule


@dataclass(frozen=True)
class Wrap(Edit, kind="wrap"):
    """Put the form `what` behind the wire `after`, around what leads from there to `node` or, without one, nothing."""

    what: str
    after: Wire
    node: str | None = None
    before: Port | None = None

    def __str__(self) -> str:
        if self.node:
            return f"wrap {self.named((self.node, 0))} back to {self.after.node} in {self.what}"
        only = f" before {self.before.node}" if self.before else ""
        return f"wrap the wire {self.named(self.after)}{only} in {self.what}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        places: list[tuple[Wire, str | None, Port | None]] = [(after, None, before) for after, before in site.edges()]
        since = region(site.graph, site.node) if site.node else None
        if site.node and isinstance(since, Wire):
            places += [(since, site.node.name, None)] * len(places)  # edges and regions at even odds
        options = rule.options
        return Lazy(
            len(places) * len(options),
            lambda n: cls(site.path, options[n % len(options)].text, *places[n // len(options)]),
        )

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        if not has(graph, self.after) or not (self.node is None or self.node in graph.position):
            return Refusal("site", f"there is no wire {self.named(self.after)}, or no node {self.node}")
        shape = graph.shape(self.after)
        form = moves.body(self.what, graph, (shape,), (shape,))
        if isinstance(form, Refusal):
            return form
        if self.node is None:
            filled = fill(form, None)
            return filled if isinstance(filled, Refusal) else inserted(graph, filled, self.after, self.before)
        body = cut(graph, self.after, self.node)
        if isinstance(body, Refusal):
            return body
        if body.output_shapes != (shape,):
            return Refusal("site", f"{self.node} does not keep the shape of {self.after.node}")
        filled = fill(form, body)
        return filled if isinstance(filled, Refusal) else exchanged(graph, filled, self.after, self.node)


def fill(form: Graph, body: Graph | None) -> Graph | Refusal:
    """The form with `body`, solved for the shape it meets, where the form has its first identity; None leaves nothing.

    Further identities are left out.
    """
    found = False

    def filled(graph: Graph) -> Graph:
        nonlocal found
        for node in graph.nodes:
            if isinstance(node.op, Block):
                inner = filled(node.op.graph)
                if inner is not node.op.graph:
                    graph = graph.with_op(node.name, around(node.op, inner))
            elif isinstance(node.op, Identity):
                if body is None or found:
                    graph = rewired(graph, {Wire(node.name): node.inputs[0]})
                else:
                    shapes = graph.input_shapes(node)
                    graph = substituted(graph, node.name, resolved(body, shapes, shapes[0][0]))
                found = True
        return graph

    result = filled(form)
    if body is not None and not found:
        return Refusal("type", f"expected {form.name} to have a body")
    return result
