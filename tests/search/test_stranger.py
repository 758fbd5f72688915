"""A run that comes from a stranger: whatever it holds, to look at it and to go on with it does no harm."""

import json
import shutil
import sqlite3
from contextlib import suppress

import pytest
from helpers.commands import run

from uninas.cli.options import merged
from uninas.errors import UninasError
from uninas.report.content import Content
from uninas.report.reading import Reader
from uninas.search.executor import Inline
from uninas.search.plan import Settings, make_plan
from uninas.search.run import Run
from uninas.search.store import COLUMNS, FILE, Store
from uninas.search.tasks import cost_score

COMMANDS = (
    ["status"], ["status", "--json"], ["top"], ["top", "--pareto"], ["compare"], ["compare", "--json"],
    ["report", "-o", "page.html"], ["resume", "-j", "0", "--iterations", "6"],
)  # fmt: skip


@pytest.fixture
def plan(make):
    return make(proxy="params", strategy="climb", further=("flops",))


@pytest.fixture
def folder(tmp_path, plan, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Run(tmp_path / "theirs", plan, Inline(cost_score("params", "flops"))) as made:
        list(made.candidates(5))
        made.store.put({"iterations": 5, "execution": {}})
    return tmp_path / "theirs"


def change(folder, statement, *values):
    db = sqlite3.connect(folder / FILE)
    try:
        db.execute(statement, values)
        db.commit()
    finally:
        db.close()


def everything(folder):
    """The output of all commands: each ends well or with a message."""
    text = ""
    for name, *options in COMMANDS:
        result = run(name, folder, *options)
        assert result.exit_code in (0, 1), result.output
        text += result.output
    return text


def looked_at(folder, plan):
    """The same without pictures: what reads a run, and what goes on with it, end well or with a message."""
    for command in (["status", "--json"], ["top"], ["top", "--pareto"]):
        run(command[0], folder, *command[1:])
    for use in (lambda: Content(Reader(folder)).new(), lambda: gone_on(folder, plan)):
        with suppress(UninasError):
            use()


def gone_on(folder, plan):
    with Run(folder, plan, Inline(cost_score("params", "flops"))) as made:
        list(made.candidates(6))


DEEP = "[" * 100_000
VALUES = ("text", DEEP, '{"a": [1]}', '{"a": NaN}', '{"kind": {}}', b"\xff\xfe", -5, 2**63 - 1, 1e308, None)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_that_somebody_has_changed_is_a_message_or_left_out(column, folder, plan):
    whole = (folder / FILE).read_bytes()
    for value in VALUES:
        (folder / FILE).write_bytes(whole)
        try:
            change(folder, f"UPDATE OR IGNORE candidates SET {column} = ? WHERE number = 3", value)  # noqa: S608
        except sqlite3.IntegrityError:  # the tables themselves do not take it
            continue
        looked_at(folder, plan)


@pytest.mark.parametrize("table", ["totals", "refusals", "front", "texts"])
def test_tables_beside_the_candidates_may_hold_anything(table, folder, plan):
    db = sqlite3.connect(folder / FILE)
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    db.close()
    whole = (folder / FILE).read_bytes()
    for column in columns:
        for value in VALUES:
            (folder / FILE).write_bytes(whole)
            try:
                change(folder, f"UPDATE OR IGNORE {table} SET {column} = ?", value)  # noqa: S608
            except sqlite3.IntegrityError:
                continue
            looked_at(folder, plan)


def test_settings_may_hold_anything(folder):
    with Store(folder, read_only=True) as store:
        names = list(store.settings)
    whole = (folder / FILE).read_bytes()
    for name in names:
        for value in ("7", '"text"', "[[[]]]", '{"a": {"b": []}}', "null", "1e999"):
            (folder / FILE).write_bytes(whole)
            change(folder, "UPDATE settings SET value = ? WHERE name = ?", value, name)
            run("status", folder, "--json")
            run("top", folder)
            with suppress(UninasError):
                Content(Reader(folder)).about()
            assert run("resume", folder, "-j", 0, "--iterations", "0").exit_code in (1, 2)
            with suppress(UninasError), Store(folder, read_only=True) as store:
                merged(Settings, {}, {}, store.settings)


def test_nothing_that_a_run_says_commands_a_terminal(folder):
    evil = "\x1b]0;owned\x07\x9b31m\u202e"
    change(folder, "UPDATE candidates SET failure = ?1, reason = ?1, worker = ?1, score = NULL WHERE number = 3", evil)
    change(folder, "UPDATE totals SET reason = ?", evil)
    change(folder, "UPDATE refusals SET reason = ?", evil)
    change(folder, "UPDATE settings SET value = ? WHERE name = 'strategy'", json.dumps(evil))
    change(folder, "UPDATE settings SET value = ? WHERE name = 'version'", json.dumps(evil))
    text = everything(folder)
    assert not set(text) & set("\x1b\x07\x9b\u202e")
    assert r"\x1b]0;owned" in text


def test_links_that_wait_for_our_files_are_not_followed(folder, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    names = ["candidates.csv", "best.uni", "best.svg", "report.html", "progress.svg", "config.yaml", "resolved.yaml"]
    for name in [*names, ".candidates.part.csv", ".best.part.uni", ".report.html.part", ".resolved.part.yaml"]:
        (folder / name).symlink_to(precious)
    result = run("resume", folder, "-j", 0, "--iterations", 7)
    assert result.exit_code == 0, result.output
    assert run("report", folder).exit_code == 0
    assert precious.read_text() == "mine"
    assert not (folder / "candidates.csv").is_symlink() and "number" in (folder / "candidates.csv").read_text()


def test_a_folder_for_tensorboard_that_is_a_link_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "tensorboard").symlink_to(tmp_path / "elsewhere")
    result = run("resume", folder, "-j", 0, "--iterations", 7, "--tensorboard")
    assert result.exit_code == 1 and "is a link" in result.output
    assert not list((tmp_path / "elsewhere").iterdir())


def test_whom_a_run_calls_is_not_called_without_a_word_of_the_user(folder):
    elsewhere = {"executor": "ray", "address": "ray://stranger.example:10001", "jobs": 0}
    with Store(folder) as store:
        store.put({"execution": elsewhere, "began_in": "/proc/self"})
    result = run("resume", folder, "--iterations", 7)
    assert result.exit_code == 0 and "it was executed elsewhere; here it goes on, on this machine" in result.output
    with Store(folder, read_only=True) as store:
        assert store.settings["execution"]["executor"] == "local"


def test_files_that_a_run_names_are_not_read_without_a_word_of_the_user(folder, tmp_path):
    (tmp_path / "secret.npy").write_bytes(b"secret")
    with Store(folder) as store:
        store.put({"images": {"": str(tmp_path / "secret.npy")}})
    result = run("resume", folder, "-j", 0, "--iterations", 7)
    assert result.exit_code == 1 and "which is not in its folder" in result.output and "--trust" in result.output
    with Store(folder) as store:
        store.put({"images": {}, "texts": {}})
    result = run("resume", folder, "-j", 0, "--iterations", 7)
    assert result.exit_code == 1 and "tiny.uni, which is not in its folder" in result.output
    assert run("resume", folder, "-j", 0, "--iterations", 7, "--trust").exit_code == 0


def test_the_text_of_a_candidate_is_never_taken_for_a_path(folder, tmp_path):
    (tmp_path / "secret.uni").write_text("network secret { }")
    with Store(folder) as store:
        packed = store._packed(0, str(tmp_path / "secret.uni"))
        store.db.execute("UPDATE texts SET text = ? WHERE number = 0", (packed,))
    result = run("render", "--run", folder, "--candidate", 0, "-o", tmp_path / "x.svg")
    assert result.exit_code != 0 and "network" not in result.output


@pytest.mark.parametrize("path", ["../escape.uni", "/tmp/escape.uni", "a/../../escape.uni", "x\0.uni", "a.txt"])  # noqa: S108
def test_texts_of_a_space_stay_where_they_are_put(path, folder, tmp_path):
    with Store(folder) as store:
        texts = store.settings["texts"]
        texts["space"] = [*texts["space"], [path, "network n { }"]]
        store.put({"texts": texts})
    result = run("resume", folder, "-j", 0, "--iterations", 7)
    assert result.exit_code == 1 and "cannot be read" in result.output
    assert not list(tmp_path.rglob("escape*"))


def test_a_run_that_was_moved_goes_on_without_its_files(folder, tmp_path, make, space_file):
    expected = make(proxy="params", strategy="climb", further=("flops",))
    with Run(tmp_path / "whole", expected, Inline(cost_score("params", "flops"))) as made:
        list(made.candidates(9))
        wanted = [(c.number, c.key, c.score) for c in made.store]
    moved = tmp_path / "away" / "run"
    moved.parent.mkdir()
    shutil.move(folder, moved)
    space_file.unlink()
    result = run("resume", moved, "-j", 0, "--iterations", 9)
    assert result.exit_code == 0, result.output
    with Store(moved, read_only=True) as store:
        assert [(c.number, c.key, c.score) for c in store] == wanted


def test_a_space_is_kept_with_what_it_imports(tmp_path, space_file):
    library = tmp_path / "parts"
    library.mkdir()
    (library / "more.uni").write_text("block Gate { out = in * (in -> sigmoid) }")
    text = space_file.read_text()
    space_file.write_text("from parts.more import Gate\n" + text.replace("relu", "Gate", 1))
    plan = make_plan(Settings(str(space_file), "params"))
    shutil.rmtree(library)
    space_file.unlink()
    texts = json.loads(json.dumps(plan.texts))
    again = make_plan(plan.settings, texts)
    assert again.start.key == plan.start.key and again.fingerprint == plan.fingerprint


def test_a_run_of_the_format_before_goes_on_where_its_scores_are_the_same(folder, make):
    change(folder, "PRAGMA user_version = 4")
    change(folder, "DELETE FROM settings WHERE name IN ('texts', 'protocol', 'init')")
    with Store(folder, read_only=True) as store:
        assert len(store) == 6
    plan = make(proxy="params", strategy="climb", further=("flops",))
    with Run(folder, plan, Inline(cost_score("params", "flops"))) as made:
        assert len(list(made.candidates(7))) == 2


def test_a_run_of_the_format_before_is_refused_where_scores_would_be_others_and_says_why(folder, make):
    plan = make(proxy="naswot", strategy="climb")
    executor = Inline(cost_score("params"))
    with Run(folder.parent / "old", plan, executor) as made:
        list(made.candidates(2))
    change(folder.parent / "old", "PRAGMA user_version = 4")
    change(folder.parent / "old", "DELETE FROM settings WHERE name = 'protocol'")
    with pytest.raises(UninasError, match="were drawn in another way"):
        Run(folder.parent / "old", plan, executor)
    assert "2 of" in run("status", folder.parent / "old").output
