"""Pictures: what is drawn, that it is the same every time, and that no name can break out of a label."""

import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import networkx
import pygraphviz
import pytest
from hypothesis import given
from hypothesis import strategies as st

import uninas
from uninas.errors import UninasError
from uninas.graph import INPUT, Block, Graph, Node, Wire
from uninas.language.elaborate import build
from uninas.language.elaborate import space as read_space
from uninas.language.library import find, load_text, shipped
from uninas.ops.activation import Gelu, Relu
from uninas.ops.conv import Conv
from uninas.ops.merge import Add
from uninas.ops.op import FAMILIES, REGISTRY
from uninas.render import (
    DIRECTIONS,
    LEVELS,
    Difference,
    Film,
    Options,
    Step,
    Subject,
    dot,
    mermaid,
    render,
    svg,
)  # fmt: skip
from uninas.render.files import scene
from uninas.render.formats import style
from uninas.render.formats.layout import MAX_LAID, lay_out
from uninas.render.scenes.letters import Letters
from uninas.render.scenes.sections import periods
from uninas.render.scenes.simplify import simplified, skips
from uninas.render.scenes.spaces import limit_text
from uninas.space import Limit, Space

TEXT = """
block Residual(body: block) { out = in + (in -> layer_norm -> body) }

block Heads(head_dim = 8) {
    parts = in -> conv(3 * C, 1) -> split(3 * head_dim) -> each part {
        q, k, v = part -> chunk(3)
        map = (q, k) -> matmul1 -> softmax
        out = (map, v) -> matmul2
    }
    out = parts -> concat -> conv(C, 1)
}

block Mlp { out = in -> conv(4 * C, 1) -> gelu -> conv(C, 1) }

block Down(width) { out = in -> avg_pool(2, 2) -> conv(width, 1) }

block Gate { out = in * (in -> sigmoid) }

block Fan { a = in -> conv(4, 3)
            b = in -> conv(6, 5)
            out = (a, b) -> concat }

block Wired(width) {
    input 16 x 8 x 8
    out = in -> Same -> Down(width)
}

block Same { out = in -> identity }

network tiny {
    input 3 x 32 x 32
    stem conv(16, stride=2) -> gelu
    stage 16 x 3 { Residual(Mlp) }
    stage 32 { Down(width), Residual(Heads), Residual(Mlp) x 2 }
    head global_avg_pool -> linear(10)
}
"""


def elements(text: str) -> ElementTree.Element:
    """XML that this library made, as a tree."""
    return ElementTree.fromstring(text)  # noqa: S314


def graph_of(name: str, text: str = TEXT, **arguments: int) -> Graph:
    return build(load_text(text), name, arguments=arguments)


def drawn(graph: Subject, level: str = "network", **options: object) -> pygraphviz.AGraph:
    return pygraphviz.AGraph(string=dot(graph, level=level, **options))


def words(label: str) -> str:
    """The text of an HTML-like label."""
    return " ".join(re.sub(r"<[^>]*>", " ", label.replace("&#160;", " ")).split())


def label(picture: pygraphviz.AGraph, node: str) -> str:
    return words(picture.get_node(node).attr["label"])


def clusters(picture: pygraphviz.AGraph) -> dict[str, str]:
    """Names of all clusters, however deep, with their labels."""
    found, pending = {}, list(picture.subgraphs())
    while pending:
        cluster = pending.pop()
        found[cluster.name.removeprefix("cluster_")] = words(cluster.graph_attr["label"] or "")
        pending += cluster.subgraphs()
    return found


# -- goldens: a few pictures worth reading -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "level"), [("Gate", "full"), ("Heads", "full"), ("tiny", "network")])
def test_pictures_as_text(golden, name, level):
    golden(f"{name.lower()}.{level}.dot", dot(graph_of(name), level=level))


# -- what is drawn -------------------------------------------------------------------------------------------


def test_a_skip_connection_is_a_marked_edge_from_a_fork():
    picture = drawn(graph_of("Gate"))
    assert picture.nodes() == ["in", "in/0", "sigmoid", "multiply", "out"]
    assert set(picture.edges()) == {
        ("in", "in/0"), ("in/0", "sigmoid"), ("in/0", "multiply"), ("sigmoid", "multiply"), ("multiply", "out"),
    }  # fmt: skip
    assert {edge for edge in picture.edges() if edge.attr["color"] == style.LIGHT.skip} == {("in/0", "multiply")}


def test_a_convolution_of_tokens_or_beside_attention_is_coloured_as_linear():
    def families(text: str) -> list[str]:
        picture = scene(build(load_text(f"block A {{ {text} }}"), "A"), Options(level="full"))
        return [item.family for item in picture.items() if "conv" in str(item.lines)]

    assert families("input 64 x 1 x 49 out = in -> conv(C, 1) -> conv(C, 1, width=3)") == ["linear", "conv"]
    assert families("out = in -> conv(C, 1)") == ["conv"]
    assert families("q = in -> conv(C, 1) out = ((q, q) -> matmul1 -> softmax, in -> conv(C, 1)) -> matmul2") == [
        "linear", "linear"
    ]  # fmt: skip
    mlp = "out = in + (in -> layer_norm -> conv(4 * C, 1) -> gelu -> conv(C, 1))"
    assert families(mlp) == ["linear", "linear"]  # whatever the tokens are laid out like
    assert families(mlp.replace("layer_norm", "batch_norm")) == ["conv", "conv"]
    assert families("out = in * (in -> global_avg_pool -> conv(8, 1) -> relu -> conv(C, 1))") == ["conv", "conv"]


