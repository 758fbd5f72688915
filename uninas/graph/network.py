"""What a network is: a stem, stages of blocks, a head. The one place that knows how their nodes are named.

>>> stage_name(2), block_name(0)
('stages.2', 'blocks.0')
>>> place(("stages", "2", "blocks", "0", "conv"))
Place(stage=2, block=0)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from uninas.graph.graph import Block, Graph, Node

STEM, HEAD = "stem", "head"
INSERTED = "inserted"
"""What elaboration calls a chain of several steps that a move puts in; a chain of one block is that block."""

_STAGE = re.compile(r"stages\.(\d+)")
_BLOCK = re.compile(r"blocks\.(\d+)")


def stage_name(number: int) -> str:
    """The name of the node of a stage, counted from 0."""
    return f"stages.{number}"


def block_name(number: int) -> str:
    """The name of the node of a block in its stage, counted from 0."""
    return f"blocks.{number}"


def stage_number(name: str) -> int:
    """The number of a stage by the name of its node; -1 for any other node."""
    found = _STAGE.fullmatch(name)
    return int(found[1]) if found else -1


def block_number(name: str) -> int:
    """The number of a block by the name of its node; -1 for any other node."""
    found = _BLOCK.fullmatch(name)
    return int(found[1]) if found else -1


class Place(NamedTuple):
    """Where something stands in a network: numbers of its stage and block, -1 outside of them."""

    stage: int = -1
    block: int = -1


def place(path: str | Sequence[str]) -> Place:
    """The place of a dotted path (stages.2.blocks.0.conv), or of the names that lead somewhere."""
    parts = (path if isinstance(path, str) else ".".join(path)).split(".")
    stage = stage_number(".".join(parts[:2]))
    return Place(stage, block_number(".".join(parts[2:4])) if stage >= 0 else -1)


@dataclass(frozen=True)
class Network:
    """The sections of a network in their order; `stem` and `head` are None where it has none."""

    sections: tuple[Node, ...]
    stem: Node | None
    stages: tuple[Node, ...]
    head: Node | None


def network_of(graph: Graph) -> Network:
    """The graph as a network. A graph that is none has no stages, no stem and no head."""
    named = {node.name: node for node in graph.nodes}
    stem, head = (node if node and isinstance(node.op, Block) else None for node in map(named.get, (STEM, HEAD)))
    return Network(graph.nodes, stem, tuple(stages(graph)), head)


def stages(graph: Graph) -> list[Node]:
    """The stages of a network, in their order."""
    return [node for node in graph.nodes if is_stage(node)]


def is_stage(node: Node) -> bool:
    """Whether a node of a network is a stage: a row of blocks."""
    return stage_number(node.name) >= 0 and isinstance(node.op, Block)
