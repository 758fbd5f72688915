"""Every architecture of a run by its number, and the moves from one to the next."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from uninas.errors import NoLegalEdit, error, shown
from uninas.graph import Graph
from uninas.language.alone import architecture
from uninas.language.printer import dumps
from uninas.mutate import ChoiceWalk, Edit, Proposal, Written
from uninas.scores.objectives import Objective
from uninas.search.candidate import Candidate
from uninas.search.plan import Plan
from uninas.search.starts import as_start

KEPT = 2048  # graphs kept ready; the others are made again from their edits
CHANGED = "the database, or this software, has changed since; begin a new run in another folder"


Proposer = Callable[[dict[str, Any]], Mapping[str, Any]]
"""A program outside that answers questions for candidates (`search.outside`)."""
Origin = tuple[int | None, Edit | None, int | None]
"""Parent, edit and mate of a candidate."""


class Archive:
    """Architectures by number; 0 is the start.

    `origin` says again where a number came from. An archive that has it forgets graphs that were not used for long, and
    makes them again by replaying edits, which gives the same graph to the letter (a text would lose names of blocks).
    `stored` reads the text of a number whose parent was lost in flight, as an asynchronous run may have.
    """

    def __init__(
        self,
        plan: Plan,
        origin: Callable[[int], Origin] | None = None,
        stored: Callable[[int], Graph] | None = None,
        proposer: Proposer | None = None,
    ):
        self.plan, self.origin, self.stored, self.proposer = plan, origin, stored, proposer
        self.objectives: tuple[Objective, ...] = plan.rungs[-1]
        """Of the last rung, with their directions as far as they are known."""
        self.given = {0: plan.start, **dict(enumerate(plan.others, 1))}
        """The starts, by number."""
        self.keys: dict[int, str] = {}
        self.numbers: list[int] = []
        self.seen: set[str] = set()
        self.kept = KEPT
        self._graphs: OrderedDict[int, Graph] = OrderedDict()

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def draws(self) -> bool:
        """Whether the space has open choices, so that members can be drawn from nowhere."""
        return isinstance(self.plan.walk, ChoiceWalk)

    def add(self, number: int, key: str, graph: Graph | None = None) -> None:
        """Remember an architecture, so that it is not proposed again."""
        self.keys[number] = key
        self.numbers.append(number)
        self.seen.add(key)
        if graph is not None:
            self._keep(number, graph)

    def graph(self, number: int) -> Graph:
        """The architecture of that number. Raises UNI070 when its edits no longer lead to what was stored."""
        wanted = [number]
        while wanted:
            at = wanted[-1]
            if at not in self._graphs:
                parent, edit, mate = (None, None, None) if at in self.given else self._origin(at)
                missing = [one for one in (parent, mate) if one is not None and one not in self._graphs]
                if self.stored and any(one not in self.keys for one in missing):
                    self._keep(at, self.stored(at))
                    wanted.pop()
                    continue
                if missing:
                    wanted += missing
                    continue
                graph = self.given.get(at, self.plan.start) if parent is None else self._graphs[parent]
                if edit is not None:
                    graph = self.plan.walk.apply(graph, edit, None if mate is None else self._graphs[mate])
                if graph.key != self.keys.get(at, graph.key):
                    raise error(
                        "UNI070", f"candidate {at} is another architecture than when it was stored", None, CHANGED
                    )
                self._keep(at, graph)
            wanted.pop()
        graph = self._graphs[number]
        self._keep(number, graph)
        return graph

    def child(self, parent: int, rng: random.Random, rung: int = 0) -> Candidate:
        """A new architecture, one move away from `parent`. Raises UNI080 when there seems to be none."""
        found = self.plan.walk.propose(self.graph(parent), rng, self.seen)
        return _born(found, parent, rung)

    def cross(self, parent: int, mate: int, rng: random.Random, rung: int = 0) -> Candidate:
        """A new architecture from two. Raises UNI080 when there seems to be none."""
        found = self.plan.walk.crossover(self.graph(parent), self.graph(mate), rng, self.seen)
        return _born(found, parent, rung, mate)

    def handed(self, graph: Graph, parent: int | None = None, rung: int = 0) -> Candidate:
        """A candidate from an architecture that somebody handed in, as an edit of a parent (else of the start).

        Raises UNI040, UNI042 and UNI071 for one that breaks the budget, is no member of the space or solves another
        task, and UNI080 for one that was there before.
        """
        plan = self.plan
        known = as_start(graph, plan.walk, plan.start)
        if known.key in self.seen:
            raise NoLegalEdit.because("this architecture was there before", "change something")
        edit: Edit
        if isinstance(plan.walk, ChoiceWalk):
            edit = plan.walk.edit_to(known, None if parent is None else self.graph(parent))
        else:
            text = dumps(known, explicit=True)
            known = architecture(text)  # as it will be read when the run goes on
            edit, parent = Written((), text), parent or 0
        return Candidate(parent=parent, edit=edit, rung=rung, graph=known)

    def edited(self, edit: Edit, parent: int, rung: int = 0) -> Candidate:
        """A candidate from an edit of an earlier one. Raises as `handed`, and UNI080 where it does not fit."""
        graph = self.plan.walk.apply(self.graph(parent), edit)
        if broken := self.plan.budget.violations(graph):
            raise error("UNI040", f"{shown(edit, 200)} breaks the budget: {broken[0]}")
        if graph.key in self.seen:
            raise NoLegalEdit.because("this architecture was there before", "change something else")
        return Candidate(parent=parent, edit=edit, rung=rung, graph=graph)

    def fresh(self, rng: random.Random, rung: int = 0) -> Candidate:
        """A new architecture that owes nothing to any score: a member drawn, or a move from the start."""
        walk = self.plan.walk
        if isinstance(walk, ChoiceWalk):
            return _born(walk.draw(rng, self.seen), None, rung)
        return self.child(0, rng, rung)

    def promoted(self, number: int, rung: int) -> Candidate:
        """The same architecture at a higher rung."""
        return Candidate(parent=number, rung=rung, graph=self.graph(number))

    def _origin(self, number: int) -> Origin:
        """Where a number came from. Raises UNI070 when the run does not say it."""
        assert self.origin is not None
        parent, edit, mate = self.origin(number)
        if not all(known is None or known < number for known in (parent, mate)) or (parent is None and edit is None):
            raise error("UNI070", f"candidate {number} has no parent in the run", None, CHANGED)
        return parent, edit, mate

    def _keep(self, number: int, graph: Graph) -> None:
        self._graphs[number] = graph
        self._graphs.move_to_end(number)
        if self.origin is not None and len(self._graphs) > self.kept:
            self._graphs.popitem(last=False)


def _born(found: Proposal, parent: int | None, rung: int, mate: int | None = None) -> Candidate:
    refused = dict(found.refused)
    return Candidate(parent=parent, edit=found.edit, mate=mate, rung=rung, refused=refused, graph=found.graph)
