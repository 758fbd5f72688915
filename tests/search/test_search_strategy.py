"""Strategies: which candidate each goes on from."""

import random

import pytest

from uninas.errors import UninasError
from uninas.search import strategy
from uninas.search.strategy import STRATEGIES, AgeingEvolution, Outcome, Pool


def told(kind, pool, merits):
    """A strategy that has heard these merits, candidate by candidate."""
    made = STRATEGIES[kind](pool)
    for number, merit in enumerate(merits):
        made.tell(Outcome(number, merit))
    return made


@pytest.fixture
def pool(make):
    made = Pool(make())
    made.add(made.plan.start.key, None)
    return made


@pytest.mark.parametrize(
    ("kind", "merits", "parent"),
    [
        ("walk", [5.0], 0),
        ("walk", [5.0, 1.0, 3.0], 2),
        ("walk", [5.0, 1.0, None, None], 1),
        ("climb", [5.0, 1.0, None], 0),
        ("climb", [5.0, 7.0, 6.0], 1),
        ("climb", [5.0, 7.0, 7.0], 2),
        ("climb", [-5.0, -7.0], 0),
    ],
)
def test_where_the_next_move_starts(kind, merits, parent, pool):
    assert told(kind, pool, merits).parent(random.Random(0)) == parent


def test_evolution_starts_broadly_and_then_prefers_the_good_among_the_young(pool):
    few = told("evolution", pool, [1.0] * 5)
    assert few.parent(random.Random(0)) == 0
    merits = [1000.0] + [float(n) for n in range(AgeingEvolution.population)]
    many = told("evolution", pool, merits)
    parents = [many.parent(random.Random(n)) for n in range(200)]
    assert min(parents) > 0, "the start is too old, however good it was"
    middle = sorted(parents)[100]
    assert middle > 0.75 * AgeingEvolution.population


def grow(pool, count):
    """Candidates of a random walk, each the child of the one before."""
    graphs = [pool.graph(0)]
    for number in range(count):
        proposal = pool.propose(number, random.Random(number))
        graphs.append(proposal.graph)
        pool.add(proposal.graph.key, (number, proposal.edit), proposal.graph)
    return graphs


def test_a_graph_that_is_no_longer_kept_comes_back_from_its_edits(pool, monkeypatch):
    monkeypatch.setattr(strategy, "KEPT", 3)
    graphs = grow(pool, 12)
    for number in random.Random(0).sample(range(13), 13):
        assert pool.graph(number) == graphs[number]


def test_a_graph_that_comes_back_different_is_an_error(pool, monkeypatch):
    monkeypatch.setattr(strategy, "KEPT", 1)
    grow(pool, 4)
    pool.keys[2] = "0" * 64
    with pytest.raises(UninasError, match="candidate 2 is another architecture than when it was stored"):
        pool.graph(2)
