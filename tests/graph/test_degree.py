"""The polynomial degree: what adds to it, what bounds it, what begins it anew; and what it is in real networks."""

import pytest
import torch

import uninas
from uninas.graph.degree import MAX_DEGREE, degree
from uninas.language.elaborate import build
from uninas.language.library import load_text
from uninas.language.resources import library_root
from uninas.space import COSTS, Budget, Limit


def block(body):
    return build(load_text(f"block B {{ input 8 x 6 x 6\n{body} }}"), "B")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("out = in -> conv(C, 3) -> gelu -> max_pool", 1),
        ("out = in * in", 2),
        ("out = in * (in -> sigmoid)", 1),
        ("a = in * in\n out = (a * a) -> batch_norm -> conv(C, 1)", 4),
        ("a = (in * in) -> layer_norm\n out = a * a", 2),
        ("a = in * in\n out = in + a", 2),
        ("a, b = in -> chunk(2)\n out = ((a * b) -> softmax, a) -> concat", 2),
        ("out = in -> split(4) -> each p { out = p * p } -> multiply", 4),
        ("out = in * (in -> zero)", 1),
        ("map = (in, in) -> matmul1 -> softmax\n out = (map, in) -> matmul2", 2),
        ("map = (in, in) -> matmul1\n out = (map, in) -> matmul2", 3),
    ],
)
def test_products_add_degrees_bounds_end_them_and_norms_begin_anew(body, expected):
    assert degree(block(body)) == COSTS["degree"](block(body)) == expected


@pytest.mark.parametrize("body", ["out = in * in", "a = in * in\n out = a * a + in", "out = (in * in) * (in -> relu)"])
def test_the_degree_is_how_the_values_grow(body):
    """Of a homogeneous network without norms: f(s x) / f(x) tends to s to the power of the degree."""
    graph = block(body)
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).abs() + 1
    model = uninas.compile(graph)
    grown = (model(2e6 * x) / model(1e6 * x)).log2()
    torch.testing.assert_close(grown, torch.full_like(grown, degree(graph)), atol=1e-4, rtol=0)


def test_a_tower_of_squares_ends_at_the_limit():
    squares = "\n".join(f"x{n + 1} = x{n} * x{n}" for n in range(100))
    assert degree(block(f"x0 = in * in\n{squares}\n out = x100")) == MAX_DEGREE


@pytest.mark.parametrize("name", sorted(path.stem for path in (library_root() / "networks").glob("*.uni")))
def test_shipped_networks_have_small_degrees(name):
    """A product of queries and keys has 2, behind which there is a softmax."""
    assert degree(uninas.load(name)) <= 2


def test_a_budget_limits_it():
    (broken,) = Budget((Limit("degree", high=2),)).violations(block("out = in * in * in"))
    assert broken == "expected degree of at most 2, but got 3"
