"""Weights that several places share: one block for all parts of a bundle, or applied several times in a row."""

from __future__ import annotations

import random
import re
import runpy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import uninas
from uninas.backend.export import to_python
from uninas.errors import UninasError
from uninas.graph import sharing
from uninas.graph.summary import summarize
from uninas.language.elaborate import build, check, space
from uninas.language.formatter import format_text
from uninas.language.library import load_text
from uninas.language.printer import dumps
from uninas.mutate.walk import walk_of
from uninas.space import Space

# Twelve layers with one set of weights (Lan et al. 2020, ALBERT).
ALBERT = """
block Layer {
    input 16 x 1 x 10
    out = in + (in -> layer_norm -> conv(C * 4, 1) -> gelu -> conv(C, 1))
}
network albert {
    input 8 x 1 x 10
    stem conv(16, 1)
    section body shared repeat 12 { Layer -> relu }
    head global_avg_pool -> linear(3)
}
"""

# Two images seen by one network (Bromley et al. 1993).
SIAMESE = """
block Distance {
    input 4, 4
    a, b = in
    out = (a - b) * (a - b)
}
network siamese {
    input 3 x 16 x 16, 3 x 16 x 16
    stem shared each image { out = image -> conv(8, 3, stride=2) -> batch_norm -> relu -> global_avg_pool -> linear(4) }
    head Distance
}
"""

# One head for maps of several sizes; what depends on the size has no weights.
LEVELS = """
network levels {
    input 8 x 16 x 16, 8 x 8 x 8, 8 x 8 x 8
    head shared each level { out = level -> conv(8, 3) -> relu -> conv(C, 3) -> batch_norm }
}
"""

TEXTS = {"albert": ALBERT, "siamese": SIAMESE, "levels": LEVELS}
OWN = {name: text.replace("shared ", "") for name, text in TEXTS.items()}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("explicit", [False, True])
def test_what_is_printed_shares_the_same_weights(name: str, explicit: bool) -> None:
    graph = uninas.load(TEXTS[name])
    text = dumps(graph, name, explicit=explicit)
    again = build(load_text(text), name)
    assert (again, again.key) == (graph, graph.key)
    assert format_text(text) == text
    assert uninas.load(OWN[name]).key != graph.key


@pytest.mark.parametrize("name", TEXTS)
def test_parameters_count_once_and_work_every_time(name: str) -> None:
    graph, own = uninas.load(TEXTS[name]), uninas.load(OWN[name])
    model = uninas.compile(graph).eval()
    assert graph.cost.params == sum(p.numel() for p in model.parameters()) < own.cost.params
    assert (graph.cost.macs, graph.cost.elementwise) == (own.cost.macs, own.cost.elementwise)
    assert (graph.operations, graph.activations, graph.depth) == (own.operations, own.activations, own.depth)
    with FlopCounterMode(display=False) as counter:
        model(*(torch.randn(1, *shape) for shape in graph.inputs))
    assert counter.get_total_flops() == graph.cost.flops
    rows = summarize(graph, depth=3).rows
    assert sum(row.cost.params for row in rows if row.depth == 0) == graph.cost.params
    for one, next_one in pairwise(rows):
        assert next_one.depth <= one.depth or next_one.cost.params <= one.cost.params


@pytest.mark.parametrize("name", TEXTS)
def test_the_module_computes_what_equal_weights_would(name: str) -> None:
    shared, own = uninas.compile(uninas.load(TEXTS[name])).eval(), uninas.compile(uninas.load(OWN[name])).eval()
    weights = shared.state_dict()
    named = {path: re.sub(r"level_\d|parts\.\d", "parts", re.sub(r"layer_\d+\.", "again.layer.", path))
             for path in own.state_dict()}  # fmt: skip
    assert set(named.values()) == set(weights)
    own.load_state_dict({path: weights[other] for path, other in named.items()})
    inputs = [torch.randn(2, *shape, generator=torch.Generator().manual_seed(3)) for shape in own.architecture.inputs]
    torch.testing.assert_close(shared(*inputs), own(*inputs))


@pytest.mark.parametrize("name", TEXTS)
def test_exported_python_shares_them_too(name: str, tmp_path: Path) -> None:
    graph = uninas.load(TEXTS[name])
    path = tmp_path / f"exported_{name}.py"
    path.write_text(to_python(graph), encoding="utf-8")
    made = runpy.run_path(str(path))[graph.name.capitalize()]().eval()
    ours = uninas.compile(graph).eval()
    made.load_state_dict(ours.state_dict())
    inputs = [torch.randn(2, *shape, generator=torch.Generator().manual_seed(3)) for shape in graph.inputs]
    torch.testing.assert_close(made(*inputs), ours(*inputs))


@pytest.mark.parametrize("name", TEXTS)
def test_moves_keep_the_sharing(name: str) -> None:
    text = (
        TEXTS[name]
        + f"""
    space Around {{
        start {name}
        moves insert 0.7 {{conv(C, 1), gelu, conv(C * 2, 1) -> conv(C, 1)}}, remove 0.3, skip 0.2, own, share
    }}"""
    )
    if name != "albert":
        text = text.replace("stem shared", "section first shared").replace("head shared", "section last shared")
    around = space(load_text(text), "Around")
    assert isinstance(around, Space) and around.start
    walk, rng, graph = walk_of(around), random.Random(1), around.start()
    before = [sharing(node.op) for _, _, node in graph.walk()]
    inside = 0
    for _ in range(12):
        proposal = walk.propose(graph, rng, {graph.key})
        graph, inside = proposal.graph, inside + len(proposal.edit.path) > 1
        assert check(load_text(dumps(graph, "found", explicit=True)))["found"] == graph
    assert {one for one in before if one != (1, False, ())} <= {sharing(node.op) for _, _, node in graph.walk()}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("out = in -> shared repeat 2 { conv(C * 2, 1) }", "out of what is repeated with the same weights"),
        ("out = (in, in -> max_pool(2, 2)) -> shared each x { out = x -> pos_embed }", "expected the same weights"),
        ("out = (in, in -> max_pool(2, 2)) -> shared each x { out = x -> upsample(H * 2, W * 2) }", "speak of H and W"),
        ("out = in -> repeat 2 { relu } as twice", "expected no name"),
    ],
)
def test_what_cannot_be_shared(wrong: str, message: str) -> None:
    with pytest.raises(UninasError, match=message):
        check(load_text(f"block A {{ input 4 x 8 x 8  {wrong} }}"))
