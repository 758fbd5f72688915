"""The grammar for tree-sitter: its rules, read as they stand, take every shipped file and give the trees of its corpus.

tree-sitter's own program makes the parser. Here node reads the rules, and Lark parses by them.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lark import Lark, Token, Tree

from uninas.language.resources import library_root

ROOT = Path(__file__).resolve().parent.parent / "editors" / "tree-sitter-uninas"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs node, to read grammar.js")
READ = """
const say = (type) => (...members) => ({ type, members: members.map(plain) });
const plain = (one) => typeof one === "string" ? { type: "STRING", value: one } :
  one instanceof RegExp ? { type: "PATTERN", value: one.source } : one;
global.seq = say("SEQ"); global.choice = say("CHOICE");
global.repeat = say("REPEAT"); global.optional = say("OPTIONAL");
global.field = (name, one) => plain(one); global.prec = (order, one) => plain(one);
const $ = new Proxy({}, { get: (_, name) => ({ type: "SYMBOL", name }) });
global.grammar = (given) => given;
const made = require(process.argv[1]);
const rules = Object.entries(made.rules).map(([name, rule]) => [name, plain(rule($))]);
console.log(JSON.stringify({ rules, extras: made.extras($).map(plain) }));
"""


@pytest.fixture(scope="module")
def parser() -> Lark:
    assert NODE
    done = subprocess.run([NODE, "-e", READ, str(ROOT / "grammar.js")], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    lines, terminals = [], dict[str, str]()
    for name, rule in told["rules"]:
        if rule["type"] == "PATTERN":
            terminals[name] = f"{name.upper()}: /{rule['value']}/"
    for name, rule in told["rules"]:
        if name not in terminals:
            lines.append(f"{name}: {written(rule, terminals)}")
    lines += terminals.values()
    lines += ["%ignore COMMENT", r"%ignore /\s+/"]
    assert [one.get("name", one.get("value")) for one in told["extras"]] == [r"\s", "comment"]
    return Lark("\n".join(lines), start="source_file", parser="lalr", maybe_placeholders=False)


def written(rule: dict[str, Any], terminals: dict[str, str]) -> str:
    """A rule in the words of Lark."""
    if rule["type"] == "STRING":
        return json.dumps(rule["value"])
    if rule["type"] == "SYMBOL":
        return rule["name"].upper() if rule["name"] in terminals else rule["name"]
    parts = [written(one, terminals) for one in rule["members"]]
    joined = "(" + (" | " if rule["type"] == "CHOICE" else " ").join(parts) + ")"
    return joined + {"REPEAT": "*", "OPTIONAL": "?"}.get(rule["type"], "")


def named(tree: Tree[Token] | Token) -> str:
    """The named nodes of a tree, as a corpus writes them; comments are no part of Lark's trees."""
    if isinstance(tree, Token):
        return f"({tree.type.lower()})" if tree.type.lower() in ("identifier", "number") else ""
    inner = " ".join(filter(None, map(named, tree.children)))
    return inner if tree.data == "_item" else f"({tree.data}{' ' * bool(inner)}{inner})"


@pytest.mark.parametrize("path", sorted(library_root().rglob("*.uni")), ids=lambda path: path.stem)
def test_every_shipped_file_has_the_form(path: Path, parser: Lark) -> None:
    parser.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((ROOT / "test" / "corpus").glob("*.txt")), ids=lambda path: path.stem)
def test_texts_of_the_corpus_have_its_trees(path: Path, parser: Lark) -> None:
    parts = re.split(r"^=+\n(.+)\n=+\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    cases = [(title, *both.split("\n---\n")) for title, both in zip(parts[::2], parts[1::2], strict=True)]
    assert len(cases) >= 3
    for title, text, expected in cases:
        wanted = re.sub(r"\s+", " ", expected.replace("(comment)", "")).replace("( ", "(").replace(" )", ")").strip()
        assert named(parser.parse(text)).replace("  ", " ") == wanted, title


def test_what_is_coloured_is_there(parser: Lark) -> None:
    queries = (ROOT / "queries" / "highlights.scm").read_text()
    rules = {str(rule.origin.name) for rule in parser.rules} | {"identifier", "number", "comment"}
    assert set(re.findall(r"\((\w+)", re.sub(r"#[\w?-]+", "", queries))) <= rules
    package = json.loads((ROOT / "package.json").read_text())
    assert (ROOT / package["tree-sitter"][0]["highlights"]).is_file()
