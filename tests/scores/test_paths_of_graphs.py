"""Paths counted on a graph are those counted on its module, and on the published module of the same network."""

import math
import random

import pytest
import torch

import uninas
from uninas.proxies import ProxyError, score
from uninas.proxies.paths import regions
from uninas.runs.scorer import Scorer
from uninas.scores.paths import MEASURES, WIRING, regions_of_graph

# Without attention: its heads, written one by one, are one path together in a graph and several in a foreign module.
SHIPPED = ("resnet18", "mobilenetv2_100", "efficientnet_b0", "convnext_tiny", "ghostnet_100", "mixer_s16_224")


def recorded(graph):
    """The regions of the compiled module as if it had come from elsewhere."""
    model = uninas.compile(graph)
    del model.meta["uninas"]
    return regions(model, tuple(torch.zeros(1, *shape) for shape in graph.inputs))


def row(found):
    """All counts of the regions; sums of logarithms may differ in their last bits."""
    return [number for region in found for number in (*region.paths, region.operations)]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_has_the_regions_of_its_module(name):
    graph = uninas.load(name)
    assert row(regions_of_graph(graph)) == pytest.approx(row(recorded(graph)), rel=1e-12)


def test_cells_of_nasbench201_have_the_regions_of_their_modules():
    space, rng = uninas.space("nasbench201"), random.Random(0)
    alive = 0
    for _ in range(8):
        graph, _ = space.sample(rng)
        if found := regions_of_graph(graph):
            assert row(found) == pytest.approx(row(recorded(graph)), rel=1e-12)
            alive += 1
        else:
            with pytest.raises(ProxyError, match="does not depend on its input"):
                recorded(graph)
    assert alive >= 5


@pytest.mark.parametrize("name", ["vit_small_patch16_224", "swin_tiny_patch4_window7_224", "coatnet_0_rw_224"])
def test_attention_has_the_same_paths_as_the_published_module(name):
    timm = pytest.importorskip("timm")
    graph, images = uninas.load(name), torch.zeros(1, 3, 224, 224)
    theirs = regions(timm.create_model(name).eval(), (images,))
    ours = regions_of_graph(graph)
    for measure in MEASURES.values():
        assert measure(ours)[0] == pytest.approx(measure(theirs)[0], rel=1e-12)


@pytest.mark.parametrize("proxy", MEASURES)
def test_the_number_is_the_same_from_the_graph_and_from_its_module(proxy):
    graph = uninas.load("coatnet_lean", img_size=32)
    model = uninas.create_model("coatnet_lean", img_size=32, fold=True)
    value = score(proxy, model, torch.zeros(1, 3, 32, 32)).value
    assert uninas.score(graph, proxy).value == pytest.approx(value, rel=1e-12)


def test_widths_and_counts_of_paths_are_those_by_hand():
    """Two paths: one of a grouped and a dense convolution (fan-ins 2 * 9 and 4), one of a dense one; then the head."""
    graph = uninas.load("""block Two { out = (in -> conv(4, 3, groups=2) -> conv(4, 1)) + (in -> conv(4, 5)) }
    network N { input 4 x 8 x 8
    section body Two
    head global_avg_pool -> linear(3) }""")
    found = regions_of_graph(graph)
    width = (math.log(2 * 9) + math.log(4) + math.log(4 * 25)) / 2 + math.log(4)
    assert MEASURES["path_width"](found)[0] == pytest.approx(width)
    assert MEASURES["path_count"](found)[0] == pytest.approx(math.log(2))
    assert MEASURES["path_width"](recorded(graph))[0] == pytest.approx(width)


def number(text):
    graph = uninas.load(text)
    with Scorer(["graph_score"], 1).network(graph, 0) as network:
        found = network.score("graph_score", 0)
        assert "model" not in vars(network)
    again = score("graph_score", uninas.compile(graph).eval(), torch.zeros(1, *graph.inputs[0]))
    assert again.value == pytest.approx(found.value) and dict(again.components) == pytest.approx(dict(found.components))
    assert found.value == pytest.approx(sum(found.components.values()))
    return found


def test_the_score_of_a_graph_adds_size_width_and_wiring():
    """Of a convolution: 576 weights, 72 values added up; beside it a shortcut, nothing, two of these, or a pooling."""
    head = "block A { input 8 x 4 x 4"
    conv = "(in -> conv(C, 3, bias=false))"
    shortcut = number(f"{head} out = in + {conv} }}")
    assert shortcut.components == pytest.approx(
        {"size": math.log(576), "width": math.log1p(math.log(72) / 2), "wiring": 1}
    )
    alone = number(f"{head} out = in -> conv(C, 3, bias=false) }}")
    assert alone.components == pytest.approx({"size": math.log(576), "width": math.log1p(math.log(72)), "wiring": -2})
    twice = number(f"{head} out = (in -> relu) + (in -> gelu) + {conv} }}")
    assert twice.components["wiring"] == WIRING["surplus"] and twice.components["width"] < shortcut.components["width"]
    pooled = number(f"{head} out = (in -> max_pool(3)) + {conv} }}")
    assert pooled.components["wiring"] == pytest.approx(WIRING["pooled_paths"] / 2)


def test_the_wiring_of_a_graph_is_a_mean_over_its_regions():
    """So more of the same blocks change its size, and the path, and not that."""
    block = "block Part { input 8 x 4 x 4\n out = in + (in -> conv(C, 3)) }\n"
    network = "network a { input 8 x 4 x 4\n stage 8 x 1 { Part } }"
    one, three = number(block + network), number(block + network.replace("x 1", "x 3"))
    assert one.components["wiring"] == three.components["wiring"] == 1
    assert three.components["size"] == pytest.approx(one.components["size"] + math.log(3))


def test_a_graph_that_nothing_passes_has_the_lowest_score():
    graph = uninas.space("nasbench201").member([3, 3, 3, 0, 0, 0])
    with Scorer(["graph_score"], 1).network(graph, 0) as network:
        assert network.score("graph_score", 0).value == 0.0


def test_a_path_that_zero_interrupts_is_none():
    alive = uninas.load("block A { out = (in -> conv(C, 1)) + (in -> zero) }")
    dead = uninas.load("block A { out = in -> conv(C, 1) -> zero -> relu }")
    assert [region.paths.total for region in regions_of_graph(alive)] == [1] and regions_of_graph(dead) == []


def test_a_cell_that_nothing_passes_is_counted_without_its_module():
    graph = uninas.space("nasbench201").member([3, 3, 3, 0, 0, 0])
    with Scorer(list(MEASURES), 1).network(graph, 0) as network:
        assert [network.score(name, 0).value for name in MEASURES] == [0.0] * len(MEASURES)
        assert "model" not in vars(network)
    model = uninas.compile(graph).eval()
    assert score("path_depth", model, torch.zeros(1, 3, 32, 32)).value == 0
