"""NAS-Bench-201: its 15 625 cells by official index, by official string, and as graphs (Dong & Yang 2020).

The space itself is spaces/nasbench201.uni. A cell is six answers, one operation for every edge:

    >>> answers_of("|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
    (3, 0, 4, 1, 0, 2)
    >>> graph_of(0).cost.params
    129306
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from uninas.errors import did_you_mean, error, shown
from uninas.graph import Block, Graph, Node
from uninas.language.elaborate import build, space
from uninas.language.library import load_file, shipped_file

Answers = tuple[int, ...]
"""The number of an operation for every edge, in the order of the official strings."""

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ("edge01", "edge02", "edge12", "edge03", "edge13", "edge23")
"""Source and target of every edge, as the nodes of a cell are called in spaces/nasbench201.uni."""

DATASETS = {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet16": (120, 16)}
"""Number of classes, and height and width of an image; imagenet16 is ImageNet16-120."""


@cache
def official_order() -> tuple[Answers, ...]:
    """All cells in the order of the benchmark's index: enumerated, last edge fastest, then shuffled with seed 88."""
    cells = list(space(load_file(shipped_file("nasbench201")), "nasbench201").assignments())
    random.Random(88).shuffle(cells)
    return tuple(cells)


def answers_of(cell: int | str | Sequence[int]) -> Answers:
    """The answers of a cell given by index, by official string, or by themselves. Raises UninasError (UNI042)."""
    if isinstance(cell, str):
        return _parsed(cell)
    if isinstance(cell, int):
        if not 0 <= cell < len(official_order()):
            raise error("UNI042", f"expected an index from 0 to {len(official_order()) - 1:,}, but got {cell:,}")
        return official_order()[cell]
    answers = tuple(cell)
    if len(answers) != len(EDGES) or not all(0 <= answer < len(OPERATIONS) for answer in answers):
        raise error("UNI042", f"expected {len(EDGES)} numbers below {len(OPERATIONS)}, but got {shown(answers)}")
    return answers


def index_of(cell: int | str | Sequence[int]) -> int:
    """The official index of a cell."""
    return _indices()[answers_of(cell)]


def string_of(cell: int | str | Sequence[int]) -> str:
    """The official string of a cell: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|."""
    a, b, c, d, e, f = (OPERATIONS[answer] for answer in answers_of(cell))
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def graph_of(cell: int | str | Sequence[int], dataset: str = "cifar10") -> Graph:
    """The network of a cell for one of the DATASETS.

    Equal to what the space builds for the same answers, and much faster: the five networks that have one operation on
    all edges are built once, and every other takes its edges from these.
    """
    answers = answers_of(cell)
    known: dict[int, Graph] = {}

    def mixed(graphs: Sequence[Graph]) -> Graph:
        """One graph from those with a single operation; `graphs[n]` has operation n."""
        first = graphs[0]
        if id(first) not in known:
            nodes = zip(*(graph.nodes for graph in graphs), strict=True)
            known[id(first)] = replace(first, nodes=tuple(map(chosen, nodes)))
        return known[id(first)]

    def chosen(places: Sequence[Node]) -> Node:
        node = places[0]
        if node.name in EDGES:
            return places[answers[EDGES.index(node.name)]]
        if isinstance(node.op, Block) and any(place.op != node.op for place in places):
            return replace(node, op=Block(mixed([p.op.graph for p in places if isinstance(p.op, Block)])))
        return node

    return mixed(_uniform(dataset))


def answers_in(graph: Graph) -> Answers:
    """The answers that lead to this network, the inverse of `graph_of`. Raises UninasError (UNI042)."""
    for dataset in DATASETS:
        uniform = _uniform(dataset)
        if uniform[0].inputs == graph.inputs and uniform[0].output_shapes == graph.output_shapes:
            cells = [_first_cell(network) for network in (*uniform, graph)]
            if len(cells[-1]) != len(EDGES):
                break
            places = list(zip(*cells, strict=True))
            answers = tuple(known.index(edge) if edge in known else -1 for *known, edge in places)
            if -1 not in answers and graph_of(answers, dataset) == graph:
                return answers
    raise error("UNI042", f"expected a network of NAS-Bench-201, but got {shown(graph.name or 'another graph')}")


@cache
def _indices() -> dict[Answers, int]:
    return {answers: index for index, answers in enumerate(official_order())}


@cache
def _uniform(dataset: str) -> tuple[Graph, ...]:
    """For every operation, the network that has it on all edges."""
    if dataset not in DATASETS:
        hint = did_you_mean(dataset, DATASETS) or f"there are {', '.join(DATASETS)}"
        raise error("UNI042", f"there is no data set {shown(dataset)}", None, hint)
    classes, size = DATASETS[dataset]
    module = load_file(shipped_file("nasbench201"))
    return tuple(
        build(
            module,
            "nasbench201",
            input=(3, size, size),
            arguments={"classes": classes},
            decide=lambda choice, n=n: n,  # type: ignore[misc]  # a default that binds n
        )
        for n in range(len(OPERATIONS))
    )


def _first_cell(graph: Graph) -> list[Block]:
    """The operations on the edges of the first cell, in the order of EDGES."""
    for _, inner, node in graph.walk():
        if node.name == EDGES[0]:
            found = [inner.by_name[edge].op for edge in EDGES if edge in inner.by_name]
            return [op for op in found if isinstance(op, Block)]
    return []


def _parsed(text: str) -> Answers:
    parts = re.findall(r"\w+(?=~)", text)
    for part in parts:
        if part not in OPERATIONS:
            raise error("UNI042", f"there is no operation {shown(part)} in NAS-Bench-201", None,
                        did_you_mean(part, OPERATIONS) or f"there are {', '.join(OPERATIONS)}")  # fmt: skip
    answers = tuple(map(OPERATIONS.index, parts))
    if len(answers) != len(EDGES) or string_of(answers) != text:
        raise error("UNI042", f"expected a cell like {string_of((0,) * len(EDGES))}, but got {shown(text)}")
    return answers
