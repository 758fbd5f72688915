"""Proposals: moves until one is possible, affordable and new."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

from uninas.errors import NoLegalEdit, error
from uninas.graph import Graph
from uninas.graph.simplify import influence, is_dead
from uninas.mutate.edits import Edit
from uninas.mutate.kinds.graft import Graft
from uninas.mutate.moves import Moves
from uninas.mutate.rebuild import changed
from uninas.mutate.sites import Refusal
from uninas.space import PATIENCE, Budget

MAX_OPERATIONS = 200_000  # of one architecture; its text could not be read otherwise


@dataclass(frozen=True)
class Proposal:
    """A new architecture, the edit that made it, and how many draws were refused before, by reason."""

    graph: Graph
    edit: Edit
    refused: Mapping[str, int] = field(default_factory=dict)


def apply(graph: Graph, edit: Edit, moves: Moves, mate: Graph | None = None) -> Graph:
    """The architecture after an edit. Raises UNI080 where the edit does not fit it.

    `mate` is the other parent of a crossover, the one whose key is the edit's `mate`.
    """
    outcome = attempt(graph, edit, moves, mate)
    if isinstance(outcome, Refusal):
        raise error("UNI080", f"cannot {edit}: {outcome.why}", None, "was it made for another architecture, or space?")
    return outcome


def attempt(
    graph: Graph, edit: Edit, moves: Moves, mate: Graph | None = None, budget: Budget | None = None
) -> Graph | Refusal:
    """The architecture after an edit, or why that is not possible.

    With an (absolute) budget, limits on costs that add up are checked from the part that changes, before the network
    around it is built; and a network whose output does not depend on its input is refused.
    """

    def change(inner: Graph) -> Graph | Refusal:
        if isinstance(edit, Graft):
            return edit.from_mate(inner, mate)
        return edit.change(inner, moves)

    rerouted = False

    def allow(part: Graph, other: Graph, copies: int) -> Refusal | None:
        nonlocal rerouted
        if graph.operations + copies * (other.operations - part.operations) > MAX_OPERATIONS:
            return Refusal("budget", f"expected at most {MAX_OPERATIONS:,} operations")
        if not budget:
            return None
        if broken := budget.violation_after(graph, part, other, copies):
            return Refusal("budget", broken)
        rerouted = influence(part) != influence(other)
        return None

    outcome = changed(graph, edit, change, allow)
    if rerouted and isinstance(outcome, Graph) and is_dead(outcome):
        return Refusal("dead", "the output would not depend on the input")
    return outcome


def propose(
    graph: Graph,
    moves: Moves,
    budget: Budget,
    rng: random.Random,
    seen: Container[str],
    patience: int = PATIENCE,
) -> Proposal:
    """Draw moves until one gives an architecture that types, keeps the (absolute) budget and whose key is not `seen`.

    Raises UNI080 when `patience` draws in a row are refused.
    """
    return first_allowed(
        lambda: moves.draw(graph, rng), lambda edit: attempt(graph, edit, moves, None, budget), budget, seen, patience
    )


def first_allowed(
    draw: Callable[[], Edit | Refusal],
    attempted: Callable[[Edit], Graph | Refusal],
    budget: Budget,
    seen: Container[str],
    patience: int,
) -> Proposal:
    """The first edit drawn that can be made, keeps the budget and gives something new. Raises UNI080 at last."""
    refused: Counter[str] = Counter()
    for _ in range(patience):
        edit = draw()
        outcome = edit if isinstance(edit, Refusal) else allowed(attempted(edit), budget, seen)
        if not isinstance(edit, Refusal) and isinstance(outcome, Graph):
            return Proposal(outcome, edit, dict(refused))
        assert isinstance(outcome, Refusal)
        refused[outcome.reason] += 1
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(refused.items()))
    raise NoLegalEdit.because(
        f"expected a legal move among {patience} draws, but all were refused ({counts})",
        "give the budget more room, or the space more moves",
    )


def allowed(changed: Graph | Refusal, budget: Budget, seen: Container[str]) -> Graph | Refusal:
    """The architecture, if it keeps the whole budget and was not there before."""
    if isinstance(changed, Refusal):
        return changed
    broken = budget.violations(changed)
    if broken:
        return Refusal("budget", broken[0])
    return Refusal("known", "this architecture was there before") if changed.key in seen else changed