def test_merge_points_are_circles_with_a_sign():
    picture = drawn(graph_of("Gate"))
    assert picture.get_node("multiply").attr["shape"] == "circle"
    assert label(picture, "multiply") == "×"
    assert label(drawn(graph_of("Fan")), "concat") == "‖"


def test_operations_say_what_their_shapes_do_not():
    picture = drawn(graph_of("Fan"))
    assert [label(picture, "a"), label(picture, "b")] == ["conv 3×3", "conv 5×5"]
    assert label(drawn(graph_of("Down", width=32)), "avg_pool") == "avg pool 2×2, stride 2"


def test_shapes_are_written_where_they_change():
    picture = drawn(graph_of("Fan"))
    assert label(picture, "in") == "in 64×56×56"
    assert [label(picture, node) for node in ("a/0", "b/0", "concat/0")] == [
        "4×56×56", "6×56×56", "10×56×56",
    ]  # fmt: skip
    assert {("a", "a/0"), ("a/0", "concat")} <= set(picture.edges())
    assert "sigmoid/0" not in drawn(graph_of("Gate")).nodes()  # the same shape as before


def test_each_is_one_card_with_two_borders_and_a_number():
    picture = drawn(graph_of("Heads"))
    assert clusters(picture) == {"parts": "", "parts/card": "each ×8"}
    assert label(picture, "split/0") == "8 of 24×56×56"
    assert label(picture, "parts/0") == "8 of 8×56×56"
    assert sum(label(picture, node) == "softmax" for node in picture.nodes()) == 1


@pytest.mark.parametrize("suffix", [".svg", ".mmd", ".dot"])
def test_an_each_whose_parts_give_several_wires_is_drawn_in_every_form(suffix, tmp_path):
    graph = uninas.load("block B { out = in -> each p { out = p -> chunk(2) } }")
    assert uninas.render(graph, tmp_path / f"b{suffix}").read_text().count("chunk") > 0


def test_outputs_of_one_node_are_told_apart():
    picture = drawn(graph_of("Heads"))
    ports = [f"parts.chunk/{port}" for port in range(3)]
    assert [label(picture, port) for port in ports] == ["[0] 8×56×56", "[1] 8×56×56", "[2] 8×56×56"]
    users = [picture.successors(port) for port in ports]
    assert users == [["parts.matmul1"], ["parts.matmul1"], ["parts.matmul2"]]


def test_a_part_of_many_outputs_is_named_at_its_edge():
    text = "block A { p = in -> split(8) \n out = p[2] + p[5] -> concat }"
    picture = drawn(graph_of("A", text))
    assert sorted(words(edge.attr["label"]) for edge in picture.edges() if edge.attr["label"]) == ["[2]", "[5]"]


def test_blocks_that_do_nothing_are_wires_and_blocks_of_one_operation_are_that():
    text = TEXT + "block One { out = in -> relu }  block Both { out = in -> One -> Same -> One }"
    picture = drawn(graph_of("Both", text), "full")
    assert picture.nodes() == ["in", "one_1", "one_2", "out"]
    assert clusters(picture) == {}


def test_equal_consecutive_blocks_are_drawn_once():
    found = clusters(drawn(graph_of("tiny"), "full"))
    assert found["stages.0.blocks.0"] == "Residual ×3 blocks.0-2"
    assert found["stages.1.blocks.2"] == "Residual ×2 blocks.2-3"
    assert "stages.0.blocks.1" not in found


def test_full_nests_blocks_in_sections():
    picture = drawn(graph_of("tiny"), "full")
    stage = next(part for part in picture.subgraphs() if part.name == "cluster_stages.1")
    inner = [part.name.removeprefix("cluster_stages.1.") for part in stage.subgraphs()]
    assert sorted(inner) == ["blocks.0", "blocks.1", "blocks.2"]
    assert "stages.1.blocks.1.heads.parts.matmul1" in stage.nodes()


def test_network_shows_sections_with_repeats_shapes_and_costs():
    graph = graph_of("tiny")
    picture = drawn(graph)
    assert picture.nodes() == ["in", "stem", "stages.0", "stages.1", "head", "out"]
    assert picture.edges() == list(zip(picture.nodes()[:-1], picture.nodes()[1:], strict=True))
    assert (graph.costs["stages.0"].params, graph.costs["stages.0"].flops) == (6480, 2 * 1572864)
    assert label(picture, "stages.0") == "stages.0 ×3 16×16×16 Residual (Mlp) 6.48 k params, 3.15 MFLOPs"
    assert "Down 3 × Residual (Heads, Mlp)" in label(picture, "stages.1")


def test_a_section_of_very_many_parts_is_counted_and_numbers_are_short():
    steps = " -> ".join(["conv(8) -> relu"] * 12)
    text = f"network n {{ input 3 x 8 x 8 stem conv(8) stage 8 x 1 {{ relu }} head {steps} }}"
    assert "12 × conv, 12 × relu" in label(drawn(build(load_text(text), "n")), "head")
    block = build(load_text("block A { out = in -> scale(0.08838834764831845) -> conv(C) }"), "A")
    assert label(drawn(block), "scale") == "scale, factor 0.0884"


def test_block_draws_every_distinct_block_once_and_says_where_it_occurs():
    found = clusters(drawn(graph_of("tiny"), "block"))
    sheets = [text for name, text in found.items() if name[0] == "b" and name[-1] == "."]
    assert sorted(sheets) == [
        "Down stages.1",
        "Heads in Residual 2",
        "Mlp in Residual 1 C = 16, 32; H = W = 16, 8",
        "Residual 1 stages.0 ×3, stages.1 ×2 C = 16, 32; H = W = 16, 8",
        "Residual 2 stages.1",
        "head",
        "stem",
    ]


