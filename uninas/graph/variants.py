"""Variants of a network as edits of its graph: other numbers of classes, drop path, outputs of stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from uninas.errors import error
from uninas.graph.graph import Block, Each, Graph, Node, Wire
from uninas.ops.linear import Linear
from uninas.ops.op import Op
from uninas.ops.regulariser import DropPath
from uninas.ops.shape import Flatten


def transformed(graph: Graph, change: Callable[[Op], Op]) -> Graph:
    """The graph with every elementary operation replaced by `change(operation)`; what stays equal stays shared."""

    def changed(node: Node) -> Node:
        op = node.op
        if isinstance(op, Op):
            other: Op | Block | Each = change(op)
        elif isinstance(op, Block):
            inner = transformed(op.graph, change)
            other = op if inner is op.graph else Block(inner)
        else:
            body = transformed(op.body, change)
            other = op if body is op.body else Each(body)
        return node if other is op else replace(node, op=other)

    nodes = tuple(changed(node) for node in graph.nodes)
    return graph if all(a is b for a, b in zip(nodes, graph.nodes, strict=True)) else replace(graph, nodes=nodes)


def with_classes(graph: Graph, classes: int) -> Graph:
    """Another number of outputs for the last linear layer; 0: no linear layer, a vector of features."""
    if classes < 0:
        raise error("UNI060", f"expected num_classes of at least 0, but got {classes}")
    last = graph.nodes[-1] if graph.nodes else None
    if last and isinstance(last.op, Block):
        op: Op | Block = Block(with_classes(last.op.graph, classes))
    elif last and isinstance(last.op, Linear):
        op = Flatten() if classes == 0 else replace(last.op, out=classes)
    else:
        raise error("UNI060", "expected a network that ends in a linear layer, to change its number of classes")
    return replace(graph, nodes=(*graph.nodes[:-1], replace(last, op=op)))


def with_drop_path(graph: Graph, rate: float) -> Graph:
    """Rates of stochastic depth rising linearly over the drop_path operations (Huang et al. 2016)."""
    if not 0 <= rate < 1:
        raise error("UNI060", f"expected a drop_path_rate from 0 up to 1, but got {rate}")
    blocks = [path for path, _, node in graph.walk() if isinstance(node.op, DropPath)]
    owners = list(dict.fromkeys(_block_of(path) for path in blocks))
    if not owners:
        raise error(
            "UNI060", "expected a network with drop_path operations", None, "write -> drop_path in residual branches"
        )
    rates = [rate * number / max(1, len(owners) - 1) for number in range(len(owners))]
    by_path = {path: rates[owners.index(_block_of(path))] for path in blocks}
    remaining = iter(blocks)  # `transformed` meets operations in the order of `walk`
    return transformed(graph, lambda op: DropPath(by_path[next(remaining)]) if isinstance(op, DropPath) else op)


def _block_of(path: str) -> str:
    """stages.2.blocks.0.attention.drop_path -> stages.2.blocks.0: branches of one block share a rate."""
    parts = path.split(".")
    return ".".join(parts[:4]) if parts[0] == "stages" else path


def with_stage_outputs(graph: Graph, indices: Sequence[int] | None) -> Graph:
    """The graph with the outputs of its stages as outputs, and nothing after the last of them."""
    stages = [node.name for node in graph.nodes if node.name.startswith("stages.")]
    chosen = range(len(stages)) if indices is None else indices
    if not stages or not list(chosen) or not all(-len(stages) <= index < len(stages) for index in chosen):
        raise error("UNI060", f"expected out_indices from 0 to {len(stages) - 1}, but got {list(chosen)}")
    return graph.edited(graph.nodes, [Wire(stages[index]) for index in chosen])
