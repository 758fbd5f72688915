"""Strategies: which candidate each goes on from."""

import math
import random
from collections import Counter
from itertools import product

import numpy as np
import pytest

from uninas.errors import NoLegalEdit, UninasError
from uninas.scores.aggregate import log_rank_sum
from uninas.search import archive as archives
from uninas.search.archive import Archive
from uninas.search.asktell import Search
from uninas.search.candidate import Candidate
from uninas.search.front import crowding, fronts, pareto_order
from uninas.search.ranks import Ranking
from uninas.search.strategies import STRATEGIES, make_strategy
from uninas.testing import check_strategy


@pytest.fixture
def archive(make):
    return begun(make())


def begun(plan):
    """An archive with the start in it."""
    made = Archive(plan)
    made.add(0, plan.start.key, plan.start)
    return made


def told(kind, archive, merits, rungs=1, **options):
    """A strategy that has heard these merits, candidate by candidate, each begun from the one before."""
    made = make_strategy(kind, archive, rungs, options)
    for number, merit in enumerate(merits):
        made.begun(number, Candidate(parent=number - 1 if number else None, graph=archive.graph(0)))
        several = merit if isinstance(merit, tuple) or merit is None else (merit,)
        made.tell(Candidate(number, merits=several, rung=rungs - 1, seed=number))
    return made


def parents(strategy, count=300):
    return Counter(strategy.parent(random.Random(n)) for n in range(count))


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
        ("anneal", [5.0, 7.0, 7.0], 2),
        ("anneal", [5.0, None], 0),
    ],
)
def test_where_the_next_move_starts(kind, merits, parent, archive):
    assert told(kind, archive, merits).parent(random.Random(0)) == parent


def test_a_walk_goes_on_without_scores_and_steps_back_from_what_failed_meanwhile(archive):
    walk = make_strategy("walk", archive)
    for number in range(1, 5):
        assert walk.parent(random.Random(0)) == number - 1
        walk.begun(number, Candidate(parent=number - 1, graph=archive.graph(0)))
    walk.tell(Candidate(1, merits=(1.0,)))
    walk.tell(Candidate(2, merits=None))
    assert walk.at == 1
    walk.tell(Candidate(3, merits=None))
    assert walk.at == 1


def test_a_random_search_does_not_look_at_scores(archive):
    for number in range(1, 6):
        archive.add(number, archive.keys[0], archive.graph(0))
    search = told("random", archive, [0.0] * 6)
    births = Counter(search.ask(random.Random(n)).parent for n in range(120))
    assert births.keys() == set(range(6)) and max(births.values()) < 3 * min(births.values())


