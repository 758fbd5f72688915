"""Search spaces: open choices, moves from a start, and budgets, independent of how they were written down."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NamedTuple

from uninas.errors import Unfit, UninasError, did_you_mean, error, shown
from uninas.fact import fact
from uninas.graph import Graph
from uninas.space.budget import PATIENCE, Budget
from uninas.space.rules import MoveRule

REDRAWN = 100
"""How often members are drawn that cannot be built before that is the space's fault."""


@dataclass(frozen=True)
class Choice:
    """One open choice: where it is, and its options as the language writes them."""

    path: str
    options: tuple[str, ...]


Decide = Callable[[Choice], int]
"""Answers a choice with the index of an option."""


class Member(NamedTuple):
    """An architecture of a space of choices: the answers behind it, and the choices that were asked for it."""

    graph: Graph
    answers: dict[str, int]
    choices: tuple[Choice, ...]


@dataclass(frozen=True, repr=False)
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
    """Counts the members of a nested or conditional space."""
    conditional: bool = False
    """Not all answers fit each other."""
    patience: int = PATIENCE
    """How many draws in a row may be refused before a step is given up."""

    def __repr__(self) -> str:
        """What it is in one line: Space(mobilenetv2: 21 choices, budget on flops)."""
        parts = [f"{len(self.choices)} choices{' and further ones inside' * self.nested}"] if self.choices else []
        parts += [f"{len(self.moves)} kinds of moves"] if self.moves else []
        parts += [f"budget on {', '.join(limit.metric for limit in self.budget.limits)}"] if self.budget.limits else []
        return f"Space({self.name}: {', '.join(parts) or 'nothing open'})"

    def count(self) -> int:
        """Number of assignments, exactly. Raises UNI030 where that would take too long to find out."""
        if self.counted:
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
        """A member with every choice answered uniformly, and its answers; the budget is `mutate.ChoiceWalk`'s.

        Where answers do not fit each other, so that nothing can be built, they are drawn again. Raises what the last
        of REDRAWN draws did wrong.
        """
        for left in reversed(range(REDRAWN)):
            try:
                return self.completed({}, generator)[:2]
            except UninasError:
                if not left:
                    raise
        raise AssertionError("one of the draws has returned")

    def draw(self, generator: random.Random) -> dict[str, int]:
        """Random answers, each option equally likely. Nothing is built, unless inner choices depend on outer ones."""
        if self.nested or self.conditional:
            return self.sample(generator)[1]
        if self.build is None:
            raise self._no_choices()
        randrange = generator.randrange
        return {path: randrange(options) for path, options in self._sizes}

    def assignments(self) -> Iterator[tuple[int, ...]]:
        """All answers that fit each other, the last choice varying fastest."""
        self._flat("enumerate")
        every = itertools.product(*(range(len(choice.options)) for choice in self.choices))
        yield from filter(self._fits, every) if self.conditional else every

    def _fits(self, answers: tuple[int, ...]) -> bool:
        """Whether a condition of the space allows these answers."""
        try:
            self.member(answers)
        except Unfit:
            return False
        return True

    def members(self) -> Iterator[Member]:
        """Every member, built one after another, also where inner choices depend on outer ones."""
        if self.conditional and not self.nested:
            yield from (self.completed(self.decode(answers)) for answers in self.assignments())
            return
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

    @fact
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
