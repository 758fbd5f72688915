"""Runs: they record what happens, survive being stopped at any moment, and go on as if nothing had happened."""

import dataclasses
import fcntl
import math
import signal
import sqlite3
from pathlib import Path

import pytest
from helpers.fresh import fresh

from uninas.errors import UninasError, error
from uninas.language.elaborate import build
from uninas.language.library import load_text
from uninas.report.files import write_report
from uninas.search.candidate import Candidate
from uninas.search.executor import Inline
from uninas.search.plan import Settings, make_plan, values_of
from uninas.search.run import Run
from uninas.search.store import FILE, Store
from uninas.search.strategies import STRATEGIES
from uninas.search.tasks import cost_score, evaluated
from uninas.testing import first_edit

COUNT = 25


def finish(folder, plan, score, count=COUNT, direction="higher"):
    executor = Inline(score)
    executor.directions = {"test": direction}
    with Run(folder, plan, executor, proposer=first_edit) as run:
        for _ in run.candidates(count):
            pass
        return rows(run.store), run.best and run.best.number


def rows(store):
    """Everything but how long it took, with the texts."""
    return [
        (dataclasses.replace(candidate, seconds=0.0, started=0.0), store.text(candidate.number)) for candidate in store
    ]


@pytest.fixture
def reference(tmp_path, make, score):
    """The run that nothing interrupts."""
    return finish(tmp_path / "reference", make(), score)


# ---- what a run records --------------------------------------------------------------------------------------------


def test_a_run_stores_every_candidate_with_its_origin(reference, make, score):
    found, best = reference
    candidates = [candidate for candidate, _ in found]
    assert [c.number for c in candidates] == list(range(COUNT + 1))
    assert [c.parent for c in candidates] == [None, *range(COUNT)], "a walk goes on from the last candidate"
    assert len({c.key for c in candidates}) == COUNT + 1
    assert candidates[best].score == max(c.score for c in candidates)
    for candidate, text in found:
        graph = build(load_text(text), "tiny")
        assert (graph.key, graph.cost.params) == (candidate.key, candidate.params)
        assert candidate.params <= 20_000
        assert candidate.score == score(graph, candidate.seed)["score"]
        assert candidate.components == {"depth": graph.operations}


def test_equal_seeds_give_equal_runs_and_others_do_not(reference, tmp_path, make, score):
    assert finish(tmp_path / "same", make(), score) == reference
    assert finish(tmp_path / "other", make(seed=2), score)[0][1:] != reference[0][1:]


@pytest.mark.parametrize("strategy", ["climb", "evolution"])
def test_the_best_candidate_follows_the_direction_of_the_score(strategy, tmp_path, make, score):
    for direction, choose in (("higher", max), ("lower", min)):
        found, best = finish(tmp_path / direction, make(strategy=strategy), score, 40, direction)
        assert found[best][0].score == choose(candidate.score for candidate, _ in found)


@pytest.mark.parametrize(
    ("give", "reason"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("x" * 900), "RuntimeError: xxx"),
        (error("UNI060", "expected more", None, "take more"), "expected more; take more"),
        ({"score": math.nan}, "the score is nan"),
        ({"score": -math.inf, "part": 2.0}, "the score is -inf"),
        ({"part": 1.0}, "KeyError: 'score'"),
        ({"score": "high"}, "ValueError"),
    ],
    ids=str,
)
def test_a_candidate_that_fails_is_recorded_and_the_walk_steps_back(give, reason, tmp_path, make, score):
    def failing(graph, seed):
        failing.calls += 1
        if failing.calls not in (3, 4):
            return score(graph, seed)
        if isinstance(give, Exception):
            raise give
        return give

    failing.calls = 0
    found, best = finish(tmp_path / "run", make(ahead=1), failing, 5)
    assert [candidate.parent for candidate, _ in found] == [None, 0, 1, 1, 1, 4]
    for candidate, _ in found[2:4]:
        assert candidate.score is None and reason in candidate.failure and len(candidate.failure) <= 500
    assert best not in (2, 3)


def test_components_that_are_no_numbers_are_left_out(make):
    task = Candidate(3, graph=make().start)
    result = evaluated(task, lambda graph, seed: {"score": 1, "a": 2, "b": math.nan}, "me")
    assert (result.number, result.score, result.components, result.failure) == (3, 1.0, {"a": 2.0}, None)