def test_annealing_steps_down_rarely_and_less_with_time_and_loss(archive):
    def accepted(loss, age, **options):
        merits = [10.0, 11.0] * (age // 2)
        runs = 200
        taken = 0
        for seed in range(runs):
            strategy = told("anneal", archive, merits, **options)
            before = strategy.at
            strategy.tell(Candidate(age, merits=(before.merit - loss,), seed=seed))
            taken += strategy.at is not before
        return taken / runs

    young, old, far = accepted(0.5, 4), accepted(0.5, 300), accepted(2.0, 4)
    assert young > 0.05 and old == 0 and far < young
    assert accepted(0.1, 4, temperature=0) == 0
    assert accepted(0.5, 300, half_life=10**6) > 0.05


def test_evolution_starts_broadly_and_then_prefers_the_good_among_the_young(archive):
    few = told("evolution", archive, [1.0] * 5)
    assert few.parent(random.Random(0)) is None
    many = told("evolution", archive, [1000.0] + [float(n) for n in range(32)])
    found = sorted(parents(many).elements())
    assert found[0] > 0, "the start is too old, however good it was"
    assert found[len(found) // 2] > 0.75 * 32
    assert parents(told("evolution", archive, [3.0, 1.0, 2.0], population=2, tournament=2)).keys() == {2}
    assert parents(told("evolution", archive, [-3.0, -1.0], population=2, tournament=2)).keys() == {1}


def test_parents_are_two_also_where_a_tournament_draws_everybody(make):
    search = Search(make(strategy="evolution", tuning={"population": 4, "crossover": 1.0}), iterations=40)
    mates = []
    for draft in search:
        search.tell(draft, float(draft.number))
        mates.append(draft.mate)
    assert sum(mate is not None for mate in mates) > 10


def test_rank_evolution_wants_all_objectives_at_once(make):
    archive = begun(make(further=("params",)))
    merits = [(float(n), float(n)) for n in range(20)] + [(100.0, -5.0), (-5.0, 100.0)]
    strategy = told("rank", archive, merits, population=4)
    assert parents(strategy).keys() == {16, 17, 18, 19}
    strategy.tell(Candidate(22, merits=(50.0, 50.0)))
    assert 22 in parents(strategy), "the whole history is ranked again"


def test_nsga2_keeps_the_front_after_every_generation(archive):
    best = [(float(n), 10.0 - n) for n in range(4)]
    strategy = told("nsga2", archive, [(-1.0 - n, -1.0) for n in range(4)] + best + [(9.0, 9.0)], population=4)
    assert parents(strategy).keys() == {4, 5, 6, 7}
    assert [one.number for one in strategy.young] == [8]
    ends = parents(strategy)
    assert ends[4] > ends[5] or ends[7] > ends[6], "the ends of the front are drawn more often"


def test_halving_promotes_the_best_quarter_of_a_rung_once(archive):
    strategy = make_strategy("halving", archive, 3)
    assert strategy.ask(random.Random(0)).rung == 0
    for number in range(1, 9):
        archive.add(number, archive.keys[0], archive.graph(0))
        strategy.begun(number, Candidate(parent=0, graph=archive.graph(0)))
        strategy.tell(Candidate(number, merits=(float(-number),), rung=0))
    climbed = []
    for number in (9, 10):
        birth = strategy.ask(random.Random(number))
        assert (birth.rung, birth.edit) == (1, None)
        climbed.append(birth.parent)
        strategy.begun(number, birth)
    assert climbed == [1, 2]
    assert strategy.ask(random.Random(0)).rung == 0
    strategy.tell(Candidate(9, merits=(1.0,), rung=1))
    strategy.tell(Candidate(10, merits=(2.0,), rung=1))
    assert parents(strategy).keys() <= {9, 10}, "the highest rung with scores has the parents"


@pytest.mark.parametrize(
    ("kind", "rungs", "options", "message"),
    [
        ("fly", 1, {}, "there is no strategy fly"),
        ("evolve", 1, {}, "there is no strategy evolve"),
        ("evolution", 1, {"populaton": 3}, "did you mean 'population'?"),
        ("evolution", 1, {"population": 1}, "expected an integer from 2 to 1e"),
        ("evolution", 1, {"population": 2.5}, "expected an integer"),
        ("evolution", 1, {"population": True}, "expected an integer"),
        ("anneal", 1, {"temperature": "hot"}, "expected a number from 0"),
        ("walk", 1, {"population": 5}, "it has none"),
        ("walk", 2, {}, "only halving scores in rungs"),
        ("halving", 1, {}, "expected a cheap measure"),
    ],
)
def test_what_cannot_be_tuned(kind, rungs, options, message, archive):
    with pytest.raises(UninasError) as raised:
        make_strategy(kind, archive, rungs, options)
    assert message in str(raised.value)


@pytest.mark.parametrize("kind", STRATEGIES)
def test_every_strategy_says_what_it_does(kind):
    assert len(STRATEGIES[kind].summary().split()) > 4
    assert all(option.least <= option.default <= option.most for option in STRATEGIES[kind].options.values())


def test_another_parent_is_tried_where_no_move_is_left(archive, monkeypatch):
    for number in range(1, 4):
        archive.add(number, archive.keys[0], archive.graph(0))
    child = archive.child

    def stuck(parent, rng, rung=0):
        asked.append(parent)
        if parent == 2:
            raise NoLegalEdit.because("expected a legal move")
        return child(parent, rng, rung)

    asked = []
    monkeypatch.setattr(archive, "child", stuck)
    strategy = told("climb", archive, [1.0, 2.0, 5.0])
    assert strategy.ask(random.Random(1)).parent != 2
    assert asked[0] == 2
    monkeypatch.setattr(archive, "numbers", [2])
    with pytest.raises(UninasError, match="expected a legal move"):
        strategy.ask(random.Random(1))


# ---- fronts and ranks, against their definitions ---------------------------------------------------------------------


def test_fronts_are_what_is_left_when_the_fronts_before_are_gone():
    rows = np.random.default_rng(1).integers(0, 6, (60, 3)).astype(float)
    left = set(range(60))
    for front in fronts(rows):
        beaten = {a for a, b in product(left, left) if (rows[b] >= rows[a]).all() and (rows[b] > rows[a]).any()}
        assert set(front) == left - beaten
        left -= set(front)
    assert not left


def test_crowding_is_the_sum_of_the_gaps_around():
    rows = np.array([[0.0, 4.0], [1.0, 3.0], [3.0, 1.0], [4.0, 0.0]])
    assert crowding(rows).tolist() == [math.inf, 3 / 4 + 3 / 4, 3 / 4 + 3 / 4, math.inf]
    assert crowding(np.ones((3, 1))).tolist() == [math.inf, 0.0, math.inf]


def test_the_order_is_by_front_and_then_by_room():
    rows = np.array([[0.0, 0.0], [1.0, 5.0], [2.0, 4.9], [5.0, 1.0]])
    assert list(pareto_order(rows)) == [1, 3, 2, 0]


def test_one_objective_is_ranked_by_itself():
    rows = np.array([[3.0], [1.0], [2.0]])
    assert np.argsort(-log_rank_sum(rows)).tolist() == [0, 2, 1]


def test_an_objective_of_less_weight_decides_less():
    rows = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]])
    assert np.argmax(log_rank_sum(rows, [1.0, 0.2])) == 0
    assert np.argmax(log_rank_sum(rows, [0.2, 1.0])) == 2
    assert np.argmax(log_rank_sum(rows)) == 1


