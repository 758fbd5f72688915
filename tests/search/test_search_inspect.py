"""Looking at runs: status, top, compare."""

import json
from collections import Counter
from itertools import product

import numpy as np
import pytest
from click.testing import CliRunner

from uninas.cli.runs import compare, status, top
from uninas.errors import UninasError
from uninas.language.elaborate import build
from uninas.language.library import load_file
from uninas.search.executor import Inline
from uninas.search.front import front
from uninas.search.run import Run
from uninas.search.store import FILE, Store
from uninas.search.tasks import cost_score


def shown(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def folder(tmp_path, make):
    """A run of twenty candidates with two objectives, one of which failed."""

    def score(graph, seed):
        if graph.cost.params == fails:
            raise ValueError("too odd")
        return {"score": graph.cost.params % 97, "flops": graph.cost.flops}

    fails = 0
    plan = make(strategy="random", further=("flops",))
    with Run(tmp_path / "run", plan, Inline(score)) as run:
        for candidate in run.candidates(20):
            fails = candidate.params if candidate.number == 6 else fails
        run.store.put({"iterations": 30})
    return tmp_path / "run"


def test_status_says_how_far_a_run_is(folder, make):
    found = json.loads(shown(status, folder, "--json"))
    with Store(folder, read_only=True) as store:
        candidates, best = list(store), store.best()[0]
    assert (found["candidates"], found["of"], found["running"]) == (20, 30, False)
    assert found["failed"] == ({"error": sum(c.reason == "error" for c in candidates)} if found["failed"] else {})
    assert found["best"]["number"] == best.number
    rejected: Counter[str] = Counter()
    for candidate in candidates:
        rejected.update(candidate.refused)
    assert found["rejected"] == rejected
    text = shown(status, folder)
    reasons = ", ".join(f"{count} {reason}" for reason, count in found["rejected"].items())
    assert f"{rejected.total()} moves rejected ({reasons})" in text and reasons
    assert "20 of 30" in text and f"to go on: uninas resume {folder}" in text
    with Run(folder, make(strategy="random", further=("flops",)), Inline(None)):
        assert "running" in shown(status, folder).splitlines()[1] and "resume" not in shown(status, folder)


def test_top_lists_the_best_and_writes_them(folder, tmp_path):
    found = json.loads(shown(top, folder, "-n", 3, "-o", tmp_path / "best", "--json"))
    with Store(folder, read_only=True) as store:
        best = store.best(count=3)
    assert [one["number"] for one in found] == [one.number for one in best]
    for one in best:
        file = tmp_path / "best" / f"{one.number}.uni"
        assert build(load_file(file), "tiny").key == one.key
    lines = shown(top, folder, "-n", 3).splitlines()
    assert len(lines) == 4 and str(best[0].edit or "the start") in lines[1]


def test_the_pareto_front_has_those_that_no_other_beats(folder):
    found = {one["number"] for one in json.loads(shown(top, folder, "--pareto", "-n", 99, "--json"))}
    with Store(folder, read_only=True) as store:
        merits = {c.number: (c.score, -c.components["flops"]) for c in store if c.score is not None}
    beaten = {
        a
        for a, b in product(merits, merits)
        if all(y >= x for x, y in zip(merits[a], merits[b], strict=True)) and merits[a] != merits[b]
    }
    assert found == merits.keys() - beaten != set()


def test_a_front_of_many_rows_is_that_of_its_definition():
    rows = np.random.default_rng(2).integers(0, 9, (150, 3)).astype(float)
    beaten = {a for a, b in product(range(150), range(150)) if (rows[b] >= rows[a]).all() and (rows[b] > rows[a]).any()}
    assert set(front(rows)) == set(range(150)) - beaten
    assert front(rows[:0]) == []


def test_runs_are_ranked_by_all_objectives_where_their_strategy_does(tmp_path, make):
    def score(graph, seed):
        return {"score": graph.cost.params, "flops": graph.cost.flops}

    with Run(tmp_path / "run", make(strategy="rank", further=("flops",)), Inline(score)) as run:
        list(run.candidates(30))
        leader = run.search.leader.number
    found = json.loads(shown(top, tmp_path / "run", "--json"))
    assert found[0]["number"] == leader
    values = [one["ordered_by"] for one in found]
    assert values == sorted(values, reverse=True) and values[0] != found[0]["score"]
    assert "sum of ln rank" in shown(top, tmp_path / "run")


def test_status_and_top_agree_on_the_best(tmp_path, make):
    plan = make(strategy="rank", proxy="params", further=("flops",), tuning={"population": 4})
    with Run(tmp_path / "run", plan, Inline(cost_score("params", "flops"))) as run:
        list(run.candidates(20))
        best = run.best.number
        assert best != run.store.best()[0].number, "the most parameters alone are another's"
    assert json.loads(shown(status, tmp_path / "run", "--json"))["best"]["number"] == best
    assert json.loads(shown(top, tmp_path / "run", "--json"))[0]["number"] == best


def test_runs_are_set_side_by_side(folder, tmp_path, make):
    with Run(tmp_path / "other", make(seed=5), Inline(lambda graph, seed: {"score": 1.0})) as run:
        list(run.candidates(3))
    found = json.loads(shown(compare, folder, tmp_path / "other", "--json"))
    assert [(one["run"], one["seed"], one["candidates"]) for one in found] == [("run", 1, 20), ("other", 5, 3)]
    lines = shown(compare, folder, tmp_path / "other").splitlines()
    assert [line.split()[0] for line in lines] == ["run", "run", "other"]


@pytest.mark.parametrize("command", [status, top, compare])
def test_a_folder_without_a_run_says_so(command, tmp_path):
    with pytest.raises(UninasError, match="there is no run in"):
        shown(command, tmp_path)


def test_a_run_that_has_not_begun_has_a_state_too(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / FILE).touch()  # what a full disk leaves
    Store(tmp_path / "begun").close()
    for folder in (tmp_path / "begun", tmp_path / "empty"):
        assert "none yet" in shown(status, folder)
        assert len(shown(top, folder).splitlines()) == 1
    assert not (tmp_path / "empty" / FILE).read_bytes(), "looking changes nothing"
