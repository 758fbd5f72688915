"""A run: ask, score, store, tell, until there are enough candidates. It may stop at any moment and go on later.

What is in the database is told to the search again when a run is opened; candidates that were in flight when it
stopped are asked for again and come out the same. So a run that was killed and resumed ends as if nothing had
happened (but for times, and scores that depend on the clock).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

from uninas.graph import Graph
from uninas.search.archive import Proposer
from uninas.search.asktell import Search
from uninas.search.candidate import Candidate
from uninas.search.executor import Executor
from uninas.search.plan import Plan


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
        self._best: Candidate | None = None
        self.search = Search(plan, directions=executor.directions, proposer=proposer, folder=folder,
                             any_version=any_version)  # fmt: skip
        assert self.search.store is not None
        self.store = self.search.store
        totals = self.store.totals()
        self.done = self.resumed = sum(total.candidates for total in totals)
        self.failed = sum(total.candidates for total in totals if total.reason)
        self.rejected = sum(self.store.refusals().values())
        self._flying = 0

    def __len__(self) -> int:
        """Number of scored candidates, the start included."""
        return self.done

    def __repr__(self) -> str:
        return f"<Run in {self.folder}: {len(self)} candidates by {self.plan.settings.strategy}>"

    @property
    def best(self) -> Candidate | None:
        """The best candidate so far."""
        leader = self.search.leader
        if leader and (self._best is None or self._best.number != leader.number):
            self._best = self.store[leader.number]
        return self._best

    def candidates(self, iterations: int) -> Iterator[Candidate]:
        """Go on until there are `iterations` candidates besides the start; yields each when it is safely stored."""
        while True:
            while self.executor.room > 0 and self.search.more(iterations) and (asked := self.search.ask()):
                self.executor.submit(asked)
                self._flying += 1
            if not self._flying:
                return
            for result in self.executor.wait():
                yield self._finished(result)

    def graph(self, candidate: Candidate) -> Graph:
        """The architecture of a candidate."""
        return self.search.archive.graph(candidate.number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.store.close()

    # ---- how it is done ------------------------------------------------------------------------------------------

    def _finished(self, found: Candidate) -> Candidate:
        self._flying -= 1
        candidate = self.search.finish(found)
        self.done += 1
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
