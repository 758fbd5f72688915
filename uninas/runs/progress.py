"""Progress of long commands, in words."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Print a line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


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
