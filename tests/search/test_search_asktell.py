"""Ask and tell: the same candidates in the same order, whoever scores them and whenever their scores come."""

import math
import random

import pytest

from uninas.errors import UninasError
from uninas.search.asktell import Search
from uninas.search.executor import Inline
from uninas.search.run import Run
from uninas.search.store import Store
from uninas.search.strategies import STRATEGIES
from uninas.testing import first_edit

COUNT = 40
CHEAP = {"halving": {"cheap": ("params",)}}
CROSSING = ("evolution", "rank", "nsga2")
ALL = sorted(STRATEGIES)


@pytest.fixture
def over(make):
    """A search of the tiny space by a strategy."""
    return lambda strategy, **changes: Search(
        make(strategy=strategy, **CHEAP.get(strategy, {}), **changes), iterations=COUNT, proposer=first_edit
    )


def measured(draft):
    """A score that depends on the architecture, the seed and the rung."""
    score = draft.graph.cost.params % 977 + draft.seed % 1000 / 1000 + draft.rung
    return None if draft.number % 7 == 5 else score


def described(draft):
    return draft.number, draft.parent, str(draft.edit), draft.rung, draft.seed, draft.graph.key


def one_by_one(search):
    found = []
    for draft in search:
        found.append(described(draft))
        search.tell(draft, measured(draft))
    return found, search.best.number


def with_workers(search, workers, rng):
    """As many in flight as there are workers, who finish in any order."""
    found, flying = [], []
    while len(search) <= COUNT or flying:
        while len(flying) < workers and len(search) <= COUNT and (draft := search.ask()):
            found.append(described(draft))
            flying.append(draft)
        done = flying.pop(rng.randrange(len(flying)))
        search.tell(done, measured(done))
    return found, search.best.number


@pytest.mark.parametrize("strategy", ALL)
def test_candidates_do_not_depend_on_the_workers(strategy, over):
    alone = one_by_one(over(strategy))
    assert len(alone[0]) == COUNT + 1
    for workers in (2, 5, 100):
        assert with_workers(over(strategy), workers, random.Random(workers)) == alone


@pytest.mark.parametrize("strategy", ALL)
def test_other_seeds_give_other_candidates(strategy, over):
    assert one_by_one(over(strategy))[0][1:] != one_by_one(over(strategy, seed=2))[0][1:]


def test_the_window_decides_the_candidates_where_scores_do(over):
    assert one_by_one(over("climb", ahead=1)) != one_by_one(over("climb", ahead=8))
    assert one_by_one(over("random", ahead=1))[0] == one_by_one(over("random", ahead=64))[0]


def test_no_more_than_the_window_is_in_flight(over):
    search = over("climb", ahead=3)
    search.tell(search.ask(), 1.0)
    drafts = [search.ask() for _ in range(4)]
    assert [draft and draft.number for draft in drafts] == [1, 2, 3, None]
    search.tell(drafts[1], 1.0)
    assert search.ask() is None, "candidate 1 is still missing"
    search.tell(drafts[0], 1.0)
    assert [search.ask().number, search.ask().number, search.ask()] == [4, 5, None]
    assert search.in_flight == 3


def test_nothing_is_asked_before_the_start_has_its_score(over):
    search = over("random")
    assert search.ask().number == 0 and search.ask() is None


def test_asynchronous_searches_hear_of_every_score_at_once(over):
    search = over("climb", asynchronous=True)
    search.tell(search.ask(), 1.0)
    drafts = [search.ask() for _ in range(30)]
    search.tell(drafts[20], 9.0)
    assert search.ask().parent == drafts[20].number


def test_a_loop_that_never_tells_is_told_what_to_do(over):
    with pytest.raises(UninasError, match="expected the score of candidate 0"):
        list(over("climb"))


def test_a_loop_over_a_space_that_is_used_up_ends():
    text = "space Few { input 3 x 8 x 8 choose wide in 4..5 head conv(wide, 3) -> relu | gelu }"
    search = Search.over(text, strategy="random")
    for draft in search:
        search.tell(draft, draft.graph.cost.params)
    assert len(search) == 4 and "all were refused" in str(search.exhausted)
    assert search.ask() is None and search.best.graph.cost.params == 3 * 9 * 5 + 5


def test_telling_is_checked(over):
    search = over("climb", further=("params",))
    draft = search.ask()
    with pytest.raises(UninasError, match="expected a number for the objective params"):
        search.tell(draft, 1.0)
    for wrong in ({"params": 5.0}, "much", [1.0]):
        with pytest.raises(UninasError, match="expected a number"):
            search.tell(draft, wrong)
    search.tell(draft, {"score": 1.0, "params": 5})
    search = over("climb")
    draft = search.ask()
    search.tell(draft, 1.0)
    for wrong in (draft, 5):
        with pytest.raises(UninasError, match="not asked for, or told before"):
            search.tell(wrong, 1.0)


@pytest.mark.parametrize("strategy", ["walk", "climb", "anneal", "evolution"])
def test_what_is_not_finite_has_failed(strategy, over):
    search = over(strategy)
    for draft in search:
        search.tell(draft, math.nan if draft.number % 3 == 0 else float(draft.number))
    assert search.best.number == COUNT - COUNT % 3 + (COUNT % 3 or -1)


