"""What people wait for, and how large things are: a run as a DataFrame, the language server, texts for language models.

    PYTHONPATH=tests python benchmarks/people.py [--candidates 100000] [--tokenizer FOLDER] [--page PAGE]

FOLDER is one in which `npm install gpt-tokenizer` was run; without it, tokens are not counted. Needs the extras
`frames` and `test`, and node for the tokens.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import bench_store
from helpers.editor import Editor
from helpers.gbnf import Gbnf

import uninas
from uninas.language.grammars import FORMS, grammar
from uninas.language.library import load_text
from uninas.language.parser import lark_parser
from uninas.language.resources import library_root
from uninas.search.store import Store

ROOT = Path(__file__).resolve().parent.parent
TOKENS = "console.log(require('gpt-tokenizer').encode(require('fs').readFileSync(0, 'utf8')).length)"
LINES = 60  # of the file in the editor
TIMES = 9
LAYOUT = {"tabSize": 4, "insertSpaces": True}
TEXT = """# Squeeze-and-excitation gate (Hu et al. 2018), number {n}.
block Gate{n}(hidden = C / 4) {{
    gate = in -> global_avg_pool -> conv(hidden, 1) -> gelu -> conv(C, 1) -> sigmoid
    out = in * gate
}}

"""


def seconds(call: Callable[[], Any], times: int = TIMES) -> float:
    """The median time of a call."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return median(found)


