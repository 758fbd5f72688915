"""What editors and git take from here is whole: files of the extension fit together, snippets are right, hooks run."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from uninas.cli.main import cli
from uninas.language.elaborate import check
from uninas.language.formatter import format_text
from uninas.language.library import load_text

ROOT = Path(__file__).resolve().parent.parent
EXTENSION = ROOT / "editors" / "vscode"


def read(name: str) -> Any:
    return json.loads((EXTENSION / name).read_text(encoding="utf-8"))


PACKAGE = read("package.json")
SNIPPETS: dict[str, dict[str, Any]] = read("snippets/uninas.json")


def expanded(body: list[str]) -> str:
    """A snippet as it stands when every placeholder keeps its default."""
    text = "\n".join(body)
    defaults = dict(re.findall(r"\$\{(\d):([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", text))
    text = re.sub(r"\$\{(\d):(?:[^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", lambda found: defaults[found[1]], text)
    return re.sub(r"\$(\d)", lambda found: defaults.get(found[1], ""), text) + "\n"


def test_the_extension_names_files_that_are_there_and_one_language() -> None:
    offers = PACKAGE["contributes"]
    paths = [PACKAGE["main"], *(offers[kind][0]["path"] for kind in ("grammars", "snippets"))]
    paths.append(offers["languages"][0]["configuration"])
    assert all((EXTENSION / path).is_file() for path in [*paths, "README.md", "LICENSE"])
    ids = {offers["languages"][0]["id"], offers["grammars"][0]["language"], offers["snippets"][0]["language"]}
    assert ids == {"uninas"}
    assert offers["grammars"][0]["scopeName"] == read("syntaxes/uninas.tmLanguage.json")["scopeName"]
    assert (EXTENSION / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_extension_starts_the_server_and_has_the_commands_that_it_offers() -> None:
    code = (EXTENSION / "extension.js").read_text(encoding="utf-8")
    assert 'args: ["lsp", "--stdio"]' in code
    assert "lsp" in cli.list_commands(None)  # type: ignore[arg-type]
    for one in PACKAGE["contributes"]["commands"]:
        assert f'registerCommand("{one["command"]}"' in code
    for name in PACKAGE["contributes"]["configuration"]["properties"]:
        assert f'"{name}"' in code
    if node := shutil.which("node"):
        subprocess.run([node, "--check", str(EXTENSION / "extension.js")], check=True)


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_checks_and_is_laid_out(name: str) -> None:
    text = expanded(SNIPPETS[name]["body"])
    assert "$" not in text
    if name == "Each":  # steps, which stand after an arrow
        text = f"block A {{\n    out = in -> {text.strip().replace(chr(10), chr(10) + '    ')}\n}}\n"
    module = load_text(text, name)
    assert check(module).keys() == module.definitions.keys() != set()
    assert format_text(text) == text


def test_brackets_and_comments_are_those_of_the_language() -> None:
    known = read("language-configuration.json")
    assert known["comments"] == {"lineComment": "#"}
    assert [pair[0] + pair[1] for pair in known["brackets"]] == ["{}", "[]", "()"]
    grows = re.compile(known["indentationRules"]["increaseIndentPattern"])
    assert grows.match("block A {  # why")
    assert not grows.match("block A { out = in }")
    assert not grows.match("# block A {")


def test_hooks_take_uni_files_and_fail_where_they_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = {one["id"]: one for one in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}
    assert sorted(hooks) == ["uninas-check", "uninas-fmt"]
    monkeypatch.chdir(tmp_path)
    Path("right.uni").write_text("block  A{out=in->relu}\n", encoding="utf-8")
    Path("wrong.uni").write_text("block A { out = in -> rellu }\n", encoding="utf-8")

    def status(hook: str, file: str) -> int:
        program, *arguments = shlex.split(hooks[hook]["entry"])
        assert program == "uninas"
        return CliRunner().invoke(cli, [*arguments, file]).exit_code

    for one in hooks.values():
        assert one["language"] == "python"
        assert re.search(one["files"], "spaces/a.uni")
        assert not re.search(one["files"], "a.unit")
    assert [status("uninas-check", file) for file in ("right.uni", "wrong.uni")] == [0, 1]
    assert status("uninas-fmt", "right.uni") == 0
    assert Path("right.uni").read_text(encoding="utf-8") == "block A { out = in -> relu }\n"
