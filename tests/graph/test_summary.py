"""Tables of costs: rows that add up, and what they say."""

import json

import pytest

import uninas
from uninas.cli.tables import columns, summary_text
from uninas.graph.summary import human, runs, summarize
from uninas.language.elaborate import build
from uninas.language.library import load_text, shipped

TEXT = """
block Mlp(expand = 4) { out = in -> conv(expand * C, 1) -> gelu -> conv(C, 1) }
block Residual(body: block) { out = in + (in -> layer_norm -> body) }
block Heads { out = in -> conv(3 * C, 1) -> split(24) -> each part { out = part -> conv(8, 1) } -> concat }
block Nothing { out = in }

network tiny {
    input 3 x 32 x 32
    stem conv(16, stride=2) -> gelu
    stage 16 x 3 { Residual(Mlp) }
    stage 32 { conv(32, 2, stride=2, padding=0), Residual(Heads), Residual(Mlp) x 2, Nothing }
    head global_avg_pool -> linear(10)
}
"""


@pytest.fixture
def tiny():
    return build(load_text(TEXT), "tiny")


def test_the_table_of_a_small_network(golden, tiny):
    golden("tiny.summary.txt", summary_text(summarize(tiny, depth=3)) + "\n")


@pytest.mark.parametrize("name", [n for n, path in shipped().items() if path.parent.name == "networks"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_rows_of_each_level_add_up(name, depth):
    graph = uninas.load(name)
    rows = summarize(graph, depth).rows
    top = [row for row in rows if row.depth == 0]
    assert sum(row.cost.params for row in top) == graph.cost.params
    assert sum(row.cost.flops for row in top) == graph.cost.flops
    assert sum(row.share for row in top) == pytest.approx(1)
    for number, row in enumerate(rows):
        inside = []
        for later in rows[number + 1 :]:
            if later.depth <= row.depth:
                break
            inside += [later] * (later.depth == row.depth + 1)
        assert not inside or sum((one.cost for one in inside), uninas.Cost()) == row.cost


def test_equal_blocks_in_a_row_are_one_line(tiny):
    rows = {row.path: row for row in summarize(tiny, depth=2).rows}
    assert rows["stages.0.blocks.0-2"].repeats == 3
    assert rows["stages.0.blocks.0-2"].cost == tiny.costs["stages.0"]
    assert (rows["stages.1.blocks.2-3"].what, rows["stages.1.blocks.2-3"].output) == ("Residual (Mlp)", (32, 8, 8))
    assert "stages.1.blocks.4" not in rows  # it does nothing


def test_each_counts_all_of_its_parts(tiny):
    rows = {row.path: row for row in summarize(tiny, depth=5).rows}
    (path,) = (path for path in rows if path.endswith("parts.conv"))
    assert rows[path].cost.params == 4 * (24 * 8 + 8)


def test_blocks_that_something_else_uses_stay_apart():
    text = TEXT + "block Twice { a = in -> Mlp \n b = a -> Mlp \n c = b -> Mlp \n out = a + c }"
    counts = [run.count for run in runs(build(load_text(text), "Twice"))]
    assert counts == [1, 2, 1]


def test_the_dictionary_is_json_with_units(tiny):
    found = json.loads(json.dumps(summarize(tiny).as_dict()))
    assert found["flops"] == 2 * found["macs"] == tiny.cost.flops
    assert found["peak_activation_bytes"] == 4 * tiny.peak
    assert found["inputs"] == [[3, 32, 32]] and found["outputs"] == [[10]]
    assert [row["path"] for row in found["rows"]] == ["stem", "stages.0", "stages.1", "head"]


def test_peak_memory_is_in_mib():
    graph = build(load_text("block A { input 1024 x 16 x 16 \n out = in -> relu }"), "A")
    assert summarize(graph).peak_mib == 2  # 2^18 floats in and as many out


def test_shares_of_nothing_are_zero():
    graph = build(load_text("block A { out = in -> relu }"), "A")
    assert [row.share for row in summarize(graph).rows] == [0.0]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (7, "7"), (999, "999"), (1000, "1.00 k"), (4160, "4.16 k"), (999_499, "999 k"), (999_500, "1.00 M"),
     (24_123_456, "24.1 M"), (9_820_000_000, "9.82 G"), (1.5e12, "1.50 T"), (2e18, "2000 P"), (9995, "10.0 k")],
)  # fmt: skip
def test_counts_have_three_digits_and_a_unit(number, text):
    assert human(number) == text


def test_a_table_folds_one_column_to_the_room_there_is():
    rows = [["a", "one two three four five", "1"], ["b", "x", "22"]]
    assert columns(["name", "words", "n"], rows, 26, right=1, fold=1).split("\n") == [
        "name  words              n",
        "--------------------------",
        "a     one two three      1",
        "      four five",
        "b     x                 22",
    ]
