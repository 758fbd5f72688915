"""What the page shows, as plain values ready for JSON. A run's numbers become columns, its texts changes of texts.

Two neighbours of a search differ in a line or two, so each text is kept as what changed from its parent's. That is
about a hundredth of the size, and it is also the difference that a reader wants to see.
"""

from __future__ import annotations

import difflib
import json
import platform
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from uninas.errors import UninasError, shown
from uninas.report.reading import Reader, Row, Texts
from uninas.search.opened import open_run
from uninas.search.texts import is_path
from uninas.version import __version__

MAX_ROWS = 50_000  # candidates on a page; a run with more shows its best
MAX_CHANGED = 48 * 2**20  # characters of changed lines on a page; beyond, candidates are without text
MAX_COMPARED = 4_000_000  # lines times lines to compare; larger differences are shown as one replacement
MAX_COMPONENTS = 40
MAX_CHOICES = 400

FIELDS = ("number", "parent", "mate", "rung", "params", "macs", "activations", "peak", "operations", "score", "key",
          "edit", "kind", "reason", "failure", "seed",
          "worker")  # fmt: skip
ASKED = (
    "start", "starts", "strategy", "tuning", "proxy", "options", "further", "cheap", "iterations", "seed", "params_min",
    "params_max", "flops_min", "flops_max", "fits", "img_size", "classes", "batch_size", "images", "fold", "device",
    "init", "threads", "ahead", "asynchronous", "even",
)  # fmt: skip
"""Settings that decide which candidates a run meets, as `uninas search` asks for them."""
FLAGS = {
    "starts": "--start", "images": "--input", "tuning": "--strategy-option", "options": "--option",
    "further": "--objective", "even": "--sample-moves", "ahead": "--in-flight", "asynchronous": "--async",
}  # fmt: skip
KEY_SHOWN = 16  # digits of the SHA-256 that tell candidates apart

Change = tuple[int, int, list[str]]
"""At a line of the old text, so many lines went and these came; places count in the old text."""


class Content:
    """A run as the page sees it, growing with the run. `new()` gives what was not given before."""

    def __init__(self, reader: Reader):
        self.reader = reader
        self.rows: list[Row] = []
        self._seen: set[int] = set()
        self.left_out = 0
        self._room = MAX_CHANGED

    def about(self) -> dict[str, Any]:
        """Everything but the candidates: settings, what is better, how to run it again."""
        settings = self.reader.settings()
        return {
            "folder": self.reader.folder.resolve().name,
            "settings": [
                [name, spoken_budget(settings[name]) if name == "budget" else words(settings[name])]
                for name in dict.fromkeys(("space", *ASKED, *settings))
                if name in settings and name != "texts"
            ],
            "objectives": objectives(settings),
            "rungs": rungs(settings),
            "limits": limits(settings.get("budget")),
            "goal": settings.get("iterations") if isinstance(settings.get("iterations"), int) else None,
            "command": command(settings, str(self.reader.folder)),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "by": f"uninas-toolkit {__version__}, Python {platform.python_version()}",
            "left_out": self.left_out,
        }

    def new(self) -> dict[str, Any]:
        """The candidates that came since the last call, as columns, and their texts."""
        rows = list(self.reader.rows(leaving_out=self._seen))
        self._seen.update(row.number for row in rows)
        fresh = self._kept(rows)
        self.rows += fresh
        with self.reader.texts() as texts:
            changes = [self._change(row, texts) for row in fresh]
        return {"columns": columns(fresh) | {"choices": self._choices(fresh)}, "changes": changes}

    def _choices(self, rows: Sequence[Row]) -> dict[str, list[str | None]]:
        """The value of every choice, one list for each; nothing for a space of moves."""
        settings = self.reader.settings()
        texts = settings.get("texts")
        kept = isinstance(texts, dict) and bool(texts.get("space"))
        if not any(row.kind == "choose" for row in self.rows) or (is_path(words(settings.get("space"))) and not kept):
            return {}
        try:
            with open_run(self.reader.folder) as run:
                chosen = run.answers()
        except UninasError:  # somebody has changed the run
            return {}
        found = [chosen.get(row.number, {}) for row in rows]
        names = list(dict.fromkeys(name for one in found for name in one))[:MAX_CHOICES]
        return {shown(name): [shown(one[name]) if name in one else None for one in found] for name in names}

    def _kept(self, rows: list[Row]) -> list[Row]:
        """The start and the best, as many as there is room for."""
        room = max(0, MAX_ROWS - len(self.rows))
        if len(rows) <= room:
            return rows
        self.left_out += len(rows) - room
        first = [] if self.rows else rows[:1]
        best = ranked(rows[len(first) :], objectives(self.reader.settings()))
        return sorted([*first, *best][:room], key=lambda row: row.number)

    def _change(self, row: Row, texts: Texts) -> tuple[int | None, list[Change]] | None:
        """The candidate whose text this one's is described by, and the changes; None where there is no text."""
        text = texts[row.number] if self._room > 0 else None
        if text is None:
            return None
        base = row.parent if row.parent is not None and row.parent < row.number else 0
        before = texts[base] if base != row.number else None
        changes = changed((before or "").splitlines(), text.splitlines())
        self._room -= sum(len(line) for _, _, lines in changes for line in lines)
        return (None if before is None else base), changes


