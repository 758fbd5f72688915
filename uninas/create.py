"""`create_model`: from a name, a path or a text to a torch module, with the options people know from timm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from uninas.elaborate import sized
from uninas.emit import compile
from uninas.errors import error
from uninas.graph import Block, Each, Graph, Node, Wire
from uninas.library import find
from uninas.model import Model
from uninas.op import Op
from uninas.ops.linear import Linear
from uninas.ops.regulariser import DropPath
from uninas.ops.shape import Flatten


def create_model(
    source: str | Path | Graph,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    init: str | None = None,
    generator: torch.Generator | None = None,
    fold: bool = False,
    fuse: bool = False,
    **arguments: int | float | bool | str,
) -> Model:
    """Build the torch module of a network.

    Args:
        source: the name of a shipped network (`list_models()`), a path to a `.uni` file, its text, or a Graph.
        num_classes: outputs of the last linear layer; 0 removes it and gives the pooled features, N x C.
        in_chans, img_size: channels and size of the input image, instead of those in the text.
        drop_path_rate: stochastic depth; the rates of the drop_path operations rise linearly from 0 to this one.
        features_only: return the outputs of the stages (all, or those of `out_indices`) instead of logits.
        init, generator, fold, fuse: see `compile`.
        arguments: values for the parameters of the network.

    Raises UninasError for everything that is wrong with the text or the options.
    """
    if not isinstance(source, Graph):
        graph = sized(*find(source), img_size, channels=in_chans, arguments=arguments)
    elif arguments or in_chans is not None or img_size is not None:
        raise error("UNI060", "expected a name, path or text, to change its input or parameters, but got a graph")
    else:
        graph = source
    if features_only:
        if num_classes is not None:
            raise error("UNI060", "expected num_classes or features_only, but got both")
        graph = with_stage_outputs(graph, out_indices)
    elif out_indices is not None:
        raise error("UNI060", "expected features_only=True with out_indices")
    elif num_classes is not None:
        graph = with_classes(graph, num_classes)
    if drop_path_rate:
        graph = with_drop_path(graph, drop_path_rate)
    return compile(graph, init=init, generator=generator, fold=fold, fuse=fuse)


# ---- the options as edits of the graph -----------------------------------------------------------------------------


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
