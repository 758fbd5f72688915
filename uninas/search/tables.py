"""Numbers, durations and columns for people."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence


def number(value: float | None) -> str:
    """With as many digits as a person can use."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10_000 else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """h:mm:ss, or m:ss below an hour."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int = 0) -> str:
    """Columns as wide as they must be; the last one flush left, the others flush right.

    Where that is wider than a terminal of `width` characters, a last column of words is folded, and a table of
    numbers alone is turned on its side.
    """
    lines = [heads, *rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(heads))]
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    if width and before + widths[-1] > width:
        if widths[-1] < LEAST:
            return table(*_turned(heads, rows))
        widths[-1] = max(LEAST, width - before)
    shown = []
    for row in lines:
        first, *more = textwrap.wrap(row[-1], widths[-1], break_on_hyphens=False) or [""]
        cells = [cell.rjust(space) for cell, space in zip(row[:-1], widths, strict=False)]
        shown += ["  ".join([*cells, first]).rstrip(), *(" " * before + part for part in more)]
    return "\n".join(shown)


def _turned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    first, *others = ([head, *(row[column] for row in rows)] for column, head in enumerate(heads))
    return first, others


LEAST = 24  # a column narrower than this is not folded


def terminal_width() -> int:
    """The width of the terminal; 0 where nobody looks."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def json_text(value: object) -> str:
    """JSON, indented and strict."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
