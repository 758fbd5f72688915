"""A run: ask, score, store, tell, until there are enough candidates. It may stop at any moment and go on later.

What is in the database is told to the search again when a run is opened; candidates that were in flight when it
stopped are asked for again and come out the same. So a run that was killed and resumed ends as if nothing had
happened (but for times, and scores that depend on the clock).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from platform import python_version
from typing import Any, Self

from uninas import plugins
from uninas.errors import error, shown
from uninas.graph import Graph
from uninas.graph.graph import KEY_VERSION
from uninas.language.alone import architecture
from uninas.language.printer import dumps
from uninas.scores.objectives import PROTOCOL
from uninas.search.ask import Search
from uninas.search.candidate import Candidate
from uninas.search.executor import Executor
from uninas.search.plan import Plan, Settings, values_of
from uninas.search.pool import Proposer
from uninas.search.store import Store
from uninas.version import __version__


class Run:
    """A folder in which a search takes place. Opening one that is there continues it.

    Raises UNI070 for a folder that holds something else, or a run with other settings. A run that another version of
    this software began is refused too, unless `any_version`, as it may go on otherwise than it would have.
    """

    def __init__(
        self, folder: Path, plan: Plan, executor: Executor, *, any_version: bool = False,
        proposer: Proposer | None = None,
    ):  # fmt: skip
        self.folder, self.plan, self.executor = folder, plan, executor
        self.rejected = self.failed = 0
        self._best: Candidate | None = None
        # First what may be wrong with the plan, so that it leaves no folder behind.
        self.search = Search(plan, directions=executor.directions, origin=lambda number: self.store.origin(number),
                             stored=self._stored, proposer=proposer)  # fmt: skip
        self.store = Store(folder)
        try:
            self._compare(self.store.settings, any_version)
            self.search.pool.seen.update(self.store.keys())  # what is lost in flight may be another one now
            order = "started + seconds, number" if plan.settings.asynchronous else "number"
            past = self.store.select(f"1 ORDER BY {order}")
            self._lost = self.search.recall(self._counted(candidate) for candidate in past)
        except BaseException:
            self.store.close()
            raise
        self.done = self.resumed = len(self.search) - len(self._lost)
        self._flying: dict[int, Candidate] = {}

    def __len__(self) -> int:
        """Number of scored candidates, the start included."""
        return self.done

    @property
    def best(self) -> Candidate | None:
        """The best candidate so far."""
        leader = self.search.leader
        if leader and (self._best is None or self._best.number != leader.number):
            self._best = self.store[leader.number]
        return self._best

    @property
    def lower_is_better(self) -> bool:
        """Of the score."""
        return self.search.rungs[-1][0].direction == "lower"

    def candidates(self, iterations: int) -> Iterator[Candidate]:
        """Go on until there are `iterations` candidates besides the start; yields each when it is safely stored."""
        while True:
            while self.executor.room > 0 and (draft := self._next(iterations)):
                asked = replace(draft, text=dumps(draft.graph, explicit=True))
                self._flying[asked.number] = asked
                self.executor.submit(asked)
            if not self._flying:
                return
            for result in self.executor.wait():
                yield self._finished(result)

    def graph(self, candidate: Candidate) -> Graph:
        """The architecture of a candidate."""
        return self.search.pool.graph(candidate.number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.store.close()

    # ---- how it is done ------------------------------------------------------------------------------------------

    def _stored(self, number: int) -> Graph:
        """The architecture of a candidate as its text has it."""
        return architecture(self.store.text(number))

    def _next(self, iterations: int) -> Candidate | None:
        """The next candidate to be scored: first those that were lost in flight."""
        if self._lost and self._lost[0].number <= iterations:
            return self._lost.pop(0)
        return None if len(self.search) > iterations else self.search.ask()

    def _finished(self, found: Candidate) -> Candidate:
        asked = self._flying.pop(found.number)
        candidate = asked.to_store().as_found(found)
        if candidate.number == 0 and candidate.failure and not self.search.pool.draws:
            why = candidate.failure
            raise error("UNI070", f"the start cannot be scored: {why}", None, "try it alone: uninas score")
        self.store.add(candidate, None if candidate.promoted else asked.text)
        self.search.tell(candidate, candidate.numbers)
        self.done += 1
        return self._counted(candidate)

    def _counted(self, candidate: Candidate) -> Candidate:
        self.rejected += sum(candidate.refused.values())
        self.failed += candidate.failure is not None
        return candidate

    def again(self, reasons: Collection[str]) -> Iterator[Candidate]:
        """Score those again that have failed for one of these reasons; yields each when its result is stored.

        The search hears of it when the run is opened the next time.
        """
        waiting = [one for one in self.store if one.reason in reasons]
        flying: dict[int, Candidate] = {}
        while waiting or flying:
            while waiting and self.executor.room > 0:
                one = waiting.pop(0)
                self.executor.submit(replace(one, text=self.store.text(one.number)))
                flying[one.number] = one
            for found in self.executor.wait():
                again = flying.pop(found.number).as_found(found)
                self.store.replace(again)
                yield again

    def _compare(self, stored: Mapping[str, Any], any_version: bool) -> None:
        """A new run writes its settings; an old one must have been begun with the same ones."""
        now = {**self.plan.as_dict(), "protocol": PROTOCOL, "keys": KEY_VERSION}
        rungs = [[(one.name, one.direction) for one in rung] for rung in self.search.rungs]
        if not len(self.store):  # new, or stopped before anything was scored: then the settings may be better ones
            self.store.put({**now, "objectives": rungs, "version": __version__, "python": python_version(),
                            "texts": self.plan.texts, "plugins": plugins.loaded()})  # fmt: skip
            return
        if not any_version:
            plugins.require(stored.get("plugins"), self.folder)
        if not self.plan.recipe.needs_torch:
            del now["protocol"]  # costs are what they are
        elif stored.get("protocol") != PROTOCOL:
            raise error(
                "UNI070",
                f"the scores in {shown(self.folder, 200)} were drawn in another way than this version draws them",
                None,
                "going on would mix two kinds of scores: look at it, and begin a new run in another folder",
            )
        keys = stored.get("keys", 2)  # those that do not say it were begun with version 2
        if keys != KEY_VERSION:
            raise error(
                "UNI070",
                f"{shown(self.folder, 200)} knows networks by keys of version {shown(keys)}, this release by version "
                f"{KEY_VERSION}",
                None,
                "going on would score again what is there: look at it, and begin a new run in another folder",
            )
        del now["keys"]
        # A setting that the run does not know came later, and was not asked for then.
        known = values_of(Settings("", ""))
        changed = [
            name for name in now if stored.get(name) != now[name] and (name in stored or now[name] != known.get(name))
        ]
        if changed:
            raise error(
                "UNI070",
                f"{self.folder} holds a run with other settings",
                None,
                *(f"{name} was {stored.get(name)}, now {now[name]}" for name in changed[:8]),
                "use another folder, or --resume with nothing else to go on as it was begun",
            )
        if stored.get("version") != __version__ and not any_version:
            raise error(
                "UNI070",
                f"{self.folder} was begun with version {stored.get('version')} of this software, and this is "
                f"{__version__}",
                None,
                "other versions may go on in other ways: use that one, or accept it with --any-version",
            )
        self.store.put({"version": __version__})
