"""Gathering scores: the same whatever the order, interruption or number of processes; failures are results too."""

import csv
import dataclasses
import io
import json
import math
import sqlite3
from itertools import product

import numpy as np
import pytest
import torch

from uninas import UninasError, proxies
from uninas.ranking import report
from uninas.ranking.members import builder, dataset
from uninas.ranking.run import Ranking, Settings
from uninas.ranking.scoring import Job, Work, failed, lost
from uninas.ranking.store import FILE, Store
from uninas.runs.workers import Loss
from uninas.scores.aggregate import AGGREGATES, parts_of
from uninas.scores.objectives import Recipe

PROXIES = ("vkdnw", "params", "naswot")


@pytest.fixture
def settings(space, table):
    return Settings(
        table=str(table), space=str(space), datasets=("easy", "hard"), proxies=PROXIES, seeds=2, batch_size=3
    )


@pytest.fixture(autouse=True)
def registry():
    """Proxies that a test registers are gone after it."""
    with proxies.base.PROXIES.restored():
        yield


def worker(space, sets, names, batch_size, **more):
    """What a worker does with a job."""
    recipe = Recipe((names,), batch_size, init="kaiming_normal_fan_in", **more)
    return Work(str(space), space.parent, sets, recipe)(0).work


def finished(folder, settings, workers=1):
    """The text of scores.csv after everything is scored."""
    with Ranking(folder, settings) as ranking:
        for _ in ranking.outcomes(workers):
            pass
        return scores_csv(ranking.store, settings)


def scores_csv(store, settings):
    return report.scores_csv(report.results(store, settings, 0, {})[1], settings)


def test_a_ranking_has_a_score_for_every_network_proxy_and_seed(tmp_path, settings):
    text = finished(tmp_path / "run", settings)
    rows = list(csv.DictReader(io.StringIO(text)))
    keys = {(row["index"], row["dataset"], row["seed"]) for row in rows}
    assert keys == set(product(["first", "second", "third", "fourth", "fifth"], ["easy", "hard"], ["0", "1"]))
    fourth = next(row for row in rows if row["index"] == "fourth" and row["dataset"] == "hard")
    assert (fourth["accuracy"], fourth["params"], fourth["architecture"]) == ("40.0", "433.0", "[1, 1]")
    assert all(float(fourth[name]) for name in PROXIES)


def test_an_interrupted_ranking_ends_as_if_nothing_had_happened(tmp_path, settings):
    whole = finished(tmp_path / "whole", settings)
    for stop in (1, 4):
        with Ranking(tmp_path / "broken", settings) as ranking:
            outcomes = ranking.outcomes()
            for _ in range(stop):
                next(outcomes)
            outcomes.close()
    with Ranking(tmp_path / "broken", settings) as ranking:
        assert len(ranking.jobs) == ranking.total - 5
    assert finished(tmp_path / "broken", settings) == whole


def test_what_was_begun_small_ends_as_if_it_had_begun_large(tmp_path, settings):
    whole = finished(tmp_path / "whole", settings)
    small = dataclasses.replace(settings, proxies=("naswot",), datasets=("hard",), seeds=1, limit=2)
    few = finished(tmp_path / "grown", small).splitlines()[1:]
    assert len({line.split(",")[0] for line in few}) == 2
    assert finished(tmp_path / "grown", settings) == whole


def test_what_died_is_tried_again_and_what_failed_is_not(tmp_path, settings):
    whole = finished(tmp_path / "whole", settings)
    with Ranking(tmp_path / "run", settings) as ranking:
        first, second = ranking.jobs[:2]
        ranking.store.add(lost(first, Loss("crash", "the worker died", "worker 0", 0.0, 1.0)))
        ranking.store.add(failed(second, "error", "too odd"))
    with Ranking(tmp_path / "run", settings) as ranking:
        assert first in ranking.jobs and second not in ranking.jobs
        ranking.store.add(lost(second, Loss("crash", "the worker died", "worker 0", 0.0, 1.0)))
    assert finished(tmp_path / "run", settings) == whole


def test_processes_give_the_scores_of_one_process(tmp_path, settings):
    assert finished(tmp_path / "two", settings, 2) == finished(tmp_path / "one", settings)