def test_an_objective_that_is_no_number_is_a_failure(make):
    task = Candidate(3, graph=make().start)
    for found in ({"score": 1, "b": math.nan}, {"score": 1}):
        result = evaluated(task, lambda graph, seed, found=found: found, "me", ["b"])
        assert (result.score, result.reason, result.failure) == (None, "nan", "the objective b is nan")


def test_a_start_that_cannot_be_scored_ends_the_run(tmp_path, make):
    with pytest.raises(UninasError, match="the start cannot be scored: the score is nan"):
        finish(tmp_path / "run", make(), lambda graph, seed: {"score": math.nan})


@pytest.mark.parametrize("strategy", sorted(STRATEGIES.keys() - {"halving"}))
def test_a_random_first_member_may_fail(strategy, tmp_path, score):
    plan = make_plan(Settings(space="nasbench201", proxy="test", strategy=strategy))

    def but_first(graph, seed):
        return {"score": math.nan} if graph.key == plan.start.key else score(graph, seed)

    found, best = finish(tmp_path, plan, but_first)
    assert len(found) == COUNT + 1 and found[0][0].reason == "nan" and best > 0


FEW = """
space Few {
    input 3 x 8 x 8
    stem conv(4, 3) -> relu | gelu
    stage 4..8 step 4 x 1 { conv(width, 1) }
    head global_avg_pool -> linear(2)
}"""


def test_a_space_that_is_used_up_ends_the_run(tmp_path, make, score):
    (tmp_path / "few.uni").write_text(FEW)
    plan = make(space=str(tmp_path / "few.uni"), strategy="random")
    for _ in range(2):  # to go on finds no more
        with Run(tmp_path / "run", plan, Inline(score)) as run:
            list(run.candidates(COUNT))
            assert len(run) == len({candidate.key for candidate in run.store}) == 4
            assert "all were refused" in str(run.search.exhausted)
            assert list(write_report(run))


def test_an_asynchronous_run_goes_on_without_what_was_lost(tmp_path, make, score):
    plan = make(strategy="walk", asynchronous=True)
    with Run(tmp_path / "run", plan, Inline(score)) as run:
        list(run.candidates(10))
    with sqlite3.connect(tmp_path / "run" / FILE) as database:  # as if a child had been scored before its parent
        database.execute("DELETE FROM candidates WHERE number = 9")
        database.execute("DELETE FROM texts WHERE number = 9")
    with Run(tmp_path / "run", plan, Inline(score)) as run:
        list(run.candidates(20))
        assert {candidate.number for candidate in run.store} == set(range(22)) - {9}
        assert run.graph(run.store[10]).key == run.store[10].key


def test_a_cost_is_a_score(make):
    start = make().start
    assert cost_score("flops")(start, 0) == {"score": start.cost.flops}


# ---- stopping and going on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["walk", "climb", "evolution", "illuminate", "surrogate"])
@pytest.mark.parametrize("stop", [1, 7, COUNT])
def test_a_run_that_was_interrupted_ends_like_one_that_was_not(strategy, stop, tmp_path, make, score):
    plan = make(strategy=strategy)
    whole = finish(tmp_path / "whole", plan, score)

    def interrupted(graph, seed):
        interrupted.calls += 1
        if interrupted.calls > stop:
            raise KeyboardInterrupt
        return score(graph, seed)

    interrupted.calls = 0
    with pytest.raises(KeyboardInterrupt):
        finish(tmp_path / "run", plan, interrupted)
    with Run(tmp_path / "run", make(strategy=strategy), Inline(score), proposer=first_edit) as run:
        assert run.resumed == len(run) == stop
    assert finish(tmp_path / "run", make(strategy=strategy), score) == whole


KILLED = """
import os, signal, sys
from pathlib import Path
from uninas.search.executor import Inline
from uninas.search.plan import Settings, make_plan, values_of
from uninas.search.run import Run

def score(graph, seed):
    global calls
    calls += 1
    if calls > int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"score": graph.cost.params % 977 + seed % 1000 / 1000, "depth": graph.operations}

calls = 0
plan = make_plan(Settings(space=sys.argv[1], proxy="test", seed=1, strategy="walk"))
with Run(Path(sys.argv[2]), plan, Inline(score)) as run:
    for _ in run.candidates(25):
        pass
"""


