"""Texts that mean harm: nothing but a UninasError may come out of them, and no bound may be passed on the way.

Bounds are asserted on counted work (tokens, steps, operations) and on memory, never on time.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.texts import NAMES, NUMBERS, texts
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uninas import dumps, load
from uninas.errors import UninasError
from uninas.graph import Graph
from uninas.language import library
from uninas.language.elaborate import build, check, core
from uninas.language.elaborate.definitions import Elaborator
from uninas.language.formatter import format_text
from uninas.language.library import MAX_CHARACTERS, load_file, load_text, shipped
from uninas.language.parser import MAX_FILE_BYTES, MAX_TOKENS, read_source

MEMORY = 1 << 30  # bytes that all hostile texts together may take


def tried(text: str) -> UninasError | None:
    """Everything the toolkit does with a text; the mistake that it finds, if any."""
    try:
        format_text(text)
        module = load_text(text)
        for name, found in check(module).items():
            graph = build(module, name) if found is None else found
            assert not isinstance(graph, Graph) or (graph.cost and graph.key and graph.peak)
    except UninasError as problem:
        mistake = problem
    else:
        return None
    assert str(mistake)
    assert 1 <= len(mistake.diagnostics) <= core.MAX_PROBLEMS
    return mistake


def nested(opening: str, inner: str, closing: str, times: int) -> str:
    return opening * times + inner + closing * times


def numbered(text: str, times: int) -> str:
    return "\n".join(text.replace("@", str(number)) for number in range(times))


def a_block(body: str, head: str = "") -> str:
    return f"block A{head} {{ {body} }}"


def a_space(members: str) -> str:
    return f"space S {{ input 3 x 8 x 8 {members} }}"


HOSTILE = {
    # nesting
    "parentheses 10 000 deep": (a_block("out = " + nested("(", "in", ")", 10_000)), "UNI003"),
    "parentheses never closed": ("block A { out = " + "(" * 50_000, "UNI003"),
    "repeat 10 000 deep": (a_block("out = in -> " + nested("repeat 1 { ", "relu", "}", 10_000)), "UNI003"),
    "each 10 000 deep": (a_block("out = in -> " + nested("each p { out = p -> ", "relu", "}", 10_000)), "UNI003"),
    "each as deep as allowed": (a_block("out = in -> " + nested("each p { out = p -> ", "relu", "}", 38)), None),
    "every operator at every depth": (
        a_block("out = in", "(k = " + nested("(true or true and not 1 == 1 + 2 * - ", "1", ")", 37) + ")"),
        None,
    ),
    "members of members": (a_block("out = in -> conv(in" + ".C" * 30_000 + ")"), "UNI003"),
    "items of items": (a_block("out = in" + "[0]" * 30_000), "UNI003"),
    "signs that alternate": (a_block("out = in", "(k = 1" + " - 1" * 30_000 + ")"), "UNI003"),
    "deep sums of deep sums": (a_block("out = in", "(k = " + nested("(1", "", " - 1" * 60 + ")", 38) + ")"), "UNI002"),
    # length
    "a chain of 10^5 steps": (a_block("out = in" + " -> relu" * 100_000), "UNI030"),
    "a chain as long as allowed": (a_block("out = in" + " -> relu" * 5_000), None),
    "10^5 statements": (a_block(numbered("a=in", 100_000) + " out = in"), "UNI030"),
    "statements that nobody uses": (a_block(numbered("a@ = in", 5_000) + " out = in"), "UNI016"),
    "a bundle of 10^5 wires": (a_block("out = (" + "in, " * 100_000 + "in) -> add"), "UNI030"),
    "a bundle of 10^4 wires": (a_block("out = (" + "in, " * 10_000 + "in) -> add"), "UNI030"),
    "a sum of 10^4 wires": (a_block("out = in" + " + in" * 10_000), "UNI030"),
    "bundles that double": (a_block("a0 = (in, in)\n" + numbered("b@ = (in, in)", 1) + "out = in"), "UNI016"),
    "a name of 10^5 letters": (f"block {'A' * 100_000} {{ out = in }}", "UNI002"),
    "a name of 10^5 letters that is unknown": (a_block("out = in -> " + "a" * 100_000), "UNI002"),
    "3 000 labels": (a_block("out = in" + numbered(" -> relu as a@", 3_000)), None),
    "one label 3 000 times": (a_block("out = in" + " -> relu as a" * 3_000), "UNI011"),
    "a comment of a million letters": ("#" + "a" * 1_000_000, None),
    "nothing, and much of it": ("\n" * 1_000_000, None),
    "a text of 50 MB": ("# a\n" * 12_500_000, "UNI001"),
    # many mistakes
    "3 000 unknown names": (a_block(numbered("a@ = in -> nope@", 3_000) + " out = in"), "UNI010"),
    "3 000 definitions of one name": ("block A { out = in }\n" * 3_000, "UNI011"),
    "3 000 bad definitions": (numbered("block A@ { out = in -> nope }", 3_000), "UNI010"),
    "10^4 broken definitions": (numbered("block A@ { out = -> }", 10_000), "UNI002"),
    "10^4 imports of nothing": (numbered("from nope@ import A", 10_000), "UNI017"),
    # repetition
    "repeat a thousand million times": (a_block("out = in -> repeat 1000000000 { relu }"), "UNI030"),
    "repeat 1G times": (a_block("out = in -> repeat 1G { relu }"), "UNI030"),
    "repeat within repeat": (a_block("out = in -> " + nested("repeat 10000 { ", "relu", "}", 8)), "UNI030"),
    "repeat nothing within repeat": (
        a_block("out = in -> " + nested("repeat 10000 { ", "if C == 1 { relu }", "}", 8)),
        "UNI030",
    ),
    "a long condition, repeated": (
        a_block("out = in -> repeat 10000 { if " + "1 == 2 or " * 3_000 + "1 == 2 { relu } }"),
        "UNI030",
    ),
    "many parameters, repeated": (
        f"block B({', '.join(f'a{n} = 1' for n in range(3_000))}) {{ out = in -> relu }}"
        + a_block("out = in -> repeat 10000 { B }"),
        "UNI030",
    ),
    "a stage of a thousand million blocks": (a_space("stage 3 x 1000000000 { conv(3) }"), "UNI030"),
    "stages of many blocks": (a_space("stage 3 x 10000 { conv(3) } " * 200), "UNI030"),
    "a stage of many long lists": (a_space("stage 3 { " + "conv(3) x 10000, " * 5_000 + "}"), "UNI030"),
    "each of each of each": (
        a_block("out = in" + numbered(" -> copy(4096) -> each p@ { out = p@", 12) + " -> relu" + "} -> add" * 12),
        "UNI030",
    ),
    "each, again and again": (a_block("out = in -> copy(4096)" + " -> each p { out = p -> relu }" * 500), "UNI030"),
    "blocks that double": (
        "block A0 { out = in -> relu }\n"
        + "\n".join(f"block A{n} {{ out = in -> A{n - 1} -> A{n - 1} }}" for n in range(1, 60)),
        "UNI030",
    ),
    "a block that doubles with other arguments": (
        a_block("out = in -> if n > 0 { A(n - 1, 2 * m) -> A(n - 1, 2 * m + 1) }", "(n = 39, m = 0)"),
        "UNI030",
    ),
    "a block that doubles its argument": (
        a_block("out = in -> if n > 0 { A({ b -> b }, n - 1) } else { b }", "(b: block = relu, n = 30)"),
        "UNI030",
    ),
    "a block that crosses its arguments": (
        a_block(
            "out = in -> if n > 0 { A({ b -> c }, { c -> b }, n - 1) }", "(b: block = relu, c: block = gelu, n = 60)"
        ),
        None,
    ),
    "a mistake that doubles": (
        a_block(
            "x = in -> if n > 0 { A(n - 1, 3 * m) } else { nope }\n"
            "y = in -> if n > 0 { A(n - 1, 3 * m + 1) } else { nope }\n"
            "out = in -> if n > 0 { A(n - 1, 3 * m + 2) }",
            "(n = 20, m = 0)",
        ),
        "UNI030",
    ),
    # circles
    "a block that uses itself": (a_block("out = in -> A"), "UNI019"),
    "blocks that use each other": ("block A { out = in -> B } block B { out = in -> A }", "UNI019"),
    "a block that counts upwards": (a_block("out = in -> A(n + 1)", "(n = 0)"), "UNI019"),
    "a block that takes itself": (a_block("out = in -> b", "(b: block = A)"), "UNI019"),
    "a block that wraps its argument": (a_block("out = in -> A({ b -> relu })", "(b: block = relu)"), "UNI019"),
    "a network within itself": ("network N { input 3 x 8 x 8 stem N }", "UNI019"),
    # numbers
    "10^10000": (a_block("out = in", f"(k = 1{'0' * 10_000})"), "UNI004"),
    "1e999": (a_block("out = in", "(k = 1e999)"), "UNI004"),
    "1e9...9": (a_block("out = in", f"(k = 1e{'9' * 10_000})"), "UNI004"),
    "a long fraction": (a_block("out = in", f"(k = 0.{'0' * 10_000}1)"), "UNI004"),
    "a huge budget": (a_space(f"stem conv(3) budget params <= {'9' * 5_000}%"), "UNI004"),
    "a product that grows": (a_block("out = in -> conv(" + "1G * " * 500 + "1)"), "UNI004"),
    "a quotient that grows": (a_block("out = in", "(k = 1e11 // 1e-300)"), "UNI004"),
    "division by zero": (a_block("out = in", "(k = 1 / 0)"), "UNI022"),
    "rounded division by zero": (a_block("out = in", "(k = 1 // 0.0)"), "UNI022"),
    "remainder by zero": (a_block("out = in", "(k = 1 % 0)"), "UNI022"),
    "a tensor larger than any machine": ("network N { input 1G x 1G x 1G stem conv(1) }", "UNI020"),
    "a kernel larger than any machine": (a_block("out = in -> conv(1, 1099511627776)"), None),
    "a range of a thousand million": (a_space("choose k in 1..1000000000 stem conv(k)"), "UNI015"),
    "ranges of ranges": (a_space("stage 1..10000 x 1..10000 { conv(3) } " * 100), "UNI030"),
    "options without end": (a_space(f"choose k in {{{'1, ' * 60_000}1}} stem conv(k)"), "UNI030"),
    "digits of another script": (a_block("out = in -> conv(٣)"), "UNI002"),
    # wires that are somewhere else
    "a wire of the block around": (a_block("a = in -> relu out = in -> each p { out = p + a }"), "UNI014"),
    "a wire of the block around, as result": (a_block("a = in -> relu out = in -> each p { out = a }"), "UNI014"),
    "a wire of the block around, bundled": (
        a_block("a = in -> relu out = in -> each p { out = (p, a) -> add }"),
        "UNI014",
    ),
    "a position far outside": (a_block("out = in[1000000000000]"), "UNI021"),
    "a position below zero": (a_block("out = in[-1]"), "UNI015"),
    "a parameter called out": (a_block("x = in", "(out = 3)"), "UNI016"),
    # characters
    "NUL": (a_block("out = in \0"), "UNI002"),
    "half of a character": (a_block("out = in \ud800"), "UNI002"),
    "half of a character in a comment": ("# \ud800\nblock A { out = inn }", "UNI010"),
}


# -- what comes out of them ----------------------------------------------------------------------------------


def main() -> None:
    """Try all hostile texts under a limit on memory; write their names with the code of the mistake found."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found = {name: tried(text) for name, (text, _) in HOSTILE.items()}
    sys.stdout.write(json.dumps({name: problem and problem.code for name, problem in found.items()}))


