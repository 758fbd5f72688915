"""The command line: thin commands around the library. Mistakes are printed with their place, never as a traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from uninas import list_models, load
from uninas.elaborate import check as check_module
from uninas.errors import UninasError
from uninas.graph import Block, Graph
from uninas.library import load_file
from uninas.op import REGISTRY, show_shape
from uninas.printer import dumps
from uninas.version import __version__


@click.group()
@click.version_option(__version__)
def cli() -> None:
    """Write, cost and compile neural architectures as short readable text."""


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: Sequence[Path]) -> None:
    """Check .uni files; prints every mistake of every file."""
    failed = False
    for file in files:
        try:
            click.echo(f"ok {file}: {len(check_module(load_file(file)))} definitions")
        except UninasError as problem:
            failed = True
            click.echo(str(problem), err=True)
    sys.exit(int(failed))


@cli.command()
@click.argument("network")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def summary(network: str, as_json: bool) -> None:
    """Output shape, parameters and FLOPs (2 x MACs) of every section of NETWORK (a name, a path, or path:NAME)."""
    graph = load(network)
    rows = summary_rows(graph)
    click.echo(json.dumps(rows, indent=2) if as_json else table(rows))


@cli.command(name="print")
@click.argument("network")
@click.option("--explicit", is_flag=True, help="Write every attribute, in numbers.")
def print_(network: str, explicit: bool) -> None:
    """Print NETWORK as text, with everything elaborated."""
    click.echo(dumps(load(network), explicit=explicit), nl=False)


@cli.command()
def ops() -> None:
    """List the operations."""
    for name, op in sorted(REGISTRY.items()):
        click.echo(f"{name:<18} {(op.__doc__ or '').splitlines()[0]}")


@cli.command()
def blocks() -> None:
    """List the shipped networks."""
    for name in list_models():
        click.echo(name)


def summary_rows(graph: Graph) -> list[dict[str, object]]:
    """One row per section, and the total."""
    rows: list[dict[str, object]] = [
        {
            "section": node.name,
            "blocks": len(node.op.graph.nodes) if isinstance(node.op, Block) and node.name.startswith("stages.") else 1,
            "output": show_shape(graph.shapes(node.name)[0]),
            "params": graph.costs[node.name].params,
            "flops": graph.costs[node.name].flops,
        }
        for node in graph.nodes
    ]
    outputs = ", ".join(map(show_shape, graph.output_shapes))
    total = {"section": "total", "blocks": sum(int(str(row["blocks"])) for row in rows), "output": outputs}
    return [*rows, {**total, "params": graph.cost.params, "flops": graph.cost.flops}]


def table(rows: list[dict[str, object]]) -> str:
    """The rows of `summary_rows` for a person."""
    lines = [f"{'section':<18}{'blocks':>7}  {'output':<18}{'params':>14}{'FLOPs (2 x MACs)':>20}"]
    for row in rows:
        lines.append(
            f"{row['section']:<18}{row['blocks']:>7}  {row['output']:<18}{row['params']:>14,}{row['flops']:>20,}"
        )
    return "\n".join(lines)


def main() -> None:
    """The entry point `uninas`."""
    try:
        cli()
    except UninasError as problem:
        click.echo(str(problem), err=True)
        sys.exit(1)
