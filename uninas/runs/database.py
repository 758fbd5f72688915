"""A SQLite file of ours: one writer, many readers, every change whole or absent, problems as messages (UNI070).

A `Form` says what such a file holds: its tables, the mark and the format in its header, and how a file of an older
format becomes one of this. A reader never makes or changes a file, and sees what another process has written so far.

A file may come from a stranger. So its tables must be ours to the letter (no views, no triggers, nothing computed), a
link in place of the file is refused, and values are checked by whoever reads them.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

from uninas.errors import error, shown

if sys.platform != "win32":
    import fcntl

BUSY = 20.0  # seconds to wait for another reader or writer
MAX_VALUE = 64 * 2**20  # bytes of one value; a file that has a larger one was not written by us
PATIENCE = 1.0  # seconds to wait for the lock of the only writer, which a reader may hold for a moment
OTHERS = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file
WAIT = "let it finish, or use another folder"

Migration = Callable[[sqlite3.Connection], None]
"""Changes the tables of one format into those of the next, inside a transaction."""


@dataclass(frozen=True)
class Form:
    """What a file holds: `mark` (32 bits) and `version` stand in its header, `what` is its name in messages."""

    file: str
    what: str
    mark: int
    version: int
    schema: str
    begin: str = ""
    """What to do where there is none."""
    migrations: Mapping[int, Migration] = field(default_factory=dict)
    """By the format that they begin with."""

    def migration(self, version: int) -> Callable[[Migration], Migration]:
        """Register the decorated function as the way from format `version` to the next one."""

        def register(migrate: Migration) -> Migration:
            assert isinstance(self.migrations, dict)
            self.migrations[version] = migrate
            return migrate

        return register


class Database:
    """An open file in `folder`. Raises UNI070 where it cannot be used.

    To write, the folder is made where there is none, and locked: a second writer is refused. To read only
    (`read_only`), the file must be there; an older format is then upgraded in memory.
    """

    def __init__(self, folder: Path, form: Form, *, read_only: bool = False):
        self.folder, self.form, self.read_only = folder, form, read_only
        self.path = folder / form.file
        self._lock: int | None = None
        self._copy: Path | None = None
        self._db: sqlite3.Connection | None = None
        with self.explained():
            try:
                self._look()
                if read_only:
                    self._read()
                else:
                    self._write()
            except BaseException:
                self.close()
                raise

    @property
    def db(self) -> sqlite3.Connection:
        """The connection."""
        if self._db is None:
            raise error("UNI070", f"{shown(self.path, 200)} is closed")
        return self._db

    # ---- opening -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Raises UNI070 for what is no plain file: a link would lead elsewhere, and a pipe would never end."""
        for path in (self.path, *(self.path.with_name(self.path.name + end) for end in OTHERS)):
            with suppress(FileNotFoundError, NotADirectoryError):
                if not stat.S_ISREG(path.lstat().st_mode):
                    what = "a link" if path.is_symlink() else "a folder or a device"
                    raise error("UNI070", f"expected a plain file, but {shown(path, 200)} is {what}")
        if self.read_only and not self.path.is_file():
            raise error("UNI070", f"there is no {self.form.what} in {shown(self.folder, 200)}", None, self.form.begin)

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._alone()
        self._db = _connected(self.path)
        if self._found_format() in (0, self.form.version):  # else it is of somebody else, and stays as it is
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = NORMAL")
        with self.transaction():
            self._bring_up()
        found = self.db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(str(found))

    def _read(self) -> None:
        """Open what nobody may change by looking at it.

        A writer that is done leaves the file alone (see `close`). While one writes, or after it was killed, what it
        wrote last stands beside the file (-wal), with an index (-shm) that a reader can only use if it is there. Where
        it is not, the two are copied. A file that says it has such a companion, but has none, was copied alone, and
        is read as it is.
        """
        log, index = (self.path.with_name(self.path.name + end) for end in OTHERS[:2])
        if not log.exists() or not log.stat().st_size:
            self._db = _connected(self.path, "mode=ro&immutable=1" if self._logs() else "mode=ro")
        elif index.exists():
            self._db = _connected(self.path, "mode=ro")
            try:
                self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError:  # it may not be locked, for example
                self._db.close()
                self._db = self._copied()
        else:
            self._db = self._copied()
        version = self._found_format()
        if version != self.form.version:
            memory = _connected(":memory:")
            if version:  # of an older format; an empty file is one in which nothing happened yet
                self.db.backup(memory)
            self.db.close()
            self._db = memory
            with self.transaction():
                self._bring_up()
        elif _tables(self.db) != _meant(self.form.schema):
            raise self._foreign()
        self.db.execute("PRAGMA query_only = ON")

    def _logs(self) -> bool:
        """Whether the file says that it has a log beside it."""
        with self.path.open("rb") as file:
            return file.read(20)[18:20] == b"\2\2"

    def _copied(self) -> sqlite3.Connection:
        self._copy = Path(mkdtemp(prefix="uninas-"))
        for end in ("", "-wal"):
            shutil.copyfile(f"{self.path}{end}", self._copy / f"copy{end}", follow_symlinks=False)
        return _connected(self._copy / "copy")

    def _found_format(self) -> int:
        """The format of the file; 0 for an empty one. Raises UNI070 for what is not ours or cannot be upgraded."""
        what, path = self.form.what, shown(self.path, 200)
        mark, version = (self.db.execute(f"PRAGMA {of}").fetchone()[0] for of in ("application_id", "user_version"))
        if mark != self.form.mark:
            if self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise error("UNI070", f"expected a {what} in {path}, but it is a database of something else", None,
                            "use another folder")  # fmt: skip
            return 0
        if version != self.form.version and version not in self.form.migrations:
            age = "an older" if version < self.form.version else "a newer"
            raise error(
                "UNI070",
                f"expected a {what} of format {self.form.version} in {path}, but it has format {version}",
                None,
                f"it was begun with {age} version of this software: go on with that one, or begin a new one elsewhere",
            )
        return int(version)

    def _bring_up(self) -> None:
        """Make the tables, or those of an older format those of this. All of it happens, or nothing."""
        version = self._found_format()
        if not version:
            for statement in _statements(self.form.schema):
                self.db.execute(statement)
            self.db.execute(f"PRAGMA application_id = {self.form.mark}")
        elif version != self.form.version:
            kinds = {kind for (kind,) in self.db.execute("SELECT type FROM sqlite_master")}
            if kinds - {"table", "index"}:
                raise self._foreign()
        for old in range(version or self.form.version, self.form.version):
            self.form.migrations[old](self.db)
        if version != self.form.version:
            self.db.execute(f"PRAGMA user_version = {self.form.version}")
        if _tables(self.db) != _meant(self.form.schema):
            raise self._foreign()

    def _foreign(self) -> Exception:
        return error("UNI070", f"{shown(self.path, 200)} has other tables than a {self.form.what} has", None,
                     "somebody has changed it; it is not used, as such tables can do harm")  # fmt: skip

    def _alone(self) -> None:
        """Hold a lock on the folder as long as the file is open to write; the system lets go of it at any death."""
        if sys.platform == "win32":  # there, a second writer is noticed at its first change
            return
        self._lock = os.open(self.folder, os.O_RDONLY)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if not self._probed(until):
                    what, folder = self.form.what, shown(self.folder, 200)
                    raise error("UNI070", f"another process writes to the {what} in {folder}", None, WAIT) from None
            except OSError:  # a file system without locks
                return

    def _probed(self, until: float) -> bool:
        """Whether it may only be `being_written` of a reader that holds the lock, for a moment; waits a little."""
        assert self._lock is not None
        if time.monotonic() > until:
            return False
        with suppress(BlockingIOError):
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a writer would not let us
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            time.sleep(0.001)
            return True
        return False

    @property
    def being_written(self) -> bool | None:
        """Whether a process holds the file open to write; None where that cannot be known."""
        if sys.platform == "win32":
            return None
        try:
            folder = os.open(self.folder, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        finally:
            os.close(folder)
        return False

    # ---- settings ------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """Values of JSON by name, in a table that all forms have; empty before `put`."""
        with self.explained():
            rows = self.db.execute("SELECT name, value FROM settings").fetchall()
            return {str(name): json.loads(value, parse_float=_finite, parse_constant=_finite) for name, value in rows}

    def put(self, settings: Mapping[str, Any]) -> None:
        """Write settings; those of the same name are replaced."""
        rows = [(name, json.dumps(value)) for name, value in settings.items()]
        with self.explained(), self.transaction():
            self.db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)

    # ---- using ---------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what happens inside, or nothing."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:  # SQLite has taken it back by itself when the disk was full
                self.db.execute("ROLLBACK")
            raise

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what SQLite and the file system say into a message of ours."""
        path = shown(self.path, 200)
        try:
            yield
        except sqlite3.OperationalError as problem:
            raise error("UNI070", f"cannot use {path}: {shown(problem)}", None, _way_out(str(problem))) from None
        except (sqlite3.DatabaseError, OSError, ValueError, RecursionError) as problem:
            there = os.path.isfile(self.path)  # noqa: PTH113  # never raises
            hint = "the file is damaged: move it away, or use another folder" if there else ""
            raise error("UNI070", f"cannot use {path}: {shown(problem, 200)}", None, hint) from None

    def close(self) -> None:
        """Let go of the file. What was written last is joined to it, so that one file is left, which looking at it
        does not change.
        """
        if self._db is not None:
            with suppress(sqlite3.Error):  # somebody reads: then the last writer to come does it
                if not self.read_only and self._lock is not None:
                    self._db.execute("PRAGMA busy_timeout = 0")
                    self._db.execute("PRAGMA journal_mode = DELETE")
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._copy is not None:
            shutil.rmtree(self._copy, ignore_errors=True)
            self._copy = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def _connected(path: Path | str, how: str = "") -> sqlite3.Connection:
    """A connection that runs no code of the file, and takes no value that is too large."""
    place = f"{path.absolute().as_uri()}?{how}" if how and isinstance(path, Path) else str(path)
    db = sqlite3.connect(place, isolation_level=None, timeout=BUSY, uri=bool(how), check_same_thread=False)
    db.execute("PRAGMA trusted_schema = OFF")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    return db


def _finite(text: str) -> float:
    """A number of JSON. Raises ValueError for what is none, or too large for one."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"expected a finite number, but got {text}")
    return number


def _statements(schema: str) -> list[str]:
    return list(filter(None, map(str.strip, schema.split(";"))))


def _tables(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """What the file says that it holds, in an order of its own; spaces do not count."""
    rows = db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    return sorted((str(kind), str(name), " ".join(str(sql).split())) for kind, name, sql in rows)


@cache
def _meant(schema: str) -> list[tuple[str, str, str]]:
    db = sqlite3.connect(":memory:")
    try:
        for statement in _statements(schema):
            db.execute(statement)
        return _tables(db)
    finally:
        db.close()


def _way_out(problem: str) -> str:
    hints = {
        "full": "free some space and run the same command again: what was written so far is kept",
        "locked": f"another process writes to it; {WAIT}",
        "readonly": "the folder must be writable",
        "unable to open": "the folder must exist and be writable",
        "I/O": "the disk or its connection fails: what was written so far is kept",
    }
    return next((hint for word, hint in hints.items() if word in problem), "")