def processor(process: int) -> float:
    """Seconds of a processor that a process has used, as Linux counts them."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def frame(candidates: int) -> list[tuple[str, str]]:
    """How long a run with so many candidates takes to become a DataFrame."""
    bench_store.MODELS = 100
    with tempfile.TemporaryDirectory() as folder:
        known = list(bench_store.models())
        with Store(Path(folder)) as store:
            store.put({"objectives": [[("score", "higher")]], "iterations": candidates, "space": "UniNAS"})
            store.add(*bench_store.synthetic(known, 0))
            bench_store.fill(store, known, range(1, candidates))
        with uninas.open_run(folder) as run:
            began = time.process_time()
            table = run.frame()
            took = time.process_time() - began
    return [(f"`open_run(...).frame()`, {len(table):,} candidates, {len(table.columns)} columns", f"{took:.1f} s")]


def editor() -> list[tuple[str, str]]:
    """How long the language server takes to answer about a file of 60 lines, over its standard input and output."""
    text = "".join(TEXT.format(n=n) for n in range(LINES))
    text = "\n".join(text.split("\n")[:LINES]) + "\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gates.uni"
        server = Editor(Path(folder))
        server.open(path, text)
        server.problems(path)
        document = {"textDocument": {"uri": path.as_uri()}}
        whole = {"start": {"line": 0, "character": 0}, "end": {"line": LINES, "character": 0}}

        def typed() -> None:
            """One letter more, and the mistakes that are then published."""
            changes = [{"text": f"{text}# {time.perf_counter_ns()}\n"}]
            server.tell("textDocument/didChange", textDocument={"uri": path.as_uri(), "version": time.perf_counter_ns()
                        % 2**31}, contentChanges=changes)  # fmt: skip
            server.problems(path)

        asked: dict[str, Callable[[], Any]] = {
            "mistakes after a letter": typed,
            "completion": lambda: server.about("completion", path, text, "-> gel"),
            "hover": lambda: server.about("hover", path, text, "global_avg"),
            "shapes behind the arrows": lambda: server.ask("textDocument/inlayHint", **document, range=whole),
            "outline": lambda: server.ask("textDocument/documentSymbol", **document),
            "layout": lambda: server.ask("textDocument/formatting", **document, options=LAYOUT),
        }
        found = []
        for what, call in asked.items():
            began = processor(server.process.pid)
            waited = seconds(call)
            used = (processor(server.process.pid) - began) / TIMES
            found.append((f"language server: {what}", f"{1000 * waited:.0f} ms, {1000 * used:.0f} ms of the processor"))
        server.ask("shutdown")
        server.tell("exit")
        server.process.wait(30)
    return found


def texts(tokenizer: Path | None) -> list[tuple[str, str]]:
    """Sizes of the texts for language models."""
    subprocess.run([sys.executable, ROOT / "docs" / "llms.py"], check=True, capture_output=True)
    found = []
    for name in ("llms.txt", "llms-full.txt"):
        text = (ROOT / "docs" / "_llms" / name).read_text(encoding="utf-8")
        size = f"{len(re.findall(r'[A-Za-z0-9_]+|[^A-Za-z0-9_ ]', text)):,} words and signs"
        if tokenizer is not None:
            done = subprocess.run(["node", "-e", TOKENS], input=text, capture_output=True, text=True, check=True,
                                  env={**os.environ, "NODE_PATH": str(tokenizer / "node_modules")})  # fmt: skip
            size = f"{int(done.stdout):,} tokens (o200k), {size}"
        found.append((f"`{name}`", size))
    return found


def grammars() -> list[tuple[str, str]]:
    """The share of the shipped files that each exported grammar takes."""
    shipped = [path.read_text(encoding="utf-8") for path in sorted(library_root().rglob("*.uni"))]
    for text in shipped:
        load_text(text)
    takes: dict[str, Callable[[str], bool]] = {"lark": _by_lark, "llguidance": _by_llguidance(), "gbnf": _by_gbnf()}
    return [
        (f"shipped files that the grammar for {form} takes", f"{sum(map(takes[form], shipped))} of {len(shipped)}")
        for form in FORMS
    ]


def _by_lark(text: str) -> bool:
    try:
        lark_parser().parse(text)
    except Exception:  # of the parser: it takes the text or not
        return False
    return True


def _by_llguidance() -> Callable[[str], bool]:
    import llguidance

    form = llguidance.LLMatcher.grammar_from_lark(grammar("llguidance"))
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), form)

    def takes(text: str) -> bool:
        matcher.reset()
        data = text.encode()
        return bool(matcher.try_consume_tokens(list(data)) == len(data) and matcher.is_accepting())

    return takes


def _by_gbnf() -> Callable[[str], bool]:
    matcher = Gbnf(grammar("gbnf"))
    return lambda text: matcher(text)[1]


def pages() -> list[tuple[str, str]]:
    """How many pages of reference are generated."""
    sys.path.insert(0, str(ROOT / "docs"))
    import reference

    return [("generated pages of reference", f"{len(reference.PAGES)}, and the page of operations")]


WALK = "## A walk"
"""The heading of what a person found, which no script can measure and none overwrites."""


def page(rows: Sequence[tuple[str, str]], command: str, before: str = "") -> str:
    """The page of results, with the walk of the page before."""
    lines = [f"| {what} | {figure} |" for what, figure in rows]
    return "\n".join([
        "# What people wait for", "",
        f"Measured on {datetime.now(UTC).date().isoformat()}, at a load of {os.getloadavg()[0]:.0f} on "
        f"{os.cpu_count()} cores and a niceness of {os.nice(0)}, by", "",
        f"    {command}", "",
        "The time of the frame is that of the processor, the times of the language server are waited for, over its",
        "standard input and output, medians, with the time that its process used beside it: it answers one after the",
        "other, and holds nothing back. Mistakes are waited for together with an outline. Grammars for GBNF are",
        "followed by a matcher of our own (`tests/helpers/gbnf.py`), which shares nothing with what writes them.", "",
        "| what | figure |", "|---|---|", *lines, "", *([WALK + before.partition(WALK)[2]] if WALK in before else []),
    ])  # fmt: skip


def main() -> None:
    """Measure everything, and print or write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--page", type=Path)
    asked = parser.parse_args()
    rows = [*editor(), *grammars(), *texts(asked.tokenizer), *pages(), *frame(asked.candidates)]
    command = f"PYTHONPATH=tests python benchmarks/people.py --candidates {asked.candidates}"
    command += " --tokenizer FOLDER" * (asked.tokenizer is not None) + f" --page {asked.page}" * (
        asked.page is not None
    )
    before = asked.page.read_text(encoding="utf-8") if asked.page and asked.page.exists() else ""
    made = page(rows, command, before)
    if asked.page:
        asked.page.write_text(made, encoding="utf-8")
    sys.stdout.write(made)


if __name__ == "__main__":
    main()