@pytest.mark.parametrize(("count", "weights"), [(1, [1.0]), (5, [1.0, 1.0, 1.0]), (7, [1.0, 0.5]), (3, [1.0] * 4)])
def test_a_growing_ranking_has_the_best_of_the_whole_history_at_any_time(count, weights):
    rng = np.random.default_rng(5)
    rows = rng.integers(0, 12, (150, len(weights))).astype(float) + rng.normal(size=(150, len(weights))).round(1)
    rows[rng.random(rows.shape) < 0.02] = math.nan
    places = rng.permutation(150)
    arriving, numbered = Ranking(count, weights), Ranking(count, weights)
    for n, row in enumerate(rows, 1):
        arriving.add(n - 1, row)
        numbered.add(int(places[n - 1]), row, int(places[n - 1]))
        totals = log_rank_sum(rows[:n], weights)
        assert arriving.best == np.argsort(-totals, kind="stable")[:count].tolist()
        assert numbered.best == [int(places[i]) for i in np.lexsort((places[:n], -totals))[:count]]
    assert arriving.contenders < 150


# ---- the archive ---------------------------------------------------------------------------------------------------


def grow(archive, count):
    """Candidates of a random walk, each the child of the one before; gives their graphs and origins."""
    graphs, origins = [archive.graph(0)], [(None, None, None)]
    for number in range(count):
        birth = archive.child(number, random.Random(number))
        graphs.append(birth.graph)
        origins.append((birth.parent, birth.edit, None))
        archive.add(number + 1, birth.graph.key, birth.graph)
    return graphs, origins


def test_a_graph_that_is_no_longer_kept_comes_back_from_its_edits(make, monkeypatch):
    monkeypatch.setattr(archives, "KEPT", 3)
    archive = Archive(make(), lambda number: origins[number])
    archive.add(0, archive.plan.start.key)
    graphs, origins = grow(archive, 12)
    for number in random.Random(0).sample(range(13), 13):
        assert archive.graph(number) == graphs[number]


def test_a_graph_that_comes_back_different_is_an_error(make, monkeypatch):
    monkeypatch.setattr(archives, "KEPT", 1)
    archive = Archive(make(), lambda number: origins[number])
    archive.add(0, archive.plan.start.key)
    _, origins = grow(archive, 4)
    archive.keys[2] = "0" * 64
    with pytest.raises(UninasError, match="candidate 2 is another architecture than when it was stored"):
        archive.graph(2)


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"halving"}))  # which needs a cheap measure
def test_a_strategy_keeps_its_contract(name):
    check_strategy(name)


def test_illumination_keeps_the_best_of_every_cell():
    tuning = {"islands": 2, "fineness": 8}
    search = Search.over("UniNAS", start="coatnet_lean", strategy="illuminate", seed=3, iterations=40, tuning=tuning)
    told = {}
    for candidate in search:
        told[candidate.number] = float(candidate.graph.cost.params % 1009)
        search.tell(candidate, told[candidate.number])
    strategy = search.strategy
    assert all(strategy.maps) and sum(map(len, strategy.maps)) > 4
    for island, cells in enumerate(strategy.maps):
        for cell, elite in cells.items():
            rivals = [number for number, place in strategy.places.items() if place == (island, cell)]
            heard = [told[number] for number in rivals if number <= max(told) - strategy.ahead]
            assert elite.number in rivals and elite.merit == told[elite.number] >= max(heard, default=0.0)
