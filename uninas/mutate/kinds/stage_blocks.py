"""Whole blocks of the stages: swap, duplicate, delete, move; and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uninas.graph import Block, Graph, subgraphs
from uninas.graph.network import stages
from uninas.graph.resolve import resolved
from uninas.mutate.edits import Bodies, Edit, Lazy
from uninas.mutate.rebuild import row
from uninas.mutate.sites import Refusal, Site
from uninas.space import MoveRule

MAX_BLOCKS = 1000  # of one stage


@dataclass(frozen=True)
class Swap(Edit, kind="swap", level="stage"):
    """Let two blocks of a stage change places."""

    first: int
    second: int

    def __str__(self) -> str:
        return f"swap blocks {self.first} and {self.second} of {self.path[0]}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        count = len(site.graph.nodes)
        others = [n for n in range(count) if n != site.index]
        return Lazy(len(others), lambda n: cls(site.path, *sorted((site.index, others[n]))))

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        ops = [node.op for node in graph.nodes]
        if not 0 <= self.first < self.second < len(ops):
            return Refusal("site", f"there are no blocks {self.first} and {self.second}")
        ops[self.first], ops[self.second] = ops[self.second], ops[self.first]
        return _refusable(graph, row(graph, ops))


@dataclass(frozen=True)
class Duplicate(Edit, kind="duplicate", level="stage"):
    """Put a second block like this one behind it."""

    block: int

    def __str__(self) -> str:
        return f"duplicate block {self.block} of {self.path[0]}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        return [cls(site.path, site.index)]

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        ops = [node.op for node in graph.nodes]
        if self.block not in range(len(ops)) or len(ops) >= MAX_BLOCKS:
            return Refusal("site", f"there is no block {self.block}, or there are {MAX_BLOCKS:,} already")
        return row(graph, [*ops[: self.block + 1], *ops[self.block :]])


@dataclass(frozen=True)
class Delete(Edit, kind="delete", level="stage"):
    """Leave a block out."""

    block: int

    def __str__(self) -> str:
        return f"delete block {self.block} of {self.path[0]}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        return [cls(site.path, site.index)]

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        ops = [node.op for node in graph.nodes]
        if self.block not in range(len(ops)) or len(ops) < 2:
            return Refusal("site", f"there is no block {self.block}, or none besides it")
        return _refusable(graph, row(graph, ops[: self.block] + ops[self.block + 1 :]))


@dataclass(frozen=True)
class Move(Edit, kind="move", level="network"):
    """Take a block out of its stage and put it before the block `place` of a stage, its channels solved anew there."""

    source: str
    block: int
    target: str
    place: int

    def __str__(self) -> str:
        return f"move block {self.block} of {self.source} to place {self.place} of {self.target}"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        counts = {node.name: len(inner.nodes) for node in stages(site.graph) for inner, _ in subgraphs(node)}
        blocks = [(name, number) for name, count in counts.items() for number in range(count)]
        places = [(name, number) for name, count in counts.items() for number in range(count + 1)]
        return Lazy(
            len(blocks) * len(places),
            lambda n: cls(site.path, *blocks[n // len(places)], *places[n % len(places)]),
        )

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        rows = {node.name: inner for node in stages(graph) for inner, _ in subgraphs(node)}
        ops = {name: [node.op for node in inner.nodes if isinstance(node.op, Block)] for name, inner in rows.items()}
        source, target = ops.get(self.source, []), ops.get(self.target, [])
        if self.block not in range(len(source)) or self.place not in range(len(target) + 1):
            return Refusal("site", "there is no such block, or no such place")
        if len(source) < 2 and source is not target:
            return Refusal("site", f"{self.source} would be empty")
        moved = source.pop(self.block)
        place = self.place - (source is target and self.block < self.place)
        into = target[place - 1].graph.output_shapes if place else rows[self.target].inputs
        target.insert(place, Block(resolved(moved.graph, into, into[0][0])))
        for name in {self.source, self.target}:
            changed = _refusable(rows[name], row(rows[name], ops[name]))
            if isinstance(changed, Refusal):
                return changed
            graph = graph.with_op(name, Block(changed))
        return graph


@dataclass(frozen=True)
class Depth(Edit, kind="depth", level="stage"):
    """Let a stage have `count` blocks: the last one again and again, or the last ones left out."""

    count: int

    def __str__(self) -> str:
        return f"let {self.path[0]} have {self.count} blocks"

    @classmethod
    def at(cls, site: Site, rule: MoveRule) -> Sequence[Edit]:
        now = len(site.graph.nodes)
        counts = [n for n in rule.values.get("count", (now - 1, now + 1)) if isinstance(n, int) and n > 0 and n != now]
        return [cls(site.path, count) for count in counts]

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        if not 0 < self.count <= MAX_BLOCKS:
            return Refusal("site", f"expected 1 to {MAX_BLOCKS:,} blocks")
        ops = [node.op for node in graph.nodes][: self.count]
        return _refusable(graph, row(graph, ops + ops[-1:] * (self.count - len(ops))))


def _refusable(before: Graph, after: Graph) -> Graph | Refusal:
    """The row after an edit, unless it makes something else than before."""
    if before.output_shapes != after.output_shapes:
        return Refusal("type", "the stage would make another shape")
    return after