def test_a_block_of_several_sizes_is_drawn_with_letters():
    picture = drawn(graph_of("tiny"), "block")
    mlp = next(name for name, text in clusters(picture).items() if text.startswith("Mlp"))
    assert label(picture, f"{mlp}in") == "in C×H×W"
    assert label(picture, f"{mlp}conv_1/0") == "4C×H×W"
    heads = next(name for name, text in clusters(picture).items() if text.startswith("Heads"))
    assert label(picture, f"{heads}in") == "in 32×8×8"  # it has one size only


WINDOWS = """
block Attention(n, by = 0.5) {
    input 64 x 16 x 16
    q, k, v = in -> tokens -> conv(3 * C, 1) -> chunk(3)
    map = (q -> heads(n), k -> heads(n)) -> matmul1(row_wise=true, scale=by) -> softmax
    out = (map, v -> heads(n)) -> matmul2(row_wise=true) -> unheads(n) -> untokens(H, W)
}
network windows {
    input 3 x 32 x 32
    stage 64 { conv(width), Attention(2, 0.125) }
    stage 128 { conv(width, stride=2), Attention(4, 0.0884), Attention(4, 0.0884) }
}
"""


def test_blocks_that_differ_in_numbers_are_one_panel_with_letters_for_them():
    picture = drawn(build(load_text(WINDOWS), "windows"), "block")
    found = clusters(picture)
    sheet = next(name for name, said in found.items() if said.startswith("Attention"))
    assert found[sheet].endswith("C = 64, 128; H = W = 32, 16; D = 0.125, 0.0884")
    said = [label(picture, node) for node in picture.nodes() if node.startswith(sheet)]
    assert said.count("heads C/32") == 3 and "matmul1, row wise, scale D" in said


def test_strides_and_kernels_tell_blocks_apart():
    text = """
    block Two(width, kernel, by) { out = in -> conv(width, kernel, by) -> relu -> conv(C, 1) -> batch_norm }
    network n { input 3 x 32 x 32 stage 8 { Two(8, 3, 1), Two(8, 3, 2), Two(8, 5, 2) } }
    """
    found = clusters(drawn(build(load_text(text), "n"), "block"))
    assert sorted(name for name in found.values() if name.startswith("Two")) == [
        "Two 1 stages.0", "Two 2 stages.0", "Two 3 stages.0",
    ]  # fmt: skip


TWO_HEADS = """
block Levels { a, b = in -> chunk(2)  out = (a -> max_pool(2, 2), b) }
block Join { input 4 x 8 x 8, 4 x 16 x 16, 4 x 16 x 16
             a, b, c = in  out = (a -> upsample(b.H, b.W)) + b + c }
network two {
    input 3 x 32 x 32
    stem conv(4, 3, stride=2)
    stage 8 as body { conv(width) -> relu }
    section neck (body) -> Levels
    section label (body) -> global_avg_pool -> linear(10)
    section map (neck, stem) -> Join
    out = (label, map)
}
"""


def test_only_what_passes_a_longer_way_by_is_marked_between_sections():
    picture = drawn(build(load_text(TWO_HEADS), "two"))
    beside = {edge for edge in picture.edges() if edge.attr["color"] == style.LIGHT.skip}
    assert beside == {("stem", "map")}
    assert {("label", "out[0]"), ("map", "out[1]"), ("stages.0", "label")} <= set(picture.edges())


def test_several_tensors_of_a_section_are_wires_with_their_shapes():
    picture = drawn(build(load_text(TWO_HEADS), "two"))
    assert [label(picture, f"neck/{port}") for port in (0, 1)] == ["4×8×8", "4×16×16"]
    assert {("neck", "neck/0"), ("neck/0", "map"), ("neck/1", "map")} <= set(picture.edges())
    again = TWO_HEADS.replace("section map", "section more (neck, stem) -> Join\n section map").replace(
        "(label, map)", "(label, map, more)"
    )
    picture = drawn(build(load_text(again), "two"))  # each takes both: two wires, not four that cross
    assert {("neck", "map"), ("neck", "more")} <= set(picture.edges())


def test_inputs_of_an_open_block_come_each_from_its_own_place():
    text = """
    block Lanes { input 4 x 8 x 8, 4 x 8 x 8, 4 x 8 x 8, 4 x 8 x 8
                  a, b, c, d = in  out = (a -> conv(4) -> relu, b, c, d -> relu) }
    block Sum { input 4 x 8 x 8, 4 x 8 x 8, 4 x 8 x 8, 4 x 8 x 8
                a, b, c, d = in  out = (a -> conv(4)) + (b -> relu) + (c -> gelu) + (d -> silu) }
    block Whole { input 4 x 8 x 8, 4 x 8 x 8, 4 x 8 x 8, 4 x 8 x 8
                  out = in -> Lanes -> Sum }
    """
    edges = set(drawn(graph_of("Whole", text), "full").edges())
    assert {("in[1]", "sum.relu"), ("in[2]", "sum.gelu"), ("lanes.relu_2", "sum.silu")} <= edges


def test_outputs_that_lead_to_many_places_are_one_wire_with_numbers():
    text = """
    block Three { out = in -> chunk(3) }
    block Mix { input 6 x 8 x 8
                a, b, c = in -> Three
                out = (a + (b -> relu) + (c -> relu), (a -> gelu) + b + (c -> gelu), (a -> silu) + (b -> silu) + c) }
    """
    picture = drawn(graph_of("Mix", text), "block")
    leaving = [edge for edge in picture.edges() if edge[0] == "b0.three/0"]
    assert len(leaving) == 9 and {edge.attr["tailport"] for edge in leaving} == {"s"}
    assert sorted(words(edge.attr["label"]) for edge in leaving) == ["[0]"] * 3 + ["[1]"] * 3 + ["[2]"] * 3


