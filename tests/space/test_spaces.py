"""The library in spaces/, and text -> graph -> text -> graph for its files and for random graphs."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import uninas
from uninas.graph import INPUT, Block, Each, Graph, GraphError, Node, Wire, live
from uninas.language.elaborate import build, check, space
from uninas.language.library import load_file, load_text, shipped_file
from uninas.language.resources import library_root
from uninas.ops.activation import Gelu, Relu, Sigmoid, Softmax
from uninas.ops.attention import Matmul1
from uninas.ops.conv import Conv, DepthwiseConv
from uninas.ops.merge import Add, Concat, Multiply, Subtract
from uninas.ops.norm import BatchNorm, LayerNorm
from uninas.ops.op import Op
from uninas.ops.pool import AvgPool, GlobalAvgPool, MaxPool
from uninas.ops.regulariser import Dropout
from uninas.ops.shape import Pad, Zero
from uninas.ops.split import Chunk, Copy, Slice, Split
from uninas.space import Space

FILES = sorted(library_root().rglob("*.uni"))
NAMES = [str(path.relative_to(library_root())) for path in FILES]
NETWORKS = uninas.list_models()
FOUND = ("vkdnw_coatnet_64",)
"""Networks as a search wrote them: long, and without a word on every block."""


# ---- the files of the library --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_of_the_library_checks(path: Path) -> None:
    found = check(load_file(path))
    assert found
    if path.parent.name == "networks":
        assert isinstance(found[path.stem], Graph)
    elif path.parent == library_root():
        assert any(isinstance(made, Space) for made in found.values())


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_of_the_library_is_short_and_says_what_it_defines(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 120
    if path.stem in FOUND:
        return
    most = {"blocks": 100, "nasbench101": 140}  # a cell whose channels follow from all its edges
    assert len(lines) <= most.get(path.stem, most.get(path.parent.name, 60))
    for definition in load_file(path).definitions.values():
        text = definition.span.source.text[definition.span.start : definition.span.end]
        assert definition.doc or "\n" not in text, f"{definition.name.text} says nothing about itself"


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name != "blocks"], ids=lambda p: p.stem)
def test_a_file_is_called_like_what_it_defines(path: Path) -> None:
    *_, last = load_file(path).definitions
    assert last.lower() == path.stem


def test_there_are_the_networks_that_the_readme_names() -> None:
    named = {
        "resnet", "efficientnet", "transformer", "coatnet", "mixed", "resnet18", "resnet50", "mobilenetv2_100",
        "efficientnet_b0", "convnext_tiny", "vit_small_patch16_224", "mixer_s16_224", "coatnet_0_rw_224", "densenet121",
        "regnetx_032", "swin_tiny_patch4_window7_224", "inception_v3", "ghostnet_100",
    }  # fmt: skip
    assert named <= set(NETWORKS)
    assert len({uninas.load(name).key for name in NETWORKS}) == len(NETWORKS)


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_survives_the_way_through_text(name: str, explicit: bool) -> None:
    graph = uninas.load(name)
    text = uninas.dumps(graph, explicit=explicit)
    again = build(load_text(text), name)
    assert again == graph
    assert again.key == graph.key
    assert uninas.dumps(again, explicit=explicit) == text


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_block_survives_the_way_through_text(path: Path) -> None:
    for name, graph in check(load_file(path)).items():
        if isinstance(graph, Graph):
            assert build(load_text(uninas.dumps(graph, name)), name) == graph


# ---- the space around MobileNetV2 ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mobilenets() -> Space:
    return space(load_file(shipped_file("mobilenetv2")), "mobilenetv2")


def test_mobilenetv2_itself_is_in_its_space(mobilenets: Space) -> None:
    stages = [(16, 1, 1), (24, 2, 6), (32, 3, 6), (64, 4, 6), (96, 3, 6), (160, 3, 6), (320, 1, 6)]
    wanted = {"first": 32}
    for number, (width, count, expand) in enumerate(stages):
        values = {"width": width, "count": count, "e": expand, "k": 3}
        wanted |= {f"stages.{number}.{name}": value for name, value in values.items()}
    answers = {choice.path: choice.options.index(str(wanted[choice.path])) for choice in mobilenets.choices}
    graph = mobilenets.member(answers)
    assert graph == uninas.load("mobilenetv2_100")
    assert mobilenets.budget.violations(graph) == []


def test_samples_keep_the_structure_that_was_drawn(mobilenets: Space) -> None:
    generator = random.Random(0)
    kept = []
    for _ in range(30):
        graph, answers = mobilenets.sample(generator)
        drawn = {c.path: int(c.options[answers[c.path]]) for c in mobilenets.choices}
        stages = [node for node in graph.nodes if node.name.startswith("stages.")]
        assert [node.name for node in graph.nodes] == ["stem", *(f"stages.{n}" for n in range(7)), "head"]
        for number, stage in enumerate(stages):
            assert isinstance(stage.op, Block)
            blocks = stage.op.graph
            assert len(blocks.nodes) == drawn[f"stages.{number}.count"]
            assert blocks.output_shapes[0][0] == drawn[f"stages.{number}.width"]
            kernels = {node.op.kernel for _, _, node in blocks.walk() if isinstance(node.op, DepthwiseConv)}
            assert kernels == {drawn[f"stages.{number}.k"]}
        assert graph.shapes("stages.6")[0][1:] == (7, 7)
        kept.append(not mobilenets.budget.violations(graph))
        assert build(load_text(uninas.dumps(graph)), "mobilenetv2") == graph
    assert 0 < sum(kept) < len(kept)


# ---- random graphs -------------------------------------------------------------------------------------------------

UNARY: list[Op] = [
    Relu(), Gelu("tanh"), Sigmoid(), Softmax(), BatchNorm(), LayerNorm(eps=1e-5), Dropout(0.1), Zero(), GlobalAvgPool(),
    Conv(8, 1), Conv(16, 3, bias=False), Conv(24, 5, 2, groups=4), DepthwiseConv(3), MaxPool(), AvgPool(2, 2),
    Chunk(2), Copy(3), Split(4), Slice(0, 4), Pad(top=1, right=1),
]  # fmt: skip
MANY: list[Op] = [Add(), Multiply(), Subtract(), Concat(), Matmul1()]
NODE_NAMES = st.sampled_from(["a", "b", "y_1", "conv", "conv_1", "add", "relu_2", "part", "width", "x", "out_1"])
GRAPH_NAMES = ["random", "Body", "relu", "B"]


@st.composite
def graphs(draw: st.DrawFn, depth: int = 2, inputs: int = 1, outputs: int = 1) -> Graph:
    """A valid graph: nodes that do not fit are left out, and so is what nothing uses."""
    shape = draw(st.sampled_from([(8, 8, 8), (16, 6, 6), (12, 1, 9)]))
    return _grown(draw, (shape,) * inputs, depth, outputs)


def _grown(draw: st.DrawFn, inputs: tuple[tuple[int, ...], ...], depth: int, outputs: int) -> Graph:
    wires = [Wire(INPUT, port) for port in range(len(inputs))]
    graph, nodes = Graph(inputs, (), (wires[0],)), ()
    for number in range(draw(st.integers(2, 10))):
        node = _node(draw, graph, wires, f"n{number}", depth)
        try:
            grown = Graph(inputs, (*nodes, node), tuple(Wire(node.name, p) for p in range(1)) + graph.outputs)
        except GraphError:
            continue
        graph, nodes = grown, (*nodes, node)
        wires += [Wire(node.name, port) for port in range(len(grown.shapes(node.name)))]
    ends = tuple(draw(st.sampled_from(wires[-3:])) for _ in range(outputs))
    return Graph(inputs, live(nodes, ends), ends, draw(st.sampled_from(GRAPH_NAMES)))


def _node(draw: st.DrawFn, graph: Graph, wires: list[Wire], spare: str, depth: int) -> Node:
    name = draw(NODE_NAMES) if draw(st.booleans()) else spare
    one = draw(st.sampled_from(wires[-4:]))
    kind = draw(st.sampled_from(["unary", "unary", "many", "block", "each"] if depth else ["unary", "many"]))
    if kind == "unary":
        return Node(name, draw(st.sampled_from(UNARY)), (one,))
    if kind == "many":
        other = draw(st.sampled_from(wires))
        return Node(name, draw(st.sampled_from(MANY)), (one, other))
    shape = graph.shape(one)
    alike = [wire for wire in wires if graph.shape(wire) == shape][:3]
    if kind == "each":
        side_by_side = draw(st.integers(1, 2))
        return Node(name, Each(_grown(draw, (shape,) * side_by_side, 0, 1)), tuple(alike * side_by_side))
    taken = draw(st.integers(1, len(alike)))
    inner = _grown(draw, (shape,) * taken, depth - 1, draw(st.integers(1, 2)))
    return Node(name, Block(inner), tuple(alike[:taken]))


@given(graphs())
@settings(max_examples=150)
def test_a_random_graph_survives_the_way_through_text(graph: Graph) -> None:
    for explicit in (False, True):
        text = uninas.dumps(graph, "random", explicit=explicit)
        again = build(load_text(text), "random")
        assert again == graph, text
        assert again.key == graph.key
        assert uninas.dumps(again, "random", explicit=explicit) == text


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_names_and_the_order_of_statements_do_not_change_the_key(graph: Graph, generator: random.Random) -> None:
    other = shuffled(graph, generator)
    assert other.key == graph.key
    assert other.cost == graph.cost


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=75)
def test_another_attribute_changes_the_key(graph: Graph, generator: random.Random) -> None:
    places = [n for n, node in enumerate(graph.nodes) if isinstance(node.op, Dropout)]
    for place in places[:1]:
        nodes = list(graph.nodes)
        nodes[place] = Node(nodes[place].name, Dropout(0.2), nodes[place].inputs)
        assert Graph(graph.inputs, tuple(nodes), graph.outputs).key != graph.key
    assert shuffled(graph, generator).key == graph.key


def shuffled(graph: Graph, generator: random.Random) -> Graph:
    """The same graph with other names, its nodes in another topological order; also inside its blocks."""
    waiting, done, order = list(graph.nodes), {INPUT}, []
    while waiting:
        ready = [node for node in waiting if all(wire.node in done for wire in node.inputs)]
        node = ready[generator.randrange(len(ready))]
        waiting.remove(node)
        order.append(node)
        done.add(node.name)
    names = {INPUT: INPUT} | {node.name: f"other{n}" for n, node in enumerate(order)}

    def wired(wires: tuple[Wire, ...]) -> tuple[Wire, ...]:
        return tuple(Wire(names[wire.node], wire.port) for wire in wires)

    def inside(node: Node) -> Op | Block | Each:
        if isinstance(node.op, Block):
            return Block(shuffled(node.op.graph, generator))
        return Each(shuffled(node.op.body, generator)) if isinstance(node.op, Each) else node.op

    nodes = tuple(Node(names[node.name], inside(node), wired(node.inputs)) for node in order)
    return Graph(graph.inputs, nodes, wired(graph.outputs), "another")


def test_statements_of_a_text_may_stand_in_another_order() -> None:
    text = """block B {
        a = in -> conv(C, 1) -> relu
        b = in -> conv(C, 3)
        out = a + b * in
    }"""
    lines = text.splitlines()
    moved = "\n".join([lines[0], lines[2], lines[1], *lines[3:]])
    renamed = re.sub(r"\ba\b", "first", moved)
    keys = {uninas.load(version).key for version in (text, moved, renamed)}
    assert len(keys) == 1
    assert uninas.load(text.replace("a + b * in", "a * b + in")).key not in keys


# ---- what the library asked of the language ------------------------------------------------------------------------


def test_an_if_may_stand_for_a_wire_or_a_number() -> None:
    text = "block B(width = C) { b = in -> conv(width, 1) out = if width == C { in + b } else { b -> relu } }"
    assert [node.op.name for node in uninas.load(text).nodes if isinstance(node.op, Op)] == ["conv", "add"]
    wide = uninas.load(text, width=16)
    assert [node.op.name for node in wide.nodes if isinstance(node.op, Op)] == ["conv", "relu"]
    number = uninas.load("block B { out = in -> conv(if C > 100 { C } else { 2 * C }, 1) }")
    assert number.output_shapes == ((128, 56, 56),)


def test_only_the_side_of_an_if_that_is_taken_must_make_sense() -> None:
    text = "block B(halve: bool) { out = in -> conv(if halve { C / 3 } else { C }, 1) }"
    assert uninas.load(text, halve=False).output_shapes == ((64, 56, 56),)
    with pytest.raises(uninas.UninasError, match="expected 64 to be divisible by 3"):
        uninas.load(text, halve=True)


def test_one_line_may_leave_several_choices_open() -> None:
    body = "input 3 x 8 x 8 choose a, b in {1, 2} stem conv(a * 10 + b) -> global_avg_pool -> linear(2)"
    members = space(load_text(f"space S {{ {body} }}"), "S")
    assert [choice.path for choice in members.choices] == ["a", "b"]
    assert members.count() == 4
    widths = {members.member(answers).cost.params for answers in members.assignments()}
    assert len(widths) == 4


def test_answers_of_which_no_condition_speaks_are_counted_without_being_tried():
    """Ten pairs fit; three more choices of 30 options each would be too many to try."""
    text = """space some {
        input 3 x 8 x 8
        choose a, b in 1..4 where b >= a
        choose c, d in 1..30
        stage 1..30 x 1..2 { conv(a + b + c + d, 3) }
    }"""
    assert uninas.space(text).count() == 10 * 30 * 30 * 30 * 2


def test_a_condition_may_be_of_one_choice_alone():
    text = """space some {
        input 3 x 8 x 8
        choose a in 1..3
        choose b in 1..4 where b < 4
        stem conv(a * b, 3)
    }"""
    assert uninas.space(text).count() == 9
