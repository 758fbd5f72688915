"""The database of a run, looked at without touching it. This file alone knows its tables (uninas/search/store.py).

A database can be changed by anyone, so whatever does not have the type that it should is taken for missing.
"""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Callable, Container, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uninas.errors import UninasError, error, shown
from uninas.mutate import read_edit

FILE = "run.sqlite"
MARK = 0x554E4953
FORMAT = 4
MAX_TEXT = 16 * 2**20  # bytes of one architecture's text
MAX_WORDS = 500  # characters of a message
BUSY = 20.0  # seconds to wait for a writer


@dataclass
class Row:
    """One candidate: the columns of the table, cleaned."""

    number: int
    parent: int | None
    mate: int | None
    rung: int
    params: int
    macs: int
    activations: int
    peak: int
    operations: int
    score: float | None
    started: float | None
    seconds: float | None
    key: str
    edit: str
    """What was done to the parent, as a sentence; '' for the start."""
    reason: str
    failure: str
    seed: str
    """A string, because a browser's numbers end at 2^53."""
    worker: str
    components: dict[str, float]
    refused: dict[str, float]


class Reader:
    """A run, for looking only. Raises UNI070 when there is none, or when it cannot be read."""

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / FILE
        if not self.path.is_file():
            message = f"there is no run in {shown(folder)}"
            raise error("UNI070", message, None, "begin one: uninas search SPACE -o FOLDER")
        with self._database() as db:
            mark, version = (db.execute(f"PRAGMA {of}").fetchone()[0] for of in ("application_id", "user_version"))
        if mark != MARK:
            raise error("UNI070", f"expected a run in {shown(self.path)}, but it is a database of something else")
        if version != FORMAT:
            age = "an older" if version < FORMAT else "a newer"
            raise error(
                "UNI070",
                f"expected a run of format {FORMAT} in {shown(self.path)}, but it has format {version}",
                None,
                f"it was begun with {age} version of this software: look at it with that one",
            )

    def settings(self) -> dict[str, Any]:
        """The settings by name, as plain values."""
        with self._database() as db:
            rows = db.execute("SELECT name, value FROM settings ORDER BY name").fetchall()
        return {str(name): _json(value) for name, value in rows}

    def rows(self, leaving_out: Container[int] = ()) -> Iterator[Row]:
        """All candidates in the order of their numbers, without those already known."""
        with self._database() as db:
            for values in db.execute(f"SELECT {', '.join(_COLUMNS)} FROM candidates ORDER BY number"):  # noqa: S608
                if values[0] not in leaving_out:
                    cleaned = zip(_COLUMNS.items(), values, strict=True)
                    yield Row(**{name: clean(value) for (name, clean), value in cleaned})

    def texts(self) -> Texts:
        """The texts of the candidates; to be closed."""
        return Texts(self)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(self.connect()) as db, self.explained():
            yield db

    def connect(self) -> sqlite3.Connection:
        """A connection that cannot write.

        Where no one writes, there is no log beside the database, and reading must not make one: a folder may be
        readable only, and nothing should lie there that was not there before.
        """
        quiet = not self.path.with_name(f"{FILE}-wal").exists()
        with self.explained():
            address = f"{self.path.absolute().as_uri()}?mode=ro{'&immutable=1' if quiet else ''}"
            return sqlite3.connect(address, uri=True, timeout=BUSY, check_same_thread=False)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What SQLite says, as a message of ours."""
        try:
            yield
        except sqlite3.Error as problem:
            raise error("UNI070", f"cannot read {shown(self.path)}: {shown(problem)}") from None


class Texts:
    """The architectures of candidates as text, packed with the start's text as the dictionary."""

    def __init__(self, reader: Reader):
        self._reader = reader
        self._db = reader.connect()
        self._dictionary = b""
        start = self[0]
        self._dictionary = (start or "").encode()

    def __getitem__(self, number: int) -> str | None:
        """The text of a candidate; one that was only scored again has that of its parent. None where there is none."""
        at: int | None = number
        with self._reader.explained():
            while at is not None:
                row = self._db.execute("SELECT text FROM texts WHERE number = ?", (at,)).fetchone()
                if row is not None:
                    return self._unpacked(row[0])
                query = "SELECT parent FROM candidates WHERE number = ? AND edit IS NULL AND parent < number"
                at = (self._db.execute(query, (at,)).fetchone() or [None])[0]
        return None

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _unpacked(self, packed: Any) -> str | None:
        unpacker = zlib.decompressobj(zdict=self._dictionary) if self._dictionary else zlib.decompressobj()
        try:
            text = unpacker.decompress(packed, MAX_TEXT)
            return text.decode() if unpacker.eof else None
        except (zlib.error, ValueError, TypeError):
            return None


def _place(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _count(value: Any) -> int:
    return _place(value) or 0


def _words(value: Any) -> str:
    return "" if value is None else str(value)[:MAX_WORDS]


def _sentence(edit: Any) -> str:
    """An edit as a sentence; as it stands in the database where it is none of ours."""
    values = _json(edit)
    if values is None:
        return ""
    try:
        return shown(read_edit(values), MAX_WORDS)
    except (UninasError, TypeError, ValueError, LookupError, AttributeError, RecursionError):
        return shown(edit, MAX_WORDS)


def _real(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _numbers(text: Any) -> dict[str, float]:
    """The numbers of a JSON object by name."""
    found = _json(text)
    pairs = found.items() if isinstance(found, dict) else ()
    return {shown(name): number for name, value in pairs if (number := _real(value)) is not None}


def _json(text: Any) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (TypeError, ValueError, RecursionError):
        return None


_COLUMNS: dict[str, Callable[[Any], Any]] = {
    "number": _count, "parent": _place, "mate": _place, "rung": _count, "params": _count, "macs": _count,
    "activations": _count, "peak": _count, "operations": _count, "score": _real, "started": _real, "seconds": _real,
    "key": _words, "edit": _sentence, "reason": _words, "failure": _words, "seed": _words, "worker": _words,
    "components": _numbers, "refused": _numbers,
}  # fmt: skip
"""Columns of the table `candidates`, and how each is cleaned."""
