"""The paths of a network, counted on its graph; no torch, and equal blocks once.

A network narrows to a single value again and again: between its blocks, and inside a block where there is nothing
beside it. What lies between two such values is a region, a bundle of paths. What counts about a path is how many
weighted operations (convolutions and matrix products with parameters) it passes, how many values each of these adds up
(its fan-in), and whether it passes a pooling.
`proxies.paths` says what is made of it, and counts the same on modules that come from elsewhere.

The parts of an `each`, such as the heads of attention, are one path together, however they are written or run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import NamedTuple

from uninas.graph import INPUT, Block, Each, Graph, Node, Wire
from uninas.ops.op import Op, size

POOLINGS = ("max_pool", "avg_pool")
"""Operations that pool neighbours; over all positions they take no detail away that a head would not."""


BARRIER = "zero"
"""The operation that no path passes."""


class Paths(NamedTuple):
    """Counts of the paths from the start of a region to one of its values."""

    total: int
    free: int
    """Those without a weighted operation."""
    plain: int
    """Those without a weighted operation or a pooling."""
    unpooled: int
    """Those without a pooling."""
    weighted: int
    """The weighted operations on all of them together, each as often as paths pass it."""
    width: float
    """The sum of the logarithms of the fan-ins of these."""

    def through(self, fan_in: int, pooling: bool) -> Paths:
        """The same paths, one operation longer; its fan-in is 0 where it has no weights."""
        weighted = fan_in > 0
        return Paths(
            self.total,
            self.free * (not weighted),
            self.plain * (not weighted and not pooling),
            self.unpooled * (not pooling),
            self.weighted + self.total * weighted,
            self.width + self.total * math.log(fan_in) if weighted else self.width,
        )


START = Paths(1, 1, 1, 1, 0, 0.0)


class Region(NamedTuple):
    """All paths between two values through which everything passes, and how many weighted operations lie on them."""

    paths: Paths
    operations: int

    @property
    def has_shortcut(self) -> bool:
        """Whether beside weights there is one path without, and that one does not pool."""
        return self.operations > 0 and self.paths.free == self.paths.plain == 1

    @property
    def surplus(self) -> int:
        """Paths without weights, beyond the first."""
        return max(0, self.paths.free - 1)

    @property
    def in_a_row(self) -> int:
        """Weighted operations that have nothing beside them."""
        return self.operations if self.paths.total == 1 else 0

    @property
    def counts(self) -> bool:
        """Whether there is anything in it: a weighted operation, a pooling, or more than one path."""
        return self.operations > 0 or self.paths.total > 1 or self.paths.unpooled == 0


class Step(NamedTuple):
    """An operation that a path may pass: its value, the values it takes, and what it is."""

    value: int
    takes: tuple[int, ...]
    fan_in: int
    """How many values its weights add up for one of their outputs; 0 where it has none."""
    pooling: bool


def regions_of_graph(graph: Graph) -> list[Region]:
    """The regions of a network from its input to its one output, those left out through which a path just passes.

    There is none where no path leads to the output.
    """
    return _regions(graph, {}) or []


def _regions(graph: Graph, known: dict[int, list[Region] | None]) -> list[Region] | None:
    """The same, or None where no path leads through; `known` are those of blocks met before, by identity."""
    if id(graph) not in known:
        if _is_chain(graph):
            parts = [_inside(node, graph, known) for node in graph.nodes]
            found = None if None in parts else [region for part in parts for region in part or ()]
        else:
            every = list(between(_steps(graph), [0]))
            found = [region for region in every if region.counts] if every else None
        known[id(graph)] = found
    return known[id(graph)]


def _is_chain(graph: Graph) -> bool:
    """Whether each node takes nothing but what the one before makes, from the input to the output."""
    previous = INPUT
    for node in graph.nodes:
        if {wire.node for wire in node.inputs} != {previous}:
            return False
        previous = node.name
    return {wire.node for wire in graph.outputs} == {previous}


def _inside(node: Node, graph: Graph, known: dict[int, list[Region] | None]) -> list[Region] | None:
    """The regions of a node that has nothing beside it; None where it lets nothing pass."""
    if isinstance(node.op, Block):
        regions = _regions(node.op.graph, known)
        return None if regions is None else regions * node.op.times
    if isinstance(node.op, Each):
        return _regions(node.op.body, known)
    if node.op.name == BARRIER:
        return None
    fan_in, pooling = _kind(node, graph)
    region = Region(START.through(fan_in, pooling), int(fan_in > 0))
    return [region] if region.counts else []


def _steps(graph: Graph) -> list[Step]:
    """Every operation of a graph and of what is inside it, in order; the inputs are one value, 0."""
    steps: list[Step] = []

    def add(graph: Graph, inputs: Sequence[int]) -> list[int]:
        values = {Wire(INPUT, port): value for port, value in enumerate(inputs)}
        for node in graph.nodes:
            takes = [values[wire] for wire in node.inputs]
            count = len(graph.shapes(node.name))
            made = takes
            if isinstance(node.op, Block):
                for _ in range(node.op.times):
                    made = add(node.op.graph, made)
            else:
                made = [one(node, graph, takes)] * count
            values |= {Wire(node.name, port): value for port, value in enumerate(made)}
        return [values[wire] for wire in graph.outputs]

    def one(node: Node, graph: Graph, takes: Sequence[int]) -> int:
        if isinstance(node.op, Each):
            bundles = zip(*node.op.parts(takes), strict=True)
            return add(node.op.body, [joined(tuple(dict.fromkeys(bundle))) for bundle in bundles])[0]
        assert isinstance(node.op, Op)
        if node.op.name == BARRIER:
            takes = ()
        elif node.op.name == "concat":  # parts of one value, put together again, are that value
            takes = tuple(dict.fromkeys(takes))
        return joined(tuple(takes), *_kind(node, graph))

    def joined(takes: tuple[int, ...], fan_in: int = 0, pooling: bool = False) -> int:
        steps.append(Step(len(steps) + 1, takes, fan_in, pooling))
        return len(steps)

    ends = add(graph, [0] * len(graph.inputs))
    joined(tuple(dict.fromkeys(ends)))
    return steps


def _kind(node: Node, graph: Graph) -> tuple[int, bool]:
    """The fan-in of its weights, or 0, and whether it pools neighbours."""
    op, made = node.op, graph.shapes(node.name)
    assert isinstance(op, Op)
    positions = made[0][1:] if made else ()
    pooling = op.name in POOLINGS and any(extent > 1 for extent in positions)
    if op.family not in ("conv", "linear"):
        return 0, pooling
    return op.macs(*graph.input_shapes(node)) // size(made[0]), pooling


def between(steps: Sequence[Step], inputs: Iterable[int]) -> Iterator[Region]:
    """The regions of a program that ends in the value of its last step. Steps that do not lead there do not count."""
    inputs = set(inputs)
    leading = _leading_out(steps) & _reached(steps, inputs)
    kept = [step for step in steps if step.value in leading]
    if steps and steps[-1].value not in leading:
        return
    last = {value: step.value for step in kept for value in step.takes}
    known = {value: START for value in inputs if value in last}
    operations = 0
    for step in kept:
        arriving = Paths(*map(sum, zip(*(known[value] for value in step.takes if value in known), strict=True)))
        known[step.value] = arriving.through(step.fan_in, step.pooling)
        operations += step.fan_in > 0
        for value in {value for value in step.takes if value in known and last[value] == step.value}:
            del known[value]
        if len(known) == 1:
            yield Region(known[step.value], operations)
            known, operations = {step.value: START}, 0


def _reached(steps: Sequence[Step], inputs: Set[int]) -> set[int]:
    """The values that depend on the inputs, these among them."""
    reached = set(inputs)
    for step in steps:
        if not reached.isdisjoint(step.takes):
            reached.add(step.value)
    return reached


def _leading_out(steps: Sequence[Step]) -> set[int]:
    """The values on which the last one depends, itself among them."""
    leading = {steps[-1].value} if steps else set()
    for step in reversed(steps):
        if step.value in leading:
            leading.update(step.takes)
    return leading


# ---- what is made of the regions -------------------------------------------------------------------------------------


def path_depth(found: Sequence[Region]) -> tuple[float, dict[str, float]]:
    """The number of weighted operations on the mean path, and the number of regions."""
    return sum(region.paths.weighted / region.paths.total for region in found), {"regions": len(found)}


def path_width(found: Sequence[Region]) -> tuple[float, dict[str, float]]:
    """The sum of the logarithms of the fan-ins on the mean path, and the number of regions."""
    return sum(region.paths.width / region.paths.total for region in found), {"regions": len(found)}


def path_count(found: Sequence[Region]) -> tuple[float, dict[str, float]]:
    """The logarithm of the number of paths from input to output, and the number of regions."""
    return sum(math.log(region.paths.total) for region in found), {"regions": len(found)}


def pooled_paths(found: Sequence[Region]) -> tuple[float, dict[str, float]]:
    """The share of paths that pass a pooling, summed over regions, and the number of these."""
    return sum(1 - region.paths.unpooled / region.paths.total for region in found), {"regions": len(found)}


def shortcuts(found: Sequence[Region]) -> tuple[float, dict[str, float]]:
    """Regions with one shortcut, less further shortcuts, less weights in a row; its terms, and how many regions."""
    terms: dict[str, float] = {
        "with_shortcut": sum(region.has_shortcut for region in found),
        "surplus": sum(region.surplus for region in found),
        "in_a_row": sum(region.in_a_row for region in found),
    }
    return terms["with_shortcut"] - terms["surplus"] - terms["in_a_row"], {**terms, "regions": len(found)}


MEASURES: dict[str, Callable[[Sequence[Region]], tuple[float, dict[str, float]]]] = {
    "path_depth": path_depth,
    "path_width": path_width,
    "path_count": path_count,
    "pooled_paths": pooled_paths,
    "shortcuts": shortcuts,
}
"""The scores that follow from the regions alone, by the names of their proxies."""


GRAPH_SCORE = "graph_score"
"""The score that follows from the regions and the number of parameters."""
WIRING = {"with_shortcut": 1, "surplus": -1, "in_a_row": -2, "pooled_paths": -1}
"""Its weights of what is counted in regions, chosen with the accuracies of four spaces."""


def graph_score(found: Sequence[Region], params: int) -> tuple[float, dict[str, float]]:
    """ln(parameters) + ln(1 + path_width) + what `WIRING` weighs, per region; these three terms.

    As the last is a mean over regions, a deeper network is not taken for one that is wired better. The score is 0 where
    no path leads through.
    """
    if not found:
        return 0.0, {}
    counts = {**shortcuts(found)[1], "pooled_paths": pooled_paths(found)[0]}
    parts = {
        "size": math.log(max(params, 1)),
        "width": math.log1p(path_width(found)[0]),
        "wiring": sum(weight * counts[name] for name, weight in WIRING.items()) / len(found),
    }
    return sum(parts.values()), parts