def test_a_process_killed_again_and_again_loses_only_the_candidate_in_flight(
    reference, tmp_path, space_file, make, score, root
):
    folder = tmp_path / "run"
    for round_ in range(1, 4):
        done = fresh("-c", KILLED, space_file, folder, 6, PYTHONPATH=str(root))
        assert done.returncode == -signal.SIGKILL
        with Run(folder, make(), Inline(score)) as run:
            assert len(run) == 6 * round_
    assert finish(folder, make(), score) == reference


def test_the_report_of_a_resumed_run_is_that_of_an_uninterrupted_one(tmp_path, make, score):
    texts = []
    for name, stops in (("whole", (COUNT,)), ("parts", (4, 11, COUNT))):
        for stop in stops:
            finish(tmp_path / name, make(), score, stop)
        with Run(tmp_path / name, make(), Inline(score)) as run:
            list(write_report(run))
        names = ("best.uni", "best_2.uni", "best.svg", "score_vs_params.svg", "progress.svg", "pareto.svg", "moves.svg")
        texts.append([(tmp_path / name / file).read_bytes() for file in names])
    assert texts[0] == texts[1]


def test_a_finished_run_may_go_on_for_longer(reference, tmp_path, make, score):
    finish(tmp_path / "run", make(), score, 10)
    assert finish(tmp_path / "run", make(), score) == reference


# ---- folders that cannot be used -----------------------------------------------------------------------------------


def test_another_run_in_the_folder_is_refused_with_what_differs(tmp_path, make, score, space_file):
    finish(tmp_path / "run", make(), score, 2)
    with pytest.raises(UninasError, match="UNI070") as raised:
        Run(tmp_path / "run", make(seed=9, params_max=15e3), Inline(score))
    for part in ("seed was 1, now 9", "params_max was None, now 15000.0", "another folder"):
        assert part in str(raised.value)
    space_file.write_text(space_file.read_text().replace("conv(C, 3)", "conv(C, 5)"))
    with pytest.raises(UninasError, match="start architecture was"):
        Run(tmp_path / "run", make(), Inline(score))


def test_a_run_from_before_a_setting_goes_on_without_it(reference, tmp_path, make, score):
    finish(tmp_path / "run", make(), score, 10)
    with sqlite3.connect(tmp_path / "run" / FILE) as database:
        assert database.execute("DELETE FROM settings WHERE name = 'images'").rowcount == 1
    database.close()
    with pytest.raises(UninasError, match="images was None, now"):
        Run(tmp_path / "run", make(images={"": "pink"}), Inline(score))
    assert finish(tmp_path / "run", make(), score) == reference


def test_a_run_from_before_any_of_the_settings_goes_on_as_they_are_by_default(reference, tmp_path, make, score):
    finish(tmp_path / "run", make(), score, 10)
    default = values_of(Settings("", ""))
    with Store(tmp_path / "run", read_only=True) as store:
        later = [name for name, value in default.items() if store.settings[name] == value]
    assert {"starts", "further", "fits", "even"} <= set(later)
    with sqlite3.connect(tmp_path / "run" / FILE) as database:
        database.executemany("DELETE FROM settings WHERE name = ?", [(name,) for name in later])
    database.close()
    assert finish(tmp_path / "run", make(), score) == reference


def test_a_run_whose_keys_mean_something_else_is_refused(reference, tmp_path, make, score):
    finish(tmp_path / "run", make(), score, 10)
    with sqlite3.connect(tmp_path / "run" / FILE) as database:
        assert database.execute("UPDATE settings SET value = '1' WHERE name = 'keys'").rowcount == 1
    database.close()
    with pytest.raises(UninasError, match=r"UNI070.*knows networks by keys of version 1"):
        Run(tmp_path / "run", make(), Inline(score))


def test_an_unknown_strategy_is_refused(tmp_path, make, score):
    with pytest.raises(UninasError, match="there is no strategy fly"):
        Run(tmp_path / "run", make(strategy="fly"), Inline(score))


