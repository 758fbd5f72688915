"""Candidates handed to a run, runs made of runs, and searches in Python that have a folder."""

import json
import re
import shutil

import pytest
from helpers.commands import fail, succeed
from helpers.reports import searched

from uninas.errors import UninasError
from uninas.language.printer import dumps
from uninas.mutate import record
from uninas.report.page import write_page
from uninas.search.asktell import Search
from uninas.search.opened import open_run
from uninas.search.store import Store

WIDE = """
block Body { out = in + (in -> conv(C, 5) -> batch_norm -> relu) }

network wide {
    input 3 x 16 x 16
    stem conv(8, 3, stride=2)
    stage 8 x 2 { Body }
    head global_avg_pool -> linear(10)
}
"""


@pytest.fixture
def folder(tmp_path):
    return searched(tmp_path / "first")


def rows(folder):
    with Store(folder, read_only=True) as store:
        return [(one.number, one.parent, one.key, one.score, store.text(one.number)) for one in store]


# ---- a search in Python with a folder ------------------------------------------------------------------------------


def over(space_file, folder, **changes):
    return Search.over(str(space_file), strategy="climb", seed=1, iterations=10, folder=folder, **changes)


def told(search, count=100):
    for candidate in search:
        search.tell(candidate, {"score": float(candidate.graph.cost.params), "extra": 2.0})
        if candidate.number == count:
            break


def test_a_search_in_python_that_is_stopped_goes_on_alike_and_has_its_page(space_file, tmp_path):
    with over(space_file, tmp_path / "whole") as search:
        told(search)
    with over(space_file, tmp_path / "parts") as search:
        told(search, 4)
        assert search.ask().number == 5, "which is in flight when the search is stopped"
    with over(space_file, tmp_path / "parts") as search:
        search.optimize(lambda one: {"score": float(one.graph.cost.params), "extra": 2.0}, workers=3)
        assert search.best.number == max(range(11), key=lambda n: (rows(tmp_path / "parts")[n][3], -n))
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    assert open_run(tmp_path / "parts").rows()[3]["extra"] == 2.0
    assert "finished" in succeed("status", tmp_path / "parts")
    assert write_page(tmp_path / "parts").is_file()
    assert "Search.over(..., folder=...)" in fail("resume", tmp_path / "parts")


def test_what_was_told_is_checked_before_it_is_stored(space_file, tmp_path):
    with over(space_file, tmp_path / "run") as search:
        first = search.ask()
        with pytest.raises(UninasError, match="expected a number as score"):
            search.tell(first, "good")
        with pytest.raises(UninasError, match="the start cannot be scored"):
            search.tell(first, None)
        search.tell(first, 1.0)
        search.tell(search.ask(), float("nan"))
    found = open_run(tmp_path / "run").rows()
    assert [one["score"] for one in found] == [1.0, None] and found[1]["failure"] == "the score is not finite"
    with pytest.raises(UninasError, match="other settings"):
        over(space_file, tmp_path / "run", params_max=9e3)


# ---- the queue -----------------------------------------------------------------------------------------------------


def test_what_is_handed_in_is_scored_next_and_what_cannot_be_is_counted(folder, tmp_path):
    (tmp_path / "wide.uni").write_text(WIDE)
    said = succeed("enqueue", folder, tmp_path / "wide.uni", f"{folder}:2")
    assert "2 candidates wait" in said
    (folder / "queue" / "00000009.json").write_text("[" * 10_000)
    succeed("resume", folder, "--iterations", 14)
    assert list((folder / "queue").iterdir()) == []
    with Store(folder, read_only=True) as store:
        assert "conv(8, 5, " in store.text(13)
        assert store[13].parent == 0 and str(store[13].edit).startswith("take a text")
        assert any("was there before" in reason for reason in store.refusals())
    before = rows(folder)
    succeed("resume", folder, "--iterations", 16)
    assert rows(folder)[:15] == before


