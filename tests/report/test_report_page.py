"""The page of a run: whole, self-contained, and deaf to whatever a file or a name wants to tell a browser."""

import base64
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import time
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import pytest
from helpers.commands import succeed
from helpers.reports import HOSTILE, Markup, applied, data, hostile_run, made, part, searched, texts_of
from hypothesis import given
from hypothesis import strategies as st

import uninas
from uninas.cli.search import search
from uninas.errors import UninasError
from uninas.report import page as pages
from uninas.report import reading, write_page
from uninas.report.content import (
    ASKED,
    FLAGS,
    Content,
    changed,
    command,
    limits,
    objectives,
    ranked,
    rungs,
    spoken_budget,
)
from uninas.report.diagrams import chosen, lineage
from uninas.search import store
from uninas.search.opened import open_run
from uninas.search.plan import Settings
from uninas.search.store import Store


@pytest.fixture
def run(tmp_path):
    return searched(tmp_path / "first")


@pytest.fixture
def hostile(tmp_path):
    return hostile_run(tmp_path)


# ---- what is in it -------------------------------------------------------------------------------------------------


def test_the_page_is_whole_and_its_scripts_are_the_ones_that_its_policy_allows(run):
    text = write_page(run).read_text()
    markup = Markup(text)
    assert not markup.open
    policy = next(found["content"] for tag, found in markup.elements if "http-equiv" in found)
    allowed = re.search(r"script-src '(sha256-[^']*)' blob:;", policy)[1]
    assert allowed == f"sha256-{base64.b64encode(sha256(markup.scripts[-1].encode()).digest()).decode()}"
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy and "unsafe-eval" not in policy
    kinds = [found.get("type") for tag, found in markup.elements if tag == "script"]
    assert kinds == ["text/plain"] * (len(kinds) - 1) + ["module"]
    assert part(text, "bokeh").lstrip().startswith("'use strict'")


def test_the_page_loads_nothing_from_anywhere(run):
    elements = Markup(write_page(run).read_text()).elements
    names = {"src", "href", "data", "action"}
    fetched = [value for _, found in elements for name, value in found.items() if name in names]
    assert fetched and all(value.startswith(("#", "data:")) for value in fetched)
    assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in elements}
    styles = "\n".join((pages.library("itables", "html/dt_bundle.css"), (pages.PARTS / "page.css").read_text()))
    assert not re.search(r"@import|url\((?!['\"]?data:)", styles)


def test_all_candidates_are_inside_with_their_texts(run):
    found = data(write_page(run).read_text())
    with Store(run, read_only=True) as kept:
        candidates = list(kept)
        assert texts_of(found) == {c.number: kept.text(c.number) for c in candidates}
    columns = found["columns"]
    for name in ("number", "parent", "params", "macs", "operations", "activations", "peak", "score", "rung", "mate"):
        assert columns[name] == [getattr(c, name) for c in candidates], name
    assert columns["edit"] == ["" if c.edit is None else str(c.edit) for c in candidates]
    assert columns["seed"] == [str(c.seed) for c in candidates]
    assert columns["refused"] == [sum(c.refused.values()) for c in candidates]


def test_the_best_the_start_and_the_line_between_them_have_diagrams(run):
    found = data(write_page(run).read_text())
    parents = dict(zip(found["columns"]["number"], found["columns"]["parent"], strict=True))
    with Store(run, read_only=True) as kept:
        best = kept.best()[0].number
    drawn = found["diagrams"]
    assert {str(number) for number in [0, *lineage(parents, best)[:5]]} <= drawn.keys()
    assert drawn[str(best)].keys() == {"network", "block"}
    pictures = [picture for levels in drawn.values() for themes in levels.values() for picture in themes.values()]
    assert len(pictures) >= 8 and all(picture.startswith("<svg") for picture in pictures)
    assert drawn["0"]["network"]["light"] != drawn["0"]["network"]["dark"]


