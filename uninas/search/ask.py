"""Asking for candidates and telling their scores: a search without a folder, and the heart of one with.

    >>> search = Search.over("UniNAS", start="resnet", strategy="climb", seed=1, iterations=20)
    >>> for candidate in search:
    ...     search.tell(candidate, -candidate.graph.cost.params)
    >>> search.best.graph.cost.params < search.plan.start.cost.params
    True

**The same candidates in the same order, whatever the number of workers.** A search has a window, `ahead`: candidate n
is asked for when the strategy has heard of exactly the candidates up to n - ahead, in the order of their numbers,
however early others came in. So up to `ahead` candidates are in flight at once, and which workers score them, how many
there are and who is first changes nothing. (A window keeps workers busier than generations would, as nobody waits for
the last of a generation.) Candidate n draws from generators seeded with (seed, n). A search that hears of the same
past goes on in the same way; so a run that was killed ends as if nothing had happened.

With `asynchronous` the strategy hears of every score at once, in the order of their coming: nobody ever waits, and
the candidates depend on who was faster.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from hashlib import sha256
from typing import Any, Self

from uninas.errors import NoLegalEdit, UninasError, error, shown
from uninas.graph import Graph
from uninas.scores.aggregate import AGGREGATES
from uninas.scores.objectives import Objective, merits
from uninas.search.candidate import Candidate
from uninas.search.plan import Plan, Settings, make_plan
from uninas.search.pool import CHANGED, Origin, Pool, Proposer
from uninas.search.ranks import Ranking
from uninas.search.strategies import make_strategy, strategy_named
from uninas.search.strategy import MOST_AHEAD


class Search:
    """Candidates by number, in a window. Iterating asks; every candidate must be told before long.

    `directions` says of the measures whose direction is not known from their name whether 'higher' or 'lower' is
    better (default: higher). `origin` says again where a number came from, and lets the search forget graphs; `stored`
    reads the architecture of a number, where an asynchronous search has lost the parent. `proposer` is who is asked for
    candidates where the strategy is `outside`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        iterations: int | None = None,
        directions: Mapping[str, str] | None = None,
        origin: Callable[[int], Origin] | None = None,
        stored: Callable[[int], Graph] | None = None,
        proposer: Proposer | None = None,
    ):
        settings = plan.settings
        self.plan, self.iterations = plan, iterations
        self.rungs = tuple(tuple(_directed(one, directions or {}) for one in rung) for rung in plan.rungs)
        self.pool = Pool(plan, origin, stored if settings.asynchronous else None, proposer)
        self.pool.objectives = self.rungs[-1]
        if settings.proxy in AGGREGATES and not strategy_named(settings.strategy).ranks_together:
            hint = "it ranks candidates among each other: --strategy rank"
            raise error("UNI071", f"expected a score of its own, but {settings.proxy} is an aggregate", None, hint)
        self.strategy = make_strategy(settings.strategy, self.pool, len(self.rungs), settings.tuning)
        self.ahead = settings.ahead or self.strategy.ahead
        if not 1 <= self.ahead <= MOST_AHEAD:
            raise error("UNI071", f"expected a window (--ahead) from 1 to {MOST_AHEAD}, but got {self.ahead}")
        self.pool.kept = max(self.pool.kept, 4 * self.ahead)  # what is in flight, and its parents
        self.exhausted: UninasError | None = None
        """Why there is no further candidate: it seems that the space is used up."""
        self._next = 0
        self._early: dict[int, Candidate] = {}  # told, but the strategy does not know yet
        self._flying: dict[int, Candidate] = {}
        self._heard = 0  # the strategy has heard of all numbers below, unless asynchronous
        self._leader: Candidate | None = None
        self._history: dict[int, Candidate] = {}  # where candidates are ranked among each other
        self._ranking = Ranking(1, plan.weights)

    @classmethod
    def over(
        cls, space: str, *, iterations: int | None = None, proposer: Proposer | None = None, **settings: Any
    ) -> Self:
        """A search of a space by its name or path, with what `Settings` offers.

        With a `proposer` the strategy is `outside`, unless another is named.
        """
        chosen = {"strategy": "outside", **settings} if proposer else settings
        plan = make_plan(Settings(**{"space": space, "proxy": "score", **chosen}))
        return cls(plan, iterations=iterations, proposer=proposer)

    # ---- ask and tell --------------------------------------------------------------------------------------------

    def ask(self) -> Candidate | None:
        """The next candidate, or None as long as the score of an earlier one is needed first, or once the search is
        `exhausted`, as it is at once where a space has nothing but the start.
        """
        number = self._next
        if self.exhausted or not self._hear(number):
            return None
        try:
            born = self._born(number)
        except NoLegalEdit as problem:
            if number == 0:
                raise
            self.exhausted = problem
            return None
        seed = self._generator(number, "score").getrandbits(63)
        candidate = replace(born, number=number, key=born.graph.key, seed=seed)
        self._begin(candidate, candidate.graph)
        return candidate

    def tell(self, candidate: Candidate | int, score: float | Mapping[str, float] | None) -> None:
        """The score of a candidate that was asked for: a number, numbers by name ('score' and the further objectives),
        or None when it failed, as one has whose numbers are not finite. A candidate may be told once, in any order.
        Raises UNI071 for what is no number, and where one is missing.
        """
        number = candidate if isinstance(candidate, int) else candidate.number
        if number not in self._flying:
            raise error("UNI071", f"candidate {number} was not asked for, or told before", None, "ask first, then tell")
        asked = self._flying[number]
        failure = candidate.failure if isinstance(candidate, Candidate) else None
        outcome = asked.told(None if score is None else merits(_numbers(score), self.rungs[asked.rung]), failure)
        del self._flying[number]
        if self.plan.settings.asynchronous:
            self.strategy.tell(outcome)
        else:
            self._early[number] = outcome
        self._rank(outcome)

    def optimize(
        self, function: Callable[[Candidate], float | Mapping[str, float] | None], *, workers: int = 1
    ) -> Candidate | None:
        """Score all candidates by a function, in as many threads as there are `workers`; gives the best.

        The function takes a candidate (its `graph`, its `seed`) and gives what `tell` takes. What it raises is a
        failure of that candidate; but of the start in a space of moves, it is raised here. Numbers of candidates, and
        so the best, do not depend on `workers`. Raises UNI071 without a number of `iterations`.
        """
        if self.iterations is None or workers < 1:
            what = "a number of iterations" if self.iterations is None else "one worker or more"
            raise error("UNI071", f"expected {what}", None, "Search.over(SPACE, iterations=100).optimize(f, workers=2)")
        with ThreadPoolExecutor(workers) as pool:
            flying: dict[Future[Any], Candidate] = {}
            while True:
                while len(flying) < workers and len(self) <= self.iterations and (asked := self.ask()):
                    flying[pool.submit(function, asked)] = asked
                if not flying:
                    return self.best
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    candidate, problem = flying.pop(future), future.exception()
                    if problem and (not isinstance(problem, Exception) or self._needed(candidate)):
                        raise problem
                    self.tell(candidate, None if problem else future.result())

    def _needed(self, candidate: Candidate) -> bool:
        """Whether nothing can go on without the score of a candidate: the start of a space of moves."""
        return candidate.number == 0 and not self.pool.draws

    def __iter__(self) -> Iterator[Candidate]:
        """Candidates until `iterations` besides the start are done, or the space is used up. Each must be told before
        the window is full.
        """
        while self.iterations is None or len(self) <= self.iterations:
            draft = self.ask()
            if self.exhausted:
                return
            if draft is None:
                raise error(
                    "UNI071",
                    f"expected the score of candidate {self._missing()} before another one is asked for",
                    None,
                    "for candidate in search: search.tell(candidate, score)",
                )
            yield draft

    def __len__(self) -> int:
        """Number of candidates that were asked for, the start included."""
        return len(self.pool)

    @property
    def in_flight(self) -> int:
        """Number of candidates that wait for their score."""
        return len(self._flying)

    @property
    def best(self) -> Candidate | None:
        """The candidate with the best score at the last rung, the earlier among equals."""
        best = self.leader
        return replace(best, graph=self.pool.graph(best.number)) if best and best.merits else None

    @property
    def leader(self) -> Candidate | None:
        """How the best candidate fared. Where the strategy ranks by several objectives together, so does this."""
        if self._history and self._leader is None:
            self._leader = self._history[self._ranking.best[0]]
        return self._leader

    # ---- the past ------------------------------------------------------------------------------------------------

    def recall(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Hear again of the candidates of a run, in the order of their numbers (asynchronous: of their scores).

        Returns those that were in flight when the run stopped: their scores are missing. (An asynchronous run cannot
        know them. Their numbers stay empty.)
        """
        lost: list[Candidate] = []
        for candidate in candidates:
            if not self.plan.settings.asynchronous:
                while self._next < candidate.number:
                    draft = self.ask()
                    if draft is None:
                        raise error("UNI070", f"candidate {self._missing()} is missing from the run")
                    lost.append(draft)
                if candidate.number != self._next or not self._hear(candidate.number):
                    raise error("UNI070", f"candidate {self._missing()} is missing from the run")
            self._recall(candidate)
        return lost

    def _recall(self, candidate: Candidate) -> None:
        if candidate.number and not self._plausible(candidate):
            raise error("UNI070", f"candidate {candidate.number} has no parent in the run", None, CHANGED)
        graph = self.pool.given.get(candidate.number)
        self._begin(replace(candidate, seed=self._generator(candidate.number, "score").getrandbits(63)), graph)
        self.tell(candidate, candidate.numbers)

    def _plausible(self, candidate: Candidate) -> bool:
        if not 0 <= candidate.rung < len(self.rungs):
            return False
        if candidate.number in self.pool.given:
            return candidate.parent is None and candidate.mate is None and candidate.edit is None
        known = self.plan.settings.asynchronous or all(
            number is None or number in self.pool.keys for number in (candidate.parent, candidate.mate)
        )
        drawn = candidate.parent is None and candidate.mate is None and self.pool.draws and candidate.edit is not None
        made = candidate.parent is not None and (candidate.edit is not None or candidate.promoted)
        return known and (drawn or made)

    # ---- how it is done ------------------------------------------------------------------------------------------

    def _hear(self, number: int) -> bool:
        """Tell the strategy what it may know when this number is asked for; False if that is not known yet."""
        if self.plan.settings.asynchronous:
            return number == 0 or 0 not in self._flying
        while self._heard <= max(number - self.ahead, 0 if number else -1):
            outcome = self._early.pop(self._heard, None)
            if outcome is None:
                return False
            self.strategy.tell(outcome)
            self._heard += 1
        return True

    def _born(self, number: int) -> Candidate:
        if number in self.pool.given:
            return Candidate(rung=len(self.rungs) - 1, graph=self.pool.given[number])
        return self.strategy.ask(self._generator(number, "move"))

    def _begin(self, candidate: Candidate, graph: Graph | None) -> None:
        self.pool.add(candidate.number, candidate.key, graph)
        self.strategy.begun(candidate.number, candidate)
        self._flying[candidate.number] = candidate.told(None)
        self._next = max(self._next, candidate.number + 1)

    def _missing(self) -> int:
        return min(self._flying, default=self._next) if self._next else 0

    def _rank(self, outcome: Candidate) -> None:
        if outcome.merit is None or outcome.rung < len(self.rungs) - 1:
            return
        best = self._leader
        if self.strategy.ranks_together:
            self._history[outcome.number] = outcome
            self._ranking.add(outcome.number, outcome.merits or (), outcome.number)
            self._leader = None  # to be ranked anew
        elif best is None or best.merit is None or (outcome.merit, -outcome.number) > (best.merit, -best.number):
            self._leader = outcome

    def _generator(self, number: int, purpose: str) -> random.Random:
        digest = sha256(f"{self.plan.settings.seed}/{number}/{purpose}".encode()).digest()
        return random.Random(int.from_bytes(digest, "big"))


def _numbers(score: float | Mapping[str, float]) -> dict[str, float]:
    """The numbers of a score, by name."""
    named = score if isinstance(score, Mapping) else {"score": score}
    try:
        return {name: float(value) for name, value in named.items()}
    except (TypeError, ValueError):
        raise error("UNI071", f"expected a number as score, or numbers by name, but got {shown(score)}") from None


def _directed(objective: Objective, directions: Mapping[str, str]) -> Objective:
    return Objective(objective.name, objective.direction or directions.get(objective.name, "higher"))
