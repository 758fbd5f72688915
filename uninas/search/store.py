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
import os
import sqlite3
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uninas.errors import error, shown
from uninas.mutate import Edit, read_edit, record

if sys.platform != "win32":
    import fcntl

FILE = "run.sqlite"
FORMAT = 4
MARK = 0x554E4953  # 'UNIS', in the header of our databases
MAX_TEXT = 64 * 2**20  # bytes of an architecture's text; a file that claims more was not written by us
BUSY = 20.0  # seconds to wait for another reader or writer

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
_COLUMNS = (
    "number, parent, mate, edit, rung, key, params, macs, activations, peak, operations, score, components, reason, "
    "failure, seed, worker, started, seconds, refused"
)
_PLACES = ", ".join("?" * (_COLUMNS.count(",") + 1))
_INSERT = f"INSERT INTO candidates ({_COLUMNS}) VALUES ({_PLACES})"  # noqa: S608
_COUNT = """
INSERT INTO totals VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT DO UPDATE SET
    candidates = candidates + 1, seconds = seconds + excluded.seconds,
    first = min(first, excluded.first), last = max(last, excluded.last)
"""
_REFUSE = "INSERT INTO refusals VALUES (?, ?) ON CONFLICT DO UPDATE SET draws = draws + excluded.draws"


@dataclass(frozen=True)
class Candidate:
    """One architecture of a run: where it came from, what it costs, and its score or why it has none.

    The fields are the columns of the table above.
    """

    number: int
    parent: int | None
    edit: Edit | None
    key: str
    params: int
    macs: int
    operations: int
    score: float | None
    components: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    seed: int = 0
    seconds: float = 0.0
    refused: Mapping[str, int] = field(default_factory=dict)
    mate: int | None = None
    rung: int = 0
    activations: int = 0
    peak: int = 0
    reason: str | None = None
    worker: str = ""
    started: float = 0.0

    @property
    def flops(self) -> int:
        """2 x multiply-accumulates, for one sample."""
        return 2 * self.macs

    @property
    def promoted(self) -> bool:
        """The architecture of its parent, scored at a higher rung."""
        return self.rung > 0 and self.edit is None and self.parent is not None


@dataclass(frozen=True)
class Total:
    """How many candidates of one rung ended in one way (reason None: with a score), and what they took."""

    rung: int
    reason: str | None
    candidates: int
    seconds: float
    first: float
    last: float


