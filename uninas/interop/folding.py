"""Blocks as a person would cut them: what is another block with a sum around it uses that, and a chain that has no name
of its own stands where it is used, if that is one place.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from uninas.graph import INPUT, Block, Graph, Node, Wire, subgraphs
from uninas.graph.builder import snake_case
from uninas.graph.network import block_name
from uninas.graph.variants import free
from uninas.language.compact import is_chain
from uninas.language.printer import is_network
from uninas.ops.merge import Add
from uninas.ops.op import Op

NAMELESS = ("Sequential", "ModuleList", "ModuleDict")
"""Classes whose names say nothing."""
SHORT = 4  # operations of a chain that may stand where it is used


def tidied(graph: Graph) -> tuple[Graph, dict[str, str]]:
    """The graph with its blocks cut anew, and the new paths of its nodes by the old ones."""
    folding = Folding(graph)
    dissolving = Dissolving(folding.graph)
    return dissolving.graph, {
        old: dissolving.moved[new] for old, new in folding.moved.items() if new in dissolving.moved
    }


class Rewriting:
    """Builds a graph anew, with other blocks. `moved` are the new paths of nodes, by the old ones."""

    def __init__(self, graph: Graph):
        self.moved: dict[str, str] = {}
        self.builds: dict[int, Hashable] = {}
        self.kept: list[Graph] = []
        """Graphs whose identities are known."""
        self.sites: dict[Hashable, set[Hashable]] = {}
        """Places at which blocks stand, by how the blocks are built; places in equal blocks are one."""
        self.gather(graph)
        self.graph = self.folded(graph, "", "")

    def gather(self, graph: Graph) -> None:
        """Note how every block inside is built."""
        around = id(graph) if is_network(graph) or is_stage_graph(graph) else (graph.name, self.build(graph))
        for number, node in enumerate(graph.nodes):
            for inner, _ in subgraphs(node):
                self.gather(inner)
                self.sites.setdefault((inner.name, self.build(inner)), set()).add((around, number))

    def build(self, graph: Graph) -> Hashable:
        """The operations and wires of a graph without its numbers."""
        if id(graph) not in self.builds:
            place = {node.name: number for number, node in enumerate(graph.nodes)} | {INPUT: -1}
            nodes = tuple(
                (
                    node.op.name if isinstance(node.op, Op) else str(node.op),
                    tuple((inner.name, self.build(inner)) for inner, _ in subgraphs(node)),
                    tuple((place[wire.node], wire.port) for wire in node.inputs),
                )
                for node in graph.nodes
            )
            ends = tuple((place[wire.node], wire.port) for wire in graph.outputs)
            self.builds[id(graph)] = (nodes, ends, len(graph.inputs))
            self.kept.append(graph)
        return self.builds[id(graph)]

    def folded(self, graph: Graph, before: str, after: str) -> Graph:
        """The graph with other blocks inside; the paths of its nodes begin with these words, then and now."""
        return replace(graph, nodes=tuple(self.node(node, before, after) for node in graph.nodes))

    def node(self, node: Node, before: str, after: str) -> Node:
        """The node with another block inside."""
        old, new = f"{before}{node.name}", f"{after}{node.name}"
        self.moved[old] = new
        if isinstance(node.op, Block):
            return replace(node, op=replace(node.op, graph=self.inner(node.op.graph, f"{old}.", f"{new}.")))
        for inner, _ in subgraphs(node):
            self.noted(inner, f"{old}.", f"{new}.")
        return node

    def noted(self, graph: Graph, before: str, after: str) -> None:
        """Nodes of parts of a bundle stay where they are."""
        for node in graph.nodes:
            self.moved[f"{before}{node.name}"] = f"{after}{node.name}"
            for inner, _ in subgraphs(node):
                self.noted(inner, f"{before}{node.name}.", f"{after}{node.name}.")

    def inner(self, graph: Graph, before: str, after: str) -> Graph:
        """What a block becomes."""
        return self.folded(graph, before, after)


class Folding(Rewriting):
    """Blocks that are another block with a sum around it use that."""

    def inner(self, graph: Graph, before: str, after: str) -> Graph:
        core = beside(graph)
        if core is None or (core.name, self.build(core)) not in self.sites:
            return self.folded(graph, before, after)
        name, last = snake_case(graph.name), graph.nodes[-1]
        inner = self.folded(core, before, f"{after}{name}.")
        own = last.name if last.name != name else f"{last.name}_sum"
        self.moved[f"{before}{last.name}"] = f"{after}{own}"
        inputs = tuple(wire if wire.node == INPUT else Wire(name) for wire in last.inputs)
        nodes = (Node(name, Block(inner), (Wire(INPUT),)), Node(own, last.op, inputs))
        return Graph(graph.inputs, nodes, (Wire(own),), graph.name)


class Dissolving(Rewriting):
    """Short chains without a name of their own, used in one place, stand there."""

    def folded(self, graph: Graph, before: str, after: str) -> Graph:
        if is_network(graph):
            return super().folded(graph, before, after)
        taken = {node.name for node in graph.nodes}
        place = {Wire(INPUT, port): Wire(INPUT, port) for port in range(len(graph.inputs))}
        nodes: list[Node] = []
        for node in graph.nodes:
            wires = tuple(place[wire] for wire in node.inputs)
            if not is_stage_graph(graph) and self.dissolves(node):
                for each in graph_of(node).nodes:
                    name = free(each.name, taken, 2)
                    self.moved[f"{before}{node.name}.{each.name}"] = f"{after}{name}"
                    nodes.append(Node(name, each.op, wires))
                    wires = (Wire(name),)
                place[Wire(node.name)] = wires[0]
                continue
            made = self.node(node, before, after)
            if is_stage_graph(graph) and self.dissolves(node, named=True):
                made = replace(made, op=Block(replace(graph_of(made), name="block")))
            nodes.append(replace(made, inputs=wires))
            place |= {Wire(node.name, port): Wire(node.name, port) for port in range(len(graph.shapes(node.name)))}
        return replace(graph, nodes=tuple(nodes), outputs=tuple(place[wire] for wire in graph.outputs))

    def dissolves(self, node: Node, *, named: bool = False) -> bool:
        """Whether a node is such a chain; `named`: it may also have a name."""
        if not isinstance(node.op, Block) or node.op.times > 1:
            return False
        graph = node.op.graph
        short = 0 < len(graph.nodes) <= SHORT and all(isinstance(each.op, Op) for each in graph.nodes)
        alone = len(graph.outputs) == len(graph.inputs) == 1 and is_chain(graph)
        once = len(self.sites[graph.name, self.build(graph)]) == 1
        return short and alone and once and (named or graph.name in NAMELESS)


def graph_of(node: Node) -> Graph:
    """The graph of a block."""
    assert isinstance(node.op, Block)
    return node.op.graph


def is_stage_graph(graph: Graph) -> bool:
    """Whether a graph is a stage: its nodes are called blocks.0, blocks.1, ..."""
    return bool(graph.nodes) and graph.nodes[0].name == block_name(0)


def beside(graph: Graph) -> Graph | None:
    """What stands beside the input in the sum that a block ends with; None for any other block."""
    last = graph.nodes[-1] if graph.nodes else None
    if last is None or not isinstance(last.op, Add) or graph.outputs != (Wire(last.name),) or len(graph.inputs) != 1:
        return None
    others = [wire for wire in last.inputs if wire.node != INPUT]
    if len(last.inputs) != 2 or len(others) != 1 or len(graph.nodes) < 3:
        return None
    core = graph.nodes[:-1]
    if others[0] != Wire(core[-1].name):
        return None
    return Graph(graph.inputs, core, tuple(others), graph.name)
