"""The database of a ranking: one SQLite file with the settings, the sample of the table, and every score.

| table | columns |
|---|---|
| settings | JSON values by name: all of `run.Settings`, and what they stood for |
| proxies | name; direction (is higher or lower better); JSON object of its options |
| networks | line in the table, from 0; its place in the sample; key; architecture as it stands in the table |
| accuracies | accuracy in percent for a line and data set; parameters and MACs of the network there, once it is built |
| scores | for a line, data set, seed and proxy: value, or NULL and the failure; JSON object of components; seconds |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from uninas.errors import error
from uninas.ranking.scoring import Outcome
from uninas.ranking.table import Row
from uninas.runs.database import Database

FILE = "ranking.sqlite"
FORMAT = 1
MARK = 0x554E4952  # 'UNIR', in the header of our databases

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
    value REAL, components TEXT NOT NULL, failure TEXT, seconds REAL NOT NULL,
    PRIMARY KEY (line, dataset, seed, proxy)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Network:
    """A network of the sample on a data set."""

    line: int
    key: str
    architecture: str
    accuracy: float
    params: int | None
    macs: int | None


class Store:
    """The database in a folder. Raises UNI070 when it cannot be used."""

    def __init__(self, folder: Path):
        self._file = Database(folder / FILE, _SCHEMA, MARK, FORMAT)
        self._db = self._file.connection

    @property
    def settings(self) -> dict[str, Any]:
        """What the ranking was begun with; empty before that."""
        with self._file.explained():
            return {name: json.loads(value) for name, value in self._db.execute("SELECT name, value FROM settings")}

    def put(self, settings: Mapping[str, Any]) -> None:
        """Write settings; those of the same name are replaced."""
        rows = [(name, json.dumps(value)) for name, value in settings.items()]
        with self._file.explained(), self._file.transaction():
            self._db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)

    def use(self, proxy: str, direction: str, options: Mapping[str, Any]) -> None:
        """Remember a proxy and its options; they must be those that its scores here were made with."""
        row = (proxy, direction, json.dumps(dict(options), sort_keys=True))
        with self._file.explained(), self._file.transaction():
            self._db.execute("INSERT OR IGNORE INTO proxies VALUES (?, ?, ?)", row)
            known = self._db.execute("SELECT options FROM proxies WHERE name = ?", (proxy,)).fetchone()[0]
        if known != row[2]:
            raise error(
                "UNI070",
                f"{self._file.path} has scores of {proxy} with other options",
                None,
                f"they were {known}, now {row[2]}; use another folder",
            )

    @property
    def directions(self) -> dict[str, str]:
        """'higher' or 'lower' for each proxy."""
        with self._file.explained():
            return dict(self._db.execute("SELECT name, direction FROM proxies"))

    def sample(self, rows: Iterable[Row]) -> None:
        """Write the networks of the sample, best place first; those that are there stay."""
        listed = list(rows)
        networks = [(row.line, place, row.key, row.architecture) for place, row in enumerate(listed)]
        accuracies = [(row.line, name, value) for row in listed for name, value in row.accuracies.items()]
        with self._file.explained(), self._file.transaction():
            self._db.executemany("INSERT OR IGNORE INTO networks VALUES (?, ?, ?, ?)", networks)
            self._db.executemany("INSERT OR IGNORE INTO accuracies VALUES (?, ?, ?, NULL, NULL)", accuracies)

    def networks(self, dataset: str, limit: int | None = None) -> list[Network]:
        """The sample in its order, or the first of it."""
        query = (
            "SELECT line, key, architecture, accuracy, params, macs FROM networks JOIN accuracies USING (line)"
            " WHERE dataset = ? ORDER BY place LIMIT ?"
        )
        with self._file.explained():
            return [Network(*row) for row in self._db.execute(query, (dataset, -1 if limit is None else limit))]

    def add(self, outcome: Outcome) -> None:
        """Write what came of a job, all of it or nothing."""
        job = outcome.job
        rows = [
            (job.line, job.dataset, s.seed, s.proxy, s.value, json.dumps(dict(s.components)), s.failure, s.seconds)
            for s in outcome.scores
        ]
        costs = (outcome.params, outcome.macs, job.line, job.dataset)
        with self._file.explained(), self._file.transaction():
            self._db.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("UPDATE accuracies SET params = ?, macs = ? WHERE line = ? AND dataset = ?", costs)

    def scores(self, dataset: str) -> Iterator[tuple[int, int, str, float | None, str | None, float]]:
        """Line, seed, proxy, value, failure, seconds of every score on a data set."""
        query = "SELECT line, seed, proxy, value, failure, seconds FROM scores WHERE dataset = ?"
        with self._file.explained():
            yield from self._db.execute(query, (dataset,))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
