"""What simplification leaves out, and that the function stays the same."""

import pytest
import torch

import uninas
from uninas.graph.simplify import is_dead, redundant, simplified
from uninas.language.elaborate import build
from uninas.language.library import load_text
from uninas.space import COSTS


def block(body):
    others = "block Empty { out = in }\nblock Off { out = in -> gelu -> zero }"
    return build(load_text(f"{others}\nblock B {{ input 8 x 6 x 6\n{body} }}"), "B")


@pytest.mark.parametrize(
    ("body", "simple"),
    [
        ("out = in -> identity -> relu -> relu -> identity", "out = in -> relu"),
        ("out = in -> relu6 -> relu6 -> relu", "out = in -> relu6 -> relu"),
        ("out = in -> gelu -> gelu", "out = in -> gelu -> gelu"),
        ("out = in -> sigmoid -> Empty -> sigmoid", "out = in -> sigmoid -> sigmoid"),
        ("a = in -> relu\n out = a + (a -> conv(C, 3) -> zero)", "out = in -> relu"),
        ("out = in -> conv(C, 3) -> zero", "out = in -> zero"),
        ("out = in + (in -> conv(C, 3) -> Off)", "out = in"),
        ("out = in + (in * (in -> gelu -> zero))", "out = in"),
        ("out = in -> chunk(2) -> concat", "out = in"),
        ("a, b = in -> chunk(2)\n out = (b, a) -> concat", "a, b = in -> chunk(2)\n out = (b, a) -> concat"),
        ("out = in -> copy -> add", "out = in + in"),
        ("out = in -> copy -> maximum -> upsample(6, 6)", "out = in"),
        ("out = in -> add -> concat -> multiply -> relu", "out = in -> relu"),
        ("out = in -> split(2) -> each p { out = p -> relu -> relu } -> concat",
         "out = in -> split(2) -> each p { out = p -> relu } -> concat"),
        ("out = (in -> global_avg_pool) + (in -> zero)", "out = (in -> global_avg_pool) + (in -> zero)"),
    ],
)  # fmt: skip
def test_what_does_nothing_is_left_out(body, simple):
    graph = block(body)
    assert simplified(graph).key == block(simple).key
    assert redundant(graph) == COSTS["redundant"](graph) == graph.operations - block(simple).operations
    assert simplified(simplified(graph)) is simplified(graph)


def test_a_simple_network_comes_back_itself():
    graph = uninas.load("resnet18")
    assert simplified(graph) is graph and redundant(graph) == 0


def test_coatnet_without_its_switched_off_branches_is_shipped():
    assert simplified(uninas.load("coatnet")).key == uninas.load("coatnet_lean").key


def test_a_simplified_network_computes_the_same_from_the_same_weights():
    graph = block(
        "a = in -> copy -> add -> conv(C, 3) as first\n out = a + (a -> identity -> relu -> relu) + (a -> zero)"
    )
    simple = simplified(graph)
    assert simple.operations < graph.operations
    before, after = uninas.compile(graph).eval(), uninas.compile(simple).eval()
    assert after.load_state_dict(before.state_dict()).missing_keys == []
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(after(x), before(x))


@pytest.mark.parametrize(
    ("body", "dead"),
    [
        ("out = in -> conv(C, 3)", False),
        ("out = in -> conv(C, 3) -> zero -> conv(C, 3)", True),
        ("out = in + (in -> zero)", False),
        ("out = in * (in -> zero)", True),
        ("out = in * (in -> zero -> sigmoid)", False),
        ("a, b = in -> chunk(2)\n out = (a -> zero, b) -> concat", False),
        ("out = in -> split(2) -> each p { out = p -> zero } -> concat", True),
        ("out = in -> split(2) -> each p { out = p -> relu } -> concat", False),
        ("out = (in -> Cut) * in", True),
        ("out = (in -> Cut) + in", False),
        ("out = (in -> Cut -> relu, in -> relu) -> First", True),
    ],
)
def test_a_graph_is_dead_when_nothing_of_its_input_comes_out(body, dead):
    cut = "block Cut { out = in -> conv(C, 3) -> zero }\nblock First { a, b = in\nout = a + (b -> zero) }"
    graph = build(load_text(f"{cut}\nblock B {{ input 8 x 6 x 6\n{body} }}"), "B")
    assert is_dead(graph) == dead
    if dead:
        model = uninas.compile(graph).eval()
        images = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
        assert torch.equal(*model(images).unbind())
