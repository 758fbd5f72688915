"""The pages of docs/ keep their word: every error code is explained, and every snippet of the language is right."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import uninas
from uninas.cli.main import cli
from uninas.errors import CODES, UninasError
from uninas.language.elaborate import check
from uninas.language.formatter import format_text
from uninas.language.library import load_text
from uninas.ops.op import REGISTRY
from uninas.proxies import proxies
from uninas.scores.aggregate import AGGREGATES
from uninas.search.strategies import STRATEGIES
from uninas.space import COSTS, MOVES

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"(\$\$?)([^$]+?)\1(?!\d)")


def fenced(language: str, pages: list[Path] = PAGES) -> Iterator[tuple[str, str]]:
    """Where each snippet of this language stands, and its text."""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            if found[1] == language:
                yield f"{page.name}:{text.count(chr(10), 0, found.start()) + 2}", found[2]


SNIPPETS = dict(fenced("uni"))
MESSAGES = sorted((ROOT / "tests" / "language" / "diagnostics").glob("*.expected"))


def test_every_error_code_has_its_heading_and_no_other_exists() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [*(f"{code}: {words}" for code, words in sorted(CODES.items())), "Warnings"]


def test_the_example_of_an_error_is_one_of_its_code() -> None:
    examples = [text for _, text in fenced("text", [ROOT / "docs" / "errors.md"])]
    codes = [re.findall(r"error\[(UNI\d{3})\]: ", text)[0] for text in examples]
    assert codes == sorted(CODES)


def test_messages_about_a_text_are_those_that_the_toolkit_writes() -> None:
    written = "\n\n".join(path.read_text(encoding="utf-8") for path in MESSAGES)
    shown = [(place, text) for place, text in fenced("text") if re.match(r"\w+\.uni:\d+:\d+: error", text)]
    assert len(shown) >= 15
    assert not [place for place, text in shown if text not in written]


@pytest.mark.parametrize("place", SNIPPETS)
def test_a_snippet_checks_and_is_laid_out(place: str) -> None:
    module = load_text(SNIPPETS[place], place)
    assert check(module).keys() == module.definitions.keys() != set()
    assert format_text(SNIPPETS[place], place) == SNIPPETS[place]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert re.match(r"https?://", target) or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_formulas_are_drawn_by_the_browser_alone() -> None:
    pytest.importorskip("docutils")
    formula = runpy.run_path(str(ROOT / "docs" / "conf.py"))["formula"]
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    found = [(tex, "$$" in mark) for text in texts for mark, tex in FORMULA.findall(FENCE.sub("", text))]
    assert len(found) > 10 and any(block for _, block in found)
    for tex, block in found:
        drawn = formula(tex, block=block)
        assert drawn.startswith("<math ") and ('display="block"' in drawn) is block and "\\" not in drawn


def test_the_operation_that_a_page_adds_works() -> None:
    card, function, trial = (text for _, text in fenced("python", [ROOT / "docs" / "adding-an-op.md"]))
    listed = "from uninas.backend import layers\nlayers.squared_relu = squared_relu\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", card + function + listed + trial],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "assert model(x).shape" in trial


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").partition("{toctree}")[2].split()
    assert {page.stem for page in PAGES} - {"index"} <= set(contents)
    written = runpy.run_path(str(ROOT / "docs" / "reference.py"))["PAGES"]
    assert {f"reference/{name.removesuffix('.md')}" for name in written} <= set(contents)


def test_no_page_has_the_name_of_one_that_the_site_makes_itself() -> None:
    """Sphinx writes its own search.html over that of a page called search, without a word."""
    assert not {page.stem for page in PAGES} & {"search", "genindex", "modindex", "py-modindex"}


def test_the_generated_reference_has_every_proxy_strategy_move_command_and_public_name(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "docs" / "reference.py"))["write"](tmp_path)
    headings = {path.stem: re.findall(r"^## (.*)$", path.read_text(), re.MULTILINE) for path in tmp_path.iterdir()}
    context = click.Context(cli)
    assert set(headings["proxies"]) == {*proxies(), *AGGREGATES}
    assert headings["strategies"] == list(STRATEGIES)
    assert headings["cli"] == cli.list_commands(context)
    assert set(headings["api"]) == set(uninas.__all__) - {"__version__"}
    assert all(f"`{name}`" in (tmp_path / "moves.md").read_text() for name in (*MOVES, *COSTS))


def test_the_texts_for_language_models_are_short_enough_and_right(tmp_path: Path) -> None:
    written = runpy.run_path(str(ROOT / "docs" / "llms.py"))
    written["write"](tmp_path)
    short, full = (tmp_path / name for name in ("llms.txt", "llms-full.txt"))
    # Words and signs are a bound on tokens that needs no tokenizer: models join signs, and words of a sentence are one.
    tokens = [len(re.findall(r"\w+|[^\w\s]", page.read_text(encoding="utf-8"))) for page in (short, full)]
    assert 2_000 <= tokens[0] <= 3_300
    assert 10 * tokens[0] <= tokens[1] <= 60_000
    snippets = dict(fenced("uni", [short, full]))
    assert len(snippets) >= 50
    for place, text in snippets.items():
        module = load_text(text, place)
        assert check(module).keys() == module.definitions.keys() != set()
    assert set(written["MENDS"]) <= set(CODES)
    assert len(written["MENDS"]) == 10
    assert all(name in short.read_text(encoding="utf-8") for name in (*REGISTRY, *MOVES, *COSTS))


def test_a_snippet_that_is_wrong_is_noticed() -> None:
    with pytest.raises(UninasError):
        check(load_text("block A { out = in -> nope }"))


def test_pages_use_the_public_face_and_extensions_their_doors() -> None:
    def modules(page: Path) -> set[str]:
        text = page.read_text(encoding="utf-8")
        return set(re.findall(r"^\s*(?:from|import) (uninas(?:\.\w+)*)", text, re.MULTILINE)) - {"uninas"}

    docs = ROOT / "docs"
    extending = {*(docs / "extending").glob("*.md"), docs / "extending.md", docs / "adding-an-op.md"}
    pages = {*PAGES, *(docs / "results").glob("*.md"), ROOT / "README.md"} - extending
    assert {page.name: found for page in pages if (found := modules(page))} == {}
    table = (docs / "extending.md").read_text(encoding="utf-8").partition("imports from these modules alone")[2]
    doors = set(re.findall(r"`(uninas(?:\.\w+)+)`", table.partition("contract")[0]))
    assert set().union(*map(modules, extending)) == doors
