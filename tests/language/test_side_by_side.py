"""`each a, b { ... }`: several bundles of equal length, the first wire of every one, then the second, and so on."""

from __future__ import annotations

import random
import runpy
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import uninas
from uninas.backend.export import to_python
from uninas.backend.weights import stacked_again
from uninas.errors import UninasError
from uninas.graph import Each, Graph
from uninas.graph.memory import memory
from uninas.graph.simplify import influence
from uninas.language.elaborate import build, check, space
from uninas.language.formatter import format_text
from uninas.language.library import load_text
from uninas.language.printer import dumps
from uninas.mutate.walk import walk_of
from uninas.space import Space

# Queries of one row of tokens, keys and values of another, shorter one (Wang et al. 2021, PVT).
CROSS = """
block Cross(head_dim = 8) {
    input 32 x 1 x 20, 32 x 1 x 5
    long, short = in
    queries = long -> conv(C, 1) -> split(head_dim)
    both = short -> conv(2 * C, 1) -> split(2 * head_dim)
    out = (queries, both) -> each q, kv {
        k, v = kv -> chunk(2)
        map = (q, k) -> matmul1 -> softmax
        out = (map, v) -> matmul2
    } -> concat -> conv(C, 1)
}
"""
BY_HAND = """
block Head {
    input 8 x 1 x 20, 16 x 1 x 5
    q, kv = in
    k, v = kv -> chunk(2)
    map = (q, k) -> matmul1 -> softmax
    out = (map, v) -> matmul2
}
block ByHand(head_dim = 8) {
    input 32 x 1 x 20, 32 x 1 x 5
    long, short = in
    queries = long -> conv(C, 1) -> split(head_dim)
    both = short -> conv(2 * C, 1) -> split(2 * head_dim)
    first = (queries[0], both[0]) -> Head
    second = (queries[1], both[1]) -> Head
    third = (queries[2], both[2]) -> Head
    fourth = (queries[3], both[3]) -> Head
    out = (first, second, third, fourth) -> concat -> conv(C, 1)
}
"""

# Gates from one bundle for the features of another; both weights and sizes of parts.
GATED = """
block Gated {
    input 24 x 6 x 6
    features = in -> conv(48, 3) -> split(12)
    gates = in -> split(6)
    out = (features, gates) -> each feature, gate {
        open = gate -> conv(12, 1) -> batch_norm -> sigmoid
        out = feature * open
    } -> concat -> conv(24, 1)
}
"""

# Two pyramids, a lateral map beside one from above at every level, with one set of weights.
PYRAMIDS = """
block Pyramids {
    input 8 x 16 x 16, 8 x 8 x 8, 4 x 16 x 16, 4 x 8 x 8
    out = (in[0..1], in[2..3]) -> shared each a, b { out = (a, b) -> concat -> conv(6, 3) -> relu }
}
"""
APART = PYRAMIDS.replace("shared ", "").replace("Pyramids", "Apart")
TEXTS = {"Cross": CROSS, "Gated": GATED, "Pyramids": PYRAMIDS, "Apart": APART}


def inputs_of(graph: Graph) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(2, *shape, generator=generator) for shape in graph.inputs]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("explicit", [False, True])
def test_what_is_printed_reads_back(name: str, explicit: bool) -> None:
    graph = uninas.load(TEXTS[name])
    text = dumps(graph, name, explicit=explicit)
    again = build(load_text(text), name)
    assert (again, again.key) == (graph, graph.key)
    assert format_text(text) == text
    assert (" each a, b {" in text) == (name != "Apart")  # parts of different sizes are blocks


@pytest.mark.parametrize("name", TEXTS)
def test_costs_are_those_of_the_module(name: str) -> None:
    graph = uninas.load(TEXTS[name])
    model = uninas.compile(graph).eval()
    assert graph.cost.params == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter:
        model(*inputs_of(graph)[: len(graph.inputs)])
    assert counter.get_total_flops() == 2 * graph.cost.flops  # two samples
    assert memory(graph)[""].activations == graph.activations