def test_a_network_that_takes_too_long_is_recorded_and_scored_again_if_asked_for(tmp_path, settings):
    one = dataclasses.replace(settings, proxies=("params",), datasets=("easy",), seeds=1)
    with Ranking(tmp_path / "run", one) as ranking:
        outcomes = list(ranking.outcomes(1, time_limit=1e-9))
    assert {score.reason for outcome in outcomes for score in outcome.scores} == {"time"}
    with Ranking(tmp_path / "run", one) as ranking:
        assert not ranking.jobs
    with Ranking(tmp_path / "run", one, ("time",)) as ranking:
        assert len(ranking.jobs) == 5


def test_one_process_writes_a_ranking(tmp_path, settings):
    one = dataclasses.replace(settings, proxies=("params",))
    with Ranking(tmp_path / "run", one), pytest.raises(UninasError, match="another process writes to the ranking"):
        Ranking(tmp_path / "run", one)


def test_a_ranking_of_the_format_before_is_reported_and_not_added_to(tmp_path, settings):
    whole = finished(tmp_path / "run", settings)
    with sqlite3.connect(tmp_path / "run" / FILE) as db:
        db.execute("ALTER TABLE scores RENAME TO new")
        db.execute(
            "CREATE TABLE scores (line INTEGER NOT NULL, dataset TEXT NOT NULL, seed INTEGER NOT NULL,"
            " proxy TEXT NOT NULL, value REAL, components TEXT NOT NULL, failure TEXT, seconds REAL NOT NULL,"
            " PRIMARY KEY (line, dataset, seed, proxy)) WITHOUT ROWID"
        )
        db.execute("INSERT INTO scores SELECT line, dataset, seed, proxy, value, components, failure, seconds FROM new")
        db.execute("DROP TABLE new")
        db.execute("UPDATE settings SET value = ? WHERE name = 'options'", (json.dumps({"vkdnw": {"scalars": 2}}),))
        db.execute("DELETE FROM settings WHERE name = 'protocol'")
        db.execute("PRAGMA user_version = 1")
    db.close()
    with Store(tmp_path / "run", read_only=True) as store:
        assert scores_csv(store, settings) == whole
        assert store.settings["options"] == {"vkdnw.scalars": 2}
        assert {reason for *_, reason, _, _ in store.scores("easy")} == {None, "error"}
    with pytest.raises(UninasError, match="were drawn in another way"):
        Ranking(tmp_path / "run", settings)


def test_a_score_depends_on_the_seed_and_not_on_other_proxies(space):
    sets = (dataset("easy"),)
    scorer = worker(space, sets, ("l2_norm", "naswot"), 4)
    found = scorer(Job(0, "[1, 0]", "easy", ((3, "l2_norm"), (3, "naswot"), (4, "l2_norm"))))
    values = {(score.seed, score.proxy): score.value for score in found.scores}
    alone = scorer(Job(0, "[1, 0]", "easy", ((3, "l2_norm"),)))
    assert alone.scores[0].value == values[3, "l2_norm"] != values[4, "l2_norm"]
    graph = builder(str(space), space.parent)("[1, 0]", sets[0])
    assert (found.params, found.macs) == (graph.cost.params, graph.cost.macs)


def test_all_networks_are_scored_with_the_published_settings(space):
    """The same standard normal images, weights from N(0, 2 / fan-in) by one stream of numbers, evaluation mode."""
    seen = []

    @proxies.proxy("looks")
    def looks(module, inputs, generator):
        """For this test."""
        seen.append((module.training, inputs[0].clone(), next(module.parameters()).detach().clone()))
        return 1.0, {}

    scorer = worker(space, (dataset("easy"),), ("looks",), 200)
    for text, seed in [("[0, 0]", 0), ("[1, 0]", 0), ("[1, 0]", 1)]:
        scorer(Job(0, text, "easy", ((seed, "looks"),)))
    modes, images, weights = zip(*seen, strict=True)
    assert not any(modes)
    assert torch.equal(images[0], images[1]) and not torch.equal(images[1], images[2])
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])
    assert (images[0].mean().item(), images[0].std().item()) == pytest.approx((0, 1), abs=0.02)
    mean_square = torch.cat([w.flatten() for w in weights[1:]]).square().mean().item()
    assert mean_square == pytest.approx(2 / (3 * 9), rel=0.3)  # 216 numbers, each square 1.4 times its mean off