def test_two_writers_cannot_mix(tmp_path, make, score):
    with Run(tmp_path / "run", make(), Inline(score)) as run:
        with pytest.raises(UninasError, match="another process writes to the run"):
            Run(tmp_path / "run", make(), Inline(score))
        assert [candidate.number for candidate in run.candidates(5)] == list(range(6))
    finish(tmp_path / "run", make(), score, 6)


def test_without_a_lock_a_second_writer_is_noticed_at_its_first_candidate(tmp_path, make, score, monkeypatch):
    def none(*asked):
        raise OSError("a file system without locks")

    monkeypatch.setattr(fcntl, "flock", none)
    with Run(tmp_path / "run", make(), Inline(score)) as one, Run(tmp_path / "run", make(), Inline(score)) as two:
        first, second = one.candidates(5), two.candidates(5)
        next(first)
        with pytest.raises(UninasError, match="another process writes to this run"):
            next(second)
        list(first)
        assert len(one.store) == 6


def text_file(path):
    path.write_text("not a database " * 100)


def other_database(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE birds (name TEXT)")
    database.close()


def newer_format(path):
    Store(path.parent).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def folder(path):
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (text_file, "the file is damaged"),
        (other_database, "a database of something else"),
        (newer_format, "but it has format 99"),
        (folder, "expected a plain file"),
    ],
)
def test_a_file_that_is_no_run_is_refused(spoil, message, tmp_path, make, score):
    (tmp_path / "run").mkdir()
    spoil(tmp_path / "run" / FILE)
    with pytest.raises(UninasError, match="UNI070") as raised:
        Run(tmp_path / "run", make(), Inline(score))
    assert message in str(raised.value)


def test_a_folder_that_is_a_file_is_refused(tmp_path, make, score):
    (tmp_path / "run").write_text("")
    with pytest.raises(UninasError, match="UNI070"):
        Run(tmp_path / "run", make(), Inline(score))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DELETE FROM candidates WHERE number = 0", "candidate 0 is missing"),
        ("DELETE FROM candidates WHERE number = 2", "candidate 2 is missing"),
        ("UPDATE candidates SET rung = 1 WHERE number = 3", "candidate 3 has no parent"),
        ("UPDATE candidates SET parent = 3 WHERE number = 3", "candidate 3 has no parent"),
        ("UPDATE candidates SET edit = '{\"move\": 1}' WHERE number = 3", "expected the record of an edit"),
        ("UPDATE candidates SET edit = 'x' WHERE number = 3", "candidate 3 cannot be read"),
        ("UPDATE candidates SET components = '[1]' WHERE number = 3", "candidate 3 cannot be read"),
        ("UPDATE candidates SET score = 'abc' WHERE number = 3", "candidate 3 cannot be read"),
        ("UPDATE settings SET value = '{' WHERE name = 'objectives'", "the file is damaged"),
    ],
)
def test_a_run_that_someone_changed_is_refused(change, message, tmp_path, make, score):
    finish(tmp_path / "run", make(ahead=1), score, 4)
    with sqlite3.connect(tmp_path / "run" / FILE) as database:
        database.execute(change)
    database.close()
    with pytest.raises(UninasError, match=message):
        Run(tmp_path / "run", make(ahead=1), Inline(score))


def test_a_full_disk_is_explained_and_costs_only_the_candidate_in_flight(tmp_path, make, score):
    with Run(tmp_path / "run", make(), Inline(score)) as run:
        candidates = run.candidates(200)
        next(candidates)
        pages = run.store._db.execute("PRAGMA page_count").fetchone()[0]
        run.store._db.execute(f"PRAGMA max_page_count = {pages + 8}")
        with pytest.raises(UninasError, match="full") as raised:
            list(candidates)
        assert "free some space" in str(raised.value)
        stored = len(run.store)
    assert 1 < stored < 200
    found, _ = finish(tmp_path / "run", make(), score, stored + 3)
    assert found == finish(tmp_path / "whole", make(), score, stored + 3)[0]


def test_nothing_but_the_run_is_left_in_its_folder(tmp_path, make, score):
    finish(tmp_path / "run", make(), score, 2)
    assert [path.name for path in Path(tmp_path / "run").iterdir()] == [FILE]
