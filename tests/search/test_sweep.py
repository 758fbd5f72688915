"""Sweeps and comparisons: which searches a file describes, and how groups of them differ seed by seed."""

import csv
import json

import numpy as np
import pytest
from helpers.commands import fail, succeed
from scipy import stats

from uninas.search.candidate import Candidate
from uninas.search.compared import differences, groups, means, table_of_curves
from uninas.search.store import Store


def made(folder, seed, scores, **settings):
    """A run whose candidates have these scores."""
    with Store(folder) as store:
        store.put({"space": "tiny.uni", "proxy": "vkdnw", "strategy": "climb", "seed": seed,
                   "objectives": [[["vkdnw", "higher"]]], **settings})  # fmt: skip
        rows = [(Candidate(n, None if n == 0 else 0, key=str(n), score=score), "") for n, score in enumerate(scores)]
        store.add_all(rows)
    return folder


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(5)
    found = [made(tmp_path / f"climb{seed}", seed, rng.normal(size=12)) for seed in range(5)]
    return found + [made(tmp_path / f"walk{s}", s, rng.normal(1, 1, 10), strategy="walk") for s in range(5)]


def test_runs_that_differ_in_the_seed_alone_are_one_group_and_differ_as_student_says(folders):
    climb, walk = found = groups(folders)
    assert (climb.name, walk.name, climb.length, walk.length) == ("climb", "walk", 12, 10)
    one, other = climb.best(10), walk.best(10)
    (row,) = differences(found)
    expected = stats.ttest_rel(other, one).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["mean"] == pytest.approx(float((other - one).mean())) and row["better_in"] == float((other > one).mean())
    assert means(found)[0]["standard_error"] == pytest.approx(stats.sem(one)) and means(found)[0]["candidates"] == 9


def test_curves_are_means_of_the_best_so_far(folders):
    found = groups(folders)
    rows = [row for row in table_of_curves(found) if row[0] == "climb"]
    assert [row[1] for row in rows] == list(range(12))
    assert [row[2] for row in rows] == sorted(row[2] for row in rows)
    assert rows[-1][2] == pytest.approx(found[0].best().mean())


def test_the_command_says_means_and_writes_curves(folders, tmp_path):
    found = json.loads(succeed("compare", "--means", "--json", *folders))
    assert [one["group"] for one in found["means"]] == ["climb", "walk"] and len(found["differences"]) == 1
    said = succeed("compare", "--means", *folders, "--curves", tmp_path / "curves.csv")
    assert "walk less climb" in said and "95% interval" in said
    with (tmp_path / "curves.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 22
    succeed("compare", *folders, "--curves", tmp_path / "curves.svg")
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    assert "is there twice" in fail("compare", "--means", folders[0], folders[0])


SWEEP = """
space: {space}
proxy: params
iterations: 3
jobs: 0
sweep:
  seed: [0, 1]
  strategy: [climb, evolution]
"""


def test_a_sweep_runs_what_its_file_describes_and_goes_on(space_file, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.format(space=space_file))
    assert succeed("sweep", file, "-o", tmp_path / "runs", "--dry").count("to do") == 4
    succeed("sweep", file, "-o", tmp_path / "runs")
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == [f"seed={seed},strategy={name}" for seed in (0, 1) for name in ("climb", "evolution")]
    assert succeed("sweep", file, "-o", tmp_path / "runs").count(": done") == 4
    assert [one.name for one in groups(sorted((tmp_path / "runs").iterdir()))] == ["climb", "evolution"]
    file.write_text("sweep: {seed: 3}")
    assert "expected lists of values under sweep" in fail("sweep", file, "-o", tmp_path / "runs")
