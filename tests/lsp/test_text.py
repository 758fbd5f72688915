"""Questions about texts that are being written: whatever a text looks like, there is an answer, and soon."""

import random
import re
from pathlib import Path

import pytest
from helpers.texts import texts
from hypothesis import given, settings
from hypothesis import strategies as st

from uninas.language.resources import grammar_text, library_root
from uninas.lsp.text import WORDS, Text

SHIPPED = [path.read_text(encoding="utf-8") for path in sorted(library_root().rglob("*.uni"))]


def ask_everything(text: Text, offset: int) -> None:
    text.hover(offset)
    text.completions(offset)
    text.definition(offset)
    text.signature(offset)
    text.shapes()
    text.outline()


@given(st.text() | texts(), st.integers(0, 200))
@settings(max_examples=50)
def test_any_text_has_answers(text: str, offset: int) -> None:
    ask_everything(Text(text), min(offset, len(text)))


def test_shipped_texts_that_are_cut_or_spoilt_have_answers() -> None:
    draw = random.Random(5)
    before = None
    for _ in range(200):
        whole = draw.choice(SHIPPED)
        at, length = draw.randrange(len(whole)), draw.randrange(40)
        text = draw.choice(
            (whole[:at], whole[:at] + draw.choice("(){}[],.=>|#x") + whole[at:], whole[:at] + whole[at + length :])
        )
        before = Text(text, "a.uni", Path("a.uni"), before)
        ask_everything(before, draw.randrange(len(text) + 1))


@pytest.mark.parametrize(
    "unit", ["a , ", "a = ", "a, a = ", "from ", "block A ", "block A(", "(", "{", "a", "-> ", "budget "]
)
def test_a_long_text_takes_no_more_than_in_proportion(unit: str) -> None:
    """The questions are asked of 20,000 repetitions, for which anything quadratic would take minutes."""
    text = Text("block A { " + unit * 20_000)
    ask_everything(text, len(text.source.text))


def test_a_block_that_needs_arguments_is_looked_at_where_it_is_used() -> None:
    block = "block B(width, stride) { out = in -> conv(width, 3, stride) }\n"
    assert Text(block).shapes() == []
    network = "network N { input 3 x 32 x 32 stage 8 x 2 stride 2 { B(width, stride) } }"
    assert [shape for _, shape in Text(block + network).shapes()] == ["8 x 16 x 16", "8 x 16 x 16"]


def test_every_word_of_the_grammar_is_explained() -> None:
    words = set(re.findall(r'"([a-z]+)"', re.sub(r"//.*", "", grammar_text())))
    assert words - {"x"} <= set(WORDS)
    for word in words & {"stem", "stage", "budget"}:
        text = Text(f"network N {{ input 3 x 8 x 8 {word} ")
        found = text.hover(text.source.text.index(word) + 1)
        assert found is not None
        assert WORDS[word] in found[1]
