"""A run as the page reads it: from search's store, and forgiving.

A database can be changed by anyone, so whatever does not have the type that it should is taken for missing.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uninas.errors import UninasError, shown
from uninas.mutate import read_edit
from uninas.search.store import COLUMNS, READ, Store, real

MAX_WORDS = 500  # characters of a message


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
    kind: str
    """The kind of the edit: insert, choose, ..."""
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
        self.folder = folder
        with self.store():
            pass

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The run as it is now."""
        with Store(self.folder, read_only=True) as store:
            yield store

    def settings(self) -> dict[str, Any]:
        """The settings by name, as plain values."""
        with self.store() as store:
            return dict(sorted(store.settings.items()))

    def rows(self, leaving_out: Container[int] = ()) -> Iterator[Row]:
        """All candidates in the order of their numbers, without those already known."""
        with self.store() as store:
            for values in store.raw():
                if values["number"] not in leaving_out:
                    yield _row(values)

    @contextmanager
    def texts(self) -> Iterator[Texts]:
        """The texts of the candidates, as long as it is open."""
        with self.store() as store:
            yield Texts(store)


class Texts:
    """The architectures of candidates as text."""

    def __init__(self, store: Store):
        self._store = store

    def __getitem__(self, number: int) -> str | None:
        """The text of a candidate; None where there is none, or none that can be read."""
        with suppress(UninasError):
            return self._store.text(number)
        return None


def _row(values: Mapping[str, Any]) -> Row:
    found: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        try:
            found[name] = READ[kind](values[name])
        except (ValueError, RecursionError):
            found[name] = None
    found["number"] = found["number"] or 0
    for name in ("rung", "params", "macs", "activations", "peak", "operations"):
        found[name] = found[name] or 0
    for name in ("key", "reason", "failure", "worker"):
        found[name] = (found[name] or "")[:MAX_WORDS]
    for name in ("components", "refused"):
        found[name] = _numbers(values[name])
    return Row(
        **{
            **found,
            "seed": str(values["seed"])[:MAX_WORDS],
            "edit": _sentence(values["edit"]),
            "kind": _kind(values["edit"]),
        }
    )


def _sentence(edit: Any) -> str:
    """An edit as a sentence; as it stands in the database where it is none of ours."""
    values = _json(edit)
    if values is None:
        return ""
    try:
        return shown(read_edit(values), MAX_WORDS)
    except (UninasError, TypeError, ValueError, LookupError, AttributeError, RecursionError):
        return shown(edit, MAX_WORDS)


def _kind(edit: Any) -> str:
    """The kind of an edit, as it stands in the database."""
    values = _json(edit)
    kind = values.get("move") if isinstance(values, dict) else None
    return shown(kind) if isinstance(kind, str) else ""


def _numbers(text: Any) -> dict[str, float]:
    """The numbers of a JSON object by name."""
    found = _json(text)
    numbers = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        with suppress(ValueError):
            numbers[shown(name)] = real(value)
    return numbers


def _json(text: Any) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (TypeError, ValueError, RecursionError):
        return None
