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

import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from uninas.errors import NoLegalEdit, UninasError, error, in_a_line, shown
from uninas.graph import Graph
from uninas.language.alone import architecture
from uninas.language.elaborate import build
from uninas.language.library import find
from uninas.language.printer import dumps
from uninas.mutate import Edit, read_edit, record
from uninas.scores.aggregate import AGGREGATES
from uninas.scores.objectives import Objective, merits
from uninas.search import kept
from uninas.search.archive import CHANGED, Archive, Origin, Proposer
from uninas.search.candidate import Candidate
from uninas.search.plan import Plan, Settings, make_plan
from uninas.search.ranks import Ranking
from uninas.search.store import Store
from uninas.search.strategies import make_strategy, strategy_named
from uninas.search.strategy import MOST_AHEAD


class Search:
    """Candidates by number, in a window. Iterating asks; every candidate must be told before long.

    `directions` says of the measures whose direction is not known from their name whether 'higher' or 'lower' is
    better (default: higher). `proposer` is who is asked for candidates where the strategy is `outside`.

    With a `folder` every candidate is stored when it is told, and a search that is there goes on: those that were asked
    for and never told are asked for again first. Raises UNI070 for a folder that holds something else, or a search with
    other settings; one that another version of this software began is refused too, unless `any_version`, as it may go
    on otherwise than it would have. Close such a search, or use it as a context.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        iterations: int | None = None,
        directions: Mapping[str, str] | None = None,
        proposer: Proposer | None = None,
        folder: Path | None = None,
        any_version: bool = False,
    ):
        settings = plan.settings
        self.plan, self.iterations = plan, iterations
        self.rungs = tuple(tuple(_directed(one, directions or {}) for one in rung) for rung in plan.rungs)
        self.folder = folder
        self.store: Store | None = None
        origin, stored = (self._origin, self._stored) if folder else (None, None)
        self.archive = Archive(plan, origin, stored if settings.asynchronous else None, proposer)
        self.archive.objectives = self.rungs[-1]
        if settings.proxy in AGGREGATES and not strategy_named(settings.strategy).ranks_together:
            hint = "it ranks candidates among each other: --strategy rank"
            raise error("UNI071", f"expected a score of its own, but {settings.proxy} is an aggregate", None, hint)
        self.strategy = make_strategy(settings.strategy, self.archive, len(self.rungs), settings.tuning)
        self.ahead = settings.ahead or self.strategy.ahead
        if not 1 <= self.ahead <= MOST_AHEAD:
            raise error("UNI071", f"expected a window (--in-flight) from 1 to {MOST_AHEAD}, but got {self.ahead}")
        self.archive.kept = max(self.archive.kept, 4 * self.ahead)  # what is in flight, and its parents
        self.exhausted: UninasError | None = None
        """Why there is no further candidate: it seems that the space is used up."""
        self._next = 0
        self._early: dict[int, Candidate] = {}  # told, but the strategy does not know yet
        self._flying: dict[int, Candidate] = {}
        self._heard = 0  # the strategy has heard of all numbers below, unless asynchronous
        self._leader: Candidate | None = None
        self._history: dict[int, Candidate] = {}  # where candidates are ranked among each other
        self._ranking = Ranking(1, plan.weights)
        self._asked: dict[int, Candidate] = {}  # with their texts, where they are stored
        self._lost: list[Candidate] = []  # in flight when the search was stopped
        self._queue: deque[Handed] = deque()
        self._names: dict[int, str] = {}  # of files of the queue, by the number that they got
        if folder:
            self._open(folder, any_version)

    @classmethod
    def over(
        cls, space: str, *, iterations: int | None = None, proposer: Proposer | None = None,
        folder: str | Path | None = None, any_version: bool = False, **settings: Any,
    ) -> Self:  # fmt: skip
        """A search of a space by its name or path, with what `Settings` offers.

        With a `proposer` the strategy is `outside`, unless another is named. With a `folder` the search is kept there
        (see `Search`); `uninas status`, `top` and `report` look at it as at any run.
        """
        chosen = {"strategy": "outside", **settings} if proposer else settings
        plan = make_plan(Settings(**{"space": space, "proxy": "score", **chosen}))
        place = Path(folder) if folder is not None else None
        search = cls(plan, iterations=iterations, proposer=proposer, folder=place, any_version=any_version)
        if search.store is not None and iterations is not None:
            search.store.put({"iterations": iterations})
        return search

    # ---- ask and tell --------------------------------------------------------------------------------------------

    def ask(self) -> Candidate | None:
        """The next candidate, or None as long as the score of an earlier one is needed first, or once the search is
        `exhausted`, as it is at once where a space has nothing but the start.
        """
        if self._lost:
            return self._lost.pop(0)
        number = self._next
        self._look_for_queued()
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
        if self.store is not None:
            candidate = replace(candidate, text=dumps(candidate.graph, explicit=True), started=time.time())
            self._asked[number] = candidate
        return candidate

    def tell(self, candidate: Candidate | int, score: float | Mapping[str, float] | None) -> None:
        """The score of a candidate that was asked for: a number, numbers by name ('score' and the further objectives),
        or None when it failed, as one has whose numbers are not finite. A candidate may be told once, in any order.
        Raises UNI071 for what is no number, and where one is missing.
        """
        number = candidate if isinstance(candidate, int) else candidate.number
        if number not in self._flying:
            raise error("UNI071", f"candidate {number} was not asked for, or told before", None, "ask first, then tell")
        numbers = None if score is None else _numbers(score)
        failure = candidate.failure if isinstance(candidate, Candidate) else None
        if numbers is not None and merits(numbers, self.rungs[self._flying[number].rung]) is None:
            numbers, failure = None, "the score is not finite"
        if number in self._asked:
            self.finish(_told_by_hand(self._asked[number], numbers, failure or "it was told to have no score"))
        else:
            self._hear_of(number, numbers, failure)

    def finish(self, found: Candidate) -> Candidate:
        """Store a candidate with what came of scoring it, and tell it; gives it as it is stored. Needs a folder.

        Raises UNI070 where the start of a space of moves has no score.
        """
        assert self.store is not None and self.folder is not None
        asked = self._asked[found.number]
        candidate = asked.to_store().as_found(found)
        if candidate.failure and self._needed(candidate):
            why = candidate.failure
            raise error("UNI070", f"the start cannot be scored: {why}", None, "try it alone: uninas score")
        self.store.add(candidate, None if candidate.promoted else asked.text)
        del self._asked[found.number]
        if name := self._names.pop(found.number, ""):
            kept.done(self.folder, name)
        self._hear_of(candidate.number, candidate.numbers, candidate.failure)
        return candidate

    def _hear_of(self, number: int, numbers: Mapping[str, float] | None, failure: str | None) -> None:
        asked = self._flying[number]
        outcome = asked.told(None if numbers is None else merits(numbers, self.rungs[asked.rung]), failure)
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
        failure of that candidate; but of the start in a space of moves, or where none has a score, it is raised here.
        Numbers of candidates, and so the best, do not depend on `workers`. Raises UNI071 without `iterations`.
        """
        if self.iterations is None or workers < 1:
            what = "a number of iterations" if self.iterations is None else "one worker or more"
            raise error("UNI071", f"expected {what}", None, "Search.over(SPACE, iterations=100).optimize(f, workers=2)")
        with ThreadPoolExecutor(workers) as pool:
            flying: dict[Future[Any], Candidate] = {}
            last: BaseException | None = None
            while True:
                while len(flying) < workers and self.more(self.iterations) and (asked := self.ask()):
                    flying[pool.submit(function, asked)] = asked
                if not flying:
                    if last and self.best is None:
                        raise last
                    return self.best
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    candidate, problem = flying.pop(future), future.exception()
                    if problem and (not isinstance(problem, Exception) or self._needed(candidate)):
                        raise problem
                    if problem:
                        last = problem
                        candidate = replace(candidate, failure=f"{type(problem).__name__}: {problem}"[:500])
                    self.tell(candidate, None if problem else future.result())

    def _needed(self, candidate: Candidate) -> bool:
        """Whether nothing can go on without the score of a candidate: the start of a space of moves."""
        return candidate.number == 0 and not self.archive.draws

    def __iter__(self) -> Iterator[Candidate]:
        """Candidates until `iterations` besides the start are done, or the space is used up. Each must be told before
        the window is full.
        """
        while self.more(self.iterations):
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

    def enqueue(self, what: Graph | str | Edit, parent: int | None = None) -> None:
        """Hand in a candidate, which is next: an architecture, its text, name or path, or an edit of `parent`.

        Raises UninasError for what is wrong with it: UNI040 where it breaks the budget, UNI042 where it is no member of
        the space, UNI071 where it solves another task, UNI080 where it was there before or the edit does not fit.
        """
        graph = build(*find(what)) if isinstance(what, str) else what
        handed = Handed(graph, parent)
        self._made(handed)
        if self.folder:
            kept.enqueue(self.folder, [handed.as_dict()])
        else:
            self._queue.append(handed)

    def close(self) -> None:
        """Let go of the folder."""
        if self.store is not None:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def more(self, iterations: int | None) -> bool:
        """Whether there are fewer than so many candidates besides the start; None stands for no end."""
        return iterations is None or (self._lost[0].number if self._lost else len(self)) <= iterations

    def __len__(self) -> int:
        """Number of candidates that were asked for, the start included."""
        return len(self.archive)

    def __repr__(self) -> str:
        named = f"{self.plan.settings.strategy} in {self.plan.space.name}"
        where = f", kept in {self.folder}" if self.folder else ""
        return f"<Search {named} from {self.plan.start.name}: {len(self)} candidates{where}>"

    @property
    def in_flight(self) -> int:
        """Number of candidates that wait for their score."""
        return len(self._flying)

    @property
    def best(self) -> Candidate | None:
        """The candidate with the best score at the last rung, the earlier among equals."""
        best = self.leader
        if best is None or not best.merits:
            return None
        graph, (value, *_) = self.archive.graph(best.number), best.merits
        score = -value if self.rungs[best.rung][0].direction == "lower" else value
        cost = graph.cost
        return replace(best, graph=graph, key=graph.key, score=score, params=cost.params, macs=cost.macs)

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
        graph = self.archive.given.get(candidate.number)
        self._begin(replace(candidate, seed=self._generator(candidate.number, "score").getrandbits(63)), graph)
        self._hear_of(candidate.number, candidate.numbers, candidate.failure)

    def _plausible(self, candidate: Candidate) -> bool:
        if not 0 <= candidate.rung < len(self.rungs):
            return False
        if candidate.number in self.archive.given:
            return candidate.parent is None and candidate.mate is None and candidate.edit is None
        known = self.plan.settings.asynchronous or all(
            number is None or number in self.archive.keys for number in (candidate.parent, candidate.mate)
        )
        drawn = (
            candidate.parent is None and candidate.mate is None and self.archive.draws and candidate.edit is not None
        )
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
        if number in self.archive.given:
            return Candidate(rung=len(self.rungs) - 1, graph=self.archive.given[number])
        refused: Counter[str] = Counter()
        while self._queue:
            handed = self._queue.popleft()
            try:
                born = self._made(handed)
            except UninasError as problem:
                refused[shown(in_a_line(problem), 200)] += 1
                if self.folder and handed.name:
                    kept.done(self.folder, handed.name)
                continue
            self._names |= {number: handed.name} if handed.name else {}
            return replace(born, refused=dict(refused))
        born = self.strategy.ask(self._generator(number, "move"))
        return replace(born, refused={**born.refused, **refused}) if refused else born

    def _made(self, handed: Handed) -> Candidate:
        """The candidate that was handed in. Raises UninasError for one that cannot be had."""
        parent, top = handed.parent, len(self.rungs) - 1
        if handed.what is None:
            raise error("UNI080", f"expected a candidate in {handed.name}", None, "uninas enqueue writes such files")
        if parent is not None and parent not in self.archive.keys:
            raise error("UNI080", f"there is no candidate {parent}", None, "uninas top lists them by their numbers")
        if isinstance(handed.what, Edit):
            return self.archive.edited(handed.what, parent or 0, top)
        return self.archive.handed(handed.what, parent, top)

    def _look_for_queued(self) -> None:
        """Take what waits in the folder's queue."""
        if not self.folder or self._next < len(self.archive.given):
            return
        taken = [*self._names.values(), *(one.name for one in self._queue)]
        self._queue += [Handed.read(found, name) for name, found in kept.queued(self.folder, taken)]
        if self._queue:
            self.exhausted = None

    def _open(self, folder: Path, any_version: bool) -> None:
        """Open the folder and hear of what is there."""
        self.store = Store(folder)
        try:
            kept.agree(self.store, self.plan, self.rungs, any_version)
            self.archive.seen.update(self.store.keys())  # what is lost in flight may be another one now
            order = "started + seconds, number" if self.plan.settings.asynchronous else "number"
            self._lost = self.recall(self.store.select(f"1 ORDER BY {order}"))
        except BaseException:
            self.store.close()
            raise

    def _origin(self, number: int) -> Origin:
        assert self.store is not None
        return self.store.origin(number)

    def _stored(self, number: int) -> Graph:
        """The architecture of a candidate as its text has it."""
        assert self.store is not None
        return architecture(self.store.text(number))

    def _begin(self, candidate: Candidate, graph: Graph | None) -> None:
        self.archive.add(candidate.number, candidate.key, graph)
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


