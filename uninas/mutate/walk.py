"""Walks: one interface to architectures and their neighbours, whether a space is made of moves or of choices.

    walk = walk_of(space(*find("UniNAS")))
    graph = walk.sample(rng)
    proposal = walk.propose(graph, rng, seen={graph.key})
    child = walk.crossover(graph, proposal.graph, rng, seen)
    walk.apply(graph, child.edit, mate=proposal.graph) == child.graph

Every edit prints as a sentence, is recorded by `record`, read by `read_edit` and replayed by `apply`, which needs the
second parent (the one whose key is `edit.mate`) for crossovers of networks alone.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Protocol

from uninas.errors import error
from uninas.graph import Graph
from uninas.graph.simplify import redundant
from uninas.mutate.choices import ChoiceWalk
from uninas.mutate.edits import Edit
from uninas.mutate.kinds.graft import draw_graft
from uninas.mutate.moves import Moves
from uninas.mutate.propose import Proposal, allowed, apply, attempt, first_allowed, propose
from uninas.mutate.sites import Refusal
from uninas.space import PATIENCE, Budget, Space


class Walk(Protocol):
    """A way to move in a space. Proposals keep the absolute budget, and their keys are not in `seen`.

    The space's patience is how many draws in a row may be refused before a proposal is given up.
    """

    @property
    def budget(self) -> Budget:
        """What every architecture keeps."""

    def sample(self, rng: random.Random) -> Graph:
        """Where to begin: the start of a space of moves, a random member of a space of choices. It keeps the budget."""

    def propose(self, graph: Graph, rng: random.Random, seen: Container[str]) -> Proposal:
        """A random neighbour. Raises UNI080 when all draws are refused."""

    def crossover(self, a: Graph, b: Graph, rng: random.Random, seen: Container[str]) -> Proposal:
        """A child of two parents, as an edit of the first. Raises UNI080 when all draws are refused."""

    def apply(self, graph: Graph, edit: Edit, mate: Graph | None = None) -> Graph:
        """The architecture after an edit. Raises UNI080 when it does not fit."""

    def neighbours(self, graph: Graph) -> Iterator[Proposal]:
        """Every different architecture one edit away that keeps the budget, each once."""


@dataclass(frozen=True)
class MoveWalk:
    """The networks around a start, by the moves of a space."""

    moves: Moves
    budget: Budget
    start: Graph
    patience: int = PATIENCE

    def sample(self, rng: random.Random) -> Graph:
        return self.start

    def propose(self, graph: Graph, rng: random.Random, seen: Container[str]) -> Proposal:
        return propose(graph, self.moves, self.budget, rng, seen, self.patience)

    def crossover(self, a: Graph, b: Graph, rng: random.Random, seen: Container[str]) -> Proposal:
        return first_allowed(
            lambda: draw_graft(a, b, rng),
            lambda edit: attempt(a, edit, self.moves, b, self.budget),
            self.budget, seen, self.patience,
        )  # fmt: skip

    def apply(self, graph: Graph, edit: Edit, mate: Graph | None = None) -> Graph:
        return apply(graph, edit, self.moves, mate)

    def neighbours(self, graph: Graph) -> Iterator[Proposal]:
        seen = {graph.key}
        for edit in self.moves.edits(graph):
            other = allowed(attempt(graph, edit, self.moves, None, self.budget), self.budget, seen)
            if not isinstance(other, Refusal):
                seen.add(other.key)
                yield Proposal(other, edit)


def walk_of(space: Space, start: Graph | None = None, budget: Budget | None = None, even: str = "rules") -> Walk:
    """How to move in a space: by its moves from its start (or another one), or else by its choices.

    `budget` takes the place of the space's own; percent are relative to the start. `even` is that of `Moves`. Raises
    UNI023 when there are neither moves nor choices, and UNI040 when the start breaks the budget.
    """
    limits = space.budget if budget is None else budget
    if space.moves:
        if start is None:
            if space.start is None:
                raise error("UNI023", f"expected {space.name} to have a start", None, "write: start NETWORK")
            start = space.start()
        limits = limits.against(start)
        if broken := limits.violations(start):
            way_out = "start from another network, or give the budget more room (search has --params-max, --flops-max)"
            if redundant(start) and any(limit.metric == "redundant" for limit in limits.limits):
                way_out = f"{way_out}; uninas print NET --simplify leaves out what does nothing"
            raise error("UNI040", f"the start {start.name} breaks the budget: {broken[0]}", None, way_out)
        return MoveWalk(Moves([rule for rule in space.moves if rule.weight > 0], even), limits, start, space.patience)
    if space.build is None or not (space.choices or space.nested):
        raise error(
            "UNI023",
            f"expected {space.name} to have moves or choices",
            None,
            "moves insert 0.7 { ... }, ...",
            f"to walk from it: uninas search UniNAS --start {space.name}",
        )
    return ChoiceWalk(space, limits)
