"""The story of the library in a handful of tests: text, graph, picture, module, score, neighbours, search.

`make quick` runs them alone. Whoever is new here reads this file first.
"""

import random

import pytest
import torch

import uninas
from uninas.graph.diff import diff
from uninas.language.elaborate import space
from uninas.language.library import find
from uninas.mutate import walk_of
from uninas.proxies import score
from uninas.render import mermaid, svg
from uninas.search.asktell import Search

TEXT = """
block Gate { out = in * (in -> conv(C, 1) -> sigmoid) }

network small {
    input 3 x 16 x 16
    stem conv(8, 3, stride=2, bias=false) -> batch_norm -> relu
    stage 8 x 2 { Gate }
    head global_avg_pool -> linear(10)
}
"""


def test_a_text_is_a_graph_with_exact_costs_and_goes_back_to_the_same_text():
    graph = uninas.load(TEXT)
    assert graph.cost.params == (3 * 9 * 8) + 2 * 8 + 2 * (8 * 8 + 8) + (8 * 10 + 10)
    assert graph.output_shapes == ((10,),)
    assert uninas.load(uninas.dumps(graph)).key == graph.key


def test_a_mistake_is_told_with_its_place_and_a_way_out():
    with pytest.raises(uninas.UninasError) as told:
        uninas.load(TEXT.replace("sigmoid", "sigmod"))
    place, line, caret, note, *_ = str(told.value).splitlines()
    assert place.startswith("<text>:2:46: error[UNI010]: unknown name sigmod") and "Gate" in line
    assert caret.endswith("^^^^^^") and "did you mean 'sigmoid'?" in note


def test_a_graph_is_a_picture():
    graph = uninas.load(TEXT)
    assert svg(graph).startswith("<") and "flowchart" in mermaid(graph)


def test_a_graph_is_a_module_whose_names_follow_the_text():
    model = uninas.create_model(TEXT, num_classes=3)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    assert "stages.0.blocks.1.conv.weight" in model.state_dict()


def test_a_module_has_a_score_without_training_and_the_same_one_again():
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    scores = [score("vkdnw", uninas.create_model(TEXT), images).value for _ in range(2)]
    assert scores[0] == scores[1]


def test_a_network_has_legal_neighbours_that_say_what_they_changed():
    walk = walk_of(space(*find("UniNAS")), start=uninas.load("coatnet_lean", img_size=64))
    step = walk.propose(walk.start, random.Random(0), set())
    assert step.graph.key != walk.start.key
    assert str(step.edit) and diff(walk.start, step.graph)


def test_a_search_finds_better_networks_than_its_start():
    search = Search.over("UniNAS", start="coatnet_lean", strategy="climb", seed=1, iterations=10)
    for candidate in search:
        search.tell(candidate, -candidate.graph.cost.params)
    assert search.best.graph.cost.params < search.plan.start.cost.params