def test_the_same_run_gives_the_same_page_but_for_the_time(run):
    one, other = (data(write_page(run).read_text()) for _ in range(2))
    for found in (one, other):
        del found["about"]["written"]
    assert one == other


def test_how_to_run_it_again_is_a_command_that_the_search_understands(run):
    found = data(write_page(run).read_text())["about"]["command"]
    words = shlex.split(found)
    assert words[:2] == ["uninas", "search"] and words[2].endswith("tiny.uni")
    context = search.make_context("search", words[2:])
    assert (context.params["proxy"], context.params["seed"], context.params["iterations"]) == ("params", 3, 12)
    assert context.params["output"].name == "first-again"


def test_a_command_quotes_what_a_shell_would_read():
    settings = {"space": "my space.uni;rm -rf ~", "start": "$(reboot)", "seed": 0, "fold": True, "params_max": 30e6,
                "options": {"max_tensors": 32, "word": "a b"}, "further": ["params", "x:higher"], "img_size": None,
                "budget": "x", "start architecture": "y", "asynchronous": False, "execution": {"jobs": 2},
                "images": {"": "pink", "jacov": "my photos"}}  # fmt: skip
    words = shlex.split(command(settings, "runs/a/"))
    assert words == [
        "uninas", "search", "my space.uni;rm -rf ~", "--start", "$(reboot)", "--option", "max_tensors=32", "--option",
        "word=a b", "--objective", "params", "--objective", "x:higher", "--seed", "0", "--params-max", "30000000",
        "--input", "pink", "--input", "jacov=my photos", "--fold", "-o", "runs/a-again",
    ]  # fmt: skip


def test_every_setting_of_a_search_can_be_asked_for_again():
    assert {"space", *ASKED} == {"iterations", *(field.name for field in fields(Settings))}
    flags = {flag for option in search.params for flag in option.opts}
    assert {FLAGS.get(name, f"--{name.replace('_', '-')}") for name in ASKED} <= flags


# ---- texts as changes ----------------------------------------------------------------------------------------------

LINES = st.lists(st.sampled_from("abcd"), max_size=12)


@given(LINES, LINES)
def test_changes_lead_from_one_text_to_the_other(before, after):
    changes = changed(before, after)
    assert applied(before, changes) == after
    assert bool(changes) == (before != after)


def test_texts_too_different_to_compare_are_one_replacement(monkeypatch):
    monkeypatch.setattr("uninas.report.content.MAX_COMPARED", 3)
    assert changed(list("xaby"), list("xcdy")) == [(1, 2, ["c", "d"])]


# ---- order, objectives, budget -------------------------------------------------------------------------------------


def test_candidates_are_ranked_as_their_objective_says(tmp_path):
    rows = list(reading.Reader(made(tmp_path / "run", 30)).rows())
    for way, sign in (("higher", -1), ("lower", 1)):
        order = ranked(rows, [("score", way)])
        scored = [row for row in order if row.score is not None]
        assert scored == sorted(scored, key=lambda row: (sign * row.score, row.number))
        assert order[-1].score is None
        wanted = [scored[0].number, 0, *lineage({row.number: row.parent for row in rows}, scored[0].number)[1:]]
        assert chosen(rows, [("score", way)], 6)[: len(set(wanted))] == list(dict.fromkeys(wanted))


def test_objectives_and_limits_are_read_with_care():
    assert objectives({"objectives": [[["a", "lower"]], [["b", "higher"], ["c", "lower"]]]}) == [
        ("b", "higher"),
        ("c", "lower"),
    ]
    for broken in (None, [], {}, [[]], [["a"]], [[["a", "sideways"]]], "x", [3]):
        assert objectives({"objectives": broken, "proxy": "p"}) == [("p", "higher")]
        assert rungs({"objectives": broken, "proxy": "p"})[-1] == "p"
    assert rungs({"objectives": [[["a", "lower"]], "x", [["b", "higher"], ["c", "lower"]]]}) == ["a", "score", "b"]
    assert limits("None <= params <= 30000000.0; 5.0 <= flops <= None") == {"params": (None, 3e7), "flops": (5.0, None)}
    assert limits(None) == limits("1e999999 <= x") == {}


