"""Fresh processes in which torch and this package are loaded already, and no plug-in: forked from one that loaded them.

To load them takes longer than most of what a test does in a process of its own. What a test says about loading itself,
or about signals to a process that it knows, needs a real start.
"""

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import gc, json, os, runpy, sys
import torch
import uninas.cli.main, uninas.cli.rank, uninas.cli.search, uninas.ranking.run, uninas.runs.scorer, uninas.search.run
from uninas import plugins
assert not plugins._state.complete, "nothing that is loaded may have asked for plug-ins yet"
gc.freeze()

def served():
    for line in sys.stdin:
        children = []
        for order in json.loads(line):
            children.append(os.fork())
            if not children[-1]:
                return order
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
    sys.exit()

order = served()
for number, path in enumerate((os.devnull, order["stdout"], order["stderr"])):
    os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND if number else os.O_RDONLY), number)
sys.stdin = open(0)
os.chdir(order["cwd"])
os.environ.clear()
os.environ.update(order["environment"])
kind, what, *rest = order["arguments"]
named = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
sys.path[:1] = [os.getcwd() if kind == "-m" else "", *named]
if kind == "-m":
    sys.argv = [what, *rest]
    runpy.run_module(what, run_name="__main__", alter_sys=True)
else:
    sys.argv = ["-c", *rest]
    exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
"""


@dataclass(frozen=True)
class Start:
    """A process to start: what follows `python` (-m or -c), where, and what its environment has beside that of here."""

    arguments: Sequence[object]
    cwd: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)


def fresh(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `python ARGUMENTS` said, and how it ended."""
    (done,) = together(Start(arguments, cwd, environment))
    return done


def together(*starts: Start) -> list[subprocess.CompletedProcess[str]]:
    """The same for several processes at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        orders = []
        for number, start in enumerate(starts):
            said = {name: str(Path(folder) / f"{number}.{name}") for name in ("stdout", "stderr")}
            for path in said.values():
                Path(path).touch()
            orders.append({"arguments": list(map(str, start.arguments)), "cwd": str(start.cwd or Path.cwd()),
                           "environment": {**os.environ, **start.environment}, **said})  # fmt: skip
        server = _server()
        assert server.stdin and server.stdout
        server.stdin.write(json.dumps(orders) + "\n")
        server.stdin.flush()
        codes = json.loads(server.stdout.readline())
        return [
            subprocess.CompletedProcess(
                order["arguments"], code, *(Path(order[name]).read_text() for name in ("stdout", "stderr"))
            )
            for order, code in zip(orders, codes, strict=True)
        ]


@functools.cache
def _server() -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    atexit.register(server.communicate)  # its input ends, and so does it
    return server
