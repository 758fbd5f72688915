"""The database of a run: settings and candidates in one SQLite file, written ahead so that nothing is half there.

A candidate is one row of `candidates`, written in one transaction when its score is known:

| column | what it holds |
|---|---|
| number | order in which candidates were asked for; 0 is the start. Rows may come in another order |
| parent, mate | numbers that it was made from: one by a move, two by a crossover, none for the start or a free draw |
| edit | JSON of `uninas.mutate.record`: what was done to the parent; NULL for none |
| rung | fidelity of its score, from 0 (the cheapest) to the last; always 0 unless there are several |
| key | SHA-256 of the architecture's canonical text; one row for each key and rung |
| params, macs | parameters; multiply-accumulates for one sample (FLOPs are twice that) |
| activations, peak | elements of all results, and the most alive at once, for one sample |
| operations | number of operations |
| score | what the objective of its rung measured; NULL when it failed. Whether more is better: `objectives` |
| components | JSON object: the further objectives by name, and whatever else was measured on the way |
| reason | NULL, or why there is no score, in a word: error, nan, memory, time, crash |
| failure | NULL, or the same as a sentence |
| seed | of weights and images |
| worker | who scored it |
| started | when scoring began, in seconds since 1970 |
| seconds | how long it took |
| refused | JSON object: draws refused before its edit was accepted, by reason |

`texts` holds the architectures by number, with every attribute written out, compressed with the start's text as the
dictionary (most are a few hundred bytes); a candidate that climbed a rung has the text of its parent. `totals` keeps
counts for each rung and reason ('' for a score), `refusals` the refused draws by reason, and `front` the candidates of
the last rung that no other beats in all objectives (as a JSON list, turned so that more is better), so that these cost
nothing to ask for. `settings` holds JSON values by name: all of `plan.Settings`, what they stood for, and `objectives`,
`iterations`, `version`.
"""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uninas.errors import UninasError, error, shown
from uninas.mutate import Edit, read_edit, record
from uninas.runs.database import WAIT, Database, Form
from uninas.search.candidate import Candidate
from uninas.search.front import beats

FILE = "run.sqlite"
MAX_TEXT = 16 * 2**20  # bytes of an architecture's text; a file that claims more was not written by us

