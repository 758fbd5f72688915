"""Short paths of edits from one architecture to another."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count

from uninas.graph import INPUT, Graph, Node, Wire, subgraphs
from uninas.graph.diff import Change, diff
from uninas.graph.network import is_stage
from uninas.mutate.choices import ChoiceWalk
from uninas.mutate.edits import Edit
from uninas.mutate.propose import Proposal, allowed, attempt
from uninas.mutate.sites import Refusal, fixed_depth
from uninas.mutate.walk import MoveWalk, Walk
from uninas.ops.op import Op

KEPT = 24  # neighbours of an architecture that are compared with the aim in full
WEIGHT = 2.0  # how much a step that comes nearer is preferred to a short way


def edit_path(a: Graph, b: Graph, walk: Walk, expansions: int = 100) -> list[Edit] | Refusal:
    """A short path of edits from `a` to `b` on which every architecture keeps the budget; the shortest one found.

    In a space of choices it has one edit for each answer that differs. Among moves the search goes from the most
    promising architecture on (A* with a weighted distance, which does not promise the shortest way), looks only where
    the two differ, and gives up after so many `expansions`. A refusal with the reason 'site' says that no path can
    exist, one with 'known' that none was found.
    """
    if isinstance(walk, ChoiceWalk):
        return _by_choices(a, b, walk)
    if not isinstance(walk, MoveWalk):
        return Refusal("site", "this walk has no edits to search")
    if refusal := unreachable(a, b, walk):
        return refusal
    return _by_moves(a, b, walk, expansions)


def unreachable(a: Graph, b: Graph, walk: MoveWalk) -> Refusal | None:
    """Why no edits of the walk can lead from one architecture to the other, as far as that can be told at once."""
    kinds = {rule.name for rule in walk.moves.rules}
    if broken := walk.budget.violations(b):
        return Refusal("site", f"{b.name} is outside the budget: {broken[0]}")
    if a.inputs != b.inputs and "resolution" not in kinds:
        return Refusal("site", f"no move turns inputs of {a.inputs} into {b.inputs}")
    if a.init != b.init or a.output_shapes != b.output_shapes:
        return Refusal("site", "no move changes the initial weights, or what the network makes")
    if fixed_depth(a) != 2 or fixed_depth(b) != 2:
        return None
    if [node.name for node in a.nodes] != [node.name for node in b.nodes]:
        return Refusal("site", "no move adds or removes stages")
    for x, y in zip(a.nodes, b.nodes, strict=True):
        same = x.op.canonical == y.op.canonical
        if not same and not is_stage(x) and not kinds & {"width", "stride", "resolution"}:
            return Refusal("site", f"no move changes {x.name}")
        if a.shapes(x.name) != b.shapes(y.name) and not kinds & {"width", "stride", "resolution"}:
            return Refusal("site", f"no move changes the shape that {x.name} makes")
    return None


def _by_choices(a: Graph, b: Graph, walk: ChoiceWalk) -> list[Edit] | Refusal:
    """One edit for each answer that differs, in an order in which all members between keep the budget."""
    edits: list[Edit] = []
    at = a
    while at.key != b.key:
        nearer = next(walk.towards(at, b), None)
        if nearer is None:
            return Refusal("known", "every order of the changes leads out of the budget")
        edits.append(nearer.edit)
        at = nearer.graph
    return edits


def _by_moves(a: Graph, b: Graph, walk: MoveWalk, expansions: int) -> list[Edit] | Refusal:
    numbers, seen = count(), {a.key}
    frontier: list[tuple[float, int, Graph, tuple[Edit, ...]]] = [(0.0, next(numbers), a, ())]
    for _ in range(expansions):
        if not frontier:
            return Refusal("known", "no further architecture lies between them")
        _, _, graph, edits = heapq.heappop(frontier)
        if graph.key == b.key:
            return list(edits)
        near = heapq.nsmallest(KEPT, _between(graph, b, walk, seen), key=lambda found: feature_distance(found.graph, b))
        for found in near:
            seen.add(found.graph.key)
            if found.graph.key == b.key:
                return [*edits, found.edit]
            cost = len(edits) + 1 + WEIGHT * diff(found.graph, b).distance
            heapq.heappush(frontier, (cost, next(numbers), found.graph, (*edits, found.edit)))
    return Refusal("known", f"no path was found in {expansions} expansions")


def _between(graph: Graph, aim: Graph, walk: MoveWalk, seen: set[str]) -> Iterator[Proposal]:
    """New neighbours of an architecture by edits of blocks, or stages, that differ from the aim."""
    places = set(_places(diff(graph, aim).changes, ()))
    known = set(seen)
    for edit in walk.moves.edits(graph):
        if edit.level == "inner" and edit.path not in places:
            continue
        other = allowed(attempt(graph, edit, walk.moves, None, walk.budget), walk.budget, known)
        if not isinstance(other, Refusal):
            known.add(other.key)
            yield Proposal(other, edit)


def _places(changes: Iterable[Change], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Paths of the graphs in which something differs, with the graphs around them."""
    yield path
    for change in changes:
        if change.inner:
            yield from _places(change.inner, (*path, change.old))


# ---- a quick distance ------------------------------------------------------------------------------------------------


def feature_distance(a: Graph, b: Graph) -> float:
    """0 for the same features, 1 for none in common: sum |x - y| / sum (x + y) (Bray & Curtis 1957)."""
    x, y = features(a), features(b)
    together = x.total() + y.total()
    return sum(abs(x[feature] - y[feature]) for feature in x.keys() | y.keys()) / together if together else 0.0


def features(graph: Graph) -> Counter[str]:
    """Counts of operations: alone, with their channels, and with the operations before them.

    The counts of blocks add up, so that those of a network with one new block take no time.
    """
    known: Counter[str] | None = graph.__dict__.get("_features")  # kept with the graph, as its costs are
    if known is None:
        known = Counter()
        labels = {INPUT: INPUT, **{node.name: _label(node) for node in graph.nodes}}
        for node in graph.nodes:
            label = labels[node.name]
            channels = round(2 * math.log2(graph.shape(Wire(node.name))[0]))
            before = " ".join(sorted({labels[wire.node] for wire in node.inputs}))
            known.update([label, f"{label} x {channels}", f"{label} < {before}"])
            for inner, copies in subgraphs(node):
                known.update({feature: copies * count for feature, count in features(inner).items()})
        graph.__dict__["_features"] = known
    return known


def _label(node: Node) -> str:
    """The operation; a block is what is inside it, whatever its name."""
    return node.op.name if isinstance(node.op, Op) else type(node.op).__name__