@pytest.mark.parametrize("fold", [False, True])
def test_parts_compute_what_blocks_written_one_by_one_would(fold: bool) -> None:
    each = uninas.compile(uninas.load(CROSS), fold=fold).eval()
    alone = uninas.compile(uninas.load(BY_HAND)).eval()
    alone.load_state_dict(each.state_dict())  # both have two convolutions before the heads, and one behind them
    given = inputs_of(each.architecture)
    torch.testing.assert_close(each(*given), alone(*given))
    assert each.architecture.cost == alone.architecture.cost


def test_folded_parts_with_weights_are_what_they_are_alone() -> None:
    graph = uninas.load(GATED)
    folded, alone = uninas.compile(graph, fold=True), uninas.compile(graph, fold=False)
    folded.load_state_dict(stacked_again(folded, alone.state_dict()))
    torch.testing.assert_close(folded.eval()(*inputs_of(graph)), alone.eval()(*inputs_of(graph)))


@pytest.mark.parametrize("name", TEXTS)
def test_exported_python_computes_the_same(name: str, tmp_path: Path) -> None:
    graph = uninas.load(TEXTS[name])
    path = tmp_path / f"exported_{name.lower()}.py"
    path.write_text(to_python(graph), encoding="utf-8")
    made = runpy.run_path(str(path))[name]().eval()
    ours = uninas.compile(graph, fold=False).eval()
    made.load_state_dict(ours.state_dict())
    for one, other in zip(made(*inputs_of(graph)), ours(*inputs_of(graph)), strict=True):
        torch.testing.assert_close(one, other)


def test_a_part_depends_on_its_own_wires_alone() -> None:
    graph = uninas.load(PYRAMIDS.replace("conv(6, 3) -> relu", "zero"))
    assert influence(graph) == ((0, True), (0, True))
    graph = uninas.load(PYRAMIDS.replace("(a, b) -> concat -> conv(6, 3) -> relu", "a + (b -> conv(8, 1) -> zero)"))
    assert influence(graph) == ((0b0001, False), (0b0010, False))


@pytest.mark.parametrize("name", ["Cross", "Gated"])
def test_moves_reach_the_parts_and_what_they_reach_can_be_written(name: str) -> None:
    sizes = TEXTS[name].split("input ")[1].split("\n")[0]
    text = f"""{TEXTS[name]}
    network start_here {{
        input {sizes}
        section first {name}
        section last global_avg_pool -> linear(3)
    }}
    space Around {{
        start start_here
        moves insert 0.3 {{conv(C, 1), gelu}}, own 0.4, share 0.3
    }}"""
    around = space(load_text(text), "Around")
    assert isinstance(around, Space) and around.start
    walk, rng, graph = walk_of(around), random.Random(1), around.start()
    parts = set()
    for _ in range(14):
        graph = walk.propose(graph, rng, {graph.key}).graph
        parts |= {node.op.copies(len(node.inputs)) for _, _, node in graph.walk() if isinstance(node.op, Each)}
        assert check(load_text(dumps(graph, "found", explicit=True)))["found"] == graph
    assert len(parts) > 1  # some got a body of their own


@pytest.mark.parametrize("level", ["block", "full"])
def test_a_picture_leads_every_bundle_into_the_card(level: str, tmp_path: Path) -> None:
    path = tmp_path / "cross.mmd"
    uninas.render(uninas.load(CROSS), path, level=level)
    text = path.read_text(encoding="utf-8")
    assert "4 of 8×1×20" in text and "4 of 16×1×5" in text


def test_names_of_parts_are_used_and_differ() -> None:
    for wrong, message in (
        ("each a, a { out = a -> relu }", "a is defined twice"),
        ("each a, b { out = a -> relu }", "the wire b is never used"),
    ):
        with pytest.raises(UninasError, match=message):
            check(load_text(f"block A {{ input 8 x 4 x 4  s = in -> split(4)  out = (s, s) -> {wrong} -> concat }}"))
    graph = uninas.load(
        "block A { input 8 x 4 x 4  s = in -> split(4)  out = (s, s) -> each a, _ { out = a -> relu } -> concat }"
    )
    assert graph.operations == 4
    assert "each a, _ {" in dumps(graph) and uninas.load(dumps(graph)) == graph
