"""`uninas rank` from outside: what it prints, what it leaves behind, and what it refuses."""

import base64
import csv
import gzip
import json
import os
import re
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from helpers.commands import fail, succeed
from helpers.commands import run as command

from uninas.cli.kinds import FILES as FILES_OF_KINDS
from uninas.cli.main import cli
from uninas.ranking.scoring import Work
from uninas.ranking.store import FILE as ranking_file
from uninas.ranking.store import Store
from uninas.training.recipe import SETTINGS as training_file

FILES = {
    "metrics.csv", "metrics.json", "ranking.sqlite", "report.html", "scores.csv", "scores_easy.png", "scores_hard.png",
}  # fmt: skip


def run(*arguments, code=0):
    result = CliRunner().invoke(cli, ["rank", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ranks" / "first"


@pytest.fixture
def arguments(space, table, folder):
    return [
        space, "--table", table, "--proxy", "params,trainable_layers,params+l2_norm", "--datasets", "easy,hard",
        "--batch-size", 2, "--bootstrap", 20, "-o", folder,
    ]  # fmt: skip


def test_a_ranking_prints_tables_and_leaves_files(arguments, folder):
    lines = run(*arguments).splitlines()
    assert lines[0].startswith("scoring 10 networks (easy, hard) by params, trainable_layers, l2_norm with 1 seed in ")
    assert sum(line.startswith(("easy: 5 networks", "hard: 5 networks")) for line in lines) == 2
    assert "params failed 1 times (ranked last): expected an answer to b, but got 7; options: Small, Large" in lines
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "scores_easy.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()
    assert "<title>Ranking first</title>" in page and "default-src 'none'" in page and "connect-src 'none'" in page
    data = data_of(page)
    assert data["columns"]["score"] == [90.0, 75.0, 70.25, 60.5, 50.0]  # the most accurate first
    assert [name for name, _ in data["about"]["objectives"]] == [
        "accuracy on easy",
        "params",
        "trainable_layers",
        "params+l2_norm",
    ]
    assert data["columns"]["components"]["accuracy on hard"] == [40.0, 31.5, 33.0, 20.0, 10.0]
    assert [part["dataset"] for part in data["about"]["measured"]] == ["easy", "hard"]
    assert data["about"]["measured"][0]["heads"][:2] == ["score", "Kendall's tau"]
    (folder / "report.html").unlink()
    assert "report.html" in succeed("report", folder) and (folder / "report.html").is_file()


def test_status_top_and_compare_know_rankings(arguments, folder, tmp_path):
    run(*arguments)
    told = json.loads(succeed("status", folder, "--json"))
    assert told["complete"] == told["of"] == {"easy": 5, "hard": 5} and told["running"] is False
    reasons = {"expected an answer to b, but got 7; options: Small, Large": 2}
    assert told["failed"]["params"] == told["failed"]["l2_norm"] == reasons
    assert "5 of 5 with all scores on hard" in succeed("status", folder)
    best, *_ = rows = json.loads(succeed("top", folder, "-n", 3, "--json"))
    assert len(rows) == 3 and best["key"] == "fourth" and best["accuracy"] == 90.0, "it has most parameters"
    assert best["scores"]["params"] == best["params"] == max(row["params"] for row in rows)
    assert succeed("top", folder).splitlines()[0].split()[:3] == ["params", "trainable_layers", "params+l2_norm"]
    other = tmp_path / "second"
    run("--resume", "-o", folder, "--trust", "--limit", 4, "--bootstrap", 0)  # other figures, without intervals
    run(*arguments[:-1], other)
    text = succeed("compare", folder, other, "--to", "csv").splitlines()
    assert text[0] == "data set,Kendall's tau of,first,second" and len(text) == 1 + 2 * 3
    assert text[1].startswith("easy,params,") and text[1].count("[") == 1
    figures = json.loads((other / "metrics.json").read_text())
    figures["results"][0]["metrics"]["kendall"]["mean"] = float("nan")  # somebody has changed it
    (other / "metrics.json").write_text(json.dumps(figures))
    (first, *_) = json.loads(succeed("compare", other, "--json"))["second"]
    assert first["metrics"]["kendall"]["mean"] is None
    assert "compare each kind apart" in fail("compare", folder, tmp_path)
    assert f"uninas rank --resume --trust -o {folder}" in fail("resume", folder)
    assert command("top", folder, "--pareto").exit_code == 2, "it has no front"


def test_the_files_that_tell_kinds_apart_are_those_that_are_written():
    assert {"training": training_file, "ranking": ranking_file} == FILES_OF_KINDS


def data_of(page):
    """What a page carries."""
    return json.loads(gzip.decompress(base64.b64decode(re.findall(r'id="part-data">([^<]+)<', page)[0])))


def test_the_page_has_texts_and_pictures_of_the_best(tmp_path):
    (tmp_path / "nets.csv").write_text("index,architecture,a\n0,micro_resnet,60\n1,micro_coatnet,50\n2,../x.uni,40\n")
    run("--table", tmp_path / "nets.csv", "--datasets", "a", "--proxy", "params", "--batch-size", 2, "--bootstrap", 0,
        "-o", tmp_path / "ranks")  # fmt: skip
    data = data_of((tmp_path / "ranks" / "report.html").read_text())
    assert [change is None for change in data["changes"]] == [False, False, True]
    assert "network micro_resnet" in "\n".join(line for _, _, lines in data["changes"][0][1] for line in lines)
    assert data["diagrams"]["0"]["network"]["light"].startswith("<svg")


def test_the_figures_agree_everywhere(arguments, folder):
    output = run(*arguments, "--seeds", 2, "--json").splitlines()
    events = [json.loads(line) for line in output]
    assert [event["event"] for event in events] == ["start", *["network"] * 10, "end", "report"]
    stored = json.loads((folder / "metrics.json").read_text())
    assert {name: events[-1][name] for name in stored} == stored
    table = {
        (row["dataset"], row["proxy"]): row for row in csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    }
    assert len(table) == len(stored["results"]) == 6
    for result in stored["results"]:
        row = table[result["dataset"], result["proxy"]]
        for name, figure in result["metrics"].items():
            assert float(row[f"{name}_mean"]) == figure["mean"] == pytest.approx(sum(figure["per_seed"]) / 2)
    best = next(r for r in stored["results"] if (r["dataset"], r["proxy"]) == ("hard", "params"))
    # The largest network is the most accurate, two are equally large, and the one that failed comes last.
    assert best["metrics"]["kendall"]["mean"] == pytest.approx(9 / (10 * 9) ** 0.5)
    assert best["metrics"]["best"]["mean"] == 40.0 and best["metrics"]["regret"]["mean"] == 0.0
    assert best["metrics"]["kendall"]["interval"]["low"] <= best["metrics"]["kendall"]["mean"]


def test_the_same_command_computes_nothing_twice(arguments, folder, monkeypatch):
    run(*arguments)
    before = (folder / "scores.csv").read_text()
    monkeypatch.setattr(Work, "outcome", lambda *_: pytest.fail("scored again"))
    assert "10 of them are there" in run(*arguments)
    assert "10 of them are there" in run("--resume", "--trust", "-o", folder)
    assert "which is not in its folder" in run("--resume", "-o", folder, code=1)
    assert (folder / "scores.csv").read_text() == before


def test_a_report_takes_any_part_of_what_is_there(arguments, folder, table):
    run(*arguments)
    table.unlink()
    output = run("--metrics-only", "--proxy", "l2_norm+trainable_layers", "--datasets", "hard", "-o", folder)
    assert "l2_norm+trainable_layers" in output and "easy:" not in output
    assert "only datasets, limit, proxies, seeds may be chosen anew" in run(
        "--metrics-only", "--batch-size", 4, "-o", folder, code=2
    )
    assert "there are no scores of vkdnw here" in run("--metrics-only", "--proxy", "vkdnw", "-o", folder, code=1)


def test_a_report_without_networks_that_are_complete_leaves_the_old_one(arguments, folder):
    run(*arguments)
    before = (folder / "scores.csv").read_text()
    assert "but got 0 on easy" in run("--metrics-only", "--seeds", 3, "-o", folder, code=1)
    assert (folder / "scores.csv").read_text() == before


def test_settings_under_which_nothing_has_a_score_are_a_failure(arguments, folder, tmp_path):
    output = run(*arguments, "--proxy", "l2_norm,naswot", "--input", f"naswot={tmp_path}", code=1)
    assert "naswot has no score for any network on hard" in output and "l2_norm has no score" not in output
    assert "naswot failed 4 times (ranked last): " in output


def test_published_scores_are_compared_by_their_keys(arguments, folder, tmp_path):
    published = tmp_path / "theirs_hard.csv"
    published.write_text("index,params,jacov\nthird,2,1\nfourth,1,2\nfirst,3,3\nunknown,9,9\n")
    output = run(*arguments, "--compare", published)
    assert re.findall(r"seconds +published$", output, re.MULTILINE) and output.count(" -1.000\n")
    results = json.loads((folder / "metrics.json").read_text())["results"]
    compared = {(result["dataset"], result["proxy"]): result["compared"] for result in results}
    assert compared["hard", "params"] == {"theirs_hard.csv": pytest.approx(-1)}
    assert [key for key, found in compared.items() if found] == [("hard", "params")]
    run("--metrics-only", "--compare", f"easy={published}", "-o", folder)
    results = json.loads((folder / "metrics.json").read_text())["results"]
    assert {result["dataset"] for result in results if result["compared"]} == {"easy"}
    other = tmp_path / "theirs.csv"
    other.write_text(published.read_text())
    assert "expected one of the data sets easy, hard" in run(*arguments, "--compare", other, code=1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "nowhere"], 2, "name a table"),
        (["--resume", "-o", "nowhere"], 1, "there is no ranking in nowhere"),
        (["--table", "nowhere.csv", "-o", "nowhere"], 1, "error[UNI001]: cannot read nowhere.csv"),
        (["--option", "vkdnw", "-o", "nowhere"], 2, "expected NAME=VALUE or PROXY.NAME=VALUE, but got vkdnw"),
        (["--option", "vkdnw.=3", "-o", "nowhere"], 2, "expected NAME=VALUE or PROXY.NAME=VALUE"),
    ],
)
def test_mistakes_are_explained(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in run(*arguments, code=code)


def test_options_reach_their_proxies(arguments, folder):
    run(*arguments, "--proxy", "vkdnw,naswot", "--option", "vkdnw.scalars=2", "--option", "max_tensors=5", "--limit", 2)
    with Store(folder, read_only=True) as store:
        options = {name: json.loads(one) for name, one in store.db.execute("SELECT name, options FROM proxies")}
    assert options["vkdnw"] == {"scalars": 2, "max_tensors": 5} and options["naswot"] == {}


def test_images_are_of_all_proxies_or_of_one(arguments, folder):
    run(*arguments, "--input", "pink", "--input", "l2_norm=normal", "--limit", 2)
    with Store(folder) as store:
        assert store.settings["images"] == {"": "pink", "l2_norm": "normal"}


def test_a_kill_leaves_a_ranking_that_goes_on(arguments, folder, tmp_path):
    """Interrupted as a cluster does it, after the first network."""
    whole = tmp_path / "whole"
    run(*arguments[:-1], whole)
    command = [sys.executable, "-m", "uninas", "rank", *map(str, arguments), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    for line in process.stdout:
        if json.loads(line)["event"] == "network":
            process.send_signal(signal.SIGTERM)
            break
    _, errors = process.communicate()
    assert process.returncode in (130, 0), errors  # 0: it was done before the signal came
    assert "Traceback" not in errors
    run("--resume", "--trust", "-o", folder)
    assert (folder / "scores.csv").read_text() == (whole / "scores.csv").read_text()


@pytest.mark.parametrize(
    ("told", "written"),
    [
        ('{"results": [3], "settings": {}}', False), ("[]", False), ("[" * 100_000, False),
        ('{"results": [{"metrics": 3}], "settings": {}}', False),
        ('{"results": [{"metrics": {"kendall": 3}, "dataset": []}], "settings": {"a": [{}]}}', True),
        ('{"results": [{"proxy": "a", "metrics": {"kendall": {"mean": -0.5}}}, '
         '{"proxy": "b", "metrics": {"kendall": {"mean": 0.0}}}, {"proxy": "c"}], "settings": {}}', True),
    ],
)  # fmt: skip
def test_figures_that_somebody_has_changed_are_a_page_or_a_message(told, written, tmp_path):
    """And a score without any correlation stands before one that ranks the wrong way round."""
    (tmp_path / "ranking.sqlite").touch()
    (tmp_path / "metrics.json").write_text(told)
    result = CliRunner().invoke(cli, ["report", str(tmp_path)])
    assert result.exit_code == (0 if written else 1) and isinstance(result.exception, SystemExit | None)
    if '"b"' in told:
        data = data_of((tmp_path / "report.html").read_text())
        assert [row[0] for row in data["about"]["measured"][0]["rows"]] == ["b", "a", "c"]
