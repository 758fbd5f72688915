"""`uninas search` from outside: what it prints, what it leaves behind, and what it refuses."""

import csv
import dataclasses
import io
import json
import os
import re
import signal
import sys
import types
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from helpers.fresh import fresh
from helpers.reports import SPACE

import uninas
from uninas.cli.config import read_config
from uninas.cli.options import count
from uninas.cli.search import resume, search
from uninas.errors import UninasError
from uninas.language.elaborate import build
from uninas.language.library import load_file
from uninas.runs.scorer import Scorer
from uninas.search.store import Store

REPORT = {
    "best.svg", "best.uni", "best_2.svg", "best_2.uni", "best_3.svg", "best_3.uni", "candidates.csv", "moves.svg",
    "pareto.svg", "progress.svg", "report.html", "score_vs_params.png", "score_vs_params.svg",
}  # fmt: skip
FILES = REPORT | {"config.yaml", "resolved.yaml", "run.sqlite"}


def run(*arguments, code=0):
    result = CliRunner().invoke(search, [str(argument) for argument in arguments], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "first"


@pytest.fixture
def quick(monkeypatch):
    """No pictures."""
    monkeypatch.setattr("uninas.report.files.write_report", lambda run: iter(()))


@pytest.fixture
def arguments(space_file, folder):
    return [space_file, "--proxy", "params", "--seed", 42, "--iterations", 8, "-o", folder]


def test_a_search_prints_lines_and_leaves_a_report(arguments, folder):
    output = run(*arguments).splitlines()
    assert output[0] == f"searching 8 candidates from tiny in {folder}"
    assert len([line for line in output if re.match(r"[0-8]/8  score ", line)]) == 9
    assert all(word in output[5] for word in ("best", "accepted 4", "rejected", "left", "params", "FLOPs"))
    assert {path.name for path in folder.iterdir()} == FILES


def test_without_graphviz_a_run_has_all_but_pictures(arguments, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(UninasError, match="pictures need pygraphviz"):
        run(*arguments)
    diagrams = {"best.svg", "best_2.svg", "best_3.svg"}
    assert {path.name for path in folder.iterdir()} == FILES - diagrams


def test_the_files_of_the_report_agree_with_the_database(arguments, folder):
    run(*arguments)
    store = Store(folder)
    candidates, best = list(store), store.best()[0]
    store.close()
    table = list(csv.DictReader(io.StringIO((folder / "candidates.csv").read_text())))
    assert [(int(row["number"]), int(row["params"]), float(row["score"])) for row in table] == [
        (c.number, c.params, c.score) for c in candidates
    ]
    module = load_file(folder / "best.uni")
    assert re.search(rf"The best is number {best.number}\b", (folder / "best.uni").read_text())
    assert build(module, "tiny").key == best.key
    assert (folder / "score_vs_params.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "score_vs_params.svg").read_text()


def test_the_same_command_goes_on_and_says_so(arguments, folder, quick):
    run(*arguments)
    longer = [12 if argument == 8 else argument for argument in arguments]
    output = run(*longer)
    assert f"resuming {folder}: 8 of 12 candidates are there" in output
    assert len([line for line in output.splitlines() if re.match(r" ?\d+/12  score ", line)]) == 4
    again = run("--resume", "-o", folder)
    assert f"resuming {folder}: 12 of 12 candidates are there" in again


def test_events_for_machines_are_one_object_per_line(arguments):
    events = [json.loads(line) for line in run(*arguments, "--json").splitlines()]
    assert [event["event"] for event in events] == ["start", *["candidate"] * 9, "end", *["file"] * len(REPORT)]
    assert events[1]["edit"] is None and events[2]["edit"]["move"] in ("insert", "remove")
    assert [event["accepted"] for event in events[1:10]] == list(range(9))
    assert events[10]["score"] == max(event["score"] for event in events[1:10])
    resumed = [json.loads(line) for line in run(*arguments, "--json").splitlines()]
    assert [event["event"] for event in resumed[:2]] == ["resume", "end"]


def test_interrupting_writes_the_report_and_says_how_to_go_on(arguments, folder, monkeypatch):
    whole = folder.parent / "whole"
    run(*arguments[:-1], whole, "--batch-size", 3)

    def interrupted(metric):
        def score(graph, seed):
            score.calls += 1
            if score.calls == 5:
                raise KeyboardInterrupt
            return {"score": graph.cost.params}

        score.calls = 0
        return score

    with monkeypatch.context() as patch:
        patch.setattr("uninas.search.tasks.cost_score", interrupted)
        output = run(*arguments, "--batch-size", 3, code=130)
    assert f"interrupted: to go on, uninas resume {folder}" in output
    assert {path.name for path in folder.iterdir()} == FILES
    run("--resume", "-o", folder)
    assert (folder / "best.uni").read_text() == (whole / "best.uni").read_text()


TERMINATED = """
import os, signal, sys
import uninas.search.tasks as tasks
from uninas.cli.search import search

def cost_score(metric):
    def score(graph, seed):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"score": 1.0}
    return score

tasks.cost_score = cost_score
search.main(sys.argv[1:])
"""


def test_a_polite_kill_stops_like_ctrl_c(arguments, folder, root):
    done = fresh("-c", TERMINATED, *arguments, PYTHONPATH=str(root))
    assert (done.returncode, done.stderr) == (130, "")
    assert "interrupted" in done.stdout
    assert signal.SIGTERM.name not in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--proxy", "vkdwn", "-j", 0], "did you mean 'vkdnw'?"),
        (["--proxy", "latncy", "-j", 0], "did you mean 'latency'?"),
        (
            ["--proxy", "params", "--option", "max_tensors=3", "-j", 0],
            "params is a cost, and has no option max_tensors",
        ),
        (["--proxy", "vkdnw_agg_mv2", "-j", 0], "did you mean 'vkdnw_agg_mbv2'?"),
        (["--proxy", "az_nas", "--strategy", "climb", "-j", 0], "az_nas is an aggregate"),
        (["--proxy", "vkdnw", "--option", "max_tensor=3", "-j", 0], "did you mean 'max_tensors'?"),
        (["--proxy", "vkdnw", "--device", "toaster", "-j", 0], "cannot use the device toaster"),
        (["--strategy", "fly"], "there is no strategy fly"),
        (["--start", "nowhere"], "nowhere"),
        (["--params-max", "1k"], "the start tiny breaks the budget"),
    ],
)
def test_mistakes_say_what_to_do_and_leave_nothing(change, message, arguments, folder):
    with pytest.raises(UninasError) as raised:
        run(*arguments, *change)
    assert message in str(raised.value)
    assert not folder.exists()


def test_options_that_make_no_sense_are_refused(arguments, folder):
    assert "expected a number like 30M, but got 'many'" in run(*arguments, "--params-max", "many", code=2)
    assert "expected NAME=VALUE or PROXY.NAME=VALUE, but got x" in run(*arguments, "--option", "x", code=2)
    assert "name a space" in run("-o", folder, code=2)
    with pytest.raises(UninasError, match="there is no run in"):
        run("--resume", "-o", folder)


def test_resuming_with_something_else_says_what_differs(arguments, folder, quick):
    run(*arguments)
    with pytest.raises(UninasError, match="seed was 42, now 1"):
        run("--resume", "-o", folder, "--seed", 1)


@pytest.mark.parametrize(("text", "number"), [("30M", 30e6), ("1.5G", 1.5e9), ("7k", 7e3), ("12", 12.0), ("1e6", 1e6)])
def test_numbers_may_end_in_a_unit(text, number):
    assert count(text) == number


@pytest.mark.parametrize("text", ["", "M", "-3", "nan", "inf", "3T", "3MM"])
def test_other_numbers_are_refused(text):
    with pytest.raises(click.BadParameter):
        count(text)


# ---- with torch ----------------------------------------------------------------------------------------------------


def test_a_search_by_a_proxy_builds_every_candidate(space_file, folder, quick):
    run(space_file, "--proxy", "vkdnw", "--iterations", 3, "--batch-size", 2, "--seed", 1, "-o", folder)
    store = Store(folder)
    candidates = list(store)
    store.close()
    assert len(candidates) == 4 and all(c.failure is None and 0 < c.score < 2.2 for c in candidates)


def test_a_score_depends_on_the_seed_alone(make):
    start = make().start
    score = Scorer(["vkdnw"], 2)
    assert score(start, 1) == score(start, 1) != score(start, 2)
    assert Scorer(["params"], 2)(start, 1)["score"] == start.cost.params


def test_images_of_another_source_give_other_scores(space_file, folder, quick):
    scores = []
    for images in ("normal", "pink"):
        arguments = ("--proxy", "jacov", "--iterations", 1, "--batch-size", 4, "--seed", 1)
        run(space_file, *arguments, "--input", images, "-o", folder / images)
        with Store(folder / images, read_only=True) as store:
            assert store.settings["images"] == {"": images}
            scores.append([candidate.score for candidate in store])
    assert all(one != other for one, other in zip(*scores, strict=True))


def test_pictures_bring_their_labels(make, tmp_path):
    start = make().start
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(8, *start.inputs[0])), y=rng.integers(2, size=8))
    images = {"snip": str(tmp_path / "x.npz")}
    known, drawn = (Scorer(["snip"], 8, images=images, options=options) for options in ({}, {"labels": "random"}))
    assert known(start, 1)["score"] != drawn(start, 1)["score"]


