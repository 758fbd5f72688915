"""Plots of a run show what there is, and no empty panels."""

from uninas.graph import Wire
from uninas.mutate import Insert
from uninas.report.plots import moves
from uninas.search.candidate import Candidate


def drawn(path, **changes):
    edit = Insert((), "gelu", Wire("in"))
    moves(
        path, [Candidate(0, score=1.0), Candidate(1, parent=0, edit=edit, score=2.0, **changes)], [("params", "lower")]
    )
    return path.read_text()


def test_refusals_have_a_panel_only_where_there_are_some(tmp_path):
    without = drawn(tmp_path / "moves.svg")
    assert "moves accepted" in without and "draws refused" not in without
    beside = drawn(tmp_path / "both.svg", refused={"budget": 1})
    assert "moves accepted" in beside and "draws refused (50% were accepted)" in beside