def test_steps_without_a_name_are_written_out_where_they_stand():
    text = "network n { input 3 x 8 x 8 stage 8 x 1 { max_pool(2, 2) -> conv(width) -> relu } }"
    picture = drawn(build(load_text(text), "n"), "stage")
    assert any(label(picture, node).startswith("max pool → conv → relu") for node in picture.nodes())


def test_short_chains_stand_in_their_box():
    picture = drawn(graph_of("Wired", width=32))
    assert label(picture, "down") == "Down avg pool 2×2, stride 2 → conv 1×1"


def test_direction_and_title_are_set():
    picture = drawn(graph_of("Gate"), direction="LR", title="A gate")
    assert picture.graph_attr["rankdir"] == "LR"
    assert words(picture.graph_attr["label"]) == "A gate 0 parameters, 0 FLOPs (2 × MACs) ■ activation"
    assert "parameters, 0 FLOPs" not in dot(graph_of("Gate"), title="")


@pytest.mark.parametrize(
    "options",
    [{"level": "blok"}, {"direction": "up"}, {"theme": "grey"}, {"show": "size"}, {"width": 1.0}, {"depth": -1}],
)
def test_unknown_levels_and_directions_are_refused(options):
    with pytest.raises(UninasError) as caught:
        Options(**options)
    assert caught.value.code == "UNI015"


def test_a_picture_that_nobody_could_read_is_refused():
    nodes = [Node(f"relu_{n}", Relu(), (Wire(f"relu_{n - 1}" if n else INPUT),)) for n in range(MAX_LAID)]
    graph = Graph(((8,),), tuple(nodes), (Wire(nodes[-1].name),))
    with pytest.raises(UninasError, match="at most 3,000 nodes") as caught:
        svg(graph)
    assert caught.value.code == "UNI030"
    assert len(drawn(graph).nodes()) == len(nodes) + 2, "text has no such limit"


# -- all that is shipped -------------------------------------------------------------------------------------


def shipped_networks() -> list[str]:
    return [name for name, path in shipped().items() if path.parent.name == "networks"]


@pytest.mark.parametrize("name", shipped_networks())
def test_every_shipped_network_can_be_drawn_in_every_way(name):
    import uninas

    graph = uninas.load(name)
    for level in LEVELS:
        for direction in DIRECTIONS:
            picture = drawn(graph, level, direction=direction)
            ends = {node: re.sub(r"\[\d+\]", "", node.rpartition(".")[2]) for node in picture.nodes()}
            assert {*ends.values()} >= {"in", "out"}
            assert networkx.is_directed_acyclic_graph(networkx.DiGraph(picture.edges()))
            dangling = {node for node in picture.nodes() if not picture.predecessors(node)}
            assert all(ends[node] == "in" for node in dangling), "a node that nothing reaches"


@pytest.mark.parametrize("name", shipped_networks())
def test_the_sections_of_every_shipped_network_find_their_place(name):
    import uninas

    laid = lay_out(scene(uninas.load(name), Options(level="stage")), style.LIGHT)
    assert laid.width > 0 < laid.height


@pytest.mark.parametrize("name", shipped_networks())
def test_simpler_graphs_cost_and_make_the_same(name):
    import uninas

    graph = uninas.load(name)
    for sections in (True, False):
        simple = simplified(graph, sections)
        assert (simple.cost, simple.inputs, simple.output_shapes) == (graph.cost, graph.inputs, graph.output_shapes)
        assert simple.operations <= graph.operations


# -- the same every time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["svg", "png", "pdf", "dot"])
def test_equal_graphs_give_equal_files(tmp_path, kind):
    first, second = (render(graph_of("tiny"), tmp_path / f"{n}.{kind}", level="block") for n in (1, 2))
    assert first.read_bytes() == second.read_bytes()


def test_pdf_holds_no_time_of_day(tmp_path):
    data = render(graph_of("Gate"), tmp_path / "gate.pdf").read_bytes()
    assert re.findall(rb"/CreationDate \(D:(\d+)", data) == [b"20000101000000"]


def test_text_does_not_depend_on_the_process():
    program = "import uninas, uninas.render as r; print(r.dot(uninas.load('coatnet'), level='block'))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


# -- names and titles of any kind ----------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    '"]; evil [label="',
    "</B></TD></TABLE><IMG SRC='/etc/passwd'/>",
    "back\\slash \\N \\G \\L \\n",
    "<>",
    "&lt;&#60;&amp;",
    "a\0b\x1b[31mc\u2028d",
    "\ud800",
    "x" * 10_000,
]


def named(name: str) -> Graph:
    """A network of which everything that can bear a label bears this one."""
    x = ((8, 4, 4),)
    nodes = (
        Node("conv", Conv(8, 3), (Wire(INPUT),)),
        Node("relu", Relu(), (Wire("conv"),)),
        Node("add", Add(), (Wire(INPUT), Wire("relu"))),
    )
    inner = Graph(x, nodes, (Wire("add"),), name=name)
    stage = Graph(x, (Node("blocks.0", Block(inner), (Wire(INPUT),)),), (Wire("blocks.0"),), name=name)
    return Graph(x, (Node("stages.0", Block(stage), (Wire(INPUT),)),), (Wire("stages.0"),), name=name)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_breaks_out_of_a_label(name, level):
    plain = drawn(named("plain"), level)
    hostile = drawn(named(name), level, title=name)
    assert hostile.nodes() == plain.nodes()
    assert hostile.edges() == plain.edges()
    for outlines in (False, True):
        check_svg(svg(named(name), level=level, title=name, caption=name, outlines=outlines))


