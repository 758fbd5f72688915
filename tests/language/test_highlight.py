"""Colours: the Pygments lexer keeps every character, and both it and the TextMate grammar know the grammar's words."""

import json
import re

import pytest
from helpers.texts import texts
from hypothesis import given
from hypothesis import strategies as st

from uninas.language.resources import grammar_text, library_root

pytest.importorskip("pygments")

from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.token import Comment, Error, Keyword, Name, Number, Operator, Text

from uninas.language.highlight import KEYWORDS, UniLexer

FILES = sorted(library_root().rglob("*.uni"))
TEXTMATE = "editors/vscode/syntaxes/uninas.tmLanguage.json"
WORDS = set(re.findall(r'"([a-z]+)"', re.sub(r"//.*", "", grammar_text())))


def coloured(text: str) -> list[tuple[object, str]]:
    return [(kind, piece) for _, kind, piece in UniLexer().get_tokens_unprocessed(text)]


def kinds(text: str) -> dict[str, object]:
    """The kind of the last occurrence of every piece."""
    return {piece: kind for kind, piece in coloured(text)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_files_have_no_piece_without_a_colour(path):
    text = path.read_text(encoding="utf-8")
    found = coloured(text)
    assert "".join(piece for _, piece in found) == text
    assert not [piece for kind, piece in found if kind in (Error, Text)]


@given(st.text() | texts())
def test_no_character_is_lost(text):
    assert "".join(piece for _, piece in coloured(text)) == text


def test_pygments_finds_the_lexer_by_name_and_by_file():
    try:
        found = get_lexer_by_name("uninas"), get_lexer_for_filename("a.uni")
    except ValueError:
        pytest.skip("needs the installed package: entry points are read from its metadata")
    assert [type(lexer) for lexer in found] == [UniLexer, UniLexer]


def test_the_parts_of_a_text():
    found = kinds(
        "# why\nblock Gate(reduce: int = 4) { out = in -> conv(C, bias=true) as pre -> repeat 3 { relu } -> SE }\n"
        "space S { budget flops <= 1.5G stage 96 x 2 stride 2 { Gate } }"
    )
    assert found["# why"] in Comment
    assert found["Gate"] == Name
    assert found["conv"] == found["SE"] == Name.Function
    assert found["reduce"] == found["bias"] == Name.Variable
    assert found["int"] == Keyword.Type
    assert found["C"] == found["in"] == found["out"] == Name.Builtin.Pseudo
    assert found["pre"] == Name.Label
    assert found["repeat"] == found["budget"] == found["stage"] == found["stride"] == Keyword
    assert found["1.5G"] == found["96"] == Number
    assert found["->"] == Operator
    assert found["x"] == Operator.Word
    assert found["S"] == Name.Class


@pytest.mark.parametrize("text", ["conv(8, 3, stride)", "conv(8, stride=2)", "if stride == 1 { relu }"])
def test_a_word_of_the_grammar_that_serves_as_a_name_is_no_keyword(text):
    assert kinds(text)["stride"] in Name


def test_the_lexer_knows_the_words_of_the_grammar():
    assert set(KEYWORDS) == WORDS


def test_the_textmate_grammar_knows_the_words_of_the_grammar(root):
    grammar = json.loads((root / TEXTMATE).read_text(encoding="utf-8"))
    listed = [*grammar["repository"]["keyword"]["patterns"], grammar["repository"]["constant"]]
    found = [word for rule in listed for word in re.match(r"\\b\(\?:([a-z|]+)\)", rule["match"])[1].split("|")]
    assert sorted(found) == sorted(WORDS)


def test_the_textmate_grammar_is_whole(root):
    grammar = json.loads((root / TEXTMATE).read_text(encoding="utf-8"))
    assert grammar["fileTypes"] == ["uni"]
    assert [rule["include"] for rule in grammar["patterns"]] == [f"#{name}" for name in grammar["repository"]]
    rules = [rule for entry in grammar["repository"].values() for rule in entry.get("patterns", [entry])]
    assert all(re.compile(rule["match"]).groups >= len(rule.get("captures", ())) for rule in rules)
