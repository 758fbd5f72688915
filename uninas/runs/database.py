"""A SQLite file of ours: marked as such, written ahead, every change whole or absent, problems as messages (UNI070)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from uninas.errors import error


class Database:
    """An open file with the tables of `schema`; `mark` (32 bits) and `version` stand in its header."""

    def __init__(self, path: Path, schema: str, mark: int, version: int):
        self.path = path
        with self.explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, isolation_level=None)
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute("PRAGMA synchronous = NORMAL")
                with self.transaction():
                    self._begin(schema, mark, version)
            except BaseException:
                self.connection.close()
                raise

    def _begin(self, schema: str, mark: int, version: int) -> None:
        """An empty file gets the tables; anything else must have them already."""
        execute = self.connection.execute
        found, its_version = (execute(f"PRAGMA {of}").fetchone()[0] for of in ("application_id", "user_version"))
        if (found, its_version) == (mark, version):
            return
        if found == mark:
            raise error("UNI070", f"expected format {version} in {self.path}, but it has format {its_version}")
        if execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise error("UNI070", f"{self.path} is a database of something else", None, "use another folder")
        for statement in filter(str.strip, schema.split(";")):
            execute(statement)
        execute(f"PRAGMA application_id = {mark}")
        execute(f"PRAGMA user_version = {version}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what happens inside, or nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # SQLite has taken it back by itself when the disk was full
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what SQLite and the file system say into a message of ours."""
        try:
            yield
        except sqlite3.OperationalError as problem:
            raise error("UNI070", f"cannot use {self.path}: {problem}", None, _way_out(str(problem))) from None
        except (sqlite3.DatabaseError, OSError) as problem:
            hint = "the file is damaged: move it away, or use another folder" if self.path.is_file() else ""
            raise error("UNI070", f"cannot use {self.path}: {problem}", None, hint) from None

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def _way_out(problem: str) -> str:
    hints = {
        "full": "free some space and run the same command again: what was written so far is kept",
        "locked": "another process writes to it; let it finish, or use another folder",
        "readonly": "the folder must be writable",
        "unable to open": "the folder must exist and be writable",
    }
    return next((hint for word, hint in hints.items() if word in problem), "")
