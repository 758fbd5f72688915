"""Budgets: limits on what an architecture costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from uninas.graph import Graph, GraphError
from uninas.graph.degree import degree
from uninas.graph.resolve import at_size
from uninas.graph.simplify import redundant
from uninas.plugins import Registry

PATIENCE = 1000
"""Refusals in a row after which there is probably no legal move, unless a space says otherwise."""

COSTS: Registry[Callable[[Graph], int]] = Registry("cost", {
    "params": lambda graph: graph.cost.params,
    "flops": lambda graph: graph.cost.flops,
    "macs": lambda graph: graph.cost.macs,
    "elementwise": lambda graph: graph.cost.elementwise,
    "activations": lambda graph: graph.activations,
    "peak": lambda graph: graph.peak,
    "operations": lambda graph: graph.operations,
    "depth": lambda graph: graph.depth,
    "degree": degree,
    "redundant": redundant,
})  # fmt: skip
"""What a budget may limit. FLOPs are 2 x MACs; activations and peak count elements for one sample; depth is the number
of operations on the longest path, degree that of factors in the largest product that no norm interrupts, redundant the
number of operations which do nothing."""

ADDITIVE = frozenset(["params", "flops", "macs", "elementwise", "activations", "operations"])
"""What the parts of a network cost, summed up."""


@dataclass(frozen=True)
class Limit:
    """low <= metric <= high; None leaves a side open. Relative limits are fractions of what the start costs.

    With `at`, a height and width, the limit speaks of the same network on images of that size, where it must exist.
    """

    metric: str
    low: float | None = None
    high: float | None = None
    relative: bool = False
    at: tuple[int, int] | None = None

    def measure(self, graph: Graph) -> int:
        """What is limited, of a graph. Raises GraphError where it does not exist at the size that is spoken of."""
        return COSTS[self.metric](at_size(graph, self.at) if self.at else graph)

    def against(self, start: Graph) -> Limit:
        """The same limit in absolute numbers."""
        if not self.relative:
            return self
        base = self.measure(start)
        low, high = (None if side is None else side * base for side in (self.low, self.high))
        return Limit(self.metric, low, high, at=self.at)

    def violation(self, value: int) -> str:
        """A sentence when `value` breaks the limit, else ''."""
        where = f" at {self.size}" if self.at else ""
        if self.low is not None and value < self.low:
            return f"expected {self.metric} of at least {self.low:,.0f}{where}, but got {value:,}"
        if self.high is not None and value > self.high:
            return f"expected {self.metric} of at most {self.high:,.0f}{where}, but got {value:,}"
        return ""

    def violation_of(self, graph: Graph) -> str:
        """A sentence when a graph breaks the limit, or does not exist at its size, else ''."""
        try:
            return self.violation(self.measure(graph))
        except GraphError as problem:
            where = f" ({problem.node})" if problem.node else ""
            return f"expected a network that exists at {self.size}, but there: {problem}{where}"

    @property
    def size(self) -> str:
        """The height and width as the language writes them."""
        return " x ".join(map(str, self.at or ()))


@dataclass(frozen=True)
class Budget:
    """All limits on an architecture together."""

    limits: tuple[Limit, ...] = ()

    def violations(self, graph: Graph) -> list[str]:
        """One sentence for every limit that the graph breaks."""
        return [text for limit in self.limits if (text := limit.violation_of(graph))]

    def violation_after(self, whole: Graph, part: Graph, other: Graph, copies: int = 1) -> str:
        """The limit that breaks when `other` replaces `part`, of which `whole` has `copies`, as a sentence; else ''.

        Only limits on costs that add up are looked at; nothing is built for it.
        """
        for limit in self.limits:
            if limit.metric in ADDITIVE and not limit.at:
                measure = COSTS[limit.metric]
                if text := limit.violation(measure(whole) + copies * (measure(other) - measure(part))):
                    return text
        return ""

    def against(self, start: Graph) -> Budget:
        return Budget(tuple(limit.against(start) for limit in self.limits))