def test_edits_are_handed_in_by_their_parents(folder, tmp_path):
    opened = open_run(folder)
    edit = next(one.edit for one in opened.candidates() if one.number == 3)
    path = tmp_path / "edits.json"
    path.write_text(json.dumps([{"parent": 3, "edit": record(edit)}, {"parent": 99, "edit": record(edit)}]))
    succeed("enqueue", folder, path)
    succeed("resume", folder, "--iterations", 14)
    with Store(folder, read_only=True) as store:
        assert store[13].parent == 3 or any("cannot" in reason for reason in store.refusals())
        assert any("there is no candidate 99" in reason for reason in store.refusals())
    for text, message in (
        ('{"edit": 3}', "expected the record of an edit"), ('{"edit": {}}', "expected an edit and its parent"),
        ("[" * 10_000, "cannot read"), ("{", "cannot read"),
    ):  # fmt: skip
        path.write_text(text)
        assert message in fail("enqueue", folder, path)
    assert "there is no run in" in fail("enqueue", tmp_path, path)


def test_what_breaks_the_budget_is_said_when_it_is_handed_in(folder, tmp_path, space_file):
    (tmp_path / "large.uni").write_text(WIDE.replace("conv(C, 5)", "conv(C, 15)"))
    assert "breaks the budget" in fail("enqueue", folder, tmp_path / "large.uni")
    search = Search.over(str(space_file), iterations=3)
    with pytest.raises(UninasError, match="breaks the budget"):
        search.enqueue(str(tmp_path / "large.uni"))
    (tmp_path / "wide.uni").write_text(WIDE)
    search.enqueue(str(tmp_path / "wide.uni"))
    search.tell(search.ask(), 1.0)
    assert "conv(C, 5)" in dumps(search.ask().graph)


# ---- forks and merges ----------------------------------------------------------------------------------------------


def test_a_fork_keeps_the_scores_that_keep_another_budget(folder, tmp_path):
    most = sorted(one[3] for one in rows(folder))[6]
    said = succeed("fork", folder, "-o", tmp_path / "small", "--params-max", most, "--strategy", "evolution")
    before = {key: score for _, _, key, score, _ in rows(folder)}
    small = rows(tmp_path / "small")
    assert said.startswith(f"{len(small)} candidates in") and 6 < len(small) < 13
    assert all(before[key] == score <= most and parent is None for _, parent, key, score, _ in small)
    shutil.move(folder, tmp_path / "elsewhere")
    succeed("resume", tmp_path / "small", "--iterations", len(small) + 5)
    grown = rows(tmp_path / "small")
    assert len(grown) == len(small) + 6 and grown[: len(small)] == small
    assert all(score <= most for _, _, _, score, _ in grown)


def test_a_merge_has_the_candidates_of_both(folder, tmp_path):
    other = searched(tmp_path / "second", "--seed", 8)
    succeed("merge", folder, other, "-o", tmp_path / "both")
    keys = {one[2] for one in rows(folder)} | {one[2] for one in rows(other)}
    assert {one[2] for one in rows(tmp_path / "both")} == keys
    assert re.search(r"number \d+ of second", succeed("top", tmp_path / "both", "-n", len(keys)))
    succeed("resume", tmp_path / "both", "--iterations", len(keys) + 3)
    different = searched(tmp_path / "third", "--objective", "flops")
    assert "do not mean the same" in fail("merge", folder, different, "-o", tmp_path / "wrong")
    assert "there is a run in" in fail("merge", folder, other, "-o", tmp_path / "both")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--strategy", "nope"], "nope"), (["--strategy", "halving"], "expected a cheap measure"),
        (["--tune", "x=1"], "climb"), (["--strategy", "evolution", "--tune", "population=0"], "population"),
    ],
)  # fmt: skip
def test_a_fork_that_could_not_go_on_is_not_made(change, message, folder, tmp_path):
    assert message in fail("fork", folder, "-o", tmp_path / "new", *change)
    assert not (tmp_path / "new").exists()


def test_a_budget_that_nothing_keeps_is_said(folder, tmp_path):
    said = fail("fork", folder, "-o", tmp_path / "none", "--params-max", 10)
    assert "no candidate of" in said and "keeps the new budget" in said and not (tmp_path / "none").exists()


def test_a_start_that_names_no_run_says_how_one_is_named(tmp_path):
    said = fail("search", "UniNAS", "--start", "runnope:12", "-o", tmp_path / "run")
    assert "there is no run in runnope" in said and "RUN:12 names candidate 12" in said


def test_a_strangers_run_reads_nothing_besides_its_folder(folder, tmp_path):
    with Store(folder) as store:
        store.put({"images": {"": str(tmp_path / "secret.npz")}})
    for command in (["fork", folder, "-o", tmp_path / "new"], ["enqueue", folder, "resnet18"]):
        assert "which is not in its folder" in fail(*command)
