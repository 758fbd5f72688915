"""The database of a ranking: one SQLite file with the settings, the sample of the table, and every score.

| table | columns |
|---|---|
| settings | JSON values by name: all of `run.Settings`, and what they stood for |
| proxies | name; direction (is higher or lower better); JSON object of its options |
| networks | line in the table, from 0; its place in the sample; key; architecture as it stands in the table |
| accuracies | accuracy in percent for a line and data set; parameters and MACs of the network there, once it is built |
| scores | for a line, data set, seed and proxy: value or NULL; reason and failure; JSON object of components; seconds |

A reason is why there is no value in a word (error, memory, time, crash), a failure the same in a sentence.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uninas.errors import error
from uninas.ranking.scoring import Outcome
from uninas.ranking.table import Row
from uninas.runs.database import Database, Form

FILE = "ranking.sqlite"

_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE proxies (name TEXT PRIMARY KEY, direction TEXT NOT NULL, options TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE networks (
    line INTEGER PRIMARY KEY, place INTEGER NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE, architecture TEXT NOT NULL
);
CREATE TABLE accuracies (
    line INTEGER NOT NULL, dataset TEXT NOT NULL, accuracy REAL NOT NULL, params INTEGER, macs INTEGER,
    PRIMARY KEY (line, dataset)
) WITHOUT ROWID;
CREATE TABLE scores (
    line INTEGER NOT NULL, dataset TEXT NOT NULL, seed INTEGER NOT NULL, proxy TEXT NOT NULL,
    value REAL, components TEXT NOT NULL, reason TEXT, failure TEXT, seconds REAL NOT NULL,
    PRIMARY KEY (line, dataset, seed, proxy)
) WITHOUT ROWID;
"""

FORM = Form(FILE, "ranking", 0x554E4952, 2, _SCHEMA, "without --resume a new one is begun")  # 'UNIR'


@FORM.migration(1)
def _reasons(db: sqlite3.Connection) -> None:
    """Reasons in a word; options by one name each."""
    db.execute("ALTER TABLE scores RENAME TO old")
    db.execute(next(one for one in _SCHEMA.split(";") if "TABLE scores" in one))
    db.execute(
        "INSERT INTO scores SELECT line, dataset, seed, proxy, value, components, CASE"
        " WHEN failure IS NULL THEN NULL WHEN failure = 'out of memory' THEN 'memory'"
        " WHEN failure LIKE 'the process that scored it died%' THEN 'crash' ELSE 'error' END, failure, seconds FROM old"
    )
    db.execute("DROP TABLE old")
    for (text,) in db.execute("SELECT value FROM settings WHERE name = 'options'").fetchall():
        named = {f"{proxy}.{name}": one for proxy, own in json.loads(text).items() for name, one in own.items()}
        db.execute("UPDATE settings SET value = ? WHERE name = 'options'", (json.dumps(named),))


@dataclass(frozen=True)
class Network:
    """A network of the sample on a data set."""

    line: int
    key: str
    architecture: str
    accuracy: float
    params: int | None
    macs: int | None


class Store(Database):
    """The database in a folder. Raises UNI070 when it cannot be used."""

    def __init__(self, folder: Path, *, read_only: bool = False):
        super().__init__(folder, FORM, read_only=read_only)

    def use(self, proxy: str, direction: str, options: Mapping[str, Any]) -> None:
        """Remember a proxy and its options; they must be those that its scores here were made with."""
        row = (proxy, direction, json.dumps(dict(options), sort_keys=True))
        with self.explained(), self.transaction():
            self.db.execute("INSERT OR IGNORE INTO proxies VALUES (?, ?, ?)", row)
            known = self.db.execute("SELECT options FROM proxies WHERE name = ?", (proxy,)).fetchone()[0]
        if known != row[2]:
            raise error(
                "UNI070",
                f"{self.path} has scores of {proxy} with other options",
                None,
                f"they were {known}, now {row[2]}; use another folder",
            )

    @property
    def directions(self) -> dict[str, str]:
        """'higher' or 'lower' for each proxy."""
        with self.explained():
            return dict(self.db.execute("SELECT name, direction FROM proxies"))

    def sample(self, rows: Iterable[Row]) -> None:
        """Write the networks of the sample, best place first; those that are there stay."""
        listed = list(rows)
        networks = [(row.line, place, row.key, row.architecture) for place, row in enumerate(listed)]
        accuracies = [(row.line, name, value) for row in listed for name, value in row.accuracies.items()]
        with self.explained(), self.transaction():
            self.db.executemany("INSERT OR IGNORE INTO networks VALUES (?, ?, ?, ?)", networks)
            self.db.executemany("INSERT OR IGNORE INTO accuracies VALUES (?, ?, ?, NULL, NULL)", accuracies)

    def networks(self, dataset: str, limit: int | None = None) -> list[Network]:
        """The sample in its order, or the first of it."""
        query = (
            "SELECT line, key, architecture, accuracy, params, macs FROM networks JOIN accuracies USING (line)"
            " WHERE dataset = ? ORDER BY place LIMIT ?"
        )
        with self.explained():
            return [Network(*row) for row in self.db.execute(query, (dataset, -1 if limit is None else limit))]

    def add(self, outcome: Outcome) -> None:
        """Write what came of a job, all of it or nothing."""
        job = outcome.job
        rows = [
            (
                job.line,
                job.dataset,
                s.seed,
                s.proxy,
                s.value,
                json.dumps(dict(s.components)),
                s.reason,
                s.failure,
                s.seconds,
            )
            for s in outcome.scores
        ]
        costs = (outcome.params, outcome.macs, job.line, job.dataset)
        with self.explained(), self.transaction():
            self.db.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self.db.execute("UPDATE accuracies SET params = ?, macs = ? WHERE line = ? AND dataset = ?", costs)

    def scores(self, dataset: str) -> Iterator[tuple[int, int, str, float | None, str | None, str | None, float]]:
        """Line, seed, proxy, value, reason, failure, seconds of every score on a data set."""
        query = "SELECT line, seed, proxy, value, reason, failure, seconds FROM scores WHERE dataset = ?"
        with self.explained():
            yield from self.db.execute(query, (dataset,))
