"""Moves: small typed edits of a graph, as records that print as a sentence and can be replayed.

    >>> import random
    >>> from uninas.elaborate import build, space
    >>> from uninas.library import find
    >>> module, name = find("UniNAS")
    >>> moves, start = Moves(space(module, name).moves), build(find("resnet")[0], "resnet")
    >>> proposal = propose(start, moves, Budget(), random.Random(3), seen={start.key})
    >>> proposal.graph == apply(start, proposal.edit, moves)
    True

A network changes inside the blocks of its stages only. Twelve equal blocks are one `Graph`; an edit of one of them
builds that block, its stage and the network anew and leaves everything else shared, so its cost does not depend on how
many blocks there are.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, ClassVar, Literal, NamedTuple

from uninas.builder import snake_case
from uninas.errors import UninasError, did_you_mean, error, shown
from uninas.graph import INPUT, Block, Each, Graph, Node, Operator, Wire, subgraphs
from uninas.op import Op, Shape, show_shape
from uninas.ops.shape import Identity
from uninas.space import Budget, MoveOption, MoveRule

OUTPUT = "out"
INLINED = "inserted"  # what elaboration calls a chain of several steps; a chain of one block is that block
PATIENCE = 1000  # refusals in a row after which there is probably no legal move


# ---- edits: what was done ------------------------------------------------------------------------------------------


class Port(NamedTuple):
    """One input of one node, or (node 'out') one output of the graph."""

    node: str
    port: int = 0


@dataclass(frozen=True)
class Edit:
    """A change of one graph inside an architecture; `path` names the nodes that lead to it from the top."""

    kind: ClassVar[str]
    path: tuple[str, ...]

    def change(self, graph: Graph, moves: Moves) -> Graph | Refusal:
        """The graph at `path` after this edit."""
        raise NotImplementedError

    def at(self, wire: tuple[str, int]) -> str:
        """A wire or port with its whole path: stages.1.blocks.0.conv_1, or ...chunk[1]."""
        node, port = wire
        return ".".join((*self.path, node)) + (f"[{port}]" if port else "")


@dataclass(frozen=True)
class Insert(Edit):
    """Put `what` behind the wire `after`, for all its users or only for the one `before`."""

    kind = "insert"
    what: str
    after: Wire
    before: Port | None = None

    def __str__(self) -> str:
        only = f" before {self.before.node}" if self.before else ""
        return f"insert {self.what} after {self.at(self.after)}{only}"

    def change(self, graph: Graph, moves: Moves) -> Graph | Refusal:
        if not _has(graph, self.after):
            return Refusal("site", f"there is no wire {self.at(self.after)}")
        body = moves.body(self.what, graph.shape(self.after))
        return body if isinstance(body, Refusal) else _inserted(graph, body, self.after, self.before)


@dataclass(frozen=True)
class Remove(Edit):
    """Take out `node` and all that leads to it from the wire `since`, whose users it then feeds instead."""

    kind = "remove"
    node: str
    since: Wire

    def __str__(self) -> str:
        since = f"{self.since.node}[{self.since.port}]" if self.since.port else self.since.node
        return f"remove {self.at((self.node, 0))} back to {since}"

    def change(self, graph: Graph, moves: Moves) -> Graph | Refusal:
        names = [INPUT, *graph.by_name]
        if self.node not in graph.by_name or not _has(graph, self.since):
            return Refusal("site", f"there is no node {self.at((self.node, 0))}, or no wire {self.at(self.since)}")
        earlier = names.index(self.since.node) < names.index(self.node)
        if not earlier or graph.shapes(self.node) != (graph.shape(self.since),):
            return Refusal("site", f"{self.since.node} cannot stand for {self.node}")
        return _rewired(graph, Wire(self.node), self.since)


def record(edit: Edit) -> dict[str, Any]:
    """An edit as plain values, ready for JSON; `read_edit` is the way back."""
    values = {name: value for name, value in vars(edit).items() if value is not None}
    return {"move": edit.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


def read_edit(values: Mapping[str, Any]) -> Edit:
    """The edit that `record` wrote. Raises UNI080 for anything else."""
    try:
        path = tuple(map(_text, values["path"]))
        if values["move"] == "remove":
            return Remove(path, _text(values["node"]), Wire(*_place(values["since"])))
        if values["move"] == "insert":
            before = Port(*_place(values["before"])) if values.get("before") else None
            return Insert(path, _text(values["what"]), Wire(*_place(values["after"])), before)
    except (KeyError, TypeError, ValueError):
        pass
    raise error("UNI080", f"expected the record of an edit, but got {shown(dict(values))}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _place(value: Any) -> tuple[str, int]:
    node, port = value
    if not isinstance(port, int):
        raise TypeError
    return _text(node), port


# ---- refusals: why nothing was done --------------------------------------------------------------------------------

Reason = Literal["type", "site", "budget", "known"]


@dataclass(frozen=True)
class Refusal:
    """Why a move is not possible.

    `reason` is 'type' (what is put in does not fit the shape), 'site' (nothing can change at this place), 'budget' (the
    result is too large or too small) or 'known' (the result was there before); `why` is a sentence.
    """

    reason: Reason
    why: str


def apply(graph: Graph, edit: Edit, moves: Moves) -> Graph:
    """The architecture after an edit. Raises UNI080 where the edit does not fit it."""
    changed = attempt(graph, edit, moves)
    if isinstance(changed, Refusal):
        raise error("UNI080", f"cannot {edit}: {changed.why}", None, "was it made for another architecture, or space?")
    return changed


def attempt(graph: Graph, edit: Edit, moves: Moves) -> Graph | Refusal:
    """The architecture after an edit, or why that is not possible."""
    return _changed(graph, edit.path, edit, moves, _fixed_depth(graph))


# ---- moves: what may be done ---------------------------------------------------------------------------------------


class Moves:
    """The moves of a space, ready to be drawn: kinds with weights, and options, typed once for each shape."""

    def __init__(self, rules: Sequence[MoveRule]):
        for rule in rules:
            if rule.name not in _DRAW:
                hint = did_you_mean(rule.name, _DRAW) or f"there are {', '.join(_DRAW)}"
                raise error("UNI010", f"unknown move {shown(rule.name)}", None, hint)
            if rule.name == "insert" and not rule.options:
                raise error("UNI013", "expected what to insert", None, "moves insert 0.7 { conv(C, 3), gelu }, ...")
        if not any(rule.weight > 0 for rule in rules):
            raise error("UNI023", "expected a space with moves", None, "moves insert 0.7 { conv(C, 3) }, remove 0.3")
        self.rules = tuple(rules)
        self._weights = list(accumulate(rule.weight for rule in rules))
        self._options: dict[str, MoveOption] = {option.text: option for rule in rules for option in rule.options}
        self._bodies: dict[tuple[str, Shape], Graph | Refusal] = {}

    def draw(self, graph: Graph, rng: random.Random) -> Edit | Refusal:
        """A random edit, which may still turn out not to be possible."""
        rule = rng.choices(self.rules, cum_weights=self._weights)[0]
        return _DRAW[rule.name](graph, rule, rng)

    def body(self, what: str, shape: Shape) -> Graph | Refusal:
        """What an option becomes at a shape, which it must keep."""
        known = self._bodies.get((what, shape))
        if known is None:
            known = self._bodies[what, shape] = self._typed(what, shape)
        return known

    def _typed(self, what: str, shape: Shape) -> Graph | Refusal:
        if what not in self._options:
            return Refusal("type", f"the space does not insert {shown(what)}")
        try:
            body = self._options[what].on(shape)
        except UninasError as problem:
            return Refusal("type", problem.diagnostics[0].message)
        if body.output_shapes != (shape,):
            made = ", ".join(map(show_shape, body.output_shapes))
            return Refusal("type", f"expected {what} to keep the shape {show_shape(shape)}, but it makes {made}")
        return Refusal("type", f"{what} does nothing") if transparent(body) else body


def _draw_insert(graph: Graph, rule: MoveRule, rng: random.Random) -> Edit | Refusal:
    """Any option on any edge. Where a wire has several users, one of them or all get the result, at even odds."""
    place = _draw_place(graph, rng)
    if isinstance(place, Refusal):
        return place
    path, inner, index = place
    what = rule.options[rng.randrange(len(rule.options))].text
    if index < len(inner.nodes):
        node = inner.nodes[index]
        before = Port(node.name, rng.randrange(len(node.inputs)))
        after = node.inputs[before.port]
    else:
        before = Port(OUTPUT, index - len(inner.nodes))
        after = inner.outputs[before.port]
    while after.node != INPUT and transparent(inner.by_name[after.node].op):  # the same place, by its first name
        before, after = Port(after.node), inner.by_name[after.node].inputs[0]
    users = sum(node.inputs.count(after) for node in inner.nodes) + inner.outputs.count(after)
    return Insert(path, what, after, before if users > 1 and rng.random() < 0.5 else None)


def _draw_remove(graph: Graph, rule: MoveRule, rng: random.Random) -> Edit | Refusal:
    """Any node, with the region that ends there."""
    place = _draw_place(graph, rng)
    if isinstance(place, Refusal):
        return place
    path, inner, index = place
    if index >= len(inner.nodes):
        return Refusal("site", "an output is no node")
    since = region(inner, inner.nodes[index])
    return since if isinstance(since, Refusal) else Remove(path, inner.nodes[index].name, since)


_DRAW = {"insert": _draw_insert, "remove": _draw_remove}


# ---- proposals: moves until one is possible, affordable and new ----------------------------------------------------


@dataclass(frozen=True)
class Proposal:
    """A new architecture, the edit that made it, and how many draws were refused before, by reason."""

    graph: Graph
    edit: Edit
    refused: Mapping[str, int] = field(default_factory=dict)


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
    refused: Counter[str] = Counter()
    for _ in range(patience):
        edit = moves.draw(graph, rng)
        outcome = edit if isinstance(edit, Refusal) else _allowed(attempt(graph, edit, moves), budget, seen)
        if not isinstance(edit, Refusal) and isinstance(outcome, Graph):
            return Proposal(outcome, edit, dict(refused))
        assert isinstance(outcome, Refusal)
        refused[outcome.reason] += 1
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(refused.items()))
    raise error(
        "UNI080",
        f"expected a legal move among {patience} draws, but all were refused ({counts})",
        None,
        "give the budget more room, or the space more moves",
    )


def _allowed(changed: Graph | Refusal, budget: Budget, seen: Container[str]) -> Graph | Refusal:
    if isinstance(changed, Refusal):
        return changed
    broken = budget.broken(changed)
    if broken:
        return Refusal("budget", broken[0])
    return Refusal("known", "this architecture was there before") if changed.key in seen else changed


# ---- places: where a network may change ----------------------------------------------------------------------------


def blocks(graph: Graph) -> Iterator[tuple[tuple[str, ...], Graph]]:
    """The graphs that moves may change, with their paths: the blocks of all stages.

    A network without stages may change in its sections but stem and head, and any other graph everywhere.
    """
    depth = _fixed_depth(graph)
    if depth == 0:
        yield (), graph
    for node in graph.nodes if depth else ():
        if depth == 1 and node.name not in ("stem", "head"):
            yield from (((node.name,), inner) for inner, _ in subgraphs(node))
        elif depth == 2 and _is_stage(node):
            for stage, _ in subgraphs(node):
                for block in stage.nodes:
                    yield from (((node.name, block.name), inner) for inner, _ in subgraphs(block))


def _fixed_depth(graph: Graph) -> int:
    """How many names at the start of a path lead to a graph that keeps its place."""
    if any(map(_is_stage, graph.nodes)):
        return 2
    return 1 if any(node.name in ("stem", "head") and isinstance(node.op, Block) for node in graph.nodes) else 0


def _is_stage(node: Node) -> bool:
    return node.name.startswith("stages.")


def places(graph: Graph) -> int:
    """Number of nodes and outputs of a block and of all that is inside it, once per definition."""
    known: int | None = graph.__dict__.get("_places")  # kept with the graph, as its costs are: neither can change
    if known is None:
        inner = (places(part) for node in graph.nodes for part, _ in subgraphs(node) if not transparent(part))
        known = graph.__dict__["_places"] = len(graph.nodes) + len(graph.outputs) + sum(inner)
    return known


def _draw_place(graph: Graph, rng: random.Random) -> tuple[tuple[str, ...], Graph, int] | Refusal:
    """A place with even odds: the path of a graph, the graph, and the number of a node or, after these, an output."""
    found = [(path, block, places(block)) for path, block in blocks(graph)]
    if not found:
        return Refusal("site", "no part of this network may change")
    number = rng.randrange(sum(count for _, _, count in found))
    for path, block, count in found:
        if number < count:
            return _descend(path, block, number)
        number -= count
    raise AssertionError


def _descend(path: tuple[str, ...], graph: Graph, number: int) -> tuple[tuple[str, ...], Graph, int]:
    own = len(graph.nodes) + len(graph.outputs)
    if number < own:
        return path, graph, number
    number -= own
    for node in graph.nodes:
        for part, _ in subgraphs(node):
            count = 0 if transparent(part) else places(part)
            if number < count:
                return _descend((*path, node.name), part, number)
            number -= count
    raise AssertionError


def transparent(what: Graph | Operator) -> bool:
    """Whether one input comes out as it went in: a place before it and one behind it are the same."""
    if isinstance(what, Block):
        what = what.graph
    return isinstance(what, Identity) or (isinstance(what, Graph) and what.outputs == (Wire(INPUT),))


def region(graph: Graph, end: Node) -> Wire | Refusal:
    """The nearest wire of the same shape through which alone `end` sees the input, and beyond which nothing else looks.

    Between the two lies what a removal takes out: the node itself, if it keeps its shape, or an expansion with its
    reduction, or a fork with all its branches.
    """
    if len(graph.shapes(end.name)) != 1 or transparent(end.op) or not end.inputs:
        return Refusal("site", f"{end.name} has several outputs, or does nothing")
    shape = graph.shape(Wire(end.name))
    number = {node.name: position for position, node in enumerate(graph.nodes)}
    inside = {end.name}
    frontier = set(end.inputs)
    while len(frontier) > 1 or graph.shape(next(iter(frontier))) != shape:
        latest = max((wire.node for wire in frontier), key=lambda name: number.get(name, -1))
        if latest == INPUT or not _users(graph, latest) <= inside:
            return Refusal("site", f"{end.name} cannot be left out: nothing else has its shape {show_shape(shape)}")
        inside.add(latest)
        frontier = {wire for wire in frontier if wire.node != latest} | set(graph.by_name[latest].inputs)
    return frontier.pop()


def _users(graph: Graph, name: str) -> set[str]:
    users = {node.name for node in graph.nodes if any(wire.node == name for wire in node.inputs)}
    return users | {OUTPUT for wire in graph.outputs if wire.node == name}


def _has(graph: Graph, wire: Wire) -> bool:
    return (wire.node == INPUT or wire.node in graph.by_name) and 0 <= wire.port < len(graph.shapes(wire.node))


# ---- building the next graph ---------------------------------------------------------------------------------------


def _changed(graph: Graph, path: tuple[str, ...], edit: Edit, moves: Moves, fixed: int) -> Graph | Refusal:
    """Copy the path to the graph that changes; a block inside a block that becomes empty is left out."""
    if not path:
        return edit.change(graph, moves) if fixed <= 0 else Refusal("site", "a network changes inside its blocks only")
    node = graph.by_name.get(path[0])
    if node is None or isinstance(node.op, Op):
        return Refusal("site", f"there is no block {'.'.join(edit.path)}")
    inner, _ = next(subgraphs(node))
    changed = _changed(inner, path[1:], edit, moves, fixed - 1)
    if isinstance(changed, Refusal):
        return changed
    if fixed <= 0 and isinstance(node.op, Block) and transparent(changed):
        return _rewired(graph, Wire(node.name), node.inputs[0])
    other = replace(node, op=Block(changed) if isinstance(node.op, Block) else Each(changed))
    return replace(graph, nodes=tuple(other if each is node else each for each in graph.nodes))


def _rewired(graph: Graph, old: Wire, new: Wire) -> Graph:
    """Everything that used `old` uses `new`; what nothing needs any more is gone."""
    nodes = [_with_inputs(node, {old: new}) for node in graph.nodes]
    return graph.edited(nodes, (new if wire == old else wire for wire in graph.outputs))


def _with_inputs(node: Node, other: Mapping[Wire, Wire]) -> Node:
    if not any(wire in other for wire in node.inputs):
        return node
    return Node(node.name, node.op, tuple(other.get(wire, wire) for wire in node.inputs))


def _inserted(graph: Graph, body: Graph, after: Wire, before: Port | None) -> Graph | Refusal:
    """`body` behind `after`. A block stays one node; the nodes of a chain move in under fresh names."""
    taken = {INPUT, *graph.by_name}
    new: list[Node] = []
    if body.name != INLINED:
        new = [Node(_fresh(snake_case(body.name), taken), Block(body), (after,))]
        end = Wire(new[0].name)
    else:
        names = {node.name: _fresh(_base(node.op), taken) for node in body.nodes}

        def moved(wire: Wire) -> Wire:
            return after if wire.node == INPUT else Wire(names[wire.node], wire.port)

        new = [Node(names[node.name], node.op, tuple(map(moved, node.inputs))) for node in body.nodes]
        end = moved(body.outputs[0])
    nodes = list(graph.nodes)
    outputs = list(graph.outputs)
    if before is None:
        nodes = [_with_inputs(node, {after: end}) for node in nodes]
        outputs = [end if wire == after else wire for wire in outputs]
    elif before.node == OUTPUT and before.port in range(len(outputs)) and outputs[before.port] == after:
        outputs[before.port] = end
    else:
        user = graph.by_name.get(before.node)
        if user is None or before.port not in range(len(user.inputs)) or user.inputs[before.port] != after:
            return Refusal("site", f"{before.node} does not use {after.node}")
        inputs = (*user.inputs[: before.port], end, *user.inputs[before.port + 1 :])
        nodes[nodes.index(user)] = replace(user, inputs=inputs)
    position = 0 if after.node == INPUT else 1 + next(i for i, node in enumerate(nodes) if node.name == after.node)
    return graph.edited((*nodes[:position], *new, *nodes[position:]), outputs)


def _base(op: Operator) -> str:
    """What elaboration calls a node that has no name of its own."""
    if isinstance(op, Op):
        return op.name
    return "parts" if isinstance(op, Each) else snake_case(op.graph.name or "block")


def _fresh(base: str, taken: set[str]) -> str:
    """A free name, which is taken from now on: conv, or the next of conv_1, conv_2, ..."""
    name, number = base, 0
    while name in taken or (number == 0 and f"{base}_1" in taken):
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name
