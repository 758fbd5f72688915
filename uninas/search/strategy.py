"""What a strategy is: it proposes the next candidate (`ask`) and learns what came of earlier ones (`tell`).

    strategy = make_strategy("climb", archive)
    candidate = strategy.ask(random.Random(1))
    strategy.begun(1, candidate)
    strategy.tell(Candidate(1, merits=(2.1,)))

A strategy is a small class that mostly says from whom to go on (`parent`). It knows numbers and merits only; the
archive keeps the architectures and makes the moves. What it does follows from what it was told and from the
generator it is given, so that a run can be resumed by telling it the past again.
"""

from __future__ import annotations

import inspect
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from uninas.errors import NoLegalEdit, did_you_mean, error, shown
from uninas.search.archive import Archive
from uninas.search.candidate import Candidate

TRIES = 8  # parents asked for a legal move, before the search gives up
MOST_AHEAD = 8192


class Option(NamedTuple):
    """A number that tunes a strategy: its default, and the least and greatest value. Integers stay integers."""

    default: float
    least: float
    most: float


class Strategy(ABC):
    """Chooses where the next candidate comes from."""

    ahead: ClassVar[int] = 8
    """How many candidates may be in flight unless the user says otherwise: many where scores do not matter."""
    options: ClassVar[Mapping[str, Option]] = {}
    """What can be tuned; every option is an attribute of that name."""
    crossover: float = 0.0
    """How often a candidate has two parents."""
    ranks_together: ClassVar[bool] = False
    """Orders candidates by ranks among all of them, so that it can take an aggregate."""
    scores_in_rungs: ClassVar[bool] = False
    """Gives many candidates a cheap score first."""

    def __init__(self, archive: Archive, rungs: int = 1, **options: float):
        self.archive, self.top = archive, rungs - 1
        for name, option in self.options.items():
            setattr(self, name, options.get(name, option.default))

    def ask(self, rng: random.Random) -> Candidate:
        """The next candidate. Raises UNI080 when there is no legal move from several parents in a row."""
        parent = self.parent(rng)
        stuck: NoLegalEdit | None = None
        for _ in range(TRIES):
            try:
                return self.born(parent, random.Random(rng.getrandbits(64)))
            except NoLegalEdit as problem:
                stuck = problem
            parent = rng.choice(self.archive.numbers)
        assert stuck is not None
        raise stuck

    def born(self, parent: int | None, rng: random.Random) -> Candidate:
        """A candidate from this parent; from nobody, when there is none."""
        if parent is None:
            return self.archive.fresh(rng, self.top)
        if self.crossover and rng.random() < self.crossover:
            mate = self.parent(rng)
            if mate == parent:  # as where a tournament draws everybody
                mate = rng.choice([number for number in self.archive.numbers if number != parent] or [parent])
            if mate is not None and mate != parent:
                return self.archive.cross(parent, mate, rng, self.top)
        return self.archive.child(parent, rng, self.top)

    def begun(self, number: int, candidate: Candidate) -> None:  # noqa: B027  # most strategies need not know
        """A candidate got its number and is being scored."""

    @abstractmethod
    def parent(self, rng: random.Random) -> int | None:
        """The candidate to go on from; None for one that owes nothing to any other."""

    @abstractmethod
    def tell(self, outcome: Candidate) -> None:
        """Learn how a candidate fared."""

    @classmethod
    def summary(cls) -> str:
        """The first sentence of its documentation."""
        return (inspect.getdoc(cls) or "").partition(".")[0].replace("\n", " ")


def checked_options(kind: type[Strategy], name: str, given: Mapping[str, Any]) -> dict[str, float]:
    """The options given for a strategy. Raises UNI071 for one that it does not have, or out of its range."""
    found: dict[str, float] = {}
    for key, value in given.items():
        option = kind.options.get(key)
        if option is None:
            hint = did_you_mean(key, kind.options) or f"it has {', '.join(kind.options) or 'none'}"
            raise error("UNI071", f"the strategy {name} has no option {shown(key)}", None, hint)
        wanted = int if isinstance(option.default, int) else (int, float)
        if not isinstance(value, wanted) or isinstance(value, bool) or not option.least <= value <= option.most:
            kind_of = "an integer" if wanted is int else "a number"
            raise error(
                "UNI071",
                f"expected {kind_of} from {option.least:g} to {option.most:g} for {key} of {name}, "
                f"but got {shown(value)}",
            )
        found[key] = value
    return found
