"""The strategy `outside`: a scripted proposer is asked for candidates, its mistakes are counted and told to it."""

import json
import shlex
import sys

import pytest
from helpers.commands import fail, run, succeed

from uninas.errors import UninasError
from uninas.language.printer import dumps
from uninas.mutate import Written
from uninas.search.asktell import Search
from uninas.search.opened import open_run
from uninas.search.outside import Command
from uninas.search.store import Store

BAD = "network X { input 3 x 16 x 16 stem conv(8, kernl=3) }"
PROPOSER = f"""
import json, sys

for line in sys.stdin:
    question = json.loads(line)
    if question["number"] % 2 == 0 and question["tried"] == 0:
        answer = {{"text": "{BAD}"}}
    elif question["number"] % 3 == 0:
        text = question["parents"][0]["text"]
        answer = {{"text": text.replace("conv(8, stride=2)", "conv(8, stride=2)" + " -> relu" * question["number"])}}
    else:
        answer = question["edits"][0]
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def command(tmp_path):
    path = tmp_path / "propose.py"
    path.write_text(PROPOSER)
    return f"{sys.executable} {path}"


def told(search, count, score=lambda graph: float(graph.cost.params)):
    for candidate in search:
        search.tell(candidate, score(candidate.graph))
        if candidate.number >= count:
            return


HANGS = {
    "never reads": ("import time; time.sleep(60)", "gave no answer in 1 seconds"),
    "closes its output": ("import os, time; os.close(1); time.sleep(60)", "gave no answer"),
    "writes what is no text": ("import sys\nsys.stdin.readline(); sys.stdout.buffer.write(b'\\xff\\n'); "
                               "sys.stdout.flush(); sys.stdin.readline()", None),
    "answers at length": ("for line in iter(input, ''): print('x' * 3_000_000, flush=True)", None),
}  # fmt: skip


@pytest.mark.parametrize("kind", HANGS)
def test_a_command_that_does_not_answer_holds_nobody_up(kind, monkeypatch):
    program, message = HANGS[kind]
    monkeypatch.setattr("uninas.search.outside.GRACE", 1.0)
    with Command(shlex.join([sys.executable, "-c", program]), patience=1.0 if message else 30.0) as asked:
        if message:
            with pytest.raises(UninasError, match=message):
                asked({"text": "x" * 1_000_000})  # more than a pipe holds
        else:
            assert isinstance(asked({}), str)
            if kind == "answers at length":
                assert isinstance(asked({}), str) and asked._lines.empty()


def test_a_question_says_all_there_is_to_know(make):
    asked = []

    def propose(question):
        asked.append(json.loads(json.dumps(question)))  # it is JSON
        return question["edits"][1]

    search = Search(make(strategy="outside", params_max=15e3), iterations=5, proposer=propose)
    told(search, 5)
    last = asked[-1]
    assert last["number"] == 5 and last["space"] == "Tiny" and last["errors"] == []
    assert {"metric": "params", "low": None, "high": 15e3, "at": None} in last["budget"]
    assert last["objectives"] == [{"name": "test", "better": "higher"}]
    best = last["parents"][0]
    assert best["scores"] == {"test": float(best["params"])} and best["text"].count("network tiny") == 1
    assert [one["number"] for one in last["recent"]] == [0, 1, 2, 3, 4]
    assert len(last["edits"]) == 4 and search.archive.graph(5).key != search.archive.graph(4).key


def test_a_text_becomes_a_candidate_of_its_parent_and_others_go_on_from_it(make):
    def propose(question):
        if question["number"] == 1:
            return {
                "parent": 0,
                "text": question["parents"][0]["text"].replace("conv(8, stride", "conv(8, 5, stride", 1),
            }
        return next(one for one in question["edits"] if one["parent"] == 1)

    search = Search(make(strategy="outside"), iterations=2, proposer=propose)
    told(search, 2)
    assert search.archive.graph(1).cost.params > search.archive.plan.start.cost.params
    assert search.best.number in (1, 2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"text": BAD}, "conv has no parameter kernl; did you mean 'kernel'?"),
        ({"text": "block A { out = in -> relu }"}, ""),
        ({"text": "network Y { input 3 x 8 x 8 head global_avg_pool -> linear(10) }"}, "inputs and outputs of tiny"),
        ({"text": None}, "expected an answer with a text or an edit"),
        ({"parent": 7, "edit": {}}, "there is no candidate 7"),
        ({"edit": {"move": "fly"}}, "expected the record of an edit"),
        ("no object", "expected an answer with a text or an edit"),
        (None, "expected an answer with a text or an edit"),
    ],
)
def test_what_cannot_be_used_is_refused_in_the_words_of_the_checker(answer, words, make):
    heard = []

    def propose(question):
        heard.append(question["errors"])
        return answer if question["tried"] < 2 else question["edits"][0]

    search = Search(make(strategy="outside"), iterations=1, proposer=propose)
    search.tell(search.ask(), 1.0)
    candidate = search.ask()
    assert sum(candidate.refused.values()) == 2
    assert words in next(iter(candidate.refused))
    assert heard[0] == [] and all(errors[0]["code"].startswith("UNI") for errors in heard[1:])


def test_what_was_there_before_and_what_breaks_the_budget_is_refused(make):
    def propose(question):
        text = question["parents"][0]["text"]
        return [
            {"text": text},
            {"text": text.replace("conv(8, stride", "conv(8, 31, stride", 1)},
            question["edits"][0],
        ][question["tried"]]

    plan = make(strategy="outside", params_max=13e3)
    search = Search(plan, iterations=1, proposer=propose)
    search.tell(search.ask(), 1.0)
    refused = list(search.ask().refused)
    assert "was there before" in refused[0] and "breaks the budget" in refused[1]


def test_answers_that_never_fit_end_the_search_with_the_last_mistake(make):
    search = Search(
        make(strategy="outside", tuning={"tries": 3}), iterations=1, proposer=lambda question: {"text": BAD}
    )
    search.tell(search.ask(), 1.0)
    with pytest.raises(
        UninasError, match="3 answers in a row could not be used; the last: conv has no parameter kernl"
    ):
        search.ask()


def test_in_a_space_of_choices_answers_are_named_by_their_values():
    def propose(question):
        if question["number"] == 1:
            return {"parent": 0, "choices": {"a": "nor_conv_3x3", "b": "nor_conv_1x1", "c": "skip_connect"}}
        if question["tried"] == 0:
            return {"choices": {"a": "conv"}}
        return {"parent": 1, "text": question["parents"][0]["text"].replace("avg_pool_3x3", "skip_connect")}

    search = Search.over("nasbench201", iterations=1, proposer=propose, seed=4)
    told(search, 1)
    walk = search.plan.walk
    answers = walk.answers(search.archive.graph(1))
    assert (answers["a"], answers["b"], answers["c"]) == ("nor_conv_3x3", "nor_conv_1x1", "skip_connect")
    assert str(search.strategy._origins[1][1]).startswith("choose")


def test_a_run_by_a_command_is_stored_and_goes_on_only_on_the_users_word(command, space_file, tmp_path):
    folder = tmp_path / "run"
    begun = ["search", space_file, "--proxy", "params", "--strategy", "outside", "-j", 0, "-o", folder]
    assert "expected somebody to ask for candidates" in fail(*begun, "--iterations", 4)
    succeed(*begun, "--iterations", 4, "--command", command)
    message = fail("resume", folder, "--iterations", 7)
    assert "which you have not named" in message and "propose.py" in message
    assert "propose.py" not in (folder / "config.yaml").read_text() + (folder / "resolved.yaml").read_text()
    succeed("resume", folder, "--iterations", 6, "--command", command)
    succeed("resume", folder, "--iterations", 7, "--trust")
    with Store(folder, read_only=True) as store:
        found = list(store)
        refusals = store.refusals()
    assert len(found) == 8 and [type(one.edit) is Written for one in found] == [n in (3, 6) for n in range(8)]
    assert refusals == {"conv has no parameter kernl; did you mean 'kernel'?": 3}
    opened = open_run(folder)
    assert dumps(opened.graph(6)).count("relu") > dumps(opened.graph(3)).count("relu")
    assert run("report", folder).exit_code == 0


def test_a_command_belongs_to_outside(space_file, tmp_path):
    said = fail("search", space_file, "--proxy", "params", "--command", "true", "-o", tmp_path / "run")
    assert "expected no command for climb" in said


def test_a_command_that_cannot_answer_is_a_message(tmp_path):
    for words, message in [
        (f"{sys.executable} -c 'raise SystemExit(3)'", "ended with code 3"),
        ("no_such_program", "cannot start no_such_program"),
        ("'", "the command cannot be read"),
        ("", "expected a command"),
    ]:
        with pytest.raises(UninasError, match=message), Command(words) as command:
            command({})
    slow = f"{sys.executable} -c 'import sys; sys.stdin.read()'"
    with Command(slow, patience=0.2) as command, pytest.raises(UninasError, match="gave no answer in"):
        command({})
    with Command(f"{sys.executable} -c 'input(); print(42); input(); print(\"[\")'") as command:
        assert command({}) == 42 and command({}) == "[\n"