def outcomes() -> dict[str, str | None]:
    """Hostile texts by name, with the code of their first mistake; None: there is nothing wrong with it."""
    if sys.platform == "win32":
        return {name: (problem := tried(text)) and problem.code for name, (text, _) in HOSTILE.items()}
    done = subprocess.run(
        [sys.executable, __file__],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads(done.stdout)


def test_hostile_texts():
    """All in one process and one test, which would be twenty seconds in each process that runs a part of them."""
    assert outcomes() == {name: code for name, (_, code) in HOSTILE.items()}


WORDS = [
    *NAMES, *NUMBERS, "50%", "block", "network", "space", "from", "import", "in", "->", "|", "=", "==", "<=", "..", "+",
    "-", "*", "/", "//", "%", "(", ")", "{", "}", "[", "]", ",", ".", ":", "repeat", "each", "if", "else", "as", "or",
    "not", "stem", "head", "stage", "input 3 x 8 x 8", "stride", "choose", "with", "budget", "params", "moves", "start",
    "true", "split", "chunk(2)", "concat", "add", "min", "#", "\n", "block A {", "network N {", "out = in",
]  # fmt: skip


@settings(max_examples=300)
@given(st.text(), st.binary())
@example("\ufeffblock A { out = in }", b"")
def test_any_characters(text, data):
    tried(text)
    tried(data.decode("latin-1"))


@settings(max_examples=300)
@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_any_words(words):
    tried(" ".join(words))


@settings(max_examples=150)
@given(texts())
def test_any_text_that_parses(text):
    tried(text)


@settings(max_examples=100)
@given(st.sampled_from(sorted(shipped().values())), st.data())
def test_a_shipped_file_with_one_word_changed(path, data):
    words = path.read_text(encoding="utf-8").split(" ")
    place = data.draw(st.integers(0, len(words) - 1))
    words[place] = data.draw(st.sampled_from(WORDS))
    tried(" ".join(words))


# -- work grows with the length of a text, not faster ----------------------------------------------------------


def calls(function: Callable[[], object]) -> int:
    """How many functions run while this one does."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


LONG = {
    "steps": lambda n: a_block("out = in" + " -> relu" * n),
    "statements": lambda n: a_block("a0 = in\n" + numbered("a@ = in -> relu", n)[2:] + f" out = a{n - 1}"),
    "labels": lambda n: a_block("out = in" + numbered(" -> relu as a@", n)),
    "sums": lambda n: a_block("out = in -> relu" + numbered(" -> relu", n), "(k = 0" + " + 1" * n + ")"),
    "definitions": lambda n: numbered("block A@ { out = in -> relu }", n),
    "arguments": lambda n: a_block("out = in -> max_pool(3, 1, " + "1" * n + ")"),
    "comments": lambda n: "# a\n" * n + "block A { out = in }",
    "mistakes": lambda n: a_block(numbered("a@ = in -> nope@", n) + " out = in"),
    "syntax errors": lambda n: numbered("block A@ { out = -> }", n),
    "layers that each add channels": lambda n: (
        "block L { out = (in, in -> conv(4, 1)) -> concat }\n"
        f"network d {{ input 4 x 8 x 8  stage {4 + 4 * n} {{ L x {n} }} }}"
    ),
    "stage items": lambda n: a_space("stage 3 { " + "conv(3), " * n + "}"),
}


@pytest.mark.parametrize("what", LONG)
def test_twice_the_text_is_twice_the_work(what):
    tried(LONG[what](10))
    once, twice = (calls(lambda n=n: tried(LONG[what](n))) for n in (400, 800))
    assert twice < 2.3 * once + 1_000


def test_twice_the_blocks_of_one_name_are_printed_with_twice_the_work():
    def many(count):
        steps = " -> ".join(f"Bottle({number})" for number in range(1, count + 1))
        bottle = "block Bottle(n) { out = in -> conv(n, 1) -> conv(8, 1) }"
        return load(f"{bottle} block B {{ input 8 x 4 x 4  out = in -> {steps} }}")

    dumps(many(10))
    small, large = many(200), many(400)
    once, twice = calls(lambda: dumps(small)), calls(lambda: dumps(large))
    assert twice < 2.3 * once


@pytest.mark.parametrize("name", shipped())
def test_shipped_networks_stay_far_below_the_bound_on_work(name):
    module = load_file(shipped()[name])
    run = Elaborator(lambda choice: 0)
    definition = module.definitions[name]
    if any(type(member).__name__ in ("Section", "Stage") for member in definition.members):
        run.collected(lambda: run.top(module, definition, None, {}))
    assert run.steps < core.MAX_WORK / 10


# -- files ---------------------------------------------------------------------------------------------------


def refused(path: Path, roots: tuple[Path, ...] = ()) -> UninasError:
    with pytest.raises(UninasError) as caught:
        load_file(path, roots)
    assert str(caught.value)
    return caught.value


def test_a_file_of_50_mb_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.uni"
    with path.open("wb") as file:
        file.truncate(50 << 20)  # zeros: reading them would give another mistake
    assert "at most 1,048,576 bytes" in str(refused(path))


@pytest.mark.parametrize("data", [b"\xff\xfe", "block Ä".encode("latin-1"), b"\x80" * 100])
def test_a_file_that_is_not_utf_8(tmp_path, data):
    path = tmp_path / "bad.uni"
    path.write_bytes(data)
    assert "expected UTF-8" in str(refused(path))


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "marked.uni"
    path.write_bytes(b"\xef\xbb\xbfblock A { out = in }")
    assert list(load_file(path).definitions) == ["A"]


def test_what_is_no_file(tmp_path):
    assert refused(tmp_path / "missing.uni").code == "UNI001"
    assert refused(tmp_path).code == "UNI001"
    assert refused(tmp_path / "a\0b.uni").code == "UNI001"
    assert refused(tmp_path / ("a" * 5_000)).code == "UNI001"


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes and symbolic links")
def test_pipes_and_links_to_themselves(tmp_path):
    os.mkfifo(tmp_path / "pipe.uni")
    (tmp_path / "loop.uni").symlink_to(tmp_path / "loop.uni")
    (tmp_path / "main.uni").write_text("from loop import A\nfrom pipe import A")
    assert refused(tmp_path / "pipe.uni").code == "UNI001"
    assert refused(tmp_path / "loop.uni").code == "UNI001"
    assert [found.code for found in refused(tmp_path / "main.uni").diagnostics] == ["UNI017", "UNI017"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_link_does_not_lead_out_of_a_root(tmp_path):
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (tmp_path / "secret.uni").write_text("block Secret { out = in }")
    (root / "linked.uni").symlink_to(tmp_path / "secret.uni")
    (root / "up").symlink_to(tmp_path)
    (root / "main.uni").write_text("from linked import Secret\nfrom up.secret import Secret")
    assert [found.code for found in refused(root / "main.uni").diagnostics] == ["UNI017", "UNI017"]
    assert load_file(tmp_path / "secret.uni").find("Secret")


@pytest.mark.parametrize("path", ["a" * 150 + "." + "b" * 150, ".".join(["deep"] * 3_000), "blocks"])
def test_imports_that_lead_nowhere(tmp_path, path):
    (tmp_path / "main.uni").write_text(f"from {path} import A")
    assert refused(tmp_path / "main.uni").code == "UNI017"


def test_files_that_import_each_other(tmp_path):
    for name, other in [("a", "b"), ("b", "c"), ("c", "a")]:
        (tmp_path / f"{name}.uni").write_text(f"from {other} import X\nblock X {{ out = in }}")
    assert "a.uni -> b.uni -> c.uni -> a.uni" in str(refused(tmp_path / "a.uni"))


def test_imports_a_thousand_files_deep(tmp_path):
    for number in range(1_000):
        (tmp_path / f"f{number}.uni").write_text(f"from f{number + 1} import A\nblock A {{ out = in }}")
    assert refused(tmp_path / "f0.uni").code == "UNI030"


def test_every_file_is_read_once_however_many_import_it(tmp_path, monkeypatch):
    depth = 40  # 2^40 paths lead to the deepest files
    for level in range(depth):
        imports = f"from left{level + 1} import Left{level + 1}\nfrom right{level + 1} import Right{level + 1}\n"
        for side in ("left", "right"):
            text = f"block {side.capitalize()}{level} {{ out = in }}"
            (tmp_path / f"{side}{level}.uni").write_text((imports if level + 1 < depth else "") + text)
    read: list[Path] = []
    monkeypatch.setattr(library, "read_source", lambda path: read.append(path) or read_source(path))
    assert load_file(tmp_path / "left0.uni").find("Right1")
    assert len(read) == len(set(read)) == 2 * depth - 1


def test_large_files_that_import_large_files(tmp_path):
    count = MAX_CHARACTERS // MAX_FILE_BYTES + 1
    padding = "#" * (MAX_FILE_BYTES - 100)
    for number in range(count):
        (tmp_path / f"f{number}.uni").write_text(f"block A {{ out = in }}\n{padding}")
    (tmp_path / "main.uni").write_text("\n".join(f"from f{number} import A" for number in range(count)))
    assert "UNI030" in [found.code for found in refused(tmp_path / "main.uni").diagnostics]


def test_the_longest_text_that_is_allowed():
    text = a_block("out = in" + " -> relu" * (MAX_TOKENS // 2))
    assert tried(text).code == "UNI030"
    assert tried(text.replace(" -> relu", "", 10)) is None


if __name__ == "__main__":
    main()
