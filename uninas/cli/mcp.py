"""`uninas mcp`: tools for language models, by the Model Context Protocol.

Every tool takes texts and names of shipped networks, and gives texts and data. None writes a file, and none reads one,
but those that look at runs, which are there where the user has named the folder that they may look into.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

import click

from uninas.errors import UninasError, error, shown
from uninas.version import __version__

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from uninas.search.store import Store

P = ParamSpec("P")
T = TypeVar("T")

MOST_MOVES = 200  # listed at once
MOST_CANDIDATES = 50
MOST_PIXELS, MOST_IMAGES = 64, 16  # of a score
INSTRUCTIONS = """\
UniNAS texts describe neural architectures: `block Gate { out = in * (in -> conv(C, 1) -> sigmoid) }`. Arrows carry
tensors, parentheses carry attributes. Write a text, `check` it and mend what it says; `summary` has shapes and costs.
`operation` explains an operation or lists all. `moves` lists legal edits of a network, `apply` makes one of them.
`render` draws, `score` scores a network that nobody has trained."""


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), help="Folder whose runs may be looked at: status and top.")
def mcp(runs: Path | None) -> None:
    """Start a server of tools for language models (Model Context Protocol, over standard input and output).

    The tools check and lay out texts, explain operations, summarise, draw and score networks, list their legal moves
    and make one. They write no files, and read none, but with --runs the runs in a folder. Needs the extra [mcp].
    """
    server(runs).run()


def server(runs: Path | None = None) -> MCPServer[Any]:
    """The server with its tools; those for runs where there is a folder of them."""
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations

    made: MCPServer[Any] = MCPServer("uninas", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING")
    for tool in (*TOOLS, *(tools_for_runs(runs) if runs else ())):
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


def render(
    net: str, level: Literal["network", "block"] = "network", form: Literal["mermaid", "svg"] = "mermaid"
) -> str:
    """Draw a network, by its sections or (level block) by its blocks, as Mermaid or SVG text."""
    from uninas import load
    from uninas.render import mermaid, svg

    graph = load(_source(net))
    return mermaid(graph, level=level) if form == "mermaid" else svg(graph, level=level)


def score(net: str, proxy: str = "naswot", img_size: int = 32, batch_size: int = 4, seed: int = 0) -> dict[str, Any]:
    """Score a network that nobody has trained, by a proxy or a cost, on noise. Gives value, direction and components.

    Images of at most 64 pixels and batches of at most 16, so that an answer comes soon.
    """
    from uninas import load
    from uninas.runs.scorer import score as score_of

    if not proxy.isidentifier():
        raise error("UNI090", f"expected the name of a proxy or a cost, but got {shown(proxy)}")
    graph = load(_source(net), img_size=max(1, min(img_size, MOST_PIXELS)))
    found = score_of(graph, proxy, seed, batch_size=max(1, min(batch_size, MOST_IMAGES)))
    return {"value": found.value, "direction": found.direction, "components": dict(found.components)}


def tools_for_runs(folder: Path) -> tuple[Callable[..., Any], ...]:
    """Tools that look at the runs in a folder, by their names."""

    def opened(run: str) -> Store:
        from uninas.search.store import Store

        if not run or Path(run).name != run or run.startswith("."):
            raise error("UNI070", f"expected the name of a run, but got {shown(run)}")
        return Store(folder / run, read_only=True)

    def runs() -> list[str]:
        """List the names of the runs that can be looked at."""
        from uninas.search.store import FILE

        return sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))

    def status(run: str) -> dict[str, Any]:
        """Say how far a search is: candidates, failures, refused draws, and the best so far."""
        from uninas.cli.runs import state

        with opened(run) as store:
            return state(store)

    def top(run: str, count: int = 5, texts: bool = False) -> list[dict[str, Any]]:
        """List the best candidates of a search with scores, costs and edits; with `texts` their texts, too."""
        from uninas.cli.runs import entry
        from uninas.search.top import top as best

        with opened(run) as store:
            found = best(store, max(1, min(count, MOST_CANDIDATES)))
            return [
                {**entry(one, value, store.objectives), **({"text": store.text(one.number)} if texts else {})}
                for one, value in found
            ]

    return runs, status, top


TOOLS: tuple[Callable[..., Any], ...] = (check, format, operation, summary, moves, apply, render, score)
