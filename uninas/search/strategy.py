"""Which architecture comes next. A strategy proposes (`ask`) and learns what came of it (`tell`).

    strategy = STRATEGIES["walk"](pool)
    proposal, parent = strategy.ask(random.Random(1))
    strategy.tell(Outcome(1, score=2.1))

Strategies know numbers and scores; the pool keeps the architectures and makes the moves.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from dataclasses import dataclass

from uninas.errors import error
from uninas.graph import Graph
from uninas.mutate import Edit, Proposal, apply, propose
from uninas.search.plan import Plan

KEPT = 512  # graphs kept ready; the others are made again from their edits


class Pool:
    """Every architecture of a run by its number (0 is the start), as edits of their parents.

    Graphs are kept for a while and otherwise made again by replaying edits, which gives the same graph to the letter.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.keys: list[str] = []
        self.seen: set[str] = set()
        self._parents: list[tuple[int, Edit] | None] = []
        self._graphs: OrderedDict[int, Graph] = OrderedDict()

    def add(self, key: str, origin: tuple[int, Edit] | None, graph: Graph | None = None) -> int:
        """Number a new architecture by the edit of a parent that made it; the first one is the start."""
        number = len(self.keys)
        self.keys.append(key)
        self.seen.add(key)
        self._parents.append(origin)
        if graph is not None:
            self._keep(number, graph)
        return number

    def graph(self, number: int) -> Graph:
        """The architecture of that number. Raises UNI070 when its edits no longer lead to what was stored."""
        line: list[Edit] = []
        at = number
        while at not in self._graphs:
            origin = self._parents[at]
            if origin is None:
                self._keep(at, self.plan.start)
                break
            at, edit = origin
            line.append(edit)
        graph = self._graphs[at]
        for edit in reversed(line):
            graph = apply(graph, edit, self.plan.moves)
        if line and graph.key != self.keys[number]:
            raise error(
                "UNI070",
                f"candidate {number} is another architecture than when it was stored",
                None,
                "a file of the space, or this software, has changed since; begin a new run in another folder",
            )
        self._keep(number, graph)
        return graph

    def propose(self, parent: int, rng: random.Random) -> Proposal:
        """A new architecture, one move away from `parent`."""
        return propose(self.graph(parent), self.plan.moves, self.plan.budget, rng, self.seen)

    def _keep(self, number: int, graph: Graph) -> None:
        self._graphs[number] = graph
        self._graphs.move_to_end(number)
        if len(self._graphs) > KEPT:
            self._graphs.popitem(last=False)


@dataclass(frozen=True)
class Outcome:
    """How a candidate fared: a number where more is better, or None when it could not be scored."""

    number: int
    merit: float | None


class Strategy(ABC):
    """Chooses the parent of the next candidate. Its state follows from what it was told, in that order."""

    def __init__(self, pool: Pool):
        self.pool = pool

    def ask(self, rng: random.Random) -> tuple[int, Proposal]:
        """The next candidate and the number of its parent. Raises UNI080 when there is no legal move."""
        parent = self.parent(rng)
        return parent, self.pool.propose(parent, rng)

    @abstractmethod
    def parent(self, rng: random.Random) -> int:
        """The candidate to move on from."""

    @abstractmethod
    def tell(self, outcome: Outcome) -> None:
        """Learn how a candidate fared."""


class RandomWalk(Strategy):
    """Goes on from the last candidate, however it scored; only one that cannot be scored is stepped back from."""

    at = 0

    def parent(self, rng: random.Random) -> int:
        return self.at

    def tell(self, outcome: Outcome) -> None:
        if outcome.merit is not None:
            self.at = outcome.number


class HillClimb(Strategy):
    """Goes on from the best candidate so far; equal merit counts as a step, so that plateaus are crossed."""

    best = Outcome(0, None)

    def parent(self, rng: random.Random) -> int:
        return self.best.number

    def tell(self, outcome: Outcome) -> None:
        if outcome.merit is not None and (self.best.merit is None or outcome.merit >= self.best.merit):
            self.best = outcome


class AgeingEvolution(Strategy):
    """Changes the best of a random few of the latest candidates; the oldest die (Real et al. 2019)."""

    population, tournament = 32, 8

    def __init__(self, pool: Pool):
        super().__init__(pool)
        self.alive: deque[Outcome] = deque(maxlen=self.population)

    def parent(self, rng: random.Random) -> int:
        if len(self.alive) < self.population:
            return 0
        drawn = rng.sample(range(len(self.alive)), self.tournament)
        return max((self.alive[index] for index in drawn), key=lambda one: (one.merit or 0.0, -one.number)).number

    def tell(self, outcome: Outcome) -> None:
        if outcome.merit is not None:
            self.alive.append(outcome)


STRATEGIES: dict[str, type[Strategy]] = {"walk": RandomWalk, "climb": HillClimb, "evolution": AgeingEvolution}