def test_a_proxy_may_have_images_of_its_own(tmp_path, settings):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(9, 3, 8, 8)))
    one = dataclasses.replace(settings, proxies=("jacov", "naswot"), datasets=("easy",), seeds=1)
    noise = finished(tmp_path / "noise", one)
    for name, images, changed in [
        ("all", {"": "pink"}, {"jacov", "naswot"}),
        ("file", {"jacov": f"{tmp_path}/x.npy"}, {"jacov"}),
        ("both", {"": "pink", "jacov": "normal"}, {"naswot"}),
    ]:
        text = finished(tmp_path / name, dataclasses.replace(one, images=images))
        rows = zip(*(csv.DictReader(io.StringIO(part)) for part in (noise, text)), strict=True)
        before, after = next(pair for pair in rows if pair[0]["index"] == "fourth")
        assert {proxy for proxy in ("jacov", "naswot") if before[proxy] != after[proxy]} == changed
    with pytest.raises(UninasError, match="has scores of jacov with other options"):
        finished(tmp_path / "noise", dataclasses.replace(one, images={"": "pink"}))
    np.save(tmp_path / "x.npy", np.zeros((9, 3, 8, 8)))
    with pytest.raises(UninasError, match=r"what .*x\.npy is was"):
        finished(tmp_path / "file", dataclasses.replace(one, images={"jacov": f"{tmp_path}/x.npy"}))


def test_pictures_bring_their_labels(tmp_path, space):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(9, 3, 8, 8)), y=rng.integers(2, size=9))
    job = Job(0, "[1, 0]", "easy", ((0, "snip"),))
    (known,), (drawn,) = (
        worker(space, (dataset("easy"),), ("snip",), 9, images={"snip": f"{tmp_path}/x.npz"}, options=options)(
            job
        ).scores
        for options in ({}, {"snip.labels": "random"})
    )
    assert known.failure is drawn.failure is None and known.value != drawn.value


def test_a_network_that_cannot_be_built_or_scored_is_recorded_with_the_reason(tmp_path, settings):
    @proxies.proxy("fails_on_large")
    def fails(module, inputs, generator):
        """For this test."""
        if sum(p.numel() for p in module.parameters()) > 400:
            raise RuntimeError("too large\nfor me")
        return 1.0, {}

    one = dataclasses.replace(settings, proxies=("fails_on_large", "params"), datasets=("easy",))
    text = finished(tmp_path / "run", one)
    with Store(tmp_path / "run") as store:
        found, scores = report.results(store, one, 0, {})
    reasons = scores["easy"].reasons["fails_on_large"]
    assert reasons["proxy 'fails_on_large' cannot score this module: RuntimeError: too large"] == 2
    assert reasons["expected an answer to b, but got 7; options: Small, Large"] == 2
    assert [result.failures for result in found] == [2, 1]
    # What cannot even be built has no costs, and its scores are empty.
    assert [line for line in text.splitlines() if line.startswith("fifth")] == [
        f'fifth,"[1, 7]",easy,50.0,,,{seed},,' for seed in (0, 1)
    ]
    # Scores that failed are last: the fourth, the most accurate, is behind the first and the second.
    assert found[0].metrics["best"].mean == pytest.approx(np.mean([60.5, 75.0, 70.25]))


def test_a_metric_of_which_less_is_better_turns_correlations_around(tmp_path, settings):
    one = dataclasses.replace(settings, proxies=("params",), seeds=1, datasets=("easy",))
    reports = {}
    for metric in ("raw", "lower"):
        changed = dataclasses.replace(one, metric=metric)
        finished(tmp_path / metric, changed)
        with Store(tmp_path / metric, read_only=True) as store:
            (reports[metric],), _ = report.results(store, changed, 50, {})
    raw, lower = (reports[metric].metrics for metric in ("raw", "lower"))
    assert raw["kendall"].mean == -lower["kendall"].mean != 0
    assert lower["best"].mean == raw["best"].mean and lower["regret"].mean > 0
    assert lower["best"].interval.low <= lower["best"].mean <= lower["best"].interval.high
    assert math.isnan(raw["ndcg"].mean)


def test_a_table_without_a_network_that_can_be_read_stops_before_any_work(tmp_path, settings):
    path = tmp_path / "other.csv"
    path.write_text("architecture,easy,hard\n0:0:0,50,60\nnothing,60,70\n")
    with pytest.raises(UninasError, match=r"none of the first rows of .* can be read\n.*the first: expected"):
        Ranking(tmp_path / "run", dataclasses.replace(settings, table=str(path)))