ALLOWED = {
    "svg": {"role", "aria-label", "width", "height", "viewBox", "font-family", "font-size", "fill"},
    "g": {"class", "transform", "id"},
    "title": set(), "desc": set(), "defs": set(), "tspan": {"font-size", "font-weight", "fill"},
    "text": {"x", "y", "font-size", "font-weight", "fill", "text-anchor"},
    "use": {"{http://www.w3.org/1999/xlink}href", "x", "transform", "fill"},
    "path": {"d", "id", "transform"}, "polygon": {"points"}, "polyline": {"points"},
    "ellipse": {"cx", "cy", "rx", "ry"},
}  # fmt: skip
PAINT = {"fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity"}
VALUE = re.compile(r"#?[\w ,.()+-]*|DejaVu Sans, Verdana, sans-serif")


def check_svg(text: str) -> ElementTree.Element:
    """Nothing but what is on the list: no script, no style, no link out of the picture."""
    tree = elements(text)
    for element in tree.iter():
        tag = element.tag.removeprefix("{http://www.w3.org/2000/svg}")
        assert tag in ALLOWED
        assert set(element.keys()) <= ALLOWED[tag] | (
            PAINT if tag in ("path", "polygon", "polyline", "ellipse") else set()
        )
        values = {key: value for key, value in element.items() if key != "aria-label"}
        assert all(VALUE.fullmatch(value) for value in values.values()), values
        href = values.get("{http://www.w3.org/1999/xlink}href", "#")
        assert href.startswith("#")
    return tree


def test_nodes_may_be_called_like_parts_of_the_page():
    graph = graph_of("A", "block A { title = in -> relu\n caption = title -> gelu\n out = caption -> sigmoid }")
    tree = check_svg(svg(graph, title="A", caption="A caption."))
    shown = ["".join(text.itertext()) for text in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {"relu", "gelu", "sigmoid", "A", "A caption."} <= set(shown)
    assert {"title", "caption"} <= set(drawn(graph, caption="A caption.").nodes())


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_breaks_out_of_mermaid(name):
    plain = mermaid(named("plain"), level="full").splitlines()
    hostile = mermaid(named(name), level="full", title=name).splitlines()
    assert len(hostile) == len(plain)
    for line in hostile:
        unquoted = re.sub(r'"[^"]*"', "", line)
        assert re.fullmatch(r"[\w :()\[\]|=<>.,#&-]*", unquoted), line
        quoted = re.findall(r'"([^"]*)"', line)
        assert all(re.fullmatch(r"(?:[^\"<>&`]|<br/>|#\d+;)*", text) for text in quoted), line


def test_markup_in_a_title_is_shown_as_it_was_written():
    tree = elements(svg(graph_of("Gate"), title="a < b && \\N"))
    shown = [element.text for element in tree.iter() if element.tag.endswith("text")]
    assert "a < b && ∖N" in shown


@given(st.text(max_size=40))
def test_any_title_makes_a_label_that_graphviz_can_read(title):
    markup = style.text(title)
    tree = elements(f"<T>{markup}</T>")
    assert len(tree) == 0
    assert "\\" not in markup


# -- files ---------------------------------------------------------------------------------------------------


def test_png_svg_and_pdf_are_what_they_say(tmp_path):
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<svg", "dot": b"digraph", "mmd": b"---\ntitle"}
    for kind, start in starts.items():
        assert render(graph_of("Gate"), tmp_path / f"gate.{kind}").read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("picture.gif", "expected a file that ends in .svg, .png, .pdf, .dot, .mmd, but got 'picture.gif'"),
        ("picture", "but got 'picture'"),
        ("nowhere/picture.svg", "cannot write .*: No such file"),
    ],
)
def test_files_that_cannot_be_written_are_named(tmp_path, path, message):
    with pytest.raises(UninasError, match=message) as caught:
        render(graph_of("Gate"), tmp_path / path)
    assert caught.value.code == "UNI100"


def test_a_graphviz_that_does_not_load_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(UninasError, match="pictures need pygraphviz, which cannot be loaded") as caught:
        svg(graph_of("Gate"))
    assert caught.value.code == "UNI100"


def test_the_library_says_nothing_on_standard_error(capfd):
    svg(graph_of("Gate"))
    assert capfd.readouterr().err == ""


# -- colours -------------------------------------------------------------------------------------------------


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    channels = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_family_has_a_colour_that_dark_text_can_be_read_on():
    for theme in style.THEMES.values():
        assert set(theme.palette) == set(FAMILIES)
        fills = [*theme.palette.values(), *theme.fills.values(), theme.heat(0), theme.heat(0.5), theme.paper, theme.box]
        assert min(contrast(theme.ink, color) for color in fills) > 7
        assert min(contrast(theme.faint, color) for color in (theme.paper, theme.panel, theme.card, theme.box)) > 5
        assert min(contrast(color, theme.paper) for color in theme.marks.values()) > 4.5


