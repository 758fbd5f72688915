"""The database of a run: settings and candidates in one SQLite file, written ahead so that nothing is half there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uninas.errors import error, shown
from uninas.mutate import Edit, read_edit, record

FILE = "run.sqlite"
FORMAT = 1
MARK = 0x554E4953  # 'UNIS', in the header of our databases

_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE candidates (
    number INTEGER PRIMARY KEY, parent INTEGER REFERENCES candidates (number), edit TEXT, key TEXT NOT NULL UNIQUE,
    params INTEGER NOT NULL, macs INTEGER NOT NULL, operations INTEGER NOT NULL,
    score REAL, components TEXT NOT NULL, failure TEXT, seed INTEGER NOT NULL, seconds REAL NOT NULL,
    refused TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX candidates_by_score ON candidates (score);
"""
_COLUMNS = "number, parent, edit, key, params, macs, operations, score, components, failure, seed, seconds, refused"


@dataclass(frozen=True)
class Candidate:
    """One architecture of a run: where it came from, what it costs, and its score or why it has none."""

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
    """Draws refused before this one was accepted, by reason."""

    @property
    def flops(self) -> int:
        """2 x multiply-accumulates, for one sample."""
        return 2 * self.macs


class Store:
    """The candidates of a run in the order of their numbers. Raises UNI070 when the file cannot be used."""

    def __init__(self, folder: Path):
        self.path = folder / FILE
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None)
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                with self._transaction():
                    self._begin()
            except BaseException:
                self._db.close()
                raise

    def _begin(self) -> None:
        """An empty file becomes a run; anything else must be one already."""
        mark, version = (self._db.execute(f"PRAGMA {of}").fetchone()[0] for of in ("application_id", "user_version"))
        if mark == MARK and version == FORMAT:
            return
        if mark == MARK:
            raise error("UNI070", f"expected a run of format {FORMAT} in {self.path}, but it has format {version}")
        if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise error("UNI070", f"expected a run in {self.path}, but it is a database of something else")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA application_id = {MARK}")
        self._db.execute(f"PRAGMA user_version = {FORMAT}")

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

    # ---- candidates ----------------------------------------------------------------------------------------------

    def add(self, candidate: Candidate, text: str) -> None:
        """Append a candidate, all of it or nothing. Raises UNI070 when another process was faster."""
        c = candidate
        edit = None if c.edit is None else json.dumps(record(c.edit))
        row = (c.number, c.parent, edit, c.key, c.params, c.macs, c.operations, c.score, json.dumps(dict(c.components)),
               c.failure, c.seed, c.seconds, json.dumps(dict(c.refused)), text)  # fmt: skip
        with self._explained(), self._transaction():
            try:
                self._db.execute(f"INSERT INTO candidates VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608
            except sqlite3.IntegrityError:
                raise error(
                    "UNI070",
                    f"candidate {c.number} is already in {self.path}",
                    None,
                    "another process writes to this run; let it finish, or use another folder",
                ) from None

    def __len__(self) -> int:
        with self._explained():
            count: int = self._db.execute("SELECT count(*) FROM candidates").fetchone()[0]
            return count

    def __iter__(self) -> Iterator[Candidate]:
        with self._explained():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM candidates ORDER BY number")  # noqa: S608
            yield from map(_candidate, rows)

    def best(self, lower: bool = False, count: int = 1) -> list[Candidate]:
        """The candidates with the highest (or lowest) scores, the earlier first among equals."""
        order = "ASC" if lower else "DESC"
        query = f"SELECT {_COLUMNS} FROM candidates WHERE score IS NOT NULL ORDER BY score {order}, number LIMIT ?"  # noqa: S608
        with self._explained():
            return list(map(_candidate, self._db.execute(query, (count,))))

    def text(self, number: int) -> str:
        """The architecture of a candidate as text, with every attribute written out."""
        with self._explained():
            row = self._db.execute("SELECT text FROM candidates WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise error("UNI070", f"there is no candidate {number} in {self.path}")
        return str(row[0])

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

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
        except (sqlite3.DatabaseError, OSError) as problem:
            hint = "the file is damaged: move it away, or use another folder" if self.path.is_file() else ""
            raise error("UNI070", f"cannot use {self.path}: {problem}", None, hint) from None


def _hint(problem: str) -> str:
    hints = {
        "full": "free some space and run the same command again: what was scored so far is kept",
        "locked": "another process writes to this run; let it finish, or use another folder",
        "readonly": "the folder must be writable",
        "unable to open": "the folder must exist and be writable",
    }
    return next((hint for word, hint in hints.items() if word in problem), "")


def _candidate(row: tuple[Any, ...]) -> Candidate:
    """A row of the database. What it says is checked, as a file can be changed by anyone."""
    number, parent, edit, key, params, macs, operations, score, components, failure, seed, seconds, refused = row
    try:
        return Candidate(
            number, parent, None if edit is None else read_edit(json.loads(edit)), key, params, macs, operations,
            score, json.loads(components), failure, seed, seconds, json.loads(refused),
        )  # fmt: skip
    except (TypeError, ValueError) as problem:
        raise error("UNI070", f"candidate {number} cannot be read: {shown(problem)}") from None