def test_the_best_has_the_best_score_and_the_lower_number(over):
    search = over("random")
    scores = {0: 1.0, 1: 5.0, 2: 5.0, 3: None}
    drafts = [search.ask()]
    search.tell(drafts[0], scores[0])
    drafts += [search.ask() for _ in range(3)]
    for number in (3, 2, 1):
        search.tell(drafts[number], scores[number])
    assert search.best.number == 1 and search.best.graph == drafts[1].graph


def test_several_objectives_are_ranked_together_where_the_strategy_does(make):
    search = Search(make(strategy="rank", proxy="az_nas"))
    assert [objective.name for objective in search.rungs[-1]] == [
        "expressivity", "progressivity", "trainability", "complexity",
    ]  # fmt: skip
    names = [objective.name for objective in search.rungs[-1]]
    for number, values in enumerate([(5.0, 5.0, 5.0, 5.0), (9.0, 9.0, 1.0, 1.0), (6.0, 6.0, 6.0, 6.0)]):
        draft = search.ask()
        assert draft.number == number
        search.tell(draft, {"score": values[0], **dict(zip(names[1:], values[1:], strict=True))})
    assert search.best.number == 2
    with pytest.raises(UninasError, match="is an aggregate") as raised:
        Search(make(strategy="climb", proxy="az_nas"))
    assert "--strategy rank" in str(raised.value)


@pytest.mark.parametrize("strategy", ALL)
def test_a_run_stopped_in_the_middle_of_its_window_goes_on_alike(strategy, tmp_path, make):
    """Candidates that came in early are stored; those before them that were lost are asked for again."""

    def score(graph, seed):
        return {"score": graph.cost.params % 977 + seed % 1000 / 1000}

    class Shuffled(Inline):
        """Has five places, finishes them in any order, and dies after some."""

        def __init__(self, lives):
            super().__init__(*[score] * (1 + (strategy == "halving")))
            self.lives, self.rng = lives, random.Random(lives)

        @property
        def room(self):
            return 5 - len(self._queue)

        def wait(self):
            self.lives -= 1
            if self.lives < 0:
                raise KeyboardInterrupt
            self._queue.rotate(self.rng.randrange(5))
            return super().wait()

    def told(folder, *lives):
        for some in lives:
            with Run(
                folder, make(strategy=strategy, **CHEAP.get(strategy, {})), Shuffled(some), proposer=first_edit
            ) as run:
                try:
                    list(run.candidates(COUNT))
                except KeyboardInterrupt:
                    assert some < COUNT
        with Store(folder, read_only=True) as store:
            return [
                (c.number, c.parent, c.edit, c.key, c.score, c.rung, c.seed) for c in store
            ], run.search.leader.number

    whole = told(tmp_path / "whole", 1000)
    assert len(whole[0]) == COUNT + 1
    assert told(tmp_path / "parts", 3, 11, 2, 9, 1000) == whole


@pytest.mark.parametrize("strategy", ALL)
@pytest.mark.parametrize("space", ["moves", "choices"])
def test_a_resumed_run_makes_graphs_again_from_edits_crossovers_and_draws(strategy, space, tmp_path, make, monkeypatch):
    """Nothing but the start is kept in memory, so that every parent is made again."""
    monkeypatch.setattr("uninas.search.archive.KEPT", 4)
    changes = {"strategy": strategy, **CHEAP.get(strategy, {})}
    if space == "choices":
        changes |= {"space": "nasbench201", "img_size": 8}
    if strategy in CROSSING:
        changes["tuning"] = {
            "population": 6,
            "crossover": 0.5,
            **({"tournament": 2} if strategy == "evolution" else {}),
        }

    def score(graph, seed):
        return {"score": graph.cost.params % 977}

    def told(folder, *counts):
        for count in counts:
            with Run(
                folder, make(**changes), Inline(*[score] * (1 + (strategy == "halving"))), proposer=first_edit
            ) as run:
                list(run.candidates(count))
                found = [(c.number, c.parent, c.mate, c.edit, c.key) for c in run.store]
                for number, _, _, _, key in found:
                    assert run.search.archive.graph(number).key == key
        return found

    whole = told(tmp_path / "whole", 30)
    assert told(tmp_path / "parts", 5, 17, 30) == whole
    if strategy in CROSSING:
        assert any(mate is not None for _, _, mate, _, _ in whole)
    if space == "choices" and strategy == "random":
        assert all(parent is None for _, parent, _, _, _ in whole)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_function_is_enough_and_threads_change_nothing(over, workers):
    best = over("evolution").optimize(measured, workers=workers)
    assert best.number == one_by_one(over("evolution"))[1]
    assert (best.score, best.params, best.key) == (measured(best), best.graph.cost.params, best.graph.key)


def test_what_a_function_raises_is_a_failure_but_for_the_start(over):
    def picky(candidate):
        if candidate.number % 3 == 2:
            raise ValueError("odd")
        return measured(candidate)

    search = over("climb")
    best = search.optimize(picky)
    assert len(search) == COUNT + 1 and search.in_flight == 0 and best.number % 3 != 2
    with pytest.raises(ZeroDivisionError):
        over("climb").optimize(lambda candidate: 1 / 0)
    with pytest.raises(AttributeError, match="cost"):  # of every candidate: nobody would look for it in a folder
        over("random").optimize(lambda graph: graph.cost.params)


def test_a_function_needs_a_number_of_candidates(make):
    with pytest.raises(UninasError, match="UNI071"):
        Search(make()).optimize(measured)
