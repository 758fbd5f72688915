"""Spaces that are shipped as text: as many members as their papers say, with the networks that they mean."""

import json
import random

import pytest
import torch
from helpers.commands import succeed

import uninas


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
