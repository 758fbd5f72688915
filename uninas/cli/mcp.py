"""`uninas mcp`: tools for language models, by the Model Context Protocol.

Every tool takes texts and names of shipped networks, and gives texts and data. None reads or writes a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from uninas.errors import UninasError, error, shown
from uninas.version import __version__

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

P = ParamSpec("P")
T = TypeVar("T")

MOST_MOVES = 200  # listed at once
INSTRUCTIONS = """\
UniNAS texts describe neural architectures: `block Gate { out = in * (in -> conv(C, 1) -> sigmoid) }`. Arrows carry
tensors, parentheses carry attributes. Write a text, `check` it and mend what it says; `summary` has shapes and costs.
`operation` explains an operation or lists all. `moves` lists legal edits of a network, `apply` makes one of them."""


@click.command()
def mcp() -> None:
    """Start a server of tools for language models (Model Context Protocol, over standard input and output).

    The tools check and lay out texts, explain operations, summarise networks, list their legal moves and make one; they
    read and write no files. Needs the extra [mcp].
    """
    server().run()


def server() -> MCPServer[Any]:
    """The server with its tools."""
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations

    made: MCPServer[Any] = MCPServer("uninas", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING")
    for tool in TOOLS:
        made.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))(_told(tool, ToolError))
    return made


def _told(tool: Callable[P, T], kind: type[Exception]) -> Callable[P, T]:
    """A tool whose mistakes of a user are told in the words of the checker."""

    @wraps(tool)
    def told(*given: P.args, **named: P.kwargs) -> T:
        try:
            return tool(*given, **named)
        except UninasError as problem:
            raise kind(str(problem)) from None

    return told


def _source(text: str) -> str:
    """A text, or the name of something shipped; never a path."""
    if "{" in text or text.isidentifier():
        return text
    raise error("UNI010", f"expected a text, or the name of a shipped network or space, but got {shown(text)!r}")


# ---- the tools -------------------------------------------------------------------------------------------------------


def check(text: str) -> dict[str, Any]:
    """Check a UniNAS text. Gives ok, the definitions, and every problem with code, message, place and suggestion."""
    from uninas.cli.texts import checked_text, plain

    return plain(checked_text(text, "<text>", ()))


def format(text: str) -> str:
    """Lay out a UniNAS text in the one style."""
    from uninas.language.formatter import format_text

    return format_text(text)


def operation(name: str = "") -> list[dict[str, Any]]:
    """Explain one operation: attributes, costs, an example. Without a name, list all with a sentence each."""
    from uninas.ops.reference import entry, listing

    return [entry(name)] if name else [dict(one) for one in listing()]


def summary(net: str, depth: int = 1) -> dict[str, Any]:
    """Shapes, parameters, FLOPs (2 x MACs) and memory of a network, given as a text or by the name of a shipped one."""
    from uninas import load
    from uninas.graph.summary import summarize

    return summarize(load(_source(net)), max(1, depth)).as_dict()


def moves(net: str, space: str = "UniNAS", at: str = "", limit: int = 20) -> list[dict[str, Any]]:
    """Legal edits of a network in a space, at most `limit`, each with key, params and flops of what it leads to.

    `at` restricts them to a place such as stages.1.blocks.0. Hand an `edit` to `apply`.
    """
    from uninas.cli.walk import costs, legal_moves
    from uninas.mutate.edits import record

    found = legal_moves(_source(net), _source(space), at, min(max(limit, 1), MOST_MOVES))
    return [{**costs(one.graph), "edit": record(one.edit), "words": str(one.edit)} for one in found]


def apply(net: str, edit: dict[str, Any], space: str = "UniNAS") -> str:
    """Make an edit that `moves` has listed, and give the text of the network that it leads to."""
    from uninas.cli.walk import edited

    return edited(_source(net), _source(space), json.dumps(edit))


TOOLS: tuple[Callable[..., Any], ...] = (check, format, operation, summary, moves, apply)
