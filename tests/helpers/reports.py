"""Runs for the tests of reports, and a page read as a browser would."""

import atexit
import base64
import gzip
import json
import re
import shutil
import sqlite3
import tempfile
from dataclasses import replace
from functools import cache
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

from click.testing import CliRunner

from uninas.cli.search import search
from uninas.search.candidate import Candidate
from uninas.search.store import FILE, Store

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{x}}${y}$$z$$&lt;"
SPACE = """
block Body { out = in + (in -> conv(C, 3) -> batch_norm -> relu) }

network tiny {
    input 3 x 16 x 16
    stem conv(8, 3, stride=2)
    stage 8 x 2 { Body }
    stage 16 x 2 stride 2 { conv(width, 1, stride=stride) -> Body }
    head global_avg_pool -> linear(10)
}

space Tiny {
    start tiny
    moves insert 0.7 { conv(C, 1), depthwise_conv(3), gelu, copy -> add, Body }, remove 0.3
    budget params <= 20k
}
"""


def searched(folder, *more, iterations=12):
    """A run of the tiny space in this folder: a copy, which a test may change, of one that was made before.

    A run that is there goes on.
    """
    if folder.exists():
        _search("--resume", "-o", folder, "--iterations", iterations)
        return folder
    (folder.parent / "tiny.uni").write_text(SPACE)
    return shutil.copytree(_made_once(more, iterations), folder)


@cache
def _made_once(more, iterations):
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place)
    (place / "tiny.uni").write_text(SPACE)
    _search(place / "tiny.uni", "--proxy", "params", "--seed", 3, "--iterations", iterations, "-j", 0,
            "-o", place / "run", *more)  # fmt: skip
    return place / "run"


def _search(*arguments):
    result = CliRunner().invoke(search, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output


def part(page, name):
    """What a page carries under a name, unpacked."""
    found = re.search(rf'<script type="text/plain" id="part-{name}">([A-Za-z0-9+/=]*)</script>', page)
    return gzip.decompress(base64.b64decode(found[1])).decode()


def data(page):
    return json.loads(part(page, "data"))


class Markup(HTMLParser):
    """The elements of a page, with their attributes, and the text of its scripts. Knows when one is left open."""

    VOID = frozenset({"meta", "img", "br", "input", "link", "wbr"})

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.scripts, self.open = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += text


def texts_of(found):
    """The texts of all candidates of a page by number, made from their changes as the page makes them."""
    lines = {}
    for number, change in zip(found["columns"]["number"], found["changes"], strict=True):
        base, changes = change
        lines[number] = applied(lines[base] if base is not None else [], changes)
    return {number: "\n".join(some) + "\n" for number, some in lines.items()}


def applied(before, changes):
    after, at = [], 0
    for place, gone, come in changes:
        after += [*before[at:place], *come]
        at = place + gone
    return after + before[at:]


def made(folder, count, **changes):
    """A run of synthetic candidates, each with a parent and a line more or less in its text."""
    base = [f"block B{i} {{ out = in -> conv(C, {i}) }}" for i in range(40)]
    rows = []
    for number in range(count):
        lines = list(base)
        lines[number % 40] += f" # {number}"
        failed = number % 50 == 9
        candidate = Candidate(
            number, None if number == 0 else number // 2, None, sha256(str(number).encode()).hexdigest(),
            10_000 + 37 * number % 999, 5 * 10**6 + number, 40, None if failed else 1 + (number * 7919 % 1000) / 1e3,
            {"trace": number / 7}, "the score is nan" if failed else None, seed=number * 10**14, seconds=0.25,
            reason="nan" if failed else None, worker="main", started=1.79e9 + number,
        )  # fmt: skip
        rows.append((replace(candidate, **changes), "\n".join(lines) + "\n"))
    with Store(folder) as kept:
        kept.put({"space": "tiny.uni", "proxy": "vkdnw", "seed": 1, "iterations": count - 1,
                  "objectives": [[["vkdnw", "higher"]]]})  # fmt: skip
        kept.add_all(rows)
    return folder


def hostile_run(tmp_path):
    """A run in which everything that may be a text is an attack on the page."""
    folder = made(tmp_path / 'a"><img src=x onerror=alert(0)>', 12, worker=HOSTILE, failure=HOSTILE, reason=HOSTILE)
    with sqlite3.connect(folder / FILE) as db:
        values = HOSTILE, HOSTILE, f'{{"{HOSTILE}": 1}}'
        db.execute("UPDATE candidates SET edit = ?, key = key || ?, components = ?", values)
        db.execute("INSERT OR REPLACE INTO settings VALUES ('space', ?)", (f'"{HOSTILE}"',))
        db.execute("INSERT OR REPLACE INTO settings VALUES (?, '1')", (HOSTILE,))
        db.execute("INSERT OR REPLACE INTO settings VALUES ('objectives', ?)", (f'[[["{HOSTILE}", "higher"]]]',))
    db.close()
    return folder
