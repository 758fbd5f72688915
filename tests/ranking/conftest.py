"""A space of four small networks, and a table that says how accurate they are."""

from pathlib import Path

import pytest

SPACE = """
block Small { out = in -> conv(C, 1) }

block Large { out = in -> conv(C, 3) -> relu }

space Four(classes = 5) {
    input 3 x 8 x 8
    choose a, b in {Small, Large}
    stem conv(4, 3) -> relu
    stage 4 { a }
    stage 4 { b }
    head global_avg_pool -> linear(classes)
}
"""

TABLE = """index,architecture,easy,hard,kept
first,"[0, 0]",60.5,20.0,1
second,"[0, 1]",75.0,31.5,1
third,"{""a"": ""Large"", ""b"": 0}",70.25,33.0,
fourth,"[1, 1]",90.0,40.0,yes
fifth,"[1, 7]",50.0,10.0,0
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "four.uni"
    path.write_text(SPACE)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "four.csv"
    path.write_text(TABLE)
    return path
