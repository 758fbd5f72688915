"""Sums of logarithms of ranks: by hand, with ties, failures and directions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uninas.scores.aggregate import AGGREGATES, Aggregate, ranked

TWO = Aggregate("two", {"a": "higher", "b": "lower"})
LISTS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20)


def test_the_worst_has_rank_one_and_logarithms_add():
    found = TWO.values({"a": [0.1, 0.3, 0.2], "b": [1, 2, 3]})
    assert found == pytest.approx([math.log(1) + math.log(3), math.log(3) + math.log(2), math.log(2) + math.log(1)])


def test_a_weight_is_how_often_a_component_counts():
    rows = {"a": [0.1, 0.3, 0.2], "b": [1, 2, 3]}
    half = Aggregate("half", TWO.components, weights={"b": 0.5})
    assert half.values(rows) == pytest.approx(
        [math.log(1) + math.log(3) / 2, math.log(3) + math.log(2) / 2, math.log(2) + math.log(1) / 2]
    )
    for wrong in ({"c": 1.0}, {"a": 0.0}):
        with pytest.raises(ValueError, match="expected weights above 0 of components"):
            Aggregate("wrong", TWO.components, weights=wrong)


def test_ties_share_the_mean_of_their_ranks():
    assert ranked(np.array([5.0, 1, 5, 2])).tolist() == [3.5, 1, 3.5, 2]
    assert ranked(np.array([5.0, 1, 5, 2]), "lower").tolist() == [1.5, 4, 1.5, 3]


@pytest.mark.parametrize("direction", ["higher", "lower"])
@pytest.mark.parametrize("failed", [math.nan, math.inf, -math.inf])
def test_a_failed_score_ranks_below_all_others(direction: str, failed: float):
    assert ranked(np.array([failed, 1.0, -1e300]), direction)[0] == 1
    assert ranked(np.array([failed, failed]), direction).tolist() == [1.5, 1.5]


@given(LISTS)
def test_values_lie_between_zero_and_what_the_best_of_all_would_get(pairs):
    a, b = zip(*pairs, strict=True)
    found = TWO.values({"a": a, "b": b})
    assert ((found >= 0) & (found <= 2 * math.log(len(pairs)) + 1e-9)).all()


@given(LISTS, st.randoms(use_true_random=False))
def test_order_units_and_further_scores_do_not_matter(pairs, random):
    order = list(range(len(pairs)))
    random.shuffle(order)
    a, b = (np.array(column) for column in zip(*pairs, strict=True))
    found = TWO.values({"a": a, "b": b})
    assert TWO.values({"a": a[order], "b": b[order]}) == pytest.approx(found[order])
    assert TWO.values({"a": 4 * a, "b": b / 2, "c": b}) == pytest.approx(found)


def test_no_candidates_have_no_values():
    assert TWO.values({"a": [], "b": []}).shape == (0,)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": [1.0]}, "aggregate 'two' needs scores of b"),
        ({"a": [1.0], "b": [1.0, 2.0]}, r"as many scores of each component, but got a \(1,\), b \(2,\)"),
        ({"a": [[1.0]], "b": [[1.0]]}, r"but got a \(1, 1\)"),
    ],
)
def test_incomplete_tables_are_errors(rows, message: str):
    with pytest.raises(ValueError, match=message):
        TWO.values(rows)


@pytest.mark.parametrize("components", [{}, {"a": "up"}])
def test_aggregates_without_components_or_directions_are_errors(components):
    with pytest.raises(ValueError, match="expected components that are 'higher' or 'lower'"):
        Aggregate("none", components)


def test_components_cannot_be_changed():
    with pytest.raises(TypeError):
        TWO.components["c"] = "higher"


def test_published_aggregates_name_proxies_that_exist_in_their_directions():
    from uninas.proxies import get

    ours = {"uninas_agg", "paths_agg", "graph_agg", "broad_agg", "consensus_agg", "steady_agg"}
    assert set(AGGREGATES) == {"vkdnw_agg", "vkdnw_agg_mbv2", "az_nas", *ours}
    for name, aggregate in AGGREGATES.items():
        assert aggregate.name == name and aggregate.source
        assert {part: get(part).direction for part in aggregate.components} == dict(aggregate.components)
