"""Text -> graph -> text, identity, and mistakes."""

import json
from contextlib import suppress

import pytest
import torch
from helpers.commands import run

import uninas
from uninas import Block, Graph, Node, UninasError, Wire, dumps, load
from uninas.graph.graph import GraphError
from uninas.language import synonyms
from uninas.language.elaborate import build, check
from uninas.language.formatter import format_text
from uninas.language.highlight import KEYWORDS
from uninas.language.library import find, load_file, load_text
from uninas.language.resources import library_root
from uninas.ops.op import REGISTRY

SHIPPED = sorted(library_root().rglob("*.uni"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_checks_and_round_trips(path):
    for name, graph in check(load_file(path)).items():
        if isinstance(graph, uninas.Graph):
            for explicit in (False, True):
                again = build(load_text(dumps(graph, name, explicit=explicit)), name)
                assert again == graph
                assert again.key == graph.key


def test_the_key_ignores_names_and_the_order_of_statements():
    one = load("block B { a = in -> conv(C, 1)  b = in -> gelu  out = a + b }")
    two = load("block Other { y = in -> gelu  x = in -> conv(C, 1)  out = y + x }")
    assert one.key == two.key
    assert one != two


def test_the_key_tells_shared_weights_from_equal_ones():
    shared = load("block B { a = in -> conv(C, 1)  out = a + a }")
    equal = load("block B { a = in -> conv(C, 1)  b = in -> conv(C, 1)  out = a + b }")
    assert shared.key != equal.key


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("block A { out = in -> cov(3) }", "UNI010", "did you mean 'conv'?"),
        ("block A { out = in ->> relu }", "UNI002", "but got '>'"),
        ("block A { out = in -> conv(C / 7) }", "UNI022", "divisible by 7, but 1 remains"),
        ("block A { out = in -> conv(0) }", "UNI015", "at least 1, but got 0"),
        ("block A { out = in -> conv(C, kernle=3) }", "UNI012", "did you mean 'kernel'?"),
        ("block A { a = in -> conv(3)  out = in + a }", "UNI020", "64 x 56 x 56"),
        ("block A { a = in -> relu  out = in }", "UNI016", "never used"),
        ("block A { a = in -> relu }", "UNI023", "out = ..."),
        ("block A { out = in -> A }", "UNI019", "uses itself"),
        ("block A(n = 100) { out = in -> A(n - 1) }", "UNI019", "64 deep"),
        ("block A { out = in -> repeat 1000000000 { relu } }", "UNI030", "1,000,000,000"),
        ("block A { out = in -> conv(99999999999999999999999) }", "UNI004", "2^40"),
        ("block A { out = in -> conv(C / 0) }", "UNI022", "by zero"),
        ("block A { out = " + "(" * 10_000 + "in" + ")" * 10_000 + " }", "UNI003", "brackets"),
        ("from blocks.nothing import X", "UNI017", "cannot find blocks.nothing"),
        ("network N { input 3 x 8 x 8 stem conv(8) budget params <= 10 }", "UNI040", "at most 10"),
    ],
)  # fmt: skip
def test_a_mistake_has_a_code_a_place_and_a_way_out(text, code, words):
    with pytest.raises(UninasError) as caught:
        check(load_text(text, "bad.uni"))
    assert caught.value.code == code
    assert words in str(caught.value)
    assert "bad.uni:1:" in str(caught.value)
    assert "^" in str(caught.value)


def test_all_mistakes_of_a_file_are_reported_at_once():
    with pytest.raises(UninasError) as caught:
        check(load_text("block A { out = in -> cov(3) }\nblock B { out = in -> rleu }", "bad.uni"))
    assert [d.span.line for d in caught.value.diagnostics] == [1, 2]


def test_syntax_errors_hide_no_others(tmp_path):
    """What stands before and behind a broken definition is looked at, but for what uses it."""
    text = "block A { out = in -> cov(3) }\nblock B { out = in -> conv( -> relu }\nblock D { out = in -> B }\n"
    path = tmp_path / "bad.uni"
    path.write_text(text + "block E { out = in -> relu + rleu }\nblock F { out = in -> rleu }\n")
    found = json.loads(run("check", path, "--json").stdout)["files"][0]["problems"]
    assert [(one["code"], one["span"]["line"]) for one in found] == [
        ("UNI010", 1),
        ("UNI002", 2),
        ("UNI002", 4),
        ("UNI010", 5),
    ]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("conv(C, 3, padding=same)", "padding=-2 is TensorFlow's same"),
        ("max_pool(3, 2, padding=valid)", "padding=0"),
        ("grid_partition(4)", "window_partition(H / g) -> permute"),
    ],
)
def test_words_of_others_are_answered(step, words):
    with pytest.raises(UninasError) as caught:
        check(load_text(f"block A {{ out = in -> {step} }}"))
    assert words in str(caught.value)


def test_a_grid_is_windows_with_their_axes_swapped():
    """MaxViT's second attention (Tu et al. 2022): positions as far apart as possible attend to each other."""
    grid = uninas.compile(load("block A { input 8 x 8 x 8  out = in -> window_partition(H / 4) -> permute }"))
    x = torch.arange(8 * 8 * 8.0).reshape(1, 8, 8, 8)
    found = x.view(1, 8, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 8, 4, 16)
    assert torch.equal(grid(x), found)


