"""The language server, spoken to as an editor does: a subprocess, JSON-RPC over its standard input and output."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.editor import Editor

pytest.importorskip("pygls")

from uninas.language.formatter import format_text
from uninas.language.library import load_file
from uninas.language.resources import library_root

ROOT = Path(__file__).resolve().parents[2]
WRONG = """\
from blocks.mbconv import SqueezeExcite

# Channels are "é𝄞" here.
block Gate(hidden = C / 4) {
    a = in -> conv(hidden, 1) -> geluu
    out = in * (a -> conv(C, 1) -> SqueezeExcite)
}
"""
RIGHT = WRONG.replace("geluu", "gelu")


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    made = Editor(tmp_path_factory.mktemp("lsp"))
    yield made
    made.ask("shutdown")
    made.tell("exit")
    assert made.process.wait(30) == 0
    assert made.process.stdin and made.process.stdout
    made.process.stdin.close()
    made.process.stdout.close()


def cut(text: str, found: dict[str, Any]) -> str:
    """The piece of a text that a range of one line spans."""
    begin, end = found["start"], found["end"]
    line = text.split("\n")[begin["line"]].encode("utf-16-le")
    assert begin["line"] == end["line"]
    return line[2 * begin["character"] : 2 * end["character"]].decode("utf-16-le")


def test_a_mistake_is_shown_and_mended(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "gate.uni"
    editor.open(path, WRONG)
    (problem,) = editor.problems(path)
    assert (problem["code"], problem["source"], cut(WRONG, problem["range"])) == ("UNI010", "uninas", "geluu")
    assert "unknown name geluu" in problem["message"]
    (action,) = editor.ask(
        "textDocument/codeAction",
        textDocument={"uri": path.as_uri()},
        range=problem["range"],
        context={"diagnostics": [problem]},
    )
    (edit,) = action["edit"]["changes"][path.as_uri()]
    assert (action["title"], edit["newText"], edit["range"]) == ("Write gelu", "gelu", problem["range"])
    changes = [{"range": edit["range"], "text": edit["newText"]}]
    editor.tell("textDocument/didChange", textDocument={"uri": path.as_uri(), "version": 2}, contentChanges=changes)
    assert editor.problems(path) == []


def test_every_diagnostic_text_is_shown_as_the_checker_shows_it(editor: Editor, tmp_path: Path) -> None:
    from uninas.lsp.text import Text

    for source in sorted((ROOT / "tests" / "language" / "diagnostics").glob("*.uni"))[::4]:
        text = source.read_text(encoding="utf-8")
        expected = [(one.code, one.message) for one in Text(text, str(source), source).problems]
        editor.open(source, text)
        shown = [(one["code"], one["message"].partition("\n")[0]) for one in editor.problems(source)]
        assert [code for code, _ in shown] == [code for code, _ in expected]
        assert all(words[1] in message for words, (_, message) in zip(expected, shown, strict=True))
        editor.tell("textDocument/didClose", textDocument={"uri": source.as_uri()})


def test_hover_tells_what_a_name_means_and_what_flows_and_costs_there(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "hover.uni"
    editor.open(path, RIGHT)
    text = editor.about("hover", path, RIGHT, "(a -> con")["contents"]["value"]
    assert "conv(out, kernel=3" in text
    assert "number of output channels" in text
    assert "`16 x 56 x 56` → `64 x 56 x 56`" in text
    assert "1,088 parameters" in text  # 16 * 64 weights and 64 biases
    assert "Hu et al. 2018" in editor.about("hover", path, RIGHT, "-> Squeeze")["contents"]["value"]
    assert "Parameter hidden = C / 4" in editor.about("hover", path, RIGHT, "conv(hid")["contents"]["value"]
    assert "A wire of this block" in editor.about("hover", path, RIGHT, "(a")["contents"]["value"]
    assert editor.about("hover", path, RIGHT, "# Chan") is None


def test_hints_show_the_shape_after_every_arrow(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "hints.uni"
    editor.open(path, RIGHT)
    everything = {"start": {"line": 0, "character": 0}, "end": {"line": 99, "character": 0}}
    hints = editor.ask("textDocument/inlayHint", textDocument={"uri": path.as_uri()}, range=everything)
    lines = RIGHT.split("\n")
    hints = [one for one in hints if not one["label"].startswith("=")]  # which are values of C
    ends = [lines[one["position"]["line"]][: one["position"]["character"]].split()[-1] for one in hints]
    assert list(zip(ends, (one["label"] for one in hints), strict=True)) == [
        ("1)", "16 x 56 x 56"),
        ("gelu", "16 x 56 x 56"),
        ("1)", "64 x 56 x 56"),
        ("SqueezeExcite", "64 x 56 x 56"),
    ]  # fmt: skip


def test_completion_knows_operations_blocks_arguments_wires_and_words(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "complete.uni"
    text = RIGHT + "\nfrom \nfrom blocks.ffn import \n\nblock B(a) {\n    w = in -> conv(C, k\n    out = \n"
    editor.open(path, text)

    def names(before: str) -> set[str]:
        return {one["label"] for one in editor.about("completion", path, text, before)["items"]}

    assert {"conv", "gelu", "repeat"} <= names("w = in -> ")
    assert {"kernel", "stride", "C", "a"} <= names("conv(C, k")
    assert {"w", "a", "if", "stage"} <= names("conv(C, k\n    out = ")
    assert {"blocks.ffn", "networks.coatnet"} <= names("}\n\nfrom ")
    assert names("from blocks.ffn import ") == {"MLP", "FFN", "ConvFFN"}


def test_a_call_shows_its_arguments_and_the_one_that_is_written(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "call.uni"
    text = RIGHT + "\nblock B { out = in -> conv(min(C, 8), 3, padding=0) -> Gate(C / 2) }\n"
    editor.open(path, text)

    def active(before: str) -> str:
        found = editor.about("signatureHelp", path, text, before)
        (one,) = found["signatures"]
        return f"{one['label'].partition('(')[0]}.{one['parameters'][found['activeParameter']]['label']}"

    assert active("{ out = in -> conv(min(C, 8)") == "conv.out"
    assert active("(min(C, 8), 3") == "conv.kernel"
    assert active("padding=0") == "conv.padding"
    assert active("Gate(C") == "Gate.hidden"
    assert editor.about("signatureHelp", path, text, "\nblock B { out") is None


def test_completion_of_a_broken_text_remembers_its_imports(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "broken.uni"
    editor.open(path, RIGHT)
    broken = RIGHT.replace("-> gelu", "-> ")
    changes = [{"text": broken}]
    editor.tell("textDocument/didChange", textDocument={"uri": path.as_uri(), "version": 2}, contentChanges=changes)
    items = {one["label"]: one for one in editor.about("completion", path, broken, "conv(hidden, 1) -> ")["items"]}
    assert items["SqueezeExcite"]["detail"] == "Squeeze-and-excitation gate (Hu et al. 2018)."
    assert editor.problems(path)


def test_definitions_lie_here_or_in_the_file_that_is_imported(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "go.uni"
    editor.open(path, RIGHT)
    there = editor.about("definition", path, RIGHT, "-> Squeeze")
    library = library_root() / "blocks" / "mbconv.uni"
    assert there["uri"] == library.as_uri()
    assert cut(library.read_text(encoding="utf-8"), there["range"]) == "SqueezeExcite"
    assert editor.about("definition", path, RIGHT, "from blocks.mb")["uri"] == library.as_uri()
    here = editor.about("definition", path, RIGHT, "(a")
    assert (here["uri"], cut(RIGHT, here["range"]), here["range"]["start"]["line"]) == (path.as_uri(), "a", 4)
    assert cut(RIGHT, editor.about("definition", path, RIGHT, "conv(hid")["range"]) == "hidden"
    assert editor.about("definition", path, RIGHT, "-> gel") is None


def test_formatting_and_outline(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "format.uni"
    text = RIGHT.replace(" -> ", "->")
    editor.open(path, text)
    uri, options = {"uri": path.as_uri()}, {"tabSize": 4, "insertSpaces": True}
    (edit,) = editor.ask("textDocument/formatting", textDocument=uri, options=options)
    assert edit["newText"] == format_text(text) == RIGHT
    assert edit["range"]["end"] == {"line": text.count("\n"), "character": 0}
    (part,) = editor.ask("textDocument/documentSymbol", textDocument=uri)
    assert (part["name"], [one["name"] for one in part["children"]]) == ("Gate", ["a", "out"])


def test_shipped_files_have_no_problems_and_an_outline(editor: Editor) -> None:
    for path in sorted(library_root().rglob("*.uni"))[::3]:
        editor.open(path, path.read_text(encoding="utf-8"))
        assert editor.problems(path) == []
        parts = editor.ask("textDocument/documentSymbol", textDocument={"uri": path.as_uri()})
        assert [one["name"] for one in parts] == list(load_file(path).definitions)


NAMED = """\
block Gate(hidden = C / 4) {
    a = in -> conv(hidden, 1) -> gelu  # hidden
    out = in * (a -> conv(C, 1) -> sigmoid)
}

