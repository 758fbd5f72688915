"""Sections that take what earlier ones made: skips across stages, several inputs, several outputs."""

from __future__ import annotations

import random

import pytest
import torch

import uninas
from uninas.errors import UninasError
from uninas.graph.summary import summarize
from uninas.language.elaborate import build, check, space
from uninas.language.formatter import format_text
from uninas.language.library import load_text
from uninas.language.printer import dumps
from uninas.mutate.walk import walk_of
from uninas.space import Space

PARALLEL = """
from blocks.residual import BasicBlock

# What each of two maps takes from the other (Sun et al. 2019, HRNet).
block Fuse {
    input 8 x 32 x 32, 16 x 16 x 16
    fine, coarse = in
    out = (fine + (coarse -> conv(fine.C, 1) -> upsample(fine.H, fine.W)), coarse + (fine -> conv(coarse.C, 3, 2)))
}

network parallel {
    input 3 x 32 x 32
    stem conv(8, 3) -> relu
    section coarse conv(16, 3, stride=2) -> relu
    stage (stem, coarse) -> 8 x 3 as both { each level { out = level -> BasicBlock } -> Fuse }
    section third (both[1]) -> conv(32, 3, stride=2)
    head (both, third) -> each level { out = level -> global_avg_pool } -> concat -> linear(10)
}
"""

TWO_ENDS = """
network ends {
    input 3 x 16 x 16, 5
    stem (in[0]) -> conv(8, 3) -> relu
    stage 8 x 2 stride 2 as maps { conv(width, 3, stride) -> relu }
    section boxes global_avg_pool -> linear(4)
    section scores (stem) -> global_avg_pool -> flatten -> linear(10)
    section given (in[1]) -> linear(3)
    out = (scores, boxes, maps, given)
}
"""

TEXTS = {"unet": "unet", "resnet50_fpn": "resnet50_fpn", "parallel": PARALLEL, "ends": TWO_ENDS}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("explicit", [False, True])
def test_what_is_printed_reads_as_the_same_network(name: str, explicit: bool) -> None:
    graph = uninas.load(TEXTS[name])
    text = dumps(graph, name, explicit=explicit)
    again = build(load_text(text), name)
    assert (again, again.key) == (graph, graph.key)
    assert format_text(text) == text
    check(load_text(text))


@pytest.mark.parametrize("name", ["unet", "resnet50_fpn", "parallel"])
def test_a_search_may_start_there_and_writes_what_checks(name: str) -> None:
    head = TEXTS[name] if name == "parallel" else f"from networks.{name} import {name}\n"
    around = space(load_text(f"""{head}
    space Around {{
        start {name}
        moves insert 0.7 {{conv(C, 3), chunk(2) -> concat}}, remove 0.3, depth 0.3 {{count in 1..3}}, width 0.3,
            duplicate 0.3, delete 0.3, skip, resolution 0.2
    }}"""), "Around")  # fmt: skip
    assert isinstance(around, Space) and around.start
    walk, rng, graph = walk_of(around), random.Random(5), around.start()
    kinds = set()
    for _ in range(12):
        proposal = walk.propose(graph, rng, {graph.key})
        graph, kinds = proposal.graph, {*kinds, proposal.edit.kind}
        text = dumps(graph, "found", explicit=True)
        assert check(load_text(text))["found"] == graph
    assert len(kinds) > 2


def test_several_ends_are_told_and_computed() -> None:
    model = uninas.create_model(TWO_ENDS).eval()
    shapes = [(10,), (4,), (8, 8, 8), (3,)]
    made = model(torch.randn(2, 3, 16, 16), torch.randn(2, 5))
    assert [tuple(x.shape[1:]) for x in made] == shapes == list(model.architecture.output_shapes)
    assert model.num_classes == 0
    assert [row.name for row in summarize(model.architecture).rows] == ["stem", "stages.0", "boxes", "scores", "given"]
    with pytest.raises(UninasError, match="one output"):
        uninas.create_model(TWO_ENDS, num_classes=5)


def test_features_are_those_of_all_stages_and_of_all_their_wires() -> None:
    model = uninas.create_model(PARALLEL, features_only=True)
    assert [tuple(x.shape[1:]) for x in model(torch.randn(1, 3, 32, 32))] == [(8, 32, 32), (16, 16, 16)]
    assert [(info["num_chs"], info["reduction"]) for info in model.feature_info] == [(8, 1), (16, 2)]


def test_the_head_of_a_network_with_skips_takes_its_features() -> None:
    model = uninas.create_model("unet", first=4, img_size=32).eval()
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.forward_head(model.forward_features(x)), model(x))


def test_parts_of_bundles() -> None:
    text = """
    block Parts {
        input 6 x 4 x 4
        first, _, third = in -> chunk(3)
        parts = in -> split(1)
        out = (first * third, parts[2..3] -> concat, parts[0..0] -> identity -> conv(2, 1)) -> concat
    }
    block Two { input 3 x 4 x 4, 7  _, second = in  out = second -> linear(2) }
    """
    graphs = check(load_text(text))
    assert uninas.Graph is type(graphs["Parts"]) and graphs["Parts"].output_shapes == ((6, 4, 4),)
    assert graphs["Two"].inputs == ((3, 4, 4), (7,))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("head (steem) -> relu", "unknown name steem"),
        ("head (relu) -> relu", "expected a wire, but got the operation relu"),
        ("head (stem + stem) -> relu", "expected names of sections"),
        ("head (stem[1]) -> relu", "expected a position below 1"),
        ("head (stem[0..2]) -> relu", "expected positions from 0 to 0"),
        ("section a (in) -> relu  out = stem", "is never used"),
        ("stage 4 as a { relu }  stage 4 as a { relu }", "a is defined twice"),
        ("out = stem  out = stem", "expected one out"),
    ],
)
def test_what_no_section_can_take(wrong: str, message: str) -> None:
    with pytest.raises(UninasError, match=message):
        check(load_text(f"network n {{ input 3 x 4 x 4  stem relu  {wrong} }}"))


def test_a_block_says_the_shape_of_each_wire_or_one_for_all() -> None:
    with pytest.raises(UninasError, match="expected a shape for each of 3 wires"):
        check(load_text("block A { input 3 x 4 x 4, 5  out = in[0] + in[2] }"))
    assert check(load_text("block A { input 3 x 4 x 4  out = in[0] + in[2] }"))["A"].inputs == ((3, 4, 4),) * 3


def test_a_space_of_sections_that_take_others_is_counted() -> None:
    text = """
    space S {
        input 3 x 8 x 8
        stem conv(4, 3)
        stage 4..8 step 4 x 1..2 as c2 { conv(width, kernel in {1, 3}) }
        head (stem, c2) -> concat -> relu | gelu
    }"""
    found = check(load_text(text))["S"]
    assert isinstance(found, Space)
    assert found.count() == 2 * (2 + 4) * 2
