"""Spaces that are shipped as text: as many members as their papers say, with the networks that they mean."""

import itertools
import json
import random

import pytest
import torch
from helpers.commands import succeed

import uninas
from uninas.errors import UninasError
from uninas.language.elaborate import build
from uninas.language.elaborate import space as read_space
from uninas.language.library import find, load_file
from uninas.language.resources import library_root


def small(name, side):
    """The space for smaller images."""
    return read_space(*find(name), input=(3, side, side))


def test_the_size_space_of_nats_bench_has_its_members():
    space = uninas.space("natsbench_size")
    assert space.count() == 8**5
    widest = space.member([7] * 5)  # 64 channels everywhere: 5 convolutions in a cell, shortcuts in reductions only
    convolutions = 3 * 64 * 9 + 3 * 5 * 64 * 64 * 9 + 2 * (2 * 64 * 64 * 9 + 64 * 64)
    norms = 2 * 64 * (1 + 3 * 5 + 2 * 2 + 1)
    assert widest.cost.params == convolutions + norms + 64 * 10 + 10


@pytest.mark.parametrize("answers", [[0, 7, 0, 7, 0], [3, 3, 4, 5, 5]])
def test_members_of_the_size_space_build_and_run(answers):
    graph = uninas.space("natsbench_size").member(answers)
    model = uninas.compile(graph).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert model(x).shape == (2, 10) and model(x).isfinite().all()
    assert sum(parameter.numel() for parameter in model.parameters()) == graph.cost.params


def test_a_member_drawn_twice_by_one_seed_is_the_same():
    space = uninas.space("natsbench_size")
    one, two = (space.sample(random.Random(3))[0].key for _ in range(2))
    assert one == two


def test_a_space_is_summed_up_with_its_choices_its_size_and_the_costs_of_members():
    found = json.loads(succeed("summary", "nasbench201", "--json"))
    assert found["members"] == 15_625 and len(found["choices"]) == 6 and found["samples"] == 100
    params = found["costs"]["params"]
    assert params["least"] <= params["median"] <= params["most"] and sum(params["histogram"]) == 100
    text = succeed("summary", "nasbench201")
    assert "15,625" in text and "nor_conv_3x3" in text and "█" in text


def test_a_space_says_what_it_is_in_one_line():
    assert repr(uninas.space("nasbench201")) == "Space(nasbench201: 6 choices)"
    assert len(repr(uninas.space("UniNAS"))) < 120


def cell_parameters(digits, narrow, wide):
    """Of a cell of TransNAS-Bench-101 between these widths; where they differ it halves the map too.

    Edges in the order 01, 02, 12, 03, 13, 23; 0 none, 1 skip, 2 convolution 1x1, 3 convolution 3x3.
    """
    total = 0
    for digit, from_input in zip(digits, (True, True, False, True, False, False), strict=True):
        taken = narrow if from_input else wide
        convolutions = {0: 0, 1: taken * wide if taken != wide else 0, 2: taken * wide, 3: taken * wide * 9}[digit]
        total += convolutions + (2 * wide if convolutions else 0)
    return total


@pytest.mark.parametrize("digits", [(0,) * 6, (1,) * 6, (2,) * 6, (3,) * 6, (0, 1, 2, 3, 0, 1), (3, 1, 0, 2, 3, 1)])
def test_the_micro_space_of_transnas_bench_has_its_members(digits):
    space = uninas.space("transnas_micro")
    assert space.count() == 4**6
    stem = 3 * 32 * 9 + 2 * 32 + 32 * 64 * 9 + 2 * 64
    widths = [64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512]
    cells = sum(cell_parameters(digits, *pair) for pair in itertools.pairwise(widths))
    assert space.member(digits).cost.params == stem + cells + 512 * 63 + 63


@pytest.mark.parametrize("digits", [(0, 0, 1, 1, 3, 2), (1, 0, 0, 1, 1, 3)])
def test_members_of_the_micro_space_build_and_run(digits):
    graph = small("transnas_micro", 64).member(digits)
    model = uninas.compile(graph).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert model(x).shape == (2, 63) and model(x).isfinite().all()
    assert sum(parameter.numel() for parameter in model.parameters()) == graph.cost.params


def test_the_halving_shortcut_sees_every_position_once():
    """Each half of its channels sums what lies at its positions; the weights are one."""
    module = load_file(library_root() / "blocks" / "cells.uni")
    graph = build(module, "FactorizedReduction", input=(1, 4, 4), arguments={"width": 2, "stride": 2})
    model = uninas.compile(graph).train()
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
    x = torch.zeros(16, 1, 4, 4)
    x.view(16, 16).fill_diagonal_(1.0)  # one position in each picture
    seen = (model(x) > model(x).amin()).flatten(2).sum(2)
    positions = seen.view(4, 4, 2)
    assert positions[::2, ::2, 0].eq(1).all() and positions[1::2, 1::2, 1].eq(1).all() and seen.sum() == 8