def columns(rows: Sequence[Row]) -> dict[str, Any]:
    """The candidates, one list per column."""
    found: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in FIELDS}
    found["key"] = [key[:KEY_SHOWN] for key in found["key"]]
    found["seconds"] = [None if row.seconds is None else round(row.seconds, 4) for row in rows]
    found["started"] = [None if row.started is None else round(row.started, 2) for row in rows]
    found["refused"] = [int(sum(row.refused.values())) for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row.components))[:MAX_COMPONENTS]
    found["components"] = {name: [row.components.get(name) for row in rows] for name in names}
    return found


def changed(before: Sequence[str], after: Sequence[str]) -> list[Change]:
    """How to make one list of lines from another.

    >>> changed(["a", "b", "c"], ["a", "B", "c", "d"])
    [(1, 1, ['B']), (3, 0, ['d'])]
    """
    head = _common(before, after, len(before), len(after))
    room = min(len(before), len(after)) - head
    tail = _common(before[::-1], after[::-1], room, room)
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    if len(old) * len(new) > MAX_COMPARED:
        return [(head, len(old), list(new))]
    steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [(head + at, to - at, list(new[low:high])) for tag, at, to, low, high in steps if tag != "equal"]


def _common(one: Sequence[str], other: Sequence[str], *most: int) -> int:
    """Number of equal lines at the beginning."""
    at = 0
    while at < min(most) and one[at] == other[at]:
        at += 1
    return at


def ranked(rows: Iterable[Row], aims: Sequence[tuple[str, str]]) -> list[Row]:
    """Candidates by score, the best first; those of the last rung before others, failures last."""
    sign = -1 if aims[0][1] == "higher" else 1
    return sorted(rows, key=lambda row: (row.score is None, -row.rung, sign * (row.score or 0.0), row.number))


def objectives(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The objectives of the last rung as (name, 'higher' or 'lower'), the score first."""
    stored = settings.get("objectives")
    found = _aims(stored[-1]) if isinstance(stored, list) and stored else []
    return found or [(words(settings.get("proxy", "score")), "higher")]


def rungs(settings: Mapping[str, Any]) -> list[str]:
    """The name of the score at each rung; one name where there are no cheaper rungs."""
    stored = settings.get("objectives")
    names = [_aims(rung)[:1] for rung in stored[:-1]] if isinstance(stored, list) else []
    return [name for rung in names for name, _ in rung or [("score", "")]] + [objectives(settings)[0][0]]


def _aims(rung: Any) -> list[tuple[str, str]]:
    pairs = [(words(aim[0]), words(aim[1])) for aim in rung if _pair(aim)] if isinstance(rung, list) else []
    return [(name, way) for name, way in pairs if way in ("higher", "lower")]


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def limits(budget: Any) -> dict[str, tuple[float | None, float | None]]:
    """The budget as it is stored: '20.0 <= params <= 30.0; ...' -> {'params': (20.0, 30.0)}."""
    found = re.findall(r"(\S+) <= (\w+) <= ([^;\s]+)(?=;|$)", budget) if isinstance(budget, str) else []
    return {name: (_side(low), _side(high)) for low, name, high in found}


def spoken_budget(budget: Any) -> str:
    """The budget as it is stored, without the sides that are open.

    >>> spoken_budget("None <= flops <= 900.0; 20.0 <= params <= None")
    'flops <= 900; 20 <= params'
    """
    text = re.sub(r"\bNone <= | <= None\b", "", words(budget))
    return re.sub(r"(\d)\.0\b", r"\1", text)


def _side(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d{1,15})?(e\+?\d\d)?", text) else None


def command(settings: Mapping[str, Any], folder: str) -> str:
    """The command line that begins the same run in another folder."""
    parts = ["uninas", "search", words(settings.get("space", "SPACE"))]
    for name in ASKED:
        value = settings.get(name)
        flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
        if isinstance(value, dict):
            parts += [word for key, one in value.items() for word in (flag, f"{key}=" * bool(key) + _plain(one))]
        elif isinstance(value, list):
            parts += [word for one in value for word in (flag, words(one))]
        elif value is True:
            parts.append(flag)
        elif value is not None and value is not False and value != "":
            parts += [flag, words(value)]
    return shlex.join([*parts, "-o", f"{folder.rstrip('/')}-again"])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def words(value: Any) -> str:
    """A setting as a person would write it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, dict):
        shown = ((f"{name} = " * bool(name), one) for name, one in value.items() if one not in (None, ""))
        return ", ".join(head + words(one) for head, one in shown)
    if isinstance(value, list):
        return ", ".join(map(words, value))
    return "" if value is None else str(value)
