"""Numbers, durations and columns for people."""

from __future__ import annotations

import json
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


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be; the last one flush left, the others flush right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    return "\n".join(
        "  ".join([*(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)), row[-1]]).rstrip()
        for row in (heads, *rows)
    )


def json_text(value: object) -> str:
    """JSON, indented and strict."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
