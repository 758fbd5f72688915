"""What stands in a table about a network: every way that people write answers leads to the same member."""

from pathlib import Path

import pytest

import uninas
from uninas.ranking.members import builder, dataset


@pytest.mark.parametrize(
    "text",
    [
        "[0, 1, 2, 3, 7]", "(0, 1, 2, 3, 7)", "( 0, 1, 2, 3, 7, )", "8:16:24:32:64", "8,16,24,32,64", "0:1:2:3:7",
        "01237",
        '{"c1": 0, "c2": "16", "c3": 2, "c4": "32", "c5": 7}', '["8", "16", "24", "32", "64"]',
    ],
)  # fmt: skip
def test_answers_in_every_writing_are_one_member(text):
    build = builder("natsbench_size", Path())
    assert build(text, dataset("c10")).key == uninas.space("natsbench_size").member([0, 1, 2, 3, 7]).key


@pytest.mark.parametrize(
    "text", ["", "8:16", "8:16:24:32:65", "[0, 1, 2, 3, 8]", "[0, 1", "{}", "cell", "9" * 5, "-1,0,0,0,0"]
)
def test_what_is_no_member_is_told(text):
    with pytest.raises(uninas.UninasError, match="UNI042"):
        builder("natsbench_size", Path())(text, dataset("c10"))