_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE candidates (
    number INTEGER PRIMARY KEY, parent INTEGER, mate INTEGER, edit TEXT, rung INTEGER NOT NULL, key TEXT NOT NULL,
    params INTEGER NOT NULL, macs INTEGER NOT NULL, activations INTEGER NOT NULL, peak INTEGER NOT NULL,
    operations INTEGER NOT NULL, score REAL, components TEXT NOT NULL, reason TEXT, failure TEXT, seed INTEGER NOT NULL,
    worker TEXT NOT NULL, started REAL NOT NULL, seconds REAL NOT NULL, refused TEXT NOT NULL
);
CREATE UNIQUE INDEX candidates_by_key ON candidates (key, rung);
CREATE INDEX candidates_by_score ON candidates (rung, score) WHERE score IS NOT NULL;
CREATE TABLE texts (number INTEGER PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE totals (
    rung INTEGER, reason TEXT, candidates INTEGER NOT NULL, seconds REAL NOT NULL, first REAL NOT NULL,
    last REAL NOT NULL, PRIMARY KEY (rung, reason)
) WITHOUT ROWID;
CREATE TABLE refusals (reason TEXT PRIMARY KEY, draws INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE front (number INTEGER PRIMARY KEY, merits TEXT NOT NULL);
"""
FORM = Form(FILE, "run", 0x554E4953, 5, _SCHEMA, "begin one: uninas search SPACE -o FOLDER")  # 'UNIS'


@FORM.migration(4)
def _protocol(db: sqlite3.Connection) -> None:
    """Scores of before were drawn in another way (`protocol`), so no module can be scored there any more."""
    if db.execute("SELECT count(*) FROM settings").fetchone()[0]:
        db.execute("INSERT OR REPLACE INTO settings VALUES ('protocol', '1')")


COLUMNS: Mapping[str, str] = {
    "number": "count", "parent": "count?", "mate": "count?", "edit": "text?", "rung": "count", "key": "text",
    "params": "count", "macs": "count", "activations": "count", "peak": "count", "operations": "count",
    "score": "real?", "components": "numbers", "reason": "text?", "failure": "text?", "seed": "count",
    "worker": "text", "started": "real", "seconds": "real", "refused": "numbers",
}  # fmt: skip
"""The columns of `candidates`, and what is in each; one with ? may be NULL."""
_NAMES = ", ".join(COLUMNS)
_INSERT = f"INSERT INTO candidates ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_COUNT = """
INSERT INTO totals VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT DO UPDATE SET
    candidates = candidates + 1, seconds = seconds + excluded.seconds,
    first = min(first, excluded.first), last = max(last, excluded.last)
"""
_DISCOUNT = "UPDATE totals SET candidates = candidates - 1, seconds = seconds - ? WHERE rung = ? AND reason = ?"
_REFUSE = "INSERT INTO refusals VALUES (?, ?) ON CONFLICT DO UPDATE SET draws = draws + excluded.draws"


@dataclass(frozen=True)
class Total:
    """How many candidates of one rung ended in one way (reason None: with a score), and what they took."""

    rung: int
    reason: str | None
    candidates: int
    seconds: float
    first: float
    last: float


class Store(Database):
    """The candidates of a run. Raises UNI070 when the file cannot be used.

    Any number of processes may read while one writes. To look only, open it with `read_only=True`, which never makes
    or changes a file and leaves a running search alone:

        with Store(folder, read_only=True) as store:
            best = store.best()[0]
            text = store.text(best.number)
    """

    def __init__(self, folder: Path, *, read_only: bool = False):
        self._start: bytes | None = None
        super().__init__(folder, FORM, read_only=read_only)

    @property
    def objectives(self) -> list[tuple[str, str]]:
        """(name, 'higher' or 'lower': what is better) of the last rung, the score first. Empty before a run begins."""
        return (self.rungs or [[]])[-1]

    @property
    def rungs(self) -> list[list[tuple[str, str]]]:
        """The same for every rung, from the cheapest."""
        stored = self.settings.get("objectives", [])
        try:
            found = [[(name, direction) for name, direction in rung] for rung in stored]
        except (TypeError, ValueError):
            found = [[("", "")]]
        if not all(isinstance(n, str) and d in ("higher", "lower") for rung in found for n, d in rung):
            raise error("UNI070", f"the objectives of {shown(self.path, 200)} cannot be read", None, CHANGED)
        return found

    @property
    def ranked_together(self) -> bool:
        """Whether the strategy ranks by several objectives together, so that a single score says little."""
        return self.settings.get("strategy") == "rank" and len(self.objectives) > 1

    @property
    def last_rung(self) -> int:
        """The rung whose scores count."""
        return max(0, len(self.rungs) - 1)

    # ---- candidates ----------------------------------------------------------------------------------------------

    def add(self, candidate: Candidate, text: str | None) -> None:
        """Write a candidate, all of it or nothing. Raises UNI070 when another process was faster.

        The text may be left out (None) for a candidate that climbed a rung.
        """
        self.add_all([(candidate, text)])

    def add_all(self, candidates: Sequence[tuple[Candidate, str | None]]) -> None:
        """Write several candidates in one transaction."""
        rungs = self.rungs
        with self.explained(), self.transaction():
            for candidate, text in candidates:
                try:
                    self.db.execute(_INSERT, _row(candidate))
                except sqlite3.IntegrityError:
                    raise error(
                        "UNI070", f"candidate {candidate.number} is already in {self.path}", None,
                        f"another process writes to this run; {WAIT}",
                    ) from None  # fmt: skip
                if text is not None:
                    packed = self._packed(candidate.number, text)
                    self.db.execute("INSERT INTO texts VALUES (?, ?)", (candidate.number, packed))
                self.db.executemany(_REFUSE, candidate.refused.items())
                self._count(candidate, rungs)

    def replace(self, candidate: Candidate) -> None:
        """Write another result of a candidate that had failed."""
        before = self[candidate.number]
        with self.explained(), self.transaction():
            self.db.execute(_INSERT.replace("INSERT", "REPLACE"), _row(candidate))
            away = (before.seconds, before.rung, before.reason or "")
            self.db.execute(_DISCOUNT, away)
            self._count(candidate, self.rungs)

    def _count(self, candidate: Candidate, rungs: Sequence[Sequence[tuple[str, str]]]) -> None:
        end = candidate.started + candidate.seconds
        counted = (candidate.rung, candidate.reason or "", candidate.seconds, candidate.started, end)
        self.db.execute(_COUNT, counted)
        if candidate.rung == len(rungs) - 1:
            self._to_front(candidate, rungs[-1])

    def _to_front(self, candidate: Candidate, objectives: Sequence[tuple[str, str]]) -> None:
        """Let a candidate take its place among those that no other beats, if it has one there."""
        values = [candidate.score, *(candidate.components.get(name) for name, _ in objectives[1:])]
        if None in values:
            return
        signs = [-1 if direction == "lower" else 1 for _, direction in objectives]
        merits = [sign * value for sign, value in zip(signs, values, strict=True) if value is not None]
        rows = self.db.execute("SELECT number, merits FROM front").fetchall()
        front = [(number, reals(those)) for number, those in rows]
        if not any(beats(those, merits) for _, those in front):
            beaten = [(number,) for number, those in front if beats(merits, those)]
            self.db.executemany("DELETE FROM front WHERE number = ?", beaten)
            self.db.execute("INSERT INTO front VALUES (?, ?)", (candidate.number, json.dumps(merits)))

    def front(self) -> list[Candidate]:
        """The candidates of the last rung that no other beats in all objectives together, by falling score."""
        with self.explained():
            rows = self.db.execute("SELECT number FROM front ORDER BY json_extract(merits, '$[0]') DESC, number")
            numbers = [number for (number,) in rows]
        return [self[number] for number in numbers]

    def __len__(self) -> int:
        return sum(total.candidates for total in self.totals())

    def __iter__(self) -> Iterator[Candidate]:
        return self.select("1 ORDER BY number")

    def __getitem__(self, number: int) -> Candidate:
        for candidate in self.select("number = ?", number):
            return candidate
        raise error("UNI070", f"there is no candidate {number} in {self.path}")

    def best(self, lower: bool | None = None, count: int = 1) -> list[Candidate]:
        """The candidates of the last rung with the best scores, the earlier first among equals.

        `lower` says whether less is better; None asks the settings.
        """
        if lower is None:
            lower = [direction for _, direction in self.objectives[:1]] == ["lower"]
        order = "ASC" if lower else "DESC"
        where = f"rung = ? AND score IS NOT NULL ORDER BY score {order}, number LIMIT ?"
        return list(self.select(where, self.last_rung, count))

    def select(self, where: str, *values: int | float | str) -> Iterator[Candidate]:
        """The candidates for a condition of SQL of ours, never of a user's: "rung = ? ORDER BY number", 0."""
        for row in self.raw(where, *values):
            yield _candidate(row)

    def raw(self, where: str = "1 ORDER BY number", *values: int | float | str) -> Iterator[dict[str, Any]]:
        """The same as values by column, just as they stand in the file, which anybody may have changed."""
        with self.explained():
            for row in self.db.execute(f"SELECT {_NAMES} FROM candidates WHERE {where}", values):  # noqa: S608
                yield dict(zip(COLUMNS, row, strict=True))

    def values(self, components: Sequence[str]) -> Iterator[tuple[int, list[float]]]:
        """Number, score and these components of the candidates of the last rung that have them all."""
        parts = "".join(", json_extract(components, ?)" for _ in components)
        rows = "FROM candidates WHERE rung = ? AND score IS NOT NULL ORDER BY number"
        query = f"SELECT number, score{parts} {rows}"
        with self.explained():
            for number, *values in self.db.execute(query, (*map(_path, components), self.last_rung)):
                if None not in values:
                    yield number, [real(value) for value in values]

    def keys(self) -> Iterator[str]:
        """The keys of all candidates."""
        with self.explained():
            yield from (str(key) for (key,) in self.db.execute("SELECT key FROM candidates"))

    def totals(self) -> list[Total]:
        """Counts by rung and reason; instant, whatever the size of the run."""
        with self.explained():
            rows = self.db.execute("SELECT * FROM totals ORDER BY rung, reason").fetchall()
            return [
                Total(count(rung), str(reason) or None, count(number), *(real(value) for value in times))
                for rung, reason, number, *times in rows
            ]

    def refusals(self) -> dict[str, int]:
        """Draws refused by reason, the most frequent first; as instant."""
        with self.explained():
            rows = self.db.execute("SELECT reason, draws FROM refusals ORDER BY draws DESC, reason").fetchall()
            return {str(reason): count(draws) for reason, draws in rows}

    def text(self, number: int) -> str:
        """The architecture of a candidate as text, with every attribute written out."""
        at: int | None = number
        with self.explained():
            while at is not None:
                row = self.db.execute("SELECT text FROM texts WHERE number = ?", (at,)).fetchone()
                if row is not None:
                    return self._unpacked(at, row[0])
                query = "SELECT parent FROM candidates WHERE number = ? AND edit IS NULL AND parent < number"
                at = (self.db.execute(query, (at,)).fetchone() or [None])[0]
        raise error("UNI070", f"there is no candidate {number} in {self.path}")

    def lineage(self, number: int) -> list[int]:
        """A candidate and its ancestors by the first parent, back to the start."""
        query = "SELECT number, parent FROM candidates WHERE number <= ?"
        with self.explained():
            parents = dict(self.db.execute(query, (number,)).fetchall())
        return lineage({one: parent for one, parent in parents.items() if isinstance(parent, int)}, number)

    def origin(self, number: int) -> tuple[int | None, Edit | None, int | None]:
        """Parent, edit and mate of a candidate."""
        found = self[number]
        return found.parent, found.edit, found.mate

    # ---- texts, compressed ---------------------------------------------------------------------------------------

    def _dictionary(self, number: int) -> bytes:
        """Most architectures are the start with some changes, so its text says most of theirs."""
        if number == 0:
            return b""
        if self._start is None:
            row = self.db.execute("SELECT text FROM texts WHERE number = 0").fetchone()
            self._start = self._unpacked(0, row[0]).encode() if row else b""
        return self._start

    def _packed(self, number: int, text: str) -> bytes:
        dictionary = self._dictionary(number)
        packer = zlib.compressobj(zdict=dictionary) if dictionary else zlib.compressobj()
        return packer.compress(text.encode()) + packer.flush()

    def _unpacked(self, number: int, packed: bytes) -> str:
        dictionary = self._dictionary(number)
        unpacker = zlib.decompressobj(zdict=dictionary) if dictionary else zlib.decompressobj()
        try:
            text = unpacker.decompress(packed, MAX_TEXT)
            if not unpacker.eof:
                raise ValueError("its text has no end")
            return text.decode()
        except (zlib.error, ValueError, TypeError) as problem:
            raise error("UNI070", f"the text of candidate {number} cannot be read: {shown(problem)}") from None


CHANGED = "somebody has changed it; begin a new run in another folder"


def _row(c: Candidate) -> tuple[Any, ...]:
    """The columns of a candidate, in the order of _COLUMNS."""
    edit = None if c.edit is None else json.dumps(record(c.edit))
    return (
        c.number, c.parent, c.mate, edit, c.rung, c.key, c.params, c.macs, c.activations, c.peak, c.operations, c.score,
        json.dumps(dict(c.components)), c.reason, c.failure, c.seed, c.worker, c.started, c.seconds,
        json.dumps(dict(c.refused)),
    )  # fmt: skip


def _candidate(row: Mapping[str, Any]) -> Candidate:
    """A row of the database. What it says is checked, as a file can be changed by anyone."""
    try:
        values = {name: READ[kind](row[name]) for name, kind in COLUMNS.items()}
        values["edit"] = None if values["edit"] is None else read_edit(json.loads(values["edit"]))
        return Candidate(**values)
    except (UninasError, TypeError, ValueError, LookupError, AttributeError, RecursionError) as problem:
        why = problem.diagnostics[0].message if isinstance(problem, UninasError) else problem
        raise error("UNI070", f"candidate {shown(row['number'])} cannot be read: {shown(why)}", None, CHANGED) from None


def count(value: Any) -> int:
    """An integer from 0. Raises ValueError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a number from 0, but got {shown(value)}")
    return value


def real(value: Any) -> float:
    """A finite number. Raises ValueError for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, but got {shown(value)}")
    return float(value)


def words(value: Any) -> str:
    """A text. Raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"expected a text, but got {shown(value)}")
    return value


def reals(text: Any) -> list[float]:
    """Finite numbers, from a JSON list. Raises ValueError for anything else."""
    found = json.loads(words(text))
    if not isinstance(found, list):
        raise ValueError(f"expected a list of numbers, but got {shown(found)}")
    return [real(one) for one in found]


def numbers(text: Any) -> dict[str, Any]:
    """Numbers by name, from a JSON object. Raises ValueError for anything else."""
    found = json.loads(words(text))
    if not isinstance(found, dict):
        raise ValueError(f"expected numbers by name, but got {shown(found)}")
    for value in found.values():
        real(value)
    return found


READ: Mapping[str, Callable[[Any], Any]] = {
    "count": count, "real": real, "text": words, "numbers": numbers,
    "count?": lambda value: None if value is None else count(value),
    "real?": lambda value: None if value is None else real(value),
    "text?": lambda value: None if value is None else words(value),
}  # fmt: skip
"""How a value is read, by what is in its column."""


def _path(name: str) -> str:
    """Where SQLite finds a component in the JSON object of all."""
    return f'$."{name}"'


def origin(candidate: Candidate) -> str:
    """Where a candidate came from, in words."""
    if candidate.number == 0:
        return "the start"
    if candidate.parent is None and candidate.edit is None:
        run, known, number = candidate.worker.rpartition(":")  # as `join` names what it takes from other runs
        return f"number {number} of {run}" if known and number.isdecimal() else "a further start"
    if candidate.promoted:
        return f"number {candidate.parent}, scored at rung {candidate.rung}"
    of = "" if candidate.parent is None else f" (of {candidate.parent}" + (
        ")" if candidate.mate is None else f" and {candidate.mate})"
    )  # fmt: skip
    return f"{candidate.edit}{of}"


def lineage(parents: Mapping[int, int | None], number: int) -> list[int]:
    """A candidate and its ancestors by the first parent, back to the start."""
    line = [number]
    while (parent := parents.get(line[-1])) is not None and parent < line[-1]:
        line.append(parent)
    return line