def test_an_aggregate_is_made_of_the_stored_components(tmp_path, settings):
    both = dataclasses.replace(settings, proxies=("params+naswot", "vkdnw_agg"), datasets=("easy",))
    assert both.components == ("params", "naswot", *AGGREGATES["vkdnw_agg"].components)
    finished(tmp_path / "run", both)
    with Store(tmp_path / "run") as store:
        scores = report.Scores(store, both, "easy")
    merits = {name: scores.merits(name) for name in parts_of("params+naswot")}
    built = [one.key != "fifth" for one in scores.networks]
    expected = sum(np.log(merits[name]) for name in merits)
    np.testing.assert_allclose(scores.of("params+naswot")[:, built], expected[:, built])
    assert np.isnan(scores.of("vkdnw_agg")[:, ~np.array(built)]).all()


def test_a_folder_keeps_to_the_settings_it_was_begun_with(tmp_path, settings, space, table):
    finished(tmp_path / "run", dataclasses.replace(settings, proxies=("params",)))
    for change, message in [
        ({"batch_size": 4}, "batch_size was 3, now 4"),
        ({"sample_seed": 1}, "sample_seed was 0, now 1"),
        ({"datasets": ("easy:3x16x16",)}, "what easy is was easy, now easy:3x16x16"),
    ]:
        with pytest.raises(UninasError, match=message) as caught:
            Ranking(tmp_path / "run", dataclasses.replace(settings, **change))
        assert caught.value.code == "UNI070"
    finished(tmp_path / "run", dataclasses.replace(settings, proxies=("vkdnw",), options={"vkdnw.scalars": 2}))
    with pytest.raises(UninasError, match="has scores of vkdnw with other options"):
        Ranking(tmp_path / "run", settings)
    space.write_text(space.read_text().replace("relu", "gelu"))
    with pytest.raises(UninasError, match="what space is was"):
        Ranking(tmp_path / "run", dataclasses.replace(settings, proxies=("params",)))
    table.write_text(table.read_text().replace("60.5", "61.5"))
    with pytest.raises(UninasError, match="what table is was"):
        Ranking(tmp_path / "run", dataclasses.replace(settings, proxies=("params",)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proxies": ("vkdnv",)}, "there is no proxy 'vkdnv'"),
        ({"proxies": ("params+",)}, "there is no proxy ''"),
        ({"proxies": ()}, "expected at least one proxy"),
        ({"datasets": ("easy", "easy:3x9x9")}, "expected different names of data sets"),
        ({"options": {"vkdnw.scalar": 2}}, "has no option 'vkdnw.scalar'"),
        ({"options": {"zen.noise": 1}}, "has no option 'zen.noise'"),
        ({"images": {"zen": "pink"}}, "there is an input for zen, which is not asked for"),
        ({"images": {"": "nois"}}, "cannot read nois: No such file"),
        ({"init": "kaiming"}, "there is no scheme of initial weights kaiming"),
        ({"device": "abacus"}, "cannot use the device abacus"),
        ({"space": "nowhere"}, "there is no shipped network or space called 'nowhere'"),
    ],
)
def test_mistakes_in_the_settings_are_found_before_any_work(tmp_path, settings, change, message):
    with pytest.raises(UninasError, match=message):
        Ranking(tmp_path / "run", dataclasses.replace(settings, **change))
    assert not (tmp_path / "run" / FILE).exists()


def test_the_threads_of_torch_stay_as_they_were(tmp_path, settings):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        finished(tmp_path / "run", dataclasses.replace(settings, proxies=("params",)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
def test_a_gpu_gives_the_scores_of_a_cpu(tmp_path, settings):
    on_gpu = finished(tmp_path / "gpu", dataclasses.replace(settings, device="cuda"), workers=2)
    on_cpu = finished(tmp_path / "cpu", settings)
    for ours, theirs in zip(*(csv.DictReader(io.StringIO(text)) for text in (on_gpu, on_cpu)), strict=True):
        assert (ours["index"], ours["dataset"], ours["seed"]) == (theirs["index"], theirs["dataset"], theirs["seed"])
        values = ([float(row[name] or "nan") for name in PROXIES] for row in (ours, theirs))
        assert next(values) == pytest.approx(next(values), rel=1e-3, nan_ok=True)