def contrast(one: str, other: str) -> float:
    """Between 1 and 21 (WCAG 2.2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_in_grey_the_families_that_do_the_work_are_the_darkest():
    palette = style.LIGHT.palette
    by_darkness = sorted(palette, key=lambda family: luminance(palette[family]))
    assert set(by_darkness[:3]) == {"conv", "linear", "attention"}


def test_every_merge_sign_belongs_to_an_operation():
    assert {REGISTRY[name].family for name in style.SYMBOLS} == {"merge"}


# -- the parts -----------------------------------------------------------------------------------------------


@st.composite
def dags(draw: st.DrawFn) -> Graph:
    """Sums of earlier nodes, in any pattern."""
    nodes: list[Node] = []
    for n in range(draw(st.integers(1, 8))):
        earlier = [Wire(INPUT), *(Wire(node.name) for node in nodes)]
        chosen = draw(st.lists(st.sampled_from(earlier), min_size=1, max_size=3))
        nodes.append(Node(f"n{n}", Add(), tuple(chosen)))
    loose = {node.name for node in nodes} - {wire.node for node in nodes for wire in node.inputs}
    return Graph(((4,),), (*nodes, Node("end", Add(), tuple(Wire(name) for name in sorted(loose)))), (Wire("end"),))


@given(dags())
def test_skips_are_the_edges_that_transitive_reduction_drops(graph):
    simple = networkx.DiGraph(graph.dag)
    assert skips(graph) == set(simple.edges) - set(networkx.transitive_reduction(simple).edges)


def test_letters():
    letters = Letters([(64, 56, 28), (128, 28, 14)])
    assert letters.shape([(64, 56, 28), (128, 28, 14)]) == "C×H×W"
    assert letters.shape([(256, 28, 14), (512, 14, 7)]) == "4C×H/2×W/2"
    assert letters.shape([(1, 1568, 1568), (1, 392, 392)]) == "1×HW×HW"
    assert letters.shape([(96, 7, 1), (384, 7, 1)]) == "D×7×1"
    assert letters.shape([(384, 7, 1), (1536, 7, 1)]) == "4D×7×1"
    assert letters.legend() == ["C = 64, 128", "H = 56, 28", "W = 28, 14", "D = 96, 384"]
    assert Letters([(64, 56, 56)]).shape([(64, 56, 56)]) == "64×56×56"


def test_rows_of_names_are_read_as_repeated_patterns():
    assert periods(list("abbababc")) == [(("a",), 1), (("b",), 2), (("a", "b"), 2), (("c",), 1)]
    assert periods([]) == []


# -- search spaces -------------------------------------------------------------------------------------------


def space_of(name: str) -> Space:
    return read_space(*find(name))


def test_a_space_of_numbers_lists_its_choices_in_dashed_sections():
    picture = drawn(space_of("mobilenetv2"))
    stage = picture.get_node("stages.1")
    assert "dashed" in stage.attr["style"]
    assert label(picture, "stages.1") == (
        "stages.1 C×56×56 InvertedResidual k one of 3, 5, 7 e one of 1, 2, 4, 6 width 8 to 96, step 8 count 1 to 6"
    )
    assert label(picture, "choices") == "first 8 to 64, step 8"
    assert "dashed" not in picture.get_node("head").attr["style"]
    assert "29 choices, 1.1 · 10^23 assignments budget: MACs ≤ 450 M" in words(picture.graph_attr["label"])


def test_a_space_says_what_is_chosen_inside_blocks_and_among_steps():
    text = """
    from blocks.mbconv import InvertedResidual

    space small {
        input 3 x 32 x 32
        stem conv(8, 3) -> relu6 | gelu
        stage 16..32 step 16 x 1..3 stride 2 { InvertedResidual(width, stride, 2, kernel in {3, 5}) }
        stage 32 x 2 { conv(C, 3) -> relu | silu }
        head global_avg_pool -> linear(10)
    }
    """
    picture = drawn(read_space(load_text(text), "small"))
    assert label(picture, "stem").endswith("step one of relu6, gelu, at every place")
    assert "width one of 16, 32 count one of 1, 2, 3 kernel one of 3, 5, at every place" in label(picture, "stages.0")
    assert "step one of relu, silu, at every place" in label(picture, "stages.1")
    assert ["dashed" in picture.get_node(name).attr["style"] for name in ("stem", "stages.1", "head")] == [
        True,
        True,
        False,
    ]
    assert "one of 3, 4, at every place" in label(drawn(space_of("autoformer")), "stages.0")


def test_a_space_of_blocks_shows_where_they_stand_and_what_they_are():
    picture = drawn(space_of("nasbench201"))
    dashed = [node for node in picture.nodes() if "dashed" in (node.attr["style"] or "")]
    assert [label(picture, node) for node in dashed] == [f"{choice} one of 5" for choice in "abcdef"]
    assert [len(picture.successors(node)) for node in dashed] == [2, 1, 1, 1, 1, 1]
    found = clusters(picture)
    assert {"none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"} <= set(found.values())
    assert any(text.startswith("Cell stages.0 ×5, stages.1 ×5, stages.2 ×5") for text in found.values())
    assert "6 choices, 15,625 assignments" in words(picture.graph_attr["label"])


def test_a_space_of_moves_shows_its_start_and_what_a_move_may_put_in():
    picture = drawn(space_of("UniNAS"))
    assert {"stem", "stages.0", "head"} <= set(picture.nodes())
    assert "conv(C / 4, 1) → conv(C, 1) copy → add" in label(picture, "move/0")
    assert label(picture, "moves") == "remove weight 0.3"
    assert "budget: parameters ≤ 30.0 M budget: FLOPs (2 × MACs) ≤ 10.0 G" in words(picture.graph_attr["label"])
    check_svg(svg(space_of("UniNAS")))


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (Limit("params", 20e6, 30e6), "budget: 20.0 M ≤ parameters ≤ 30.0 M"),
        (Limit("flops", None, 1.1, relative=True), "budget: FLOPs (2 × MACs) ≤ 110% of the start"),
        (Limit("peak", 1000), "budget: 1.00 k ≤ elements at one time"),
    ],
)
def test_budgets_are_written_out(limit, text):
    assert limit_text(limit) == text


# -- what differs --------------------------------------------------------------------------------------------

CHAIN = "block A { out = in + (in -> conv(C, 3) -> batch_norm -> relu -> conv(C, 3)) }"


def marks(picture: pygraphviz.AGraph) -> dict[str, str]:
    """What happened to each node, by its colour."""
    names = {color: mark for mark, color in style.LIGHT.marks.items()}
    return {str(node): names[node.attr["color"]] for node in picture.nodes() if node.attr["color"] in names}


def test_equal_graphs_differ_in_nothing_whatever_their_names():
    again = CHAIN.replace("conv(C, 3) -> batch_norm", "conv(C, 3) as x -> batch_norm as y")
    picture = drawn(Difference(graph_of("A", CHAIN), graph_of("A", again)))
    assert marks(picture) == {}
    assert "no difference" in words(picture.graph_attr["label"])


@pytest.mark.parametrize(
    ("old", "new", "colours", "said"),
    [
        ("relu", "gelu", {"relu": "removed", "gelu": "added"}, "relu"),
        ("relu ->", "relu -> dropout ->", {"dropout": "added"}, "dropout"),
        ("-> relu", "", {"relu": "removed"}, "relu"),
        ("-> conv(C, 3))", "-> conv(C, 5))", {"conv_2": "changed"}, "conv 5×5 kernel 3 → 5"),
        ("in + (in", "in * (in", {"add": "removed", "multiply": "added"}, "+"),
        ("conv(C, 3))", "conv(C, 3) -> dropout -> Gate) }\n block Gate { out = in * (in -> sigmoid)",
         {"dropout": "added", "gate": "added"}, "dropout"),
    ],
)  # fmt: skip
def test_differences_have_colours(old, new, colours, said):
    picture = drawn(Difference(graph_of("A", CHAIN), graph_of("A", CHAIN.replace(old, new))))
    assert marks(picture) == colours
    assert label(picture, next(iter(colours))) == said


def test_wires_that_moved_are_drawn_twice():
    pair = Difference(graph_of("A", CHAIN), graph_of("A", CHAIN.replace("relu ->", "relu -> dropout ->")))
    picture = drawn(pair)
    edges = {edge: (edge.attr["color"], edge.attr["style"]) for edge in picture.edges()}
    assert edges["relu", "conv_2"] == (style.LIGHT.marks["removed"], "dashed")
    assert {key for key, look in edges.items() if look[0] == style.LIGHT.marks["added"]} == {
        ("relu", "dropout"), ("dropout", "conv_2"),
    }  # fmt: skip


def test_only_what_differs_is_opened():
    other = TEXT.replace("stage 16 x 3 { Residual(Mlp) }", "stage 16 x 4 { Residual(Mlp) }")
    picture = drawn(Difference(graph_of("tiny"), graph_of("tiny", other)))
    assert {"stem", "stages.1", "head"} <= set(picture.nodes())
    assert label(picture, "stages.0.blocks.0") == "Residual ×3 Mlp"
    assert list(marks(picture).values()) == ["added"]


def test_one_changed_block_of_equal_ones_is_that_block():
    text = "block B { out = in -> conv(C, 3) -> relu } block A { out = in -> B -> B -> B }"
    before, after = graph_of("A", text), graph_of("A", text.replace("in -> B -> B", "in -> B -> B2").replace(
        "block A", "block B2 { out = in -> conv(C, 3) -> gelu -> relu } block A"))  # fmt: skip
    assert marks(drawn(Difference(before, after))) == {"b2.gelu": "added"}


@given(st.integers(0, 2**32))
def test_what_a_search_edits_is_what_differs(seed):
    start = graph_of("A", CHAIN)
    nodes = [*start.nodes]
    position = random.Random(seed).randrange(len(nodes) - 1)
    name, user = nodes[position].name, nodes[position + 1]
    nodes[position + 1] = replace(
        user, inputs=tuple(Wire("new") if wire.node == name else wire for wire in user.inputs)
    )
    nodes.insert(position + 1, Node("new", Gelu(), (Wire(name),)))
    picture = drawn(Difference(start, Graph(start.inputs, tuple(nodes), start.outputs)))
    assert list(marks(picture).values()) == ["added"]


def test_a_film_has_a_frame_for_every_step():
    graphs = [graph_of("A", CHAIN), graph_of("A", CHAIN.replace("relu", "gelu"))]
    film = Film([Step(graphs[0], "start"), Step(graphs[1], "candidate 1", ("replace relu by gelu", "score 1.5"))])
    picture = drawn(film)
    assert {text for text in clusters(picture).values() if text} == {
        "start", "candidate 1 replace relu by gelu score 1.5",
    }  # fmt: skip
    assert marks(picture) == {"s1.relu": "removed", "s1.gelu": "added"}
    check_svg(svg(film))


# -- on paper and in notebooks -------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [30.0, 88.0, 178.0])
@pytest.mark.parametrize("level", ["network", "block"])
def test_a_width_is_kept_and_text_is_never_enlarged(width, level):
    tree = check_svg(svg(graph_of("tiny"), level=level, width=width, outlines=True))
    assert tree.get("width") == f"{width:g}mm"
    units = float(tree.get("viewBox").split()[2])
    assert 11 * width * 72 / 25.4 / units <= 9.01, "points of the largest text but the title"


def test_a_page_of_pdf_is_as_wide_as_asked_for(tmp_path):
    render(graph_of("tiny"), tmp_path / "net.pdf", width=88.0)
    found = re.search(rb"/MediaBox \[ 0 0 (\d+) \d+ \]", (tmp_path / "net.pdf").read_bytes())
    assert abs(int(found[1]) - 88 * 72 / 25.4) <= 1, "in points, which Cairo rounds"


def test_a_wider_page_holds_more_columns():
    def columns(width: float) -> int:
        laid = lay_out(scene(graph_of("tiny"), Options(level="block")), style.LIGHT, width)
        picture = pygraphviz.AGraph(string=laid.source)
        return len({part.graph_attr["bb"].split(",")[0] for part in picture.subgraphs()})

    assert columns(60) < columns(178) < columns(600)


def test_nothing_lies_outside_the_page_and_no_panel_on_another():
    laid = lay_out(scene(graph_of("tiny"), Options(level="block")), style.LIGHT)
    picture = pygraphviz.AGraph(string=laid.source)
    boxes = apart(picture)
    assert len(boxes) == 8
    for left, low, right, high in boxes:
        assert 0 < left < right < laid.width
        assert 0 < low < high < laid.height


def apart(picture):
    """The frames of panels, none on another."""
    boxes = [tuple(map(float, part.graph_attr["bb"].split(","))) for part in picture.subgraphs()]
    for one, two in combinations(boxes, 2):
        assert one[2] < two[0] or two[2] < one[0] or one[3] < two[1] or two[3] < one[1]
    return boxes


def test_narrow_panels_stand_side_by_side_above_and_below_a_wide_one():
    import uninas

    laid = lay_out(scene(uninas.load("hrnet_w18"), Options(level="block")), style.LIGHT)
    boxes = apart(pygraphviz.AGraph(string=laid.source))
    widest = max(right - left for left, _, right, _ in boxes)
    assert widest > 0.9 * laid.width
    assert sum(right - left < widest / 4 for left, _, right, _ in boxes) > len(boxes) / 2


def test_outlines_need_no_font_and_draw_every_letter():
    tree = check_svg(svg(graph_of("Gate"), outlines=True))
    assert not [element for element in tree.iter() if element.tag.endswith("text")]
    ids = {element.get("id") for element in tree.iter() if element.get("id")}
    uses = [element.get("{http://www.w3.org/1999/xlink}href") for element in tree.iter() if element.tag.endswith("use")]
    assert uses
    assert {use.removeprefix("#") for use in uses} <= ids


def test_a_picture_says_in_words_what_it_is():
    tree = check_svg(svg(graph_of("tiny"), caption="What we found."))
    assert tree.get("aria-label") == tree.find("{*}title").text == "tiny"
    assert tree.find("{*}desc").text.endswith("FLOPs (2 × MACs). What we found.")
    titles = {element.text for element in tree.iter() if element.tag.endswith("title")}
    assert any(text.startswith("stages.0 | 6,480 parameters") for text in titles)


def test_nodes_say_what_is_asked_for():
    picture = drawn(graph_of("Mlp"), show=("name", "attributes", "params", "flops", "share"))
    assert label(picture, "conv_1") == "conv 1×1 conv_1 16.6 k params, 103 MFLOPs, 50.0%"
    fills = {str(node): node.attr["fillcolor"] for node in picture.nodes()}
    assert fills["conv_1"] == fills["conv_2"] == style.LIGHT.heat(1)
    assert label(drawn(graph_of("Mlp"), show="name"), "conv_1") == "conv conv_1"


def test_shares_of_a_block_count_all_its_occurrences():
    graph = graph_of("tiny")
    picture = drawn(graph, "block", show=("share",))
    operations = [node for node in picture.nodes() if node.startswith("b") and node.attr["style"] != "filled"]
    shares = [float(part[1]) for node in operations if (part := re.search(r"([\d.]+)%", label(picture, node)))]
    assert sum(shares) == pytest.approx(100, abs=0.5)


def test_depth_and_names_open_blocks():
    graph = graph_of("tiny")
    assert drawn(graph, depth=1).nodes() == drawn(graph, "stage").nodes()
    assert "stages.1.blocks.2.mlp.conv_1" not in drawn(graph, depth=2).nodes()
    assert "stages.1.blocks.2.mlp.conv_1" in drawn(graph, depth=3).nodes()
    assert "stages.1.blocks.2.mlp.conv_1" in drawn(graph, "stage", expand=("Residual", "Mlp")).nodes()
    assert "stages.1.blocks.1.layer_norm" in drawn(graph, "stage", expand="stages.1.blocks.1").nodes()
    assert not [text for text in clusters(drawn(graph, "block", expand=("Mlp",))).values() if text.startswith("Mlp in")]


def test_notebooks_show_graphs_and_spaces():
    for subject in (graph_of("Gate"), space_of("UniNAS")):
        check_svg(subject._repr_svg_())
        assert subject._repr_svg_() in subject._repr_html_()
    chain = [Node(f"n{n}", Relu(), (Wire(f"n{n - 1}" if n else INPUT),)) for n in range(MAX_LAID)]
    assert Graph(((8,),), tuple(chain), (Wire(chain[-1].name),))._repr_svg_() is None


def test_mermaid_holds_every_node_and_edge():
    graph = graph_of("Heads")
    picture, text = drawn(graph, "full"), mermaid(graph, level="full")
    assert len(re.findall(r"^ *n\d+[\[(]", text, re.M)) == len(picture.nodes())
    assert len(re.findall(r"^ *n\d+ [-=.]", text, re.M)) == len(picture.edges())
    assert text.count("subgraph") == text.count("\n        end") + text.count("\n    end") == 2