def test_further_objectives_are_measured_on_the_same_module(make):
    start = make().start
    alone, both = Scorer(["vkdnw"], 2), Scorer(["vkdnw", "flops", "latency", "jacov"], 2)
    found = both(start, 1)
    assert found["score"] == alone(start, 1)["score"]
    assert found["flops"] == start.cost.flops and found["latency"] > 0 and found["jacov"] < 0
    assert both.directions == {"vkdnw": "higher", "jacov": "higher"}


# ---- configuration, resuming, watchers ------------------------------------------------------------------------------


def stored(folder):
    with Store(folder, read_only=True) as store:
        return [(c.number, c.parent, c.mate, c.edit, c.key, c.score) for c in store], store.settings


CONFIG = """
space: {space}
strategy: evolution
tune: {{population: 6, crossover: 0.5}}
proxy: flops
objectives: [params, activations:higher]
params-max: 19k
seed: 7
iterations: 12
"""


def test_a_file_and_the_command_line_say_the_same(space_file, tmp_path, quick):
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG.format(space=space_file))
    run("--config", config, "-o", tmp_path / "a")
    run(
        space_file, "--strategy", "evolution", "--tune", "population=6", "--strategy-option", "crossover=0.5",
        "--proxy", "flops", "--objective", "params", "--objective", "activations:higher", "--params-max", "19k",
        "--seed", 7, "--iterations", 12, "-o", tmp_path / "b",
    )  # fmt: skip
    found, settings = stored(tmp_path / "a")
    assert (found, settings) == stored(tmp_path / "b") and len(found) == 13
    assert settings["objectives"] == [[["flops", "higher"], ["params", "lower"], ["activations", "higher"]]]
    for again, given in (("c", tmp_path / "a" / "config.yaml"), ("d", tmp_path / "b" / "config.yaml")):
        run("--config", given, "-o", tmp_path / again)
        assert stored(tmp_path / again)[0] == found
    run("--config", config, "--seed", 8, "-o", tmp_path / "e")
    assert stored(tmp_path / "e")[1]["seed"] == 8, "the command line counts more"


