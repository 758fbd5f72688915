"""Further starts: they are scored right after the first, from texts or from other runs, and a run keeps them."""

import shutil

import pytest
from click.testing import CliRunner

import uninas
from uninas.cli.main import cli
from uninas.plugins import LIBRARIES
from uninas.search.executor import Inline
from uninas.search.plan import Settings, make_plan
from uninas.search.run import Run
from uninas.search.store import Store, origin

CHOICES = ["search", "nasbench201", "--proxy", "params", "-j", "0", "--strategy", "evolution"]


def done(*words, fails=False):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert bool(result.exit_code) == fails, result.output
    return result.output


def keys(folder):
    with Store(folder, read_only=True) as store:
        return [candidate.key for candidate in store]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("starts") / "first"
    done(*CHOICES, "--iterations", 6, "--seed", 4, "-o", folder)
    return folder


def test_the_best_of_another_run_begin_a_run_and_are_kept_in_it(first, tmp_path):
    gone = shutil.copytree(first, tmp_path / "gone")
    with uninas.open_run(first) as run:
        best = sorted(run.candidates(), key=lambda one: (-one.score, one.number))[:3]
    again = [*CHOICES, "--iterations", 5, "--start", f"{gone}:top3", "-o", tmp_path / "again"]
    done(*again)
    whole = keys(tmp_path / "again")
    assert whole[:3] == [one.key for one in best]
    with Store(tmp_path / "again", read_only=True) as store:
        assert [origin(store[number]) for number in (0, 1, 2)] == ["the start", "a further start", "a further start"]
    done(*CHOICES, "--iterations", 2, "--start", f"{gone}:top3", "-o", tmp_path / "later")
    shutil.rmtree(gone)
    shutil.move(tmp_path / "later", tmp_path / "moved")
    done("resume", tmp_path / "moved", "--iterations", 5)
    assert keys(tmp_path / "moved") == whole


def test_networks_and_candidates_by_number_may_stand_side_by_side(first, tmp_path):
    with uninas.open_run(first) as run:
        two, best = run.graph(2).key, run.best.number
    (tmp_path / "mine.uni").write_text((first / "best.uni").read_text())
    starts = ["--start", tmp_path / "mine.uni", "--start", f"{first}:2", "--start", first]
    done(*CHOICES, "--iterations", 4, *starts, "-o", tmp_path / "run")
    found = keys(tmp_path / "run")
    assert found[0] == keys(first)[best] and (found[1] == two or best == 2)


def test_a_space_of_moves_takes_several_starts(tmp_path):
    moves = ["search", "UniNAS", "--proxy", "params", "-j", "0", "--strategy", "climb", "--iterations", 4]
    done(*moves, "--start", "coatnet_lean", "--start", "coatnet", "-o", tmp_path / "run")
    with uninas.open_run(tmp_path / "run") as run:
        assert run.graph(1).key == uninas.load("coatnet").key


def test_a_start_outside_the_space_is_told(tmp_path):
    told = done(*CHOICES, "--start", "coatnet", "-o", tmp_path / "run", fails=True)
    assert "UNI042" in told and not (tmp_path / "run").exists()
    told = done(*CHOICES, "--start", tmp_path, "-o", tmp_path / "run", fails=True)
    assert "UNI0" in told and "Traceback" not in told


def test_a_run_keeps_what_its_space_imports_from_the_library_of_a_plugin(tmp_path, score):
    library = tmp_path / "library"
    (library / "blocks").mkdir(parents=True)
    (library / "blocks" / "theirs.uni").write_text("block Theirs { out = in + (in -> conv(C, 3) -> relu) }\n")
    path = tmp_path / "mine.uni"
    path.write_text(
        "from blocks.theirs import Theirs\n\nnetwork small { input 3 x 8 x 8  stem conv(4, 3)  stage 4 x 2 { Theirs }"
        "  head global_avg_pool -> linear(2) }\n\nspace Mine { start small  moves insert { relu, gelu }, remove }\n"
    )
    with LIBRARIES.restored():
        LIBRARIES.add("theirs", library)
        plan = make_plan(Settings(space=str(path), proxy="test", strategy="walk"))
        with Run(tmp_path / "run", plan, Inline(score)) as run:
            list(run.candidates(3))
            texts = run.store.settings["texts"]
    assert [name for name, _ in texts["space"]] == ["mine.uni", "blocks/theirs.uni"]
    path.unlink()
    shutil.rmtree(library)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    again = make_plan(Settings(space=str(path), proxy="test", strategy="walk"), texts)
    with Run(tmp_path / "moved", again, Inline(score)) as run:
        assert len(list(run.candidates(5))) == 2