network net {
    input 3 x 8 x 8
    stem conv(8, 3) -> Gate(hidden=2)
    head global_avg_pool -> linear(10)
}
"""


def renamed(editor: Editor, path: Path, before: str, new: str) -> str:
    """The text after a name has become another one."""
    (edits,) = editor.about("rename", path, NAMED, before, newName=new)["changes"].values()
    lines = NAMED.split("\n")
    for edit in sorted(edits, key=lambda one: (one["range"]["start"]["line"], one["range"]["start"]["character"]))[
        ::-1
    ]:
        begin, end = edit["range"]["start"], edit["range"]["end"]
        line = lines[begin["line"]]
        lines[begin["line"]] = line[: begin["character"]] + edit["newText"] + line[end["character"] :]
    return "\n".join(lines)


def test_names_of_a_text_can_be_other_ones(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "named.uni"
    editor.open(path, NAMED)
    wider = renamed(editor, path, "conv(hid", "inner")
    assert wider == re.sub(r"\bhidden\b(?!$)", "inner", NAMED, flags=re.MULTILINE), "but for the comment"
    assert renamed(editor, path, "\n    a", "b").count("b ") == 2
    assert renamed(editor, path, "-> Gat", "Squeeze") == NAMED.replace("Gate", "Squeeze")
    assert editor.about("prepareRename", path, NAMED, "-> gel") is None
    for wrong in ("in", "a b", "gelu2()"):
        with pytest.raises(AssertionError, match="cannot be a name"):
            editor.about("rename", path, NAMED, "conv(hid", newName=wrong)
    with pytest.raises(AssertionError, match="means something else"):
        editor.about("rename", path, NAMED, "\n    a", newName="hidden")


def test_words_are_coloured_by_what_they_are(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "coloured.uni"
    editor.open(path, NAMED)
    data = editor.ask("textDocument/semanticTokens/full", textDocument={"uri": path.as_uri()})["data"]
    legend = editor.capabilities["capabilities"]["semanticTokensProvider"]["legend"]["tokenTypes"]
    found, line, character, lines = [], 0, 0, NAMED.split("\n")
    for at in range(0, len(data), 5):
        down, right, length, kind, _ = data[at : at + 5]
        line, character = line + down, right if down else character + right
        found.append((lines[line][character : character + length], legend[kind]))
    kinds = dict(found)
    assert {name: kinds[name] for name in ("Gate", "hidden", "a", "conv", "block", "4", "# hidden", "C")} == {
        "Gate": "class", "hidden": "parameter", "a": "variable", "conv": "function", "block": "keyword", "4": "number",
        "# hidden": "comment", "C": "keyword",
    }  # fmt: skip


def test_hints_say_what_channels_are(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "sized.uni"
    editor.open(path, NAMED)
    whole = {"start": {"line": 0, "character": 0}, "end": {"line": 9, "character": 0}}
    hints = editor.ask("textDocument/inlayHint", textDocument={"uri": path.as_uri()}, range=whole)
    values = {(one["position"]["line"], one["label"]) for one in hints if one["label"].startswith("=")}
    assert values == {(2, "=64")}


def test_a_preview_is_the_diagram_of_what_stands_there(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "preview.uni"
    editor.open(path, NAMED)
    position = {"line": 1, "character": 4}
    found = editor.ask("uninas/preview", textDocument={"uri": path.as_uri()}, position=position)
    assert found["name"] == "Gate" and found["svg"].lstrip().startswith("<svg")
    assert editor.ask("uninas/preview", textDocument={"uri": path.as_uri()})["name"] == "net"