class Store:
    """The candidates of a run. Raises UNI070 when the file cannot be used.

    Any number of processes may read while one writes. To look only, open it with `read_only=True`, which never makes
    a file and leaves a running search alone:

        with Store(folder, read_only=True) as store:
            best = store.best()[0]
            text = store.text(best.number)
    """

    def __init__(self, folder: Path, *, read_only: bool = False):
        self.path = folder / FILE
        self._lock: int | None = None
        with self._explained():
            if read_only and not self.path.is_file():
                raise error("UNI070", f"there is no run in {folder}", None, "begin one: uninas search SPACE -o FOLDER")
            self._db = self._opened(read_only)

    def _opened(self, read_only: bool) -> sqlite3.Connection:
        if read_only:
            # Readers, too, keep a file beside the database, but where nobody can write it does not change either.
            how = "mode=ro" if os.access(self.path.parent, os.W_OK) else "immutable=1"
            db = sqlite3.connect(f"{self.path.absolute().as_uri()}?{how}", uri=True, timeout=BUSY)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY)
        self._db = db
        try:
            if not read_only:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                with self._transaction():
                    self._begin()
                self._alone()
            elif not self._compare_format():  # stopped, or out of space, before it had begun: a run without anything
                db.close()
                db = self._db = sqlite3.connect(":memory:", isolation_level=None)
                self._begin()
        except BaseException:
            self.close()
            raise
        return db

    def _begin(self) -> None:
        """An empty file becomes a run; anything else must be one already."""
        if self._compare_format():
            self._check()
            return
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA application_id = {MARK}")
        self._db.execute(f"PRAGMA user_version = {FORMAT}")

    def _compare_format(self) -> bool:
        """Whether this is a run already; False for an empty file. Raises UNI070 for other formats and databases."""
        mark, version = (self._db.execute(f"PRAGMA {of}").fetchone()[0] for of in ("application_id", "user_version"))
        if mark == MARK and version == FORMAT:
            return True
        if mark == MARK:
            age = "an older" if version < FORMAT else "a newer"
            raise error(
                "UNI070",
                f"expected a run of format {FORMAT} in {self.path}, but it has format {version}",
                None,
                f"it was begun with {age} version of this software: go on with that one, or begin a new run elsewhere",
            )
        if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise error("UNI070", f"expected a run in {self.path}, but it is a database of something else")
        return False

    def _check(self) -> None:
        """Raises UNI070 for a file in which pages are damaged."""
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(str(found))

    def _alone(self) -> None:
        """Hold a lock on the folder as long as the store is open for writing; the system lets go of it at any death."""
        if sys.platform == "win32":  # there, a second writer is noticed at its first candidate
            return
        self._lock = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise error("UNI070", f"another process writes to the run in {self.path.parent}", None, _WAIT) from None
        except OSError:  # a file system without locks
            return

    # ---- settings ------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """What the run was begun with; empty before that."""
        with self._explained():
            return {name: json.loads(value) for name, value in self._db.execute("SELECT name, value FROM settings")}

    def put(self, settings: Mapping[str, Any]) -> None:
        """Write settings; those of the same name are replaced."""
        rows = [(name, json.dumps(value)) for name, value in settings.items()]
        with self._explained(), self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)

    @property
    def objectives(self) -> list[tuple[str, str]]:
        """(name, 'higher' or 'lower': what is better) of the last rung, the score first. Empty before a run begins."""
        return [(name, direction) for name, direction in self.settings.get("objectives", [[]])[-1:][0]]

    @property
    def ranked_together(self) -> bool:
        """Whether the strategy ranks by several objectives together, so that a single score says little."""
        return self.settings.get("strategy") == "rank" and len(self.objectives) > 1

    @property
    def last_rung(self) -> int:
        """The rung whose scores count."""
        return max(0, len(self.settings.get("objectives", [])) - 1)

    # ---- candidates ----------------------------------------------------------------------------------------------

    def add(self, candidate: Candidate, text: str | None) -> None:
        """Write a candidate, all of it or nothing. Raises UNI070 when another process was faster.

        The text may be left out (None) for a candidate that climbed a rung.
        """
        self.add_all([(candidate, text)])

    def add_all(self, candidates: Sequence[tuple[Candidate, str | None]]) -> None:
        """Write several candidates in one transaction."""
        rungs = self.settings.get("objectives", [])
        with self._explained(), self._transaction():
            for candidate, text in candidates:
                try:
                    self._db.execute(_INSERT, _row(candidate))
                except sqlite3.IntegrityError:
                    raise error(
                        "UNI070", f"candidate {candidate.number} is already in {self.path}", None,
                        f"another process writes to this run; {_WAIT}",
                    ) from None  # fmt: skip
                if text is not None:
                    packed = self._packed(candidate.number, text)
                    self._db.execute("INSERT INTO texts VALUES (?, ?)", (candidate.number, packed))
                end = candidate.started + candidate.seconds
                counted = (candidate.rung, candidate.reason or "", candidate.seconds, candidate.started, end)
                self._db.execute(_COUNT, counted)
                self._db.executemany(_REFUSE, candidate.refused.items())
                if candidate.rung == len(rungs) - 1:
                    self._to_front(candidate, rungs[-1])

    def _to_front(self, candidate: Candidate, objectives: Sequence[tuple[str, str]]) -> None:
        """Let a candidate take its place among those that no other beats, if it has one there."""
        values = [candidate.score, *(candidate.components.get(name) for name, _ in objectives[1:])]
        if None in values:
            return
        signs = [-1 if direction == "lower" else 1 for _, direction in objectives]
        merits = [sign * value for sign, value in zip(signs, values, strict=True) if value is not None]
        front = [(number, json.loads(those)) for number, those in self._db.execute("SELECT * FROM front")]
        if not any(_beats(those, merits) for _, those in front):
            beaten = [(number,) for number, those in front if _beats(merits, those)]
            self._db.executemany("DELETE FROM front WHERE number = ?", beaten)
            self._db.execute("INSERT INTO front VALUES (?, ?)", (candidate.number, json.dumps(merits)))

    def front(self) -> list[Candidate]:
        """The candidates of the last rung that no other beats in all objectives together, by falling score."""
        with self._explained():
            rows = self._db.execute("SELECT number FROM front ORDER BY json_extract(merits, '$[0]') DESC, number")
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
        with self._explained():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM candidates WHERE {where}", values)  # noqa: S608
            yield from map(_candidate, rows)

    def values(self, components: Sequence[str]) -> Iterator[tuple[int, list[float]]]:
        """Number, score and these components of the candidates of the last rung that have them all."""
        parts = "".join(", json_extract(components, ?)" for _ in components)
        rows = "FROM candidates WHERE rung = ? AND score IS NOT NULL ORDER BY number"
        query = f"SELECT number, score{parts} {rows}"
        with self._explained():
            for number, *values in self._db.execute(query, (*map(_path, components), self.last_rung)):
                if None not in values:
                    yield number, values

    def totals(self) -> list[Total]:
        """Counts by rung and reason; instant, whatever the size of the run."""
        with self._explained():
            rows = self._db.execute("SELECT * FROM totals ORDER BY rung, reason")
            return [Total(rung, reason or None, *rest) for rung, reason, *rest in rows]

    def refusals(self) -> dict[str, int]:
        """Draws refused by reason, the most frequent first; as instant."""
        with self._explained():
            return dict(self._db.execute("SELECT reason, draws FROM refusals ORDER BY draws DESC, reason"))

    def text(self, number: int) -> str:
        """The architecture of a candidate as text, with every attribute written out."""
        at: int | None = number
        with self._explained():
            while at is not None:
                row = self._db.execute("SELECT text FROM texts WHERE number = ?", (at,)).fetchone()
                if row is not None:
                    return self._unpacked(at, row[0])
                query = "SELECT parent FROM candidates WHERE number = ? AND edit IS NULL AND parent < number"
                at = (self._db.execute(query, (at,)).fetchone() or [None])[0]
        raise error("UNI070", f"there is no candidate {number} in {self.path}")

    def origin(self, number: int) -> tuple[int | None, Edit | None, int | None]:
        """Parent, edit and mate of a candidate."""
        found = self[number]
        return found.parent, found.edit, found.mate

    @property
    def being_written(self) -> bool | None:
        """Whether a process holds the run open for writing; None where that cannot be known."""
        if sys.platform == "win32":
            return None
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        finally:
            os.close(folder)
        return False

    def close(self) -> None:
        """Let go of the file."""
        with suppress(AttributeError):  # it was never opened
            self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    # ---- texts, compressed ---------------------------------------------------------------------------------------

    def _dictionary(self, number: int) -> bytes:
        """Most architectures are the start with some changes, so its text says most of theirs."""
        if number == 0:
            return b""
        known: bytes | None = self.__dict__.get("_start")
        if known is None:
            row = self._db.execute("SELECT text FROM texts WHERE number = 0").fetchone()
            known = self.__dict__["_start"] = self._unpacked(0, row[0]).encode() if row else b""
        return known

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

    # ---- what may go wrong ---------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite has taken it back by itself when the disk was full
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite and the file system say into a message of ours."""
        try:
            yield
        except sqlite3.OperationalError as problem:
            raise error("UNI070", f"cannot use {self.path}: {problem}", None, _hint(str(problem))) from None
        except (sqlite3.DatabaseError, OSError, json.JSONDecodeError) as problem:
            hint = "the file is damaged: move it away, or use another folder" if self.path.is_file() else ""
            raise error("UNI070", f"cannot use {self.path}: {problem}", None, hint) from None


_WAIT = "let it finish, or use another folder"


def _hint(problem: str) -> str:
    hints = {
        "full": "free some space and run the same command again: what was scored so far is kept",
        "locked": f"another process writes to this run; {_WAIT}",
        "readonly": "the folder must be writable",
        "unable to open": "the folder must exist and be writable",
        "I/O": "the disk or its connection fails: what was written so far is kept",
    }
    return next((hint for word, hint in hints.items() if word in problem), "")


def _row(c: Candidate) -> tuple[Any, ...]:
    """The columns of a candidate, in the order of _COLUMNS."""
    edit = None if c.edit is None else json.dumps(record(c.edit))
    return (
        c.number, c.parent, c.mate, edit, c.rung, c.key, c.params, c.macs, c.activations, c.peak, c.operations, c.score,
        json.dumps(dict(c.components)), c.reason, c.failure, c.seed, c.worker, c.started, c.seconds,
        json.dumps(dict(c.refused)),
    )  # fmt: skip


def _candidate(row: tuple[Any, ...]) -> Candidate:
    """A row of the database. What it says is checked, as a file can be changed by anyone."""
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    try:
        edit = values["edit"]
        values["edit"] = None if edit is None else read_edit(json.loads(edit))
        values["components"] = json.loads(values["components"])
        values["refused"] = json.loads(values["refused"])
        if not all(isinstance(values[name], dict) for name in ("components", "refused")):
            raise TypeError("expected numbers by name")
        values["score"] = None if values["score"] is None else float(values["score"])
        return Candidate(**values)
    except (TypeError, ValueError) as problem:
        raise error("UNI070", f"candidate {values['number']} cannot be read: {shown(problem)}") from None


def _beats(merits: Sequence[float], others: Sequence[float]) -> bool:
    """Whether they are at least as good everywhere, and not the same."""
    return merits != others and all(one >= other for one, other in zip(merits, others, strict=True))


def _path(name: str) -> str:
    """Where SQLite finds a component in the JSON object of all."""
    return f'$."{name}"'


def origin(candidate: Candidate) -> str:
    """Where a candidate came from, in words."""
    if candidate.number == 0:
        return "the start"
    if candidate.promoted:
        return f"number {candidate.parent}, scored at rung {candidate.rung}"
    of = "" if candidate.parent is None else f" (of {candidate.parent}" + (
        ")" if candidate.mate is None else f" and {candidate.mate})"
    )  # fmt: skip
    return f"{candidate.edit}{of}"
