"""`uninas lsp`: the language server, which editors start."""

from __future__ import annotations

import click


@click.command()
@click.option(
    "--stdio", is_flag=True, help="Speak over standard input and output, which is the only way and the default."
)
def lsp(stdio: bool) -> None:
    """Start the language server, for editors.

    It shows mistakes, shapes after every arrow, documentation and costs; completes names, goes to definitions, lays
    out, and mends what is misspelt. Needs the extra [lsp].
    """
    del stdio
    from uninas.lsp.server import serve

    serve().start_io()
