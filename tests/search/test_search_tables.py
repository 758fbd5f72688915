"""Columns of numbers and words in terminals of any width."""

from uninas.cli.tables import table

HEADS = ["score", "params", "origin"]
ROWS = [["0.5", "12,000", "insert conv(C, 3) after stages.1.blocks.0"], ["0.25", "9", "the start"]]


def test_words_are_folded_where_the_terminal_ends():
    wide, narrow = table(HEADS, ROWS), table(HEADS, ROWS, 48)
    assert wide.splitlines() == [
        "score  params  origin",
        "  0.5  12,000  insert conv(C, 3) after stages.1.blocks.0",
        " 0.25       9  the start",
    ]
    assert max(map(len, narrow.splitlines())) <= 48
    assert narrow.split() == wide.split()
    assert narrow.splitlines()[2].startswith(" " * 15 + "stages.1")


def test_numbers_alone_are_turned_on_their_side():
    heads = ["run", *(f"figure {i}" for i in range(9))]
    rows = [["first", *"123456789"], ["second", *"abcdefghi"]]
    turned = table(heads, rows, 40).splitlines()
    assert turned[0].split() == ["run", "first", "second"] and turned[-1].split() == ["figure", "8", "9", "i"]
    assert max(map(len, turned)) <= 40
