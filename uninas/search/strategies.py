"""The strategies. Each is a few lines: from whom to go on, and what to remember of a score.

| name | idea | source |
|---|---|---|
| walk | a move from the last candidate, whatever its score | |
| random | moves from any candidate at even odds; in a space of choices, even draws | |
| climb | a move from the best so far | |
| anneal | climbing that also steps down, less and less | Kirkpatrick et al. 1983 |
| evolution | a move from the best of a random few of the latest | Real et al. 2019 |
| rank | a move from the best of the whole history by the sum of log ranks over all objectives | Lee & Ham 2024 |
| nsga2 | the best by Pareto front, then by distance from their neighbours on it | Deb et al. 2002 |
| halving | a cheap score for all, the dear one for the best of them | Li et al. 2020 (ASHA) |
| surrogate | of several moves from the best, the one that a forest promises most of | White et al. 2021 (BANANAS) |
| illuminate | the best of every cell of a map of costs, on islands | Mouret & Clune 2015 (MAP-Elites) |
| outside | a program of the user's is asked, a language model for example | |
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from uninas.errors import error
from uninas.graph import Graph
from uninas.graph.summary import attention_share
from uninas.plugins import Registry
from uninas.search.archive import Archive
from uninas.search.candidate import Candidate
from uninas.search.front import pareto_order
from uninas.search.outside import Outside
from uninas.search.ranks import Ranking
from uninas.search.strategy import Option, Strategy, checked_options
from uninas.search.surrogate import Surrogate

CROSSOVER = {"crossover": Option(0.0, 0.0, 1.0)}
"""How often a child has two parents, both chosen alike."""


class RandomWalk(Strategy):
    """Goes on from the last candidate, however it scored; only one that cannot be scored is stepped back from."""

    ahead = 64

    def __init__(self, archive: Archive, rungs: int = 1):
        super().__init__(archive, rungs)
        self.at = 0
        self._parents: dict[int, int] = {}
        self._failed: set[int] = set()

    def parent(self, rng: random.Random) -> int:
        return self.at

    def begun(self, number: int, candidate: Candidate) -> None:
        self._parents[number] = candidate.parent or 0
        self.at = number

    def tell(self, outcome: Candidate) -> None:
        if outcome.merits is None:
            self._failed.add(outcome.number)
            self.at = outcome.number
        while self.at in self._failed and self.at:
            self.at = self._parents.get(self.at, 0)


class RandomSearch(Strategy):
    """Draws without regard to scores: moves from any earlier candidate, or members of a space of choices."""

    ahead = 64

    def parent(self, rng: random.Random) -> int | None:
        return None

    def born(self, parent: int | None, rng: random.Random) -> Candidate:
        if self.archive.draws:
            return super().born(parent, rng)
        return self.archive.child(rng.choice(self.archive.numbers), rng, self.top)

    def tell(self, outcome: Candidate) -> None:
        """Scores do not matter."""


class HillClimb(Strategy):
    """Goes on from the best candidate so far; equal merit counts as a step, so that plateaus are crossed."""

    def __init__(self, archive: Archive, rungs: int = 1):
        super().__init__(archive, rungs)
        self.best = Candidate(0)

    def parent(self, rng: random.Random) -> int:
        return self.best.number

    def tell(self, outcome: Candidate) -> None:
        if outcome.merit is not None and (self.best.merit is None or outcome.merit >= self.best.merit):
            self.best = outcome


class Annealing(Strategy):
    """Steps up always, and down with a probability that falls with the loss and with time (simulated annealing).

    A step down by d is taken with probability exp(-d / T). T begins at `temperature` standard deviations of the scores
    so far, and halves every `half_life` candidates, so it does not depend on how long the run is to be.
    """

    options: ClassVar = {"temperature": Option(0.5, 0.0, 1e6), "half_life": Option(50, 1, 10**9)}
    temperature: float
    half_life: int

    def __init__(self, archive: Archive, rungs: int = 1, **options: float):
        super().__init__(archive, rungs, **options)
        self.at = Candidate(0)
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def parent(self, rng: random.Random) -> int:
        return self.at.number

    def tell(self, outcome: Candidate) -> None:
        merit = outcome.merit
        if merit is None:
            return
        self._count += 1
        from_mean = merit - self._mean
        self._mean += from_mean / self._count
        self._squares += from_mean * (merit - self._mean)  # Welford's running variance
        deviation = math.sqrt(self._squares / self._count)
        heat = self.temperature * deviation * 0.5 ** (self._count / self.half_life)
        gain = math.inf if self.at.merit is None else merit - self.at.merit
        if gain >= 0 or (heat > 0 and random.Random(outcome.seed).random() < math.exp(gain / heat)):
            self.at = outcome


class AgeingEvolution(Strategy):
    """Changes the best of a random few of the latest candidates; the oldest die (regularised evolution)."""

    options: ClassVar = {"population": Option(32, 2, 10**6), "tournament": Option(8, 1, 10**6), **CROSSOVER}
    population: int
    tournament: int

    def __init__(self, archive: Archive, rungs: int = 1, **options: float):
        super().__init__(archive, rungs, **options)
        self.alive: deque[tuple[float, int]] = deque(maxlen=self.population)

    def parent(self, rng: random.Random) -> int | None:
        if len(self.alive) < self.population:
            return None
        drawn = rng.sample(range(self.population), min(self.tournament, self.population))
        _, number = max(self.alive[index] for index in drawn)
        return -number

    def tell(self, outcome: Candidate) -> None:
        if outcome.merit is not None:
            self.alive.append((outcome.merit, -outcome.number))  # among equals, the earlier


class RankEvolution(Strategy):
    """Changes one of the best of the whole history, by the sum of log ranks over all objectives (AZ-NAS).

    Every candidate is ranked anew among all others whenever one is added, rank 1 for the worst, by the sum of ln rank.
    One objective that is poor costs more than another that is good brings.
    """

    ranks_together = True

    options: ClassVar = {"population": Option(32, 1, 10**6), **CROSSOVER}
    population: int

    def __init__(self, archive: Archive, rungs: int = 1, **options: float):
        super().__init__(archive, rungs, **options)
        self._ranking = Ranking(self.population, archive.plan.weights)

    def parent(self, rng: random.Random) -> int | None:
        return rng.choice(self._ranking.best) if self._ranking.size >= self.population else None

    def tell(self, outcome: Candidate) -> None:
        if outcome.merits is not None:
            self._ranking.add(outcome.number, outcome.merits)


class NSGA2(Strategy):
    """Keeps a population of the best by Pareto front, and on a front those far from others (NSGA-II).

    After every `population` candidates these and their elders compete for as many places; parents are the better of
    two drawn at random. Own code rather than pymoo's: that one moves whole generations and keeps its state in objects
    that would have to be pickled, while a run here goes on from the told scores alone.
    """

    options: ClassVar = {"population": Option(32, 4, 10**5), **CROSSOVER}
    population: int

    def __init__(self, archive: Archive, rungs: int = 1, **options: float):
        super().__init__(archive, rungs, **options)
        self.elders: list[Candidate] = []
        """The survivors of the last generation, the best first."""
        self.young: list[Candidate] = []

    def parent(self, rng: random.Random) -> int | None:
        if not self.elders:
            return None
        return self.elders[min(rng.randrange(len(self.elders)) for _ in range(2))].number

    def tell(self, outcome: Candidate) -> None:
        if outcome.merits is None:
            return
        self.young.append(outcome)
        if len(self.young) >= self.population:
            both = self.elders + self.young
            order = pareto_order(np.array([one.merits for one in both]))
            self.elders, self.young = [both[index] for index in order[: self.population]], []


class SuccessiveHalving(Strategy):
    """Scores every candidate by a cheap measure, and the best 1 in `eta` of a rung by the next one (ASHA).

    A candidate climbs as soon as it is among the best 1 / `eta` of those told at its rung, so no rung has to be
    complete. New candidates are moves from the best `parents` of the highest rung that has scores.
    """

    scores_in_rungs = True

    options: ClassVar = {"eta": Option(4, 2, 1000), "parents": Option(8, 1, 10**6)}
    eta: int
    parents: int

    def __init__(self, archive: Archive, rungs: int = 1, **options: float):
        super().__init__(archive, rungs, **options)
        if rungs < 2:
            raise error("UNI071", "expected a cheap measure for halving", None, "name one or more: --cheap synflow")
        self._told: list[list[tuple[float, int]]] = [[] for _ in range(rungs)]
        self._climbed: set[int] = set()

    def ask(self, rng: random.Random) -> Candidate:
        for rung in reversed(range(self.top)):
            told = sorted(self._told[rung], reverse=True)
            for _, number in told[: len(told) // self.eta]:
                if -number not in self._climbed:
                    return self.archive.promoted(-number, rung + 1)
        return super().ask(rng)

    def born(self, parent: int | None, rng: random.Random) -> Candidate:
        return self.archive.fresh(rng) if parent is None else self.archive.child(parent, rng)

    def begun(self, number: int, candidate: Candidate) -> None:
        if candidate.rung and candidate.parent is not None:
            self._climbed.add(candidate.parent)

    def parent(self, rng: random.Random) -> int | None:
        known = next((told for told in reversed(self._told) if len(told) > 1), None)
        if known is None:
            return None
        return -rng.choice(sorted(known, reverse=True)[: self.parents])[1]

    def tell(self, outcome: Candidate) -> None:
        if outcome.merit is not None:
            self._told[outcome.rung].append((outcome.merit, -outcome.number))


class Illumination(Strategy):
    """Keeps the best candidate of every cell of a map, and goes on from any of them (MAP-Elites).

    The map has three axes: parameters and FLOPs, each in steps of a factor 2^(1/`fineness`), and the share of FLOPs in
    attention in `shares` steps. With several `islands` each has a map of its own, and they take turns: candidate n
    belongs to island n modulo `islands`, and goes on from it, but one in `migration` candidates from any island.
    """

    options: ClassVar = {
        "fineness": Option(2, 1, 64), "shares": Option(4, 1, 64), "islands": Option(1, 1, 256),
        "migration": Option(0.05, 0.0, 1.0), **CROSSOVER,
    }  # fmt: skip
    fineness: int
    shares: int
    islands: int
    migration: float

    def __init__(self, archive: Archive, rungs: int = 1, **options: float):
        super().__init__(archive, rungs, **options)
        self.maps: list[dict[tuple[int, ...], Candidate]] = [{} for _ in range(self.islands)]
        self.places: dict[int, tuple[int, tuple[int, ...]]] = {}
        """Island and cell of every candidate."""

    def parent(self, rng: random.Random) -> int | None:
        here = len(self.places) % self.islands
        if rng.random() < self.migration:
            here = rng.randrange(self.islands)
        elites = self.maps[here] or next((one for one in self.maps if one), {})
        if not elites:
            return None
        return rng.choice([elites[cell].number for cell in sorted(elites)])

    def begun(self, number: int, candidate: Candidate) -> None:
        graph = candidate.graph or self.archive.graph(number)  # which it is made again from where a run is resumed
        self.places[number] = number % self.islands, self.cell(graph)

    def cell(self, graph: Graph) -> tuple[int, ...]:
        """Where an architecture lies on the map."""
        sizes = [round(self.fineness * math.log2(max(1, cost))) for cost in (graph.cost.params, graph.cost.flops)]
        share = attention_share(graph)
        return *sizes, min(self.shares - 1, int(share * self.shares))

    def tell(self, outcome: Candidate) -> None:
        if outcome.merit is None or outcome.number not in self.places:
            return
        island, cell = self.places[outcome.number]
        best = self.maps[island].get(cell)
        if best is None or best.merit is None or outcome.merit > best.merit:
            self.maps[island][cell] = outcome


STRATEGIES: Registry[type[Strategy]] = Registry("strategy", {
    "walk": RandomWalk,
    "random": RandomSearch,
    "climb": HillClimb,
    "anneal": Annealing,
    "evolution": AgeingEvolution,
    "rank": RankEvolution,
    "nsga2": NSGA2,
    "halving": SuccessiveHalving,
    "illuminate": Illumination,
    "surrogate": Surrogate,
    "outside": Outside,
})  # fmt: skip


def strategy_named(name: str) -> type[Strategy]:
    """The strategy of that name. Raises UNI010."""
    return STRATEGIES.find(name)


def make_strategy(name: str, archive: Archive, rungs: int = 1, options: Mapping[str, Any] | None = None) -> Strategy:
    """A new strategy, tuned by its options. Raises UNI010 and UNI071."""
    kind = strategy_named(name)
    if rungs > 1 and not kind.scores_in_rungs:
        able = ", ".join(other for other, each in STRATEGIES.items() if each.scores_in_rungs)
        raise error("UNI071", f"expected no cheap measure for {name}", None, f"only {able} scores in rungs")
    return kind(archive, rungs, **checked_options(kind, name, options or {}))
