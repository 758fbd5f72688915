"""Scores from the paths between the input and the output of a network; weights do not matter.

A network is read as a graph of operations, which narrows to a single value again and again: between its blocks, and
inside a block where there is nothing beside it. What lies between two such values is a region. Each region is a bundle
of paths, and what counts about a path is how many weighted operations (convolutions and matrix products with
parameters) it passes, and whether it passes a pooling:

    path_depth    = sum over regions of the mean number of weighted operations on a path;
    path_width    = sum over regions of the mean, over paths, of the sum of ln(fan-in) of the weighted operations on it;
    path_count    = sum over regions of ln(number of paths), which is the logarithm of that of the network;
    pooled_paths  = sum over regions of the share of paths that pass a pooling;
    shortcuts     = R - S - W,  R the regions with a shortcut: weighted operations, and beside them one path that passes
                    neither these nor a pooling; S the further paths without weights, in all regions; W the weighted
                    operations in regions of a single path, which have nothing beside them;
    graph_score   = ln(parameters) + ln(1 + path_width) + (R - S - 2 W - pooled_paths) / number of regions.

Gradients through weights without a shortcut are shattered (Balduzzi et al., ICML 2017), and a sum of several shortcuts
drowns what the weights beside them compute (each adds the same, and they add as random signs): one is best. A pooling
at each position takes details away; one over all positions, which ends most networks, is not counted.

`graph_score` adds magnitudes, not ranks. So what hardly differs among the networks that are compared hardly decides,
and it is a number of one network, whatever it is compared with.

This is this toolkit's own; how well it ranks is told in docs/results/scores.md and docs/results/spaces.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any

import torch
from torch import Tensor, fx, nn

from uninas.proxies.base import proxy
from uninas.proxies.engine.aten_graph import Program, differentiable_kernels, lower
from uninas.proxies.engine.convolutions import CONVOLUTIONS, plain_arguments
from uninas.proxies.engine.torch_private import adaptive_avg_pool2d, adaptive_avg_pool3d, pytree
from uninas.proxies.guard import of_structure
from uninas.proxies.types import Inputs, Measured, ProxyError
from uninas.scores import paths
from uninas.scores.paths import MEASURES, Region, Step, between, regions_of_graph

aten = torch.ops.aten

PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.convolution}
_POOLINGS = {
    aten.avg_pool2d, aten.avg_pool3d, aten.max_pool2d_with_indices, aten.max_pool3d_with_indices,
    adaptive_avg_pool2d, adaptive_avg_pool3d, aten.adaptive_max_pool2d, aten.adaptive_max_pool3d,
}  # fmt: skip


@of_structure
def regions(module: nn.Module, inputs: Inputs) -> list[Region]:
    """The regions of a network, from the input on. Nothing is computed.

    Of a network compiled by UniNAS they are those of its graph, where heads written one by one are one path together.
    Raises ProxyError for a network whose operations cannot be recorded, and for one whose output does not depend on
    its input.
    """
    graph = _graph_of(module)
    if graph is not None:
        return regions_of_graph(graph)
    module.eval()
    parameters = dict(module.named_parameters())
    with differentiable_kernels():  # fused attention hides its weights
        program = lower(module, parameters, tuple(part[:1] for part in inputs))
    if program is None:
        raise ProxyError(
            "the network's operations cannot be recorded",
            "it fails on this input, asks for values, or computes complex numbers",
        )
    steps = _steps(program, len(parameters))
    if not steps:
        raise ProxyError("the network's output does not depend on its input")
    return [region for region in between(*steps) if region.counts]


def _graph_of(module: nn.Module) -> Any:
    """The graph that a module was compiled from, where it has one output and the module still says so."""
    known = module.meta.get("uninas") if isinstance(module, fx.GraphModule) else None
    graph = known.get("graph") if isinstance(known, dict) else None
    return graph if graph is not None and len(graph.outputs) == 1 else None


def _steps(program: Program, parameters: int) -> tuple[list[Step], list[int]] | None:
    """The operations that depend on the input and lead to the output, and the inputs; None if there are none."""
    learned = reached(program, program.placeholders[:parameters])
    inputs = program.placeholders[parameters:]
    passed = _leading_out(program, reached(program, inputs))
    nodes = [node for node in program.steps if node in passed]
    number = {node: place for place, node in enumerate([*inputs, *nodes])}
    steps = [
        Step(
            number[node],
            tuple(number[leaf] for leaf in program.leaves[node] if leaf in passed),
            _fan_in(node) if any(leaf in learned and leaf not in passed for leaf in program.leaves[node]) else 0,
            _is_pooling(node),
        )
        for node in nodes
    ]
    return (steps, [number[node] for node in inputs if node in passed]) if steps else None


def reached(program: Program, sources: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes that depend on one of `sources`."""
    reached = set(sources)
    for node in program.steps:
        if program.size[node] and any(leaf in reached for leaf in program.leaves[node]):
            reached.add(node)
    return reached