def test_an_unknown_name_is_answered_by_those_that_there_are():
    with pytest.raises(UninasError, match="known here: c2, in, stem"):
        check(load_text("network n { input 3 x 8 x 8  stem relu  stage 4 as c2 { conv(4) }  head (c9) -> relu }"))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.uni").write_bytes(b"# \xff")
    (tmp_path / "large.uni").write_bytes(b" " * (1 << 21))
    for name in ("latin.uni", "large.uni", "missing.uni"):
        with pytest.raises(UninasError) as caught:
            load_file(tmp_path / name)
        assert caught.value.code == "UNI001"


def test_circles_of_imports_end(tmp_path):
    (tmp_path / "a.uni").write_text("from b import B\nblock A { out = in -> B }")
    (tmp_path / "b.uni").write_text("from a import A\nblock B { out = in -> A }")
    with pytest.raises(UninasError) as caught:
        load_file(tmp_path / "a.uni")
    assert caught.value.code == "UNI018"


def test_a_choice_parameter_is_compared_with_its_words():
    text = "block M(mode: {fast, relu} = fast) { out = in -> if mode == fast { gelu } else { relu } }"
    assert [str(node.op) for node in load(text).nodes] == ["gelu"]
    assert [str(node.op) for node in load(text, mode="relu").nodes] == ["relu"]


@pytest.mark.parametrize(
    ("text", "channels"), [("C * 3.5", 224), ("3.5 * C / 2", 112), ("30 * 0.1", 3), ("C * 4.0", 256)]
)
def test_a_product_that_is_whole_is_an_integer(text, channels):
    """Decimals are meant as they are written, so 30 * 0.1 is 3."""
    assert load(f"block M {{ out = in -> conv({text}, 1) }}").cost.params == (64 + 1) * channels


def test_a_product_that_is_not_whole_is_none():
    with pytest.raises(UninasError) as caught:
        load("block M { out = in -> conv(C * 0.3, 1) }")
    assert caught.value.code == "UNI014" and "19.2" in str(caught.value)


def test_a_whole_number_goes_to_parameters_repetitions_and_stages():
    text = """block M(width: int) { out = in -> conv(width, 1) -> repeat width * 0.125 { relu } }
    network N { input 3 x 8 x 8
    stage 16 * 1.5 x 2 { M(width) } }"""
    assert build(load_text(text), "N").cost.params == (3 + 1) * 24 + (24 + 1) * 24


def test_a_block_as_parameter_may_be_called_with_arguments():
    """A block looked at alone does not know which arguments the block that it will be given takes."""
    text = "block M(b: block) { out = in -> b(C, 3) }\nblock N { out = in -> M(conv) }"
    assert set(check(load_text(text))) == {"M", "N"}


def test_a_choice_of_one_option_is_no_choice():
    text = "space S { input 3 x 8 x 8\nchoose a in {relu}\nchoose k in {3}\nstem conv(4, k) -> a }"
    assert uninas.space(text).count() == 1
    assert [node.op.name for node in uninas.space(text).member([]).nodes[0].op.graph.nodes] == ["conv", "relu"]


def test_a_space_is_found_by_its_name_and_by_that_of_its_file():
    assert find("uninas")[1] == find("UniNAS")[1] == "UniNAS"


@pytest.mark.parametrize("word", sorted(synonyms.SYNONYMS))
def test_words_of_others_are_understood_in_hints(word):
    assert synonyms.SYNONYMS[word] in REGISTRY and word not in REGISTRY
    with pytest.raises(UninasError, match=f"did you mean '{synonyms.SYNONYMS[word]}'"):
        uninas.load(f"block A {{ out = in -> {word} }}")


def test_a_block_of_several_wires_checks_alone():
    module = load_text("block Add { a, b = in  out = a + b }\nblock Gate { out = in[0] * (in[1] -> sigmoid) }")
    graphs = check(module)
    assert [len(graphs[name].inputs) for name in ("Add", "Gate")] == [2, 2]


# Keywords, operations, what other languages allow, what statements cannot say, and nothing.
NAMES = (
    *KEYWORDS, "C", "_", "__", "in", "out", "step", "x", "conv", "relu", "relu2", "model", "part", "blocks", "blocks.0",
    "x" * 200, "x" * 300, "a b", "1x", "", "\u00e9", "\ufb01", "a\nb {", "\x1b[31m",
)  # fmt: skip


@pytest.mark.parametrize("name", dict.fromkeys(NAMES), ids=ascii)
def test_whatever_a_graph_and_its_nodes_are_called_the_text_says_the_same(name):
    """Graphs from Python and from imports have names that no text has given."""

    def graph(*nodes):
        return Graph(((16, 8, 8),), nodes, (Wire(nodes[-1].name),), name)

    conv, relu, add = REGISTRY["conv"](16, 3), REGISTRY["relu"](), REGISTRY["add"]()
    inner = graph(Node("conv", conv, (Wire("in"),)))
    outer = graph(Node("made", Block(inner), (Wire("in"),)), Node("relu", relu, (Wire("made"),)))
    made = [inner, outer, graph(Node("stem", Block(inner), (Wire("in"),)), Node("head", Block(outer), (Wire("stem"),)))]
    with suppress(GraphError):  # few names are none of a node
        first = Node(name, relu, (Wire("in"),))
        made += [graph(first), graph(first, Node("sum", add, (Wire(name), Wire(name))))]
    for one in made:
        for explicit in (False, True):
            text = dumps(one, explicit=explicit)
            assert load(text).key == one.key and ("." in name or load(text) == one)
            assert format_text(text) == text


def test_the_blocks_of_a_stage_alone_are_printed_by_names_without_dots():
    stage = load("resnet18").by_name["stages.1"].op.graph
    text = dumps(stage)
    assert "as blocks_0" in text and load(text).key == stage.key and format_text(text) == text