def test_a_configuration_may_name_one_thing_or_none(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("objectives: flops\nparams_max: null\nasync: true\ncheap: [params]\n")
    names = {"further": True, "params_max": False, "asynchronous": False, "cheap": True}
    assert read_config(file, names) == {"further": ["flops"], "asynchronous": True, "cheap": ["params"]}


def test_a_file_means_what_the_command_line_does(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(
        "tune: {temperature: 5e-1}\noption: {dtype: float64}\nspace: 2026-11-30\nproxy: !!binary aGVsbG8=\n"
    )
    known = {"tuning": True, "options": True, "space": False, "proxy": False}
    assert read_config(file, known) == {
        "tuning": ["temperature=0.5"], "options": ["dtype=float64"], "space": "2026-11-30", "proxy": "aGVsbG8=",
    }  # fmt: skip


def test_what_failed_for_want_of_memory_or_time_is_scored_again(arguments, folder, quick):
    run(*arguments, "--strategy", "walk")
    with Store(folder) as store:
        scores = {candidate.number: candidate.score for candidate in store}
        for number, reason in ((3, "memory"), (5, "time"), (6, "error")):
            store.replace(dataclasses.replace(store[number], score=None, reason=reason, failure=f"it was {reason}"))
        assert {total.reason for total in store.totals() if total.candidates} == {None, "memory", "time", "error"}
    output = run("--resume", "-o", folder, "--retry", "memory,time")
    assert f"number 3 again: score {scores[3]:.4f}" in output and "number 6 again" not in output
    with Store(folder, read_only=True) as store:
        assert {c.number: c.score for c in store} == {**scores, 6: None}
        assert {t.reason: t.candidates for t in store.totals() if t.candidates} == {None: 8, "error": 1}
    assert "expected some of memory, time" in run("--resume", "-o", folder, "--retry", "bad", code=2)


def test_a_space_with_no_possible_move_ends_with_what_it_has(tmp_path, folder):
    file = tmp_path / "s.uni"
    text = SPACE.replace("budget params <= 20k", "budget params <= 100%").replace(", remove 0.3", "")
    file.write_text(re.sub(r"\{ conv\(C, 1\).*? \}", "{ conv(C, 3) }", text))
    output = run(file, "--proxy", "params", "--iterations", 3, "-j", 0, "-o", folder)
    assert "no further candidate was found" in output and (folder / "best.uni").exists()


def test_a_folder_in_which_nothing_was_scored_takes_better_options(space_file, folder, quick):
    command = [space_file, "--proxy", "zen", "--batch-size", 2, "--iterations", 1, "-j", 0, "-o", folder]
    with pytest.raises(UninasError, match="the start cannot be scored"):
        run(*command, "--option", "noise=-1")
    run(*command, "--option", "noise=0.1")
    assert yaml.safe_load((folder / "config.yaml").read_text())["options"] == {"noise": 0.1}


def test_the_resolved_configuration_has_what_was_left_out(arguments, folder, quick):
    run(*arguments)
    resolved = yaml.safe_load((folder / "resolved.yaml").read_text())
    assert (resolved["strategy"], resolved["ahead"], resolved["iterations"], resolved["version"]) == (
        "climb", 8, 8, uninas.__version__,
    )  # fmt: skip
    assert yaml.safe_load((folder / "config.yaml").read_text()) == {
        "space": str(arguments[0]), "proxy": "params", "seed": 42, "iterations": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spaec: x", "did you mean 'space'?"),
        ("- a\n- b", "expected options by name"),
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.system ['false']", "is not YAML"),
        ("space: x\nstrategy: [" + "[" * 5000, "is not YAML"),
        ("#" * (1 << 20) + "#", "expected at most 1,048,576 bytes"),
        (None, "cannot read"),
        ("a: &a [x]\nb: &b [*a, *a]\nspace: [*b, *b]", "expected no alias"),
        ("space: [a, b]", "expected one value for space, but got"),
        ("space: {a: b}", "expected one value for space, but got"),
        ("objectives: [[flops]]", "expected words or numbers in objectives"),
    ],
)
def test_a_configuration_that_cannot_be_used(text, message, tmp_path, folder):
    config = tmp_path / "run.yaml"
    if text is not None:
        config.write_text(text)
    with pytest.raises(UninasError) as raised:
        run("--config", config, "-o", folder)
    assert message in str(raised.value)


def test_resume_goes_on_as_it_was_begun_and_for_longer(arguments, folder, tmp_path, quick):
    whole = tmp_path / "whole"
    run(*arguments[:-1], whole, "--strategy", "climb")
    run(*arguments, "--strategy", "climb", "--iterations", 3)
    result = CliRunner().invoke(resume, [str(folder), "--iterations", "8"])
    assert result.exit_code == 0 and "3 of 8 candidates are there" in result.output
    assert stored(folder)[0] == stored(whole)[0]
    with pytest.raises(UninasError, match="there is no run in"):
        CliRunner().invoke(resume, [str(tmp_path / "nothing")], catch_exceptions=False)


def test_a_run_goes_on_from_another_folder(space_file, tmp_path, quick, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(space_file.parent)
    run(space_file.name, "--proxy", "params", "--iterations", 2, "-o", "first")
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = Path(os.path.relpath(space_file.parent / "first"))
    result = CliRunner().invoke(resume, [str(path), "--iterations", "4"], catch_exceptions=False)
    assert result.exit_code == 0 and "2 of 4 candidates are there" in result.output
    assert Path.cwd() == tmp_path / "elsewhere" and len(stored(path)[0]) == 5


def test_a_run_of_another_version_is_refused_unless_that_is_accepted(arguments, folder, quick):
    run(*arguments)
    with Store(folder) as store:
        store.put({"version": "0.0.1"})
    with pytest.raises(UninasError, match="was begun with version 0") as raised:
        run(*arguments)
    assert "--any-version" in str(raised.value)
    run(*arguments, "--any-version")
    assert stored(folder)[1]["version"] == uninas.__version__


def test_halving_scores_cheaply_first(space_file, folder, quick):
    run(space_file, "--strategy", "halving", "--cheap", "flops", "--proxy", "params", "--iterations", 20, "-o", folder)
    with Store(folder, read_only=True) as store:
        candidates = list(store)
        assert store.last_rung == 1 and all(c.rung == 1 for c in store.best(count=20))
    climbed = [c for c in candidates if c.promoted]
    assert climbed and all(c.key == candidates[c.parent].key and c.score == c.params for c in climbed)
    assert all(c.score == c.flops for c in candidates if c.rung == 0)


def test_halving_takes_the_sampled_information_as_its_cheap_rung(folder, quick):
    run("nasbench201", "--strategy", "halving", "--cheap", "vkdnw_sampled", "--proxy", "vkdnw", "--img-size", 8,
        "--option", "max_tensors=4", "--batch-size", 2, "--iterations", 9, "-o", folder)  # fmt: skip
    with Store(folder, read_only=True) as store:
        scored = [one for one in store if one.score is not None]
    assert {one.rung for one in scored} == {0, 1}


def test_shipped_spaces_of_choices_are_searched(folder, quick):
    run("nasbench201", "--strategy", "nsga2", "--strategy-option", "population=4", "--proxy", "flops",
        "--objective", "params",
        "--img-size", 8, "--iterations", 12, "-o", folder)  # fmt: skip
    found, _ = stored(folder)
    assert len(found) == 13 and {edit.kind for _, _, _, edit, _, _ in found[1:]} == {"choose"}


def test_weights_and_biases_is_told_everything(arguments, folder, quick, monkeypatch):
    class Session:
        id = "abc123"

        def __init__(self, **given):
            told.append(given)

        log = staticmethod(lambda values: told.append(values))
        finish = staticmethod(lambda **given: told.append(given))

    told = []
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=Session))
    run(*arguments, "--wandb", "ours")
    assert told[0]["project"] == "ours" and told[0]["config"]["seed"] == 42 and told[-1] == {"exit_code": 0}
    assert [values["number"] for values in told[1:-1]] == list(range(9))
    seen = list(told)
    run("--resume", "-o", folder, "--wandb", "ours", "--iterations", 9)
    assert told[len(seen)]["id"] == "abc123" and told[len(seen)]["resume"] == "allow", "it goes on in the same session"
    told = seen
    assert told[5]["best"] == max(values["score"] for values in told[1:6])


def test_a_logger_that_is_not_installed_is_named(arguments, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UninasError, match="expected the package wandb") as raised:
        run(*arguments, "--wandb", "ours")
    assert "uninas-toolkit[wandb]" in str(raised.value)


def test_tensorboard_writes_events_into_the_folder(arguments, folder, quick):
    run(*arguments, "--tensorboard")
    assert next((folder / "tensorboard").iterdir()).name.startswith("events")
