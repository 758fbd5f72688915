"""Search spaces: open choices, moves from a start, and budgets, independent of how they were written down."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import Any, NamedTuple

from uninas.degree import degree
from uninas.errors import Span, UninasError, did_you_mean, error, shown
from uninas.graph import Graph
from uninas.simplify import redundant

PATIENCE = 1000
"""Refusals in a row after which there is probably no legal move, unless a space says otherwise."""

METRICS: dict[str, Callable[[Graph], int]] = {
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
}
"""What a budget may limit. FLOPs are 2 x MACs; activations and peak count elements for one sample; depth is the number
of operations on the longest path, degree that of factors in the largest product that no norm interrupts, redundant the
number of operations which do nothing."""

ADDITIVE = frozenset(["params", "flops", "macs", "elementwise", "activations", "operations"])
"""What the parts of a network cost, summed up."""


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

    def broken_by(self, whole: Graph, part: Graph, other: Graph, copies: int = 1) -> str:
        """What is broken when `other` takes the place of `part`, which is `copies` times in `whole`, else ''.

        Only limits on costs that add up are looked at; nothing is built for it.
        """
        for limit in self.limits:
            if limit.metric in ADDITIVE:
                measure = METRICS[limit.metric]
                if text := limit.broken(measure(whole) + copies * (measure(other) - measure(part))):
                    return text
        return ""

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
    """What a move may put somewhere: a chain of steps that types itself for the shapes it meets.

    `on` takes these and, as `width`, the channels that the result shall have; it raises UninasError when it cannot.
    """

    text: str
    on: Callable[..., Graph] = field(repr=False)


@dataclass(frozen=True)
class Facts:
    """What a filter may ask of a site, by these names."""

    stage: int
    """number of the stage, counted from 0; -1 outside all stages"""
    index: int
    """number of the block in its stage, counted from 0; -1 outside all blocks"""
    depth: int
    """how many blocks lie around the site"""
    op: str
    """the operation or block that stands there, or 'out'"""
    block: str
    """the block that it stands in"""
    C: int
    H: int
    W: int


class MoveForm(NamedTuple):
    """What a kind of move says in braces."""

    doc: str
    chains: str = ""
    """'must' or 'may' have chains of steps to put in; otherwise it has none"""
    values: tuple[str, ...] = ()
    """names that may get values; '*' stands for any attribute of an operation"""


MOVES = {
    "insert": MoveForm("puts a chain onto a wire", "must"),
    "remove": MoveForm("takes out a node, with the region that ends there"),
    "replace": MoveForm("puts a chain in the place of a node", "must"),
    "attribute": MoveForm("gives an attribute of an operation another value", values=("*",)),
    "wrap": MoveForm("puts a form around a wire or a region", "must"),
    "skip": MoveForm("adds a wire to a later one of its shape", "may"),
    "unskip": MoveForm("takes an input from a sum, product or maximum"),
    "own": MoveForm("gives one part of an each a body of its own"),
    "share": MoveForm("lets a block be one more part of an each"),
    "swap": MoveForm("lets two blocks of a stage change places"),
    "duplicate": MoveForm("puts a second block like it behind a block"),
    "delete": MoveForm("leaves a block out"),
    "move": MoveForm("takes a block to another place of any stage"),
    "depth": MoveForm("changes the number of blocks of a stage", values=("count",)),
    "width": MoveForm("changes the channels of a stage", values=("width",)),
    "stride": MoveForm("changes which stages halve the map"),
    "resolution": MoveForm("changes the height and width of the images", values=("size",)),
}
"""Every kind of move that a space can name."""


@dataclass(frozen=True)
class MoveRule:
    """A kind of move with its relative weight, what it may put in, the values it may give, and where it may act."""

    name: str
    weight: float
    options: tuple[MoveOption, ...] = ()
    values: Mapping[str, tuple[int | float | bool | str, ...]] = field(default_factory=dict)
    where: Callable[[Facts], bool] | None = field(default=None, repr=False)
    condition: str = ""
    """The filter, as it was written."""
    span: Span | None = field(default=None, repr=False, compare=False)

    def check(self) -> None:
        """Raise UninasError unless there is that kind of move, and the rule gives what it takes."""
        form = MOVES.get(self.name)
        if form is None:
            hint = did_you_mean(self.name, MOVES) or f"there are {', '.join(MOVES)}"
            raise error("UNI010", f"unknown move {shown(self.name)}", self.span, hint)
        if form.chains == "must" and not self.options:
            example = f"moves {self.name} 0.7 {{conv(C, 3), gelu}}, ..."
            raise error("UNI013", f"expected what to {self.name}", self.span, example)
        if self.options and not form.chains:
            raise error("UNI012", f"expected nothing to put in, because {self.name} only {form.doc}", self.span)
        for name in self.values:
            if name not in form.values and "*" not in form.values:
                hint = did_you_mean(name, form.values) or f"it takes {', '.join(form.values) or 'none'}"
                raise error("UNI012", f"{self.name} has no values called {shown(name)}", self.span, hint)


class Member(NamedTuple):
    """An architecture of a space of choices: the answers behind it, and the choices that were asked for it."""

    graph: Graph
    answers: dict[str, int]
    choices: tuple[Choice, ...]


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
    counted: Callable[[], int] | None = field(default=None, repr=False)
    """Counts the members of a nested space."""
    patience: int = PATIENCE
    """How many draws in a row may be refused before a step is given up."""

    def count(self) -> int:
        """Number of assignments, exactly. Raises UNI030 where that would take too long to find out."""
        if self.nested and self.counted:
            return self.counted()
        return math.prod(len(choice.options) for choice in self.choices)

    def member(self, answers: Mapping[str, int] | Sequence[int]) -> Graph:
        """The architecture for these answers, by path or in the order of `choices`."""
        if not isinstance(answers, Mapping) and len(answers) != len(self.choices):
            raise error("UNI042", f"expected {len(self.choices)} answers for {self.name}, but got {len(answers)}")
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
        """A member with every choice answered uniformly, and its answers; the budget is `mutate.ChoiceWalk`'s."""
        return self.completed({}, generator)[:2]

    def draw(self, generator: random.Random) -> dict[str, int]:
        """Random answers, each option equally likely. Nothing is built, unless inner choices depend on outer ones."""
        if self.nested:
            return self.sample(generator)[1]
        if self.build is None:
            raise self._no_choices()
        randrange = generator.randrange
        return {path: randrange(options) for path, options in self._sizes}

    def assignments(self) -> Iterator[tuple[int, ...]]:
        """All answers, the last choice varying fastest."""
        self._flat("enumerate")
        yield from itertools.product(*(range(len(choice.options)) for choice in self.choices))

    def members(self) -> Iterator[Member]:
        """Every member, built one after another, also where inner choices depend on outer ones."""
        pending: list[dict[str, int]] = [{}]
        while pending:
            given = pending.pop()
            member = self.completed(given)
            yield member
            for choice in member.choices:  # what was not given took its first option; the others are still to come
                if choice.path not in given:
                    pending += ({**given, choice.path: option} for option in range(len(choice.options) - 1, 0, -1))
                    given = {**given, choice.path: 0}

    def encode(self, answers: Mapping[str, int]) -> tuple[int, ...]:
        """Answers as a vector, in the order of `choices`. Raises UNI042 where inner choices depend on outer ones."""
        self._flat("encode")
        if answers.keys() != {choice.path for choice in self.choices}:
            raise error("UNI042", f"expected an answer for each of the {len(self.choices)} choices of {self.name}")
        return tuple(answers[choice.path] for choice in self.choices)

    def decode(self, vector: Sequence[int]) -> dict[str, int]:
        """The answers that `encode` wrote. Raises UNI042 when the vector is none of this space."""
        self._flat("decode")
        given: Sequence[Any] = vector
        fits = len(given) == len(self.choices) and all(
            isinstance(answer, Integral) and 0 <= int(answer) < len(choice.options)
            for answer, choice in zip(given, self.choices, strict=True)
        )
        if not fits:
            limits = ", ".join(str(len(choice.options) - 1) for choice in self.choices)
            raise error("UNI042", f"expected {len(self.choices)} numbers of at most {shown(limits)}, from 0 on")
        return {choice.path: int(answer) for answer, choice in zip(vector, self.choices, strict=True)}

    def completed(self, answers: Mapping[str, int], generator: random.Random | None = None) -> Member:
        """The member with these answers, as far as they are asked for.

        What is asked besides is answered at random or, without a generator, by the first option.
        """
        given: dict[str, int] = {}
        choices: dict[str, Choice] = {}

        def decide(choice: Choice) -> int:
            if choice.path not in given:
                answer = answers.get(choice.path, -1)
                if not 0 <= answer < len(choice.options):
                    answer = generator.randrange(len(choice.options)) if generator else 0
                given[choice.path], choices[choice.path] = answer, choice
            return given[choice.path]

        return Member(self._built(decide), given, tuple(choices.values()))

    @cached_property
    def _sizes(self) -> list[tuple[str, int]]:
        return [(choice.path, len(choice.options)) for choice in self.choices]

    def _flat(self, what: str) -> None:
        if self.nested:
            raise error(
                "UNI042",
                f"cannot {what} {self.name}: which choices it has depends on their answers",
                None,
                "sample it, or ask every choice outside of blocks: choose ... in, with ... in",
            )

    def _built(self, decide: Decide) -> Graph:
        if self.build is None:
            raise self._no_choices()
        return self.build(decide)

    def _no_choices(self) -> UninasError:
        return error("UNI042", f"{self.name} has no open choices", None, "it has a start and moves: use search")