# ---- hostile and broken runs ---------------------------------------------------------------------------------------


def test_nothing_of_a_run_becomes_markup_or_a_script(hostile, run):
    text, ordinary = (write_page(folder).read_text() for folder in (hostile, run))
    assert [tag for tag, _ in Markup(text).elements] == [tag for tag, _ in Markup(ordinary).elements]
    assert not [name for _, found in Markup(text).elements for name in found if name.startswith("on")]
    assert "alert(" not in text.replace("alert(0)&gt;", "")
    found = data(text)
    assert found["about"]["objectives"] == [[HOSTILE, "higher"]]
    assert found["columns"]["failure"][3] == HOSTILE


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("score", float("inf")), ("score", "high"), ("components", "{"), ("components", "[" * 9999), ("parent", 5),
        ("edit", '{"move": 3}'), ("edit", "[1]"), ("parent", "x"), ("mate", 9**15), ("params", "many"),
        ("seconds", b"\x00"), ("refused", '{"a": 1e999}'), ("key", b"\xff"), ("failure", "\x00"), ("started", -1e300),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_taken_for_missing(tmp_path, column, value):
    folder = made(tmp_path / "run", 5)
    with sqlite3.connect(folder / store.FILE) as db:
        db.execute(f"UPDATE candidates SET {column} = ? WHERE number = 3", (value,))  # noqa: S608
    db.close()
    found = json.loads(json.dumps(Content(reading.Reader(folder)).new(), allow_nan=False))
    assert found["columns"]["number"] == [0, 1, 2, 3, 4]
    assert len(texts_of(found)) == 5


def without(found, number):
    """The columns and changes of a page that texts are made from, without one candidate."""
    pairs = zip(found["columns"]["number"], found["changes"], strict=True)
    kept = [pair for pair in pairs if pair[0] != number]
    return {"columns": {"number": [n for n, _ in kept]}, "changes": [change for _, change in kept]}


def test_a_text_that_is_damaged_or_bursts_is_left_out(tmp_path, monkeypatch):
    folder = made(tmp_path / "run", 5)
    with sqlite3.connect(folder / store.FILE) as db:
        db.execute("UPDATE texts SET text = x'00ff' WHERE number = 3")
        db.execute("DELETE FROM texts WHERE number = 4")
    db.close()
    found = data(write_page(folder).read_text())
    assert [change is None for change in found["changes"]] == [False, False, False, True, False]
    assert texts_of({**found, **without(found, 3)})[4] == texts_of({**found, **without(found, 3)})[2]
    monkeypatch.setattr(store, "MAX_TEXT", 100)
    assert data(write_page(folder).read_text())["changes"] == [None] * 5


def test_a_run_without_candidates_has_a_page(tmp_path):
    found = data(write_page(made(tmp_path / "run", 0)).read_text())
    assert found["columns"]["number"] == [] and found["diagrams"] == {}


