"""Search spaces: open choices, moves from a start, and budgets, independent of how they were written down."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from uninas.errors import did_you_mean, error
from uninas.graph import Graph
from uninas.op import Shape

METRICS: dict[str, Callable[[Graph], int]] = {
    "params": lambda graph: graph.cost.params,
    "flops": lambda graph: graph.cost.flops,
    "macs": lambda graph: graph.cost.macs,
    "elementwise": lambda graph: graph.cost.elementwise,
    "activations": lambda graph: graph.activations,
    "peak": lambda graph: graph.peak,
    "operations": lambda graph: graph.operations,
}
"""What a budget may limit. FLOPs are 2 x MACs; activations and peak count elements for one sample."""


@dataclass(frozen=True)
class Limit:
    """low <= metric <= high; None leaves a side open. Relative limits are fractions of what the start costs."""

    metric: str
    low: float | None = None
    high: float | None = None
    relative: bool = False

    def against(self, start: Graph) -> Limit:
        """The same limit in absolute numbers."""
        if not self.relative:
            return self
        base = METRICS[self.metric](start)
        low, high = (None if side is None else side * base for side in (self.low, self.high))
        return Limit(self.metric, low, high)

    def broken(self, value: int) -> str:
        """A sentence when `value` breaks the limit, else ''."""
        if self.low is not None and value < self.low:
            return f"expected {self.metric} of at least {self.low:,.0f}, but got {value:,}"
        if self.high is not None and value > self.high:
            return f"expected {self.metric} of at most {self.high:,.0f}, but got {value:,}"
        return ""


@dataclass(frozen=True)
class Budget:
    """All limits on an architecture together."""

    limits: tuple[Limit, ...] = ()

    def broken(self, graph: Graph) -> list[str]:
        """One sentence for every limit that the graph breaks."""
        return [text for limit in self.limits if (text := limit.broken(METRICS[limit.metric](graph)))]

    def against(self, start: Graph) -> Budget:
        return Budget(tuple(limit.against(start) for limit in self.limits))

    def with_limits(self, *limits: Limit) -> Budget:
        """These limits take the place of earlier ones on the same metric."""
        replaced = {limit.metric for limit in limits}
        return Budget(tuple(limit for limit in self.limits if limit.metric not in replaced) + limits)


@dataclass(frozen=True)
class Choice:
    """One open choice: where it is, and its options as the language writes them."""

    path: str
    options: tuple[str, ...]


Decide = Callable[[Choice], int]
"""Answers a choice with the index of an option."""


@dataclass(frozen=True)
class MoveOption:
    """What a move may put somewhere: a chain of steps that types itself for the shape it meets."""

    text: str
    on: Callable[[Shape], Graph] = field(repr=False)


@dataclass(frozen=True)
class MoveRule:
    """A kind of move with its relative weight, and what it may put in."""

    name: str
    weight: float
    options: tuple[MoveOption, ...]


@dataclass(frozen=True)
class Space:
    """A set of architectures. Either open choices (`build` asks), or a start with moves, or both."""

    name: str
    doc: str
    budget: Budget
    moves: tuple[MoveRule, ...]
    start: Callable[[], Graph] | None = field(repr=False)
    build: Callable[[Decide], Graph] | None = field(repr=False)
    choices: tuple[Choice, ...]
    """The choices that every member answers, in the order they are asked."""
    nested: bool
    """Further choices open up inside, depending on the answers to these."""

    def count(self) -> int:
        """Number of assignments, exactly. Raises UNI042 where inner choices depend on outer ones."""
        if self.nested:
            raise error("UNI042", f"cannot count {self.name}: the number of its choices depends on their answers")
        return math.prod(len(choice.options) for choice in self.choices)

    def member(self, answers: Mapping[str, int] | Sequence[int]) -> Graph:
        """The architecture for these answers, by path or in the order of `choices`."""
        by_path = (
            answers
            if isinstance(answers, Mapping)
            else dict(zip((choice.path for choice in self.choices), answers, strict=True))
        )

        def decide(choice: Choice) -> int:
            if choice.path not in by_path:
                raise error(
                    "UNI042",
                    f"expected an answer for {choice.path} of {self.name}",
                    None,
                    did_you_mean(choice.path, by_path),
                )
            answer = by_path[choice.path]
            if not 0 <= answer < len(choice.options):
                raise error(
                    "UNI042",
                    f"expected an answer from 0 to {len(choice.options) - 1} for {choice.path}, but got {answer}",
                )
            return answer

        return self._built(decide)

    def sample(self, generator: random.Random) -> tuple[Graph, dict[str, int]]:
        """A member with every choice answered uniformly, and its answers."""
        answers: dict[str, int] = {}

        def decide(choice: Choice) -> int:
            return answers.setdefault(choice.path, generator.randrange(len(choice.options)))

        return self._built(decide), answers

    def assignments(self) -> Iterator[tuple[int, ...]]:
        """All answers, the last choice varying fastest."""
        self.count()
        yield from itertools.product(*(range(len(choice.options)) for choice in self.choices))

    def _built(self, decide: Decide) -> Graph:
        if self.build is None:
            raise error("UNI042", f"{self.name} has no open choices", None, "it has a start and moves: use search")
        return self.build(decide)
