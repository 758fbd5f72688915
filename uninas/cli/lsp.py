"""`uninas lsp`: the language server, which editors start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from uninas.graph import Graph


@click.command()
@click.option(
    "--stdio", is_flag=True, help="Speak over standard input and output, which is the only way and the default."
)
def lsp(stdio: bool) -> None:
    """Start the language server, for editors.

    It shows mistakes, shapes after every arrow, documentation and costs; completes names, goes to definitions, lays
    out, renames, and mends what is misspelt. Needs the extra [lsp].
    """
    del stdio
    from uninas.lsp.server import serve

    serve(_drawn).start_io()


def _drawn(graph: Graph) -> str:
    from uninas.render import svg

    return svg(graph, level="block")
