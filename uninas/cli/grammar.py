"""`uninas grammar`: the grammar of the language, for programs that guide a language model."""

from __future__ import annotations

from pathlib import Path

import click

from uninas.cli.main import write
from uninas.cli.options import output_option


@click.command()
@click.option(
    "--for", "form", default="lark", show_default=True, metavar="llguidance|gbnf|lark", help="Who will read it."
)
@output_option
def grammar(form: str, output: Path | None) -> None:
    """Print the grammar of the language for other programs.

    lark is the grammar itself, for Lark's LALR parser with its contextual lexer. llguidance and gbnf (llama.cpp,
    XGrammar) are for engines that let a language model write nothing but texts of this form.
    """
    from uninas.language import grammars

    write(grammars.grammar(form), output)
