"""The grammars for guided writing admit every shipped text, and refuse what the parser refuses where it does."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.gbnf import Gbnf
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from uninas.cli.main import cli
from uninas.errors import Source, UninasError
from uninas.language.grammars import FORMS, grammar
from uninas.language.parser import lark_parser, parse
from uninas.language.resources import grammar_text, library_root

DIAGNOSTICS = Path(__file__).parent / "diagnostics"
SHIPPED = [path.read_text(encoding="utf-8") for path in sorted(library_root().rglob("*.uni"))]
ODD = [
    "",
    "# nothing but a comment",
    "\n\n# first\nblock A { out = in }",
    "block A {\n    input 3 x 8 x 8\n    x = in -> relu\n    input = x -> relu\n    out = x + input\n}\n# last",
    "space S { start coatnet moves insert 0.5 {conv(C, 3)} where H<=28\nbudget macs 1M..2M, flops 9%..11% at 2 x 2 }",
    "space S { input 3 x 8 x 8 stage 8..64 step 8 x 1..3 { relu } choose a in (2)..4 - 1 }",
    "block A(a: {x, y} = x, b = if C > 3 { 2 } else { C // 2 }) { out = in -> if not a.C == 3 { relu as last } }",
]


def words_of(text: str) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?|\w+|->|\.\.|[<>=!]=|//|[^\w\s]", re.sub(r"#[^\n]*", "", text))


def wrong_texts(number: int, seed: int) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """Shipped texts with a word dropped, put in or exchanged, and where the parser refuses each: two offsets."""
    draw = random.Random(seed)
    known = sorted({word for text in SHIPPED for word in words_of(text)})
    for _ in range(number):
        words = words_of(draw.choice(SHIPPED))
        at, other = draw.randrange(len(words)), draw.choice(known)
        words[at : at + draw.randrange(2)] = draw.choice(([], [other]))
        text = " ".join(words)
        yield text, refused_at(text)


def refused_at(text: str) -> tuple[int, int] | None:
    """Begin and end of the first word or sign that the parser refuses; None where it takes the text."""
    try:
        lark_parser().parse(text)
    except UnexpectedCharacters as problem:
        begin = problem.pos_in_stream or 0
        return begin, begin + 1
    except UnexpectedToken as problem:
        if problem.token.type == "$END":
            return len(text), len(text)
        return problem.token.start_pos or 0, problem.token.end_pos or 0
    return None


def compare(accepted: int, whole: bool, text: str, refused: tuple[int, int] | None) -> str:
    """What is wrong with a matcher that went `accepted` characters far, and took the text as a `whole` or not."""
    if refused is None:
        return (
            "" if whole else f"refused: {text[max(0, accepted - 30) : accepted]!r} {text[accepted : accepted + 10]!r}"
        )
    if whole:
        return f"taken: {text!r}"
    if refused[0] <= accepted <= refused[1] + 2:  # spaces after a word may belong to its lexeme
        return ""
    if re.match(r"\w\w", text[accepted - 1 :]):  # the parser takes `blocks` for `block s`
        return ""
    return f"refused elsewhere: {text[max(0, accepted - 30) : accepted]!r}, {text[refused[0] : refused[1]]!r}"


# ---- llguidance ------------------------------------------------------------------------------------------------------


class Guided:
    """llguidance, byte by byte."""

    def __init__(self) -> None:
        llguidance = pytest.importorskip("llguidance")
        form = llguidance.LLMatcher.grammar_from_lark(grammar("llguidance"))
        self.matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), form)
        assert self.matcher.get_error() == ""

    def __call__(self, text: str) -> tuple[int, bool]:
        data = text.encode()
        self.matcher.reset()
        accepted = self.matcher.try_consume_tokens(list(data))
        return accepted, accepted == len(data) and self.matcher.is_accepting()


@pytest.fixture(scope="module", params=["llguidance", "gbnf"])
def engine(request: pytest.FixtureRequest) -> Guided | Gbnf:
    return Guided() if request.param == "llguidance" else Gbnf(grammar("gbnf"))


def test_every_shipped_text_and_odd_ones_are_admitted(engine: Guided | Gbnf) -> None:
    for text in [*SHIPPED, *ODD]:
        parse(Source("<text>", text))
        assert engine(text) == (len(text.encode() if isinstance(engine, Guided) else text), True), text


def test_what_the_parser_refuses_is_refused_at_the_same_word(engine: Guided | Gbnf) -> None:
    texts = list(wrong_texts(500 if isinstance(engine, Guided) else 150, seed=3))
    problems = [found for text, refused in texts if (found := compare(*engine(text), text, refused))]
    assert not problems, "\n".join(problems)
    assert sum(refused is not None for _, refused in texts) > len(texts) / 2


@pytest.mark.parametrize("name", ["arrow_without_head", "bracket_left_open", "word_misspelt"])
def test_texts_with_mistakes_of_form_are_refused(name: str, engine: Guided | Gbnf) -> None:
    text = (DIAGNOSTICS / f"{name}.uni").read_text(encoding="utf-8")
    assert not engine(text)[1]


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_each_grammar(tmp_path: Path) -> None:
    for form in FORMS:
        done = CliRunner().invoke(cli, ["grammar", "--for", form, "-o", str(tmp_path / form)])
        assert done.exit_code == 0
        assert (tmp_path / form).read_text(encoding="utf-8") == grammar(form)
    assert grammar("lark") == grammar_text()
    assert CliRunner().invoke(cli, ["grammar"]).output == grammar_text()


def test_the_programs_of_the_page_on_language_models_run() -> None:
    pytest.importorskip("llguidance")
    page = (Path(__file__).resolve().parents[2] / "docs" / "language-models.md").read_text(encoding="utf-8")
    masked, asking, proposed = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    root = str(Path(__file__).resolve().parents[2])
    for program in (masked, proposed):
        subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": root})
    compile(asking, "page", "exec")  # it asks a server that is not there


def test_another_form_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UninasError, match=r"expected llguidance, gbnf, lark"):
        grammar("ebnf")
