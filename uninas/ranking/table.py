"""A table of networks with what was measured of them, from a CSV file; mistakes are shown with their line (UNI110)."""

from __future__ import annotations

import csv
import io
import math
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from uninas.errors import Source, Span, UninasError, did_you_mean, error, shown

MAX_BYTES = 256 * 2**20
METRICS = ("percent", "raw", "lower")
"""What the numbers of a table are: accuracies in percent, numbers of which more is better, or less."""
ARCHITECTURE = ("architecture", "arch_str", "arch", "cell", "file")
"""Columns that are taken for the architectures, where none is named."""
ACCURACY = ("{}", "{}_test", "{}_acc", "{}_accuracy")
"""Columns that are taken for the accuracies on a data set, where none is named."""


@dataclass(frozen=True)
class Row:
    """One network: its line, counted from 0 below the header; its key (the column `index`, or else the line)."""

    line: int
    key: str
    architecture: str
    accuracies: Mapping[str, float]
    """By data set; in percent unless the metric is another."""


@dataclass(frozen=True)
class Table:
    """The rows of a file that passed the filter."""

    path: Path
    rows: tuple[Row, ...]
    digest: str
    """sha256 of the file, in hexadecimal."""
    empty: int = 0
    """Rows that passed the filter, but are left out as they lack a number."""


def read_table(
    path: Path,
    datasets: Sequence[str],
    *,
    architecture: str = "",
    accuracy: str = "",
    index: str = "index",
    where: str = "",
    metric: str = "percent",
) -> Table:
    """Read the architectures and their accuracies on `datasets`. A row that lacks one of these is left out.

    Args:
        architecture: the column of the architectures; by default the first of ARCHITECTURE that is there.
        accuracy: the columns of the accuracies, with {} for the data set; by default the first of ACCURACY.
        index: the column of keys; without such a column, rows are numbered from 0.
        where: keep only rows where this column is neither empty nor 0.
        metric: one of METRICS; only 'percent' has bounds.

    Raises UninasError (UNI001, UNI110).
    """
    if metric not in METRICS:
        raise error("UNI110", f"expected the metric to be {' or '.join(METRICS)}, but got {shown(metric)}")
    sheet = Sheet(path)
    names = sheet.column(architecture, ARCHITECTURE, "--architecture")
    accuracies = {
        name: sheet.column(accuracy.replace("{}", name), [one.format(name) for one in ACCURACY],
                           "--accuracy")
        for name in datasets
    }  # fmt: skip
    kept = sheet.column(where, (), "--where") if where else None
    keys = sheet.columns.get(index)
    rows, empty = [], 0
    for line, cells in enumerate(sheet.rows):
        if kept is not None and cells[kept].strip() in ("", "0"):
            continue
        if not all(cells[place].strip() for place in accuracies.values()):
            empty += 1
            continue
        numbers = {name: sheet.number(line, place) for name, place in accuracies.items()}
        for number in numbers.values():
            if metric == "percent" and not 0 <= number <= 100:
                message = f"expected an accuracy from 0 to 100 percent, but got {number:g}"
                raise sheet.error(line, message, "numbers of another kind: --metric raw, or lower")
        if not cells[names].strip():
            raise sheet.error(line, f"expected an architecture in the column {sheet.header[names]}")
        rows.append(Row(line, str(line) if keys is None else cells[keys], cells[names].strip(), numbers))
    if not rows:
        lacking = f"; {empty} rows lack a number" if empty else ""
        raise error("UNI110", f"there is no row in {path}" + (f" with {where}" if where else "") + lacking)
    _check(sheet, rows, datasets if metric == "percent" else ())
    return Table(path, tuple(rows), sheet.digest, empty)


def _check(sheet: Sheet, rows: list[Row], percent: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for row in rows:
        if first.setdefault(row.key, row.line) != row.line:
            raise sheet.error(row.line, f"the key {shown(row.key)} is there twice", "keys tell rows apart (--index)")
    for name in percent:
        if max(row.accuracies[name] for row in rows) <= 1:
            message = f"expected the accuracies on {name} in percent, but none in {sheet.path} is above 1"
            raise error("UNI110", message, None, "numbers of another kind: --metric raw, or lower")


class Sheet:
    """A CSV file with a header, all of it in memory."""

    def __init__(self, path: Path):
        self.path = path
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError("expected a file, but it is a folder or a device")
            if path.stat().st_size > MAX_BYTES:
                raise error("UNI001", f"cannot read {path}: expected at most {MAX_BYTES // 2**20} MiB")
            content = path.read_bytes()
            self.text = content.decode("utf-8-sig")
        except (OSError, ValueError) as problem:
            hint = "a table is a CSV file with a row for each network: its index or cell, and its accuracies"
            raise error("UNI001", f"cannot read {shown(path, 200)}: {problem}", None, hint) from None
        self.digest = sha256(content).hexdigest()
        reader = csv.reader(io.StringIO(self.text, newline=""), strict=True)
        self.header: list[str] = []
        self.rows: list[list[str]] = []
        self.lines: list[int] = []  # where each row ends in the file, from 1
        try:
            self.header = [name.strip() for name in next(reader, [])]
            for cells in reader:
                if cells:
                    self.rows.append(cells)
                    self.lines.append(reader.line_num)
        except csv.Error as problem:
            raise error("UNI110", f"this is no CSV: {problem}", self._span(reader.line_num)) from None
        self.columns = {name: place for place, name in enumerate(self.header)}
        if len(self.columns) < len(self.header):
            twice = next(name for name in self.header if self.header.count(name) > 1)
            raise error("UNI110", f"the column {shown(twice)} is there twice", self._span(1))
        for line, cells in enumerate(self.rows):
            if len(cells) != len(self.header):
                raise self.error(line, f"expected {len(self.header)} cells, as in the header, but got {len(cells)}")

    def column(self, name: str, guesses: Sequence[str], option: str) -> int:
        """The place of a column: the one named, or else the first of the guesses that is there."""
        wanted = [name] if name else guesses
        for one in wanted:
            if one in self.columns:
                return self.columns[one]
        raise error(
            "UNI110",
            f"expected a column {' or '.join(wanted)} in {self.path}",
            None,
            did_you_mean(wanted[0], self.columns),
            f"its columns are {shown(', '.join(self.header), 300)}; choose one with {option}",
        )

    def number(self, line: int, place: int) -> float:
        """The number in a cell."""
        try:
            number = float(self.rows[line][place])
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            cell = shown(self.rows[line][place])
            raise self.error(line, f"expected a number in the column {self.header[place]}, but got '{cell}'")
        return number

    def error(self, line: int, message: str, *notes: str) -> UninasError:
        """A mistake in a row, counted from 0 below the header."""
        return error("UNI110", message, self._span(self.lines[line]), *notes)

    def _span(self, line: int) -> Span:
        lines = self.text.split("\n")
        start = sum(len(one) + 1 for one in lines[: line - 1])
        return Span(Source(str(self.path), self.text), start, start + len(lines[min(line, len(lines)) - 1]))
