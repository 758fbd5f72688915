"""A run as data: what `open_run` tells is what the run holds, with choices by their values."""

import pytest
from click.testing import CliRunner

import uninas
from uninas.cli.main import cli
from uninas.search.plan import Settings, make_plan

SPACE = """
block Cell(kernel = 3) {
    out = in -> conv(C, kernel) -> relu
}

space mine {
    input 3 x 8 x 8
    choose kernel in {1, 3, 5}
    stem conv(8, 3)
    stage 8 x 1..3 { Cell(kernel) }
    head global_avg_pool -> linear(10)
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("opened")
    (place / "mine.uni").write_text(SPACE)
    command = ["search", str(place / "mine.uni"), "--strategy", "evolution", "--proxy", "params", "-j", "0"]
    done = CliRunner().invoke(cli, [*command, "--iterations", "20", "--seed", "2", "-o", str(place / "run")])
    assert done.exit_code == 0, done.output
    return place / "run"


def test_rows_have_every_choice_by_its_name_with_its_value(folder):
    with uninas.open_run(folder) as run:
        space = run.space()
        rows = run.rows()
        options = {choice.path: choice.options for choice in space.choices}
        assert len(rows) == len(run) == space.count() == 9 and len(options) == 2
        for row in rows:
            answers = {path: options[path].index(row[path]) for path in options}
            assert space.member(answers).key == run.graph(row["number"]).key == row["key"]


def test_the_best_and_the_front_are_those_of_the_scores(folder):
    with uninas.open_run(folder) as run:
        assert run.best.score == max(row["score"] for row in run.rows())
        assert run.best.number in {one.number for one in run.pareto()}
        assert run.settings["strategy"] == "evolution" and "9 candidates by params" in repr(run)
        assert all(len(repr(one)) < 200 and "Choose(" not in repr(one) for one in run.candidates())
        assert repr(run.best).startswith(f"<Candidate {run.best.number}: score {run.best.score:.6g}, ")


def test_a_frame_has_the_rows(folder):
    pytest.importorskip("pandas")
    with uninas.open_run(folder) as run:
        frame = run.frame()
        assert frame.to_dict("records")[3]["key"] == run.rows()[3]["key"]


def test_a_run_of_a_space_with_moves_has_no_choices(tmp_path):
    command = ["search", "UniNAS", "--start", "coatnet_lean", "--proxy", "params", "-j", "0", "--iterations", "3"]
    assert CliRunner().invoke(cli, [*command, "-o", str(tmp_path / "run")]).exit_code == 0
    with uninas.open_run(tmp_path / "run") as run:
        assert run.answers() == {}
        plan = make_plan(Settings("UniNAS", "params", start="coatnet_lean"))
        assert run.graph(0).key == plan.start.key


def test_a_folder_that_holds_no_run_is_told(tmp_path):
    with pytest.raises(uninas.UninasError, match="UNI070"):
        uninas.open_run(tmp_path)