def test_the_space_of_autoformer_has_its_members():
    space = uninas.space("autoformer")
    assert space.count() == 3 * sum(4**depth for depth in (12, 13, 14))
    _, answers = space.sample(random.Random(0))
    graph = space.member(answers)
    width, depth = (192, 216, 240)[answers["hidden"]], 12 + answers["stages.0.count"]
    expected = 3 * 16 * 16 * width + width + width + 197 * width + 2 * width + width * 1000 + 1000
    for layer in range(depth):
        inner = 64 * (3 + answers[f"stages.0.blocks.{layer}.encoder@0.heads"])
        hidden = (width * 7 // 2, width * 4)[answers[f"stages.0.blocks.{layer}.encoder@0.ratio"]]
        expected += 2 * 2 * width + (width + 1) * 3 * inner + (inner + 1) * width
        expected += (width + 1) * hidden + (hidden + 1) * width
    assert graph.cost.params == expected


def test_members_of_the_space_of_autoformer_build_and_run():
    graph, _ = small("autoformer", 32).sample(random.Random(1))
    model = uninas.compile(graph).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert model(x).shape == (2, 1000) and model(x).isfinite().all()


def parameters_of_a_cell(edges, operations, width, came):
    """Of a cell of NAS-Bench-101 with these edges (i, j), by what its paper says of channels and projections."""
    nodes = [v for v in range(1, 6) if reaches(edges, 0, v) and reaches(edges, v, 6)]
    edges = {(u, v) for u, v in edges if {u, v} <= {0, 6, *nodes}}
    last = [v for v in nodes if (v, 6) in edges]
    channels = {v: width // len(last) + (place < width % len(last)) for place, v in enumerate(last)}
    for v in reversed(nodes):
        channels.setdefault(
            v, max(channels[w] for w in nodes if (v, w) in edges and w in channels) if v not in last else 0
        )

    def convolution(taken, made, kernel):
        return taken * made * kernel**2 + 2 * made

    total = convolution(came, width, 1) if (0, 6) in edges else 0
    total += sum(convolution(came, channels[v], 1) for v in nodes if (0, v) in edges)
    kernels = {"conv3x3": 3, "conv1x1": 1}
    total += sum(
        convolution(channels[v], channels[v], kernels[op]) for v in nodes if (op := operations[v - 1]) in kernels
    )
    return total


def reaches(edges, u, v):
    return u == v or any(reaches(edges, w, v) for w in range(u + 1, v + 1) if (u, w) in edges)


def test_the_space_of_nas_bench_101_has_its_members():
    """The first is the cell that its repository shows, with the parameters that are told there."""
    space = uninas.space("nasbench101")
    options = next(choice.options for choice in space.choices if choice.path == "op1")
    pairs = [(u, v) for u in range(6) for v in range(u + 1, 7)]
    shown = {(0, 1), (0, 2), (0, 3), (0, 5), (1, 6), (2, 6), (3, 4), (4, 6), (5, 6)}
    answers = {f"op{v}": options.index(op) for v, op in enumerate(("conv1x1", *["conv3x3"] * 3, "maxpool3x3"), 1)}
    answers |= {f"e{u}{v}": int((u, v) in shown) for u, v in pairs}
    answers["e06"] = 1  # its first option is 1
    assert space.member(answers).cost.params == 2_694_282
    rng = random.Random(3)
    for _ in range(6):
        graph, drawn = space.sample(rng)
        edges = {(u, v) for u, v in pairs if drawn[f"e{u}{v}"] == ((u, v) != (0, 6))}
        operations = [options[drawn[f"op{v}"]] for v in range(1, 6)]
        assert len(edges) <= 9
        total, came = 3 * 128 * 9 + 2 * 128 + 512 * 10 + 10, 128
        for width in (128, 256, 512):
            for _ in range(3):
                total += parameters_of_a_cell(edges, operations, width, came)
                came = width
        assert graph.cost.params == total
    with pytest.raises(UninasError, match="expected at most 200,000 answers to try"):
        space.count()
    with pytest.raises(UninasError, match="expected answers for which this holds"):
        space.member({**answers, "e06": 0})


def test_members_of_the_space_of_nas_bench_101_build_and_run():
    graph, _ = small("nasbench101", 8).sample(random.Random(0))
    model = uninas.compile(graph).eval()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert model(x).shape == (2, 10) and model(x).isfinite().all()
    assert sum(parameter.numel() for parameter in model.parameters()) == graph.cost.params


def test_the_space_of_pit_has_its_members():
    """Of the heads of three stages none are fewer than before: 10 triples of 27."""
    space = uninas.space("pit")
    assert space.count() == 4 * 4 * 10 * 3**3 == 4320
    published = {"head_dim": 2, "ratio": 1, "h1": 0, "h2": 1, "h3": 2, "stages.0.count": 1, "stages.1.count": 1}
    graph = space.member({**published, "stages.2.count": 1})
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("pit_ti_224")
    assert graph.cost.params == sum(parameter.numel() for parameter in theirs.parameters()) == 4_847_272
    assert graph.shapes("pool1") == ((128, 1, 197),) and graph.shapes("pool2") == ((256, 1, 50),)
    with pytest.raises(UninasError, match="expected answers for which this holds"):
        space.member({**published, "stages.2.count": 1, "h3": 0})


@pytest.mark.parametrize("side", [32, 48, 72])
def test_members_of_the_space_of_pit_build_and_run(side):
    graph, _ = small("pit", side).sample(random.Random(side))
    model = uninas.compile(graph).eval()
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    assert model(x).shape == (2, 1000) and model(x).isfinite().all()


def test_the_macro_space_of_transnas_bench_has_its_members():
    """Of its modules, four to six, one to four halve the map and one to three double the channels."""
    space = uninas.space("transnas_macro")
    assert space.count() == 210 + 750 + 2296 == 3256
    answers = dict.fromkeys([choice.path for choice in space.choices], 0) | {"modules": 1, "w5": 1, "d3": 1}
    member = space.member(answers)  # in d1 and w1 the first option is 1
    pairs = [(64, 128, True), (128, 128, False), (128, 128, True), (128, 128, False), (128, 256, False)]
    total = 3 * 32 * 9 + 2 * 32 + 32 * 64 * 9 + 2 * 64
    for narrow, wide, halved in pairs:
        shortcut = narrow != wide or halved
        total += narrow * wide * 9 + 3 * wide * wide * 9 + 8 * wide + shortcut * (narrow * wide + 2 * wide)
    assert member.cost.params == total + 256 * 63 + 63
    assert member.shapes("m5") == ((256, 16, 16),)
    with pytest.raises(UninasError, match="expected answers for which this holds"):
        space.member({**answers, "modules": 0})


def test_the_macro_space_of_nas_bench_has_its_members():
    space = uninas.space("nasbench_macro")
    assert space.count() == 3**8 == 6561

    def block(narrow, wide, expand, kernel):
        hidden = narrow * expand
        return narrow * hidden + hidden * kernel**2 + hidden * wide + 2 * (2 * hidden + wide)

    ends = 3 * 32 * 9 + 2 * 32 + 256 * 1280 + 2 * 1280 + 1280 * 10 + 10
    widths = [32, 64, 64, 128, 128, 128, 256, 256, 256]
    pairs = list(itertools.pairwise(widths))
    for option, expand, kernel in ((1, 3, 3), (2, 6, 5)):
        assert space.member([option] * 8).cost.params == ends + sum(block(*pair, expand, kernel) for pair in pairs)
    passing = [a * b + 2 * b for a, b in pairs if a != b]
    assert space.member([0] * 8).cost.params == ends + sum(passing)


def test_the_space_of_mnasnet_has_its_members():
    space = uninas.space("mnasnet")
    assert space.count() == 36**7
    graph, _ = space.sample(random.Random(2))
    assert graph.output_shapes == ((1000,),)
    least = space.member({choice.path: 0 for choice in space.choices})
    squeezed = space.member({choice.path: int(choice.path.endswith("s")) for choice in space.choices})
    gates = [(32, 32), (16, 16), (24, 24), (40, 40), (80, 80), (96, 96), (192, 192)]  # expansion 1: input, hidden
    added = sum(2 * hidden * (narrow // 4) + narrow // 4 + hidden for narrow, hidden in gates)
    assert squeezed.cost.params - least.cost.params == added


def test_the_cells_of_darts_make_the_published_network():
    space = uninas.space("darts")
    cells = 1 * 3 * 6 * 10 * 7**8
    assert space.count() == cells**2
    options = next(choice.options for choice in space.choices if choice.path == "na")
    separable, skip, dilated, pool = map(options.index, ("sep_conv_3x3", "skip_connect", "dil_conv_3x3", "max_pool"))
    normal = (separable, separable, separable, separable, skip, separable, skip, dilated)
    reducing = (pool, pool, pool, skip, pool, skip, pool, skip)
    second_order = {"n1": 0, "n2": 0, "n3": 1, "r1": 2, "r2": 1, "r3": 2}
    second_order |= dict(zip(("na", "nb", "nc", "nd", "ne", "nf", "ng", "nh"), normal, strict=True))
    second_order |= dict(zip(("ra", "rb", "rc", "rd", "re", "rf", "rg", "rh"), reducing, strict=True))
    assert space.member(second_order).cost.params == 3_349_342  # as its authors print it, without the auxiliary head
    model = uninas.compile(space.sample(random.Random(1))[0]).eval()
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