def _leading_out(program: Program, nodes: Set[fx.Node]) -> set[fx.Node]:
    """Those of `nodes` on which the output depends."""
    leading = {program.output} & nodes
    for node in reversed(program.steps):
        if node in leading:
            leading.update(leaf for leaf in program.leaves[node] if leaf in nodes)
    return leading


def packet(node: fx.Node) -> Any:
    """The operation of a node, whatever its overload, also where a norm is folded into it."""
    return aten.convolution if node.target in CONVOLUTIONS else getattr(node.target, "overloadpacket", None)


def _fan_in(node: fx.Node) -> int:
    """How many products are added up for a value of it; 0 where it is neither a convolution nor a matrix product."""
    kind = packet(node)
    if kind not in PRODUCTS:
        return 0
    if kind is not aten.convolution:
        left: Any = node.args[1 if kind in (aten.addmm, aten.baddbmm) else 0]
        return int(left.meta["val"].shape[-1])
    filters: Any
    settings: Any
    _, filters, _, *settings = plain_arguments(node.target, node.args)
    shape, transposed, groups = filters.meta["val"].shape, settings[3], settings[-1]
    channels = shape[0] // groups if transposed else shape[1]
    return int(channels * shape[2:].numel())


def _is_pooling(node: fx.Node) -> bool:
    """Whether it pools neighbours; not where it leaves a single position."""
    out = next((leaf for leaf in pytree.tree_leaves(node.meta["val"]) if isinstance(leaf, Tensor)), None)
    return packet(node) in _POOLINGS and out is not None and out.shape[2:].numel() > 1


@proxy("path_depth")
def path_depth(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """The number of weighted operations on the mean path from input to output (this toolkit's own).

    All paths count alike. Weighted operations are convolutions and matrix products with parameters. The network is
    recorded, not run. Components: `regions`, into which it falls where everything passes through one value. Raises
    ProxyError for a network that cannot be recorded.
    """
    return MEASURES["path_depth"](regions(module, inputs))


@proxy("path_width")
def path_width(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """The sum of ln(fan-in) of the weighted operations on the mean path from input to output (this toolkit's own).

    All paths count alike. The fan-in of a weighted operation (a convolution or matrix product with parameters) is how
    many products it adds up for one value. On a network of a single path this is the sum in the entropy of DeepMAD
    (Shen et al., CVPR 2023), which that multiplies by ln(size of the last map). The network is recorded, not run.
    Components: `regions`. Raises ProxyError for a network that cannot be recorded.
    """
    return MEASURES["path_width"](regions(module, inputs))


@proxy("path_count")
def path_count(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """The logarithm of the number of paths from input to output, operation by operation (this toolkit's own).

    Heads of attention are one path together in a network of UniNAS. The network is recorded, not run. Components:
    `regions`, into which it falls. Raises ProxyError for a network that cannot be recorded.
    """
    return MEASURES["path_count"](regions(module, inputs))


@proxy("pooled_paths", "lower")
def pooled_paths(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """The share of paths that pass a pooling, summed over the network's regions (this toolkit's own).

    A region lies between two values through which everything passes. A pooling over all positions does not count. The
    network is recorded, not run. Components: `regions`, their number. Raises ProxyError for a network that cannot be
    recorded.
    """
    return MEASURES["pooled_paths"](regions(module, inputs))


@proxy("shortcuts")
def shortcuts(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """Regions with one shortcut, less further shortcuts, less weights in a row (this toolkit's own).

    A region lies between two values through which everything passes. It has a shortcut where beside weighted operations
    (convolutions and matrix products with parameters) there is one path that passes neither these nor a pooling.
    Further shortcuts are paths without weights beyond the first; weights in a row are weighted operations of regions
    that are a single path. The network is recorded, not run. Components: the three terms `with_shortcut`, `surplus` and
    `in_a_row`, and the number of `regions`. Raises ProxyError for a network that cannot be recorded.
    """
    return MEASURES["shortcuts"](regions(module, inputs))


@proxy("graph_score")
def graph_score(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """Parameters, the fan-ins on the mean path, and how regions are wired, as one number (this toolkit's own).

    It is ln(parameters) + ln(1 + `path_width`) plus, per region, those with a shortcut less further shortcuts, less
    twice the weights in a row (see `shortcuts`), less the share of pooled paths. The weights of its terms were chosen
    with the accuracies of four spaces; in use it needs neither labels nor images. The network is recorded, not run.
    Components: `size`, `width` and `wiring`, its terms. Raises ProxyError for a network that cannot be recorded.
    """
    return paths.graph_score(regions(module, inputs), sum(parameter.numel() for parameter in module.parameters()))
