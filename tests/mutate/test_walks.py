"""Random walks by every kind of move: all is typed, prints and reads back, and compiles to what was predicted.

benchmarks/bench_walks.py does the same with as many walks as it is asked for.
"""

import json
import random
from collections import Counter

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import uninas
from uninas.language.elaborate import build, space
from uninas.language.formatter import format_text
from uninas.language.library import find, load_text
from uninas.language.printer import dumps
from uninas.mutate import MoveWalk, read_edit, record, walk_of
from uninas.space import Budget, Limit


@pytest.fixture(scope="module")
def small(tiny):
    """Every kind of move, around a small network."""
    limits = Budget((Limit("params", high=1e6), Limit("flops", high=1e9), Limit("operations", high=400)))
    return walk_of(space(*find("UniDAG")), tiny, limits)


def walked(walk: MoveWalk, seed: int, steps: int, kinds: Counter | None = None):
    """The end of a walk in which every step was checked."""
    rng, graph, seen = random.Random(seed), walk.start, {walk.start.key}
    for _ in range(steps):
        proposal = walk.propose(graph, rng, seen)
        edit = read_edit(json.loads(json.dumps(record(proposal.edit))))
        assert edit == proposal.edit
        assert walk.apply(graph, edit) == proposal.graph
        assert proposal.graph.key not in seen and not walk.budget.violations(proposal.graph)
        assert proposal.graph.output_shapes == walk.start.output_shapes
        graph = proposal.graph
        seen.add(graph.key)
        if kinds is not None:
            kinds[edit.kind] += 1
    return graph


def read_back(graph):
    """Text keeps the architecture, with its costs, however it is written."""
    for explicit in (False, True):
        text = dumps(graph, explicit=explicit)
        again = build(load_text(text), graph.name)
        assert again == graph and format_text(text) == text
        for measure in ("key", "cost", "operations", "activations", "peak", "depth"):
            assert getattr(again, measure) == getattr(graph, measure)


def as_predicted(graph):
    """Parameters, shapes and FLOPs of the module are those of the graph."""
    model = uninas.compile(graph).to("meta").eval()
    assert sum(weight.numel() for weight in model.parameters()) == graph.cost.params
    with FlopCounterMode(display=False) as counter:
        out = model(torch.empty(1, *graph.inputs[0], device="meta"))
    assert out.shape == (1, *graph.output_shapes[0])
    assert counter.get_total_flops() == graph.cost.flops


def finite(graph, dtype=torch.float32):
    """A step forwards and backwards from new weights has no NaN and no infinity."""
    generator = torch.Generator().manual_seed(0)
    model = uninas.create_model(graph, generator=generator).to(dtype)
    out = model(torch.randn(2, *graph.inputs[0], generator=generator).to(dtype))
    out.square().mean().backward()
    assert out.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


def test_walks_by_every_kind_of_move_read_back_and_compile_to_what_was_predicted(small):
    kinds = Counter()
    for seed in range(4):
        graph = walked(small, seed, 40, kinds)
        read_back(graph)
        if seed < 2:
            as_predicted(graph)
    assert len(kinds) >= 12, kinds


def test_what_a_walk_makes_is_finite_forwards_and_backwards(small):
    for seed in range(20, 22):
        finite(walked(small, seed, 15))


@pytest.mark.slow
def test_walks_in_the_shipped_spaces_read_back_and_compile(wild):
    for walk in (wild, walk_of(space(*find("UniNAS")))):
        for seed in range(100, 102):
            graph = walked(walk, seed, 50)
            read_back(graph)
            as_predicted(graph)