@dataclass(frozen=True)
class Handed:
    """What somebody handed in: an architecture, or an edit of an earlier candidate; `name` is that of its file."""

    what: Graph | Edit | None
    """None for what was none of these."""
    parent: int | None = None
    name: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The same as values of JSON."""
        if isinstance(self.what, Graph):
            return {"parent": self.parent, "text": dumps(self.what, explicit=True)}
        return {"parent": self.parent, "edit": record(self.what) if self.what else None}

    @classmethod
    def read(cls, found: Mapping[str, Any], name: str) -> Handed:
        """What stands in a file of the queue."""
        parent = found.get("parent")
        number = parent if isinstance(parent, int) and not isinstance(parent, bool) else None
        text, edit = found.get("text"), found.get("edit")
        with suppress(UninasError):
            if isinstance(edit, dict):
                return cls(read_edit(edit), number, name)
            if isinstance(text, str):
                return cls(architecture(text, name), number, name)
        return cls(None, None, name)


def _told_by_hand(asked: Candidate, numbers: Mapping[str, float] | None, failure: str) -> Candidate:
    """A candidate with the numbers that somebody told."""
    seconds = max(0.0, time.time() - asked.started)
    if numbers is None:
        return asked.failed("error", failure, "", asked.started, seconds)
    components = {name: value for name, value in numbers.items() if name != "score" and math.isfinite(value)}
    return replace(asked, score=numbers["score"], components=components, seconds=seconds)


def _numbers(score: float | Mapping[str, float]) -> dict[str, float]:
    """The numbers of a score, by name."""
    named = score if isinstance(score, Mapping) else {"score": score}
    try:
        return {name: float(value) for name, value in named.items()}
    except (TypeError, ValueError):
        raise error("UNI071", f"expected a number as score, or numbers by name, but got {shown(score)}") from None


def _directed(objective: Objective, directions: Mapping[str, str]) -> Objective:
    return Objective(objective.name, objective.direction or directions.get(objective.name, "higher"))