def test_what_is_no_run_is_refused(tmp_path, run):
    def message(folder, path=None):
        with pytest.raises(UninasError) as caught:
            write_page(folder, path)
        return caught.value.diagnostics[0]

    assert message(tmp_path / "nothing").message.startswith("there is no run in ")
    other = tmp_path / "other"
    other.mkdir()
    (other / store.FILE).write_text("not a database")
    assert message(other).code == "UNI070"
    copied = shutil.copytree(run, tmp_path / "copied")
    with sqlite3.connect(copied / store.FILE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert "format 99" in message(copied).message
    assert message(run, tmp_path / "nowhere" / "page.html").code == "UNI100"


def test_a_missing_library_is_named(run, monkeypatch):
    monkeypatch.setattr(pages, "find_spec", lambda name: None)
    with pytest.raises(UninasError, match="needs"):
        write_page(run)


# ---- the database stays as it is -----------------------------------------------------------------------------------


def test_reading_leaves_the_folder_as_it_was(run, tmp_path):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    write_page(run, tmp_path / "page.html")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    with reading.Reader(run).store() as found, pytest.raises(sqlite3.OperationalError, match="readonly"):
        found.db.execute("DELETE FROM candidates")


# ---- ten thousand --------------------------------------------------------------------------------------------------


def test_ten_thousand_candidates_make_a_page_of_bounded_size_and_work(tmp_path):
    folder = made(tmp_path / "run", 10_000)
    began = time.perf_counter()
    with Store(folder, read_only=True) as kept:
        texts = {candidate.number: kept.text(candidate.number) for candidate in kept}
    looked = time.perf_counter()
    content = Content(reading.Reader(folder))
    found = content.new()
    written = time.perf_counter()
    assert len(found["columns"]["number"]) == 10_000
    assert texts_of(found) == texts
    packed = pages.packed(json.dumps(found))
    assert len(packed) / 10_000 < 300  # bytes per candidate, where its text alone has 1 500
    assert written - looked < 40 * (looked - began)


def test_a_page_has_a_limit_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("uninas.report.content.MAX_ROWS", 7)
    found = data(write_page(made(tmp_path / "run", 30)).read_text())
    columns = found["columns"]
    assert len(columns["number"]) == 7 and columns["number"][0] == 0 and found["about"]["left_out"] == 23
    assert columns["number"] == sorted(columns["number"])
    best = max((number * 7919 % 1000, -number) for number in range(30) if number % 50 != 9)
    assert -best[1] in columns["number"]


def test_a_budget_is_said_without_its_open_sides():
    assert spoken_budget("None <= flops <= 900.0; 20.0 <= params <= None") == "flops <= 900; 20 <= params"
    assert spoken_budget("None <= macs <= 4.5e8 at 224 x 224") == "macs <= 4.5e8 at 224 x 224"


def test_the_page_has_every_choice_of_every_candidate_by_its_value(tmp_path):
    folder = tmp_path / "choices"
    succeed("search", "nasbench201", "--proxy", "params", "--strategy", "evolution", "--tune", "population=4",
            "--iterations", 12, "-j", 0, "-o", folder)  # fmt: skip
    columns = data(write_page(folder).read_text())["columns"]
    assert sorted(columns["choices"]) == list("abcdef") and set(columns["kind"][1:]) == {"choose"}
    shown = {name: columns["choices"][name] for name in "abcdef"}
    rows = open_run(folder).rows()
    assert [[shown[name][at] for name in "abcdef"] for at in range(13)] == [
        [row[name] for name in "abcdef"] for row in rows
    ]


def test_a_run_of_moves_says_kinds_and_no_choices(tmp_path):
    columns = data(write_page(searched(tmp_path / "moves")).read_text())["columns"]
    assert columns["choices"] == {} and columns["kind"][0] == "" and set(columns["kind"][1:]) <= {"insert", "remove"}


NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="needs node, to run a script of the page")
def test_blocks_that_got_other_numbers_are_no_change():
    before = ["block A {", "  out = in -> relu", "}", "network n {", "  stage 8 { A }", "}"]
    after = ["block A {", "  out = in -> gelu", "}", "block A2 {", "  out = in -> relu", "}",
             "network n {", "  stage 8 { A, A2 }", "}"]  # fmt: skip
    script = (Path(uninas.__file__).parent / "report" / "page" / "diff.js").read_text()
    script += f"\nconsole.log(JSON.stringify(changesOf({before}, namedAs({before}, {after}))));"
    script += f"\nconsole.log(JSON.stringify(changesOf({before}, {after})));"
    done = subprocess.run([NODE, "-e", script], capture_output=True, text=True, check=True)
    renamed, plain = map(json.loads, done.stdout.splitlines())
    assert renamed == [[0, 0, ["block A_2 {", "  out = in -> gelu", "}"]], [4, 1, ["  stage 8 { A_2, A }"]]]
    assert applied(before, plain) == after
