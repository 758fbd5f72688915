"""The command line: every command, its options and its tables. Only this folder imports click.

`cli` is the group of all commands, for other programs to call; it is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uninas.cli.main import cli

__all__ = ["cli"]


def __getattr__(name: str) -> object:
    if name == "cli":
        from uninas.cli.main import cli

        return cli
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
