"""The commands that draw: `uninas render` and `uninas diff`. Options, one call, one print."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uninas.cli.options import whole, words
from uninas.errors import error

if TYPE_CHECKING:
    from uninas.graph import Graph
    from uninas.render import Step, Subject


def _length(context: click.Context, parameter: click.Parameter, given: str | None) -> float | None:
    """'88mm', '8.8cm', '3.5in' or '88' -> millimetres"""
    if given is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(mm|cm|in)?", given.strip())
    if not found:
        raise click.BadParameter(f"expected a length like 88mm, 8.8cm or 3.5in, but got {given!r}")
    return float(found[1]) * {"mm": 1.0, "cm": 10.0, "in": 25.4}[found[2] or "mm"]


PICTURE = (
    click.option("--direction", default="TB", show_default=True, help="TB (downwards) or LR (to the right)."),
    click.option("--theme", default="light", show_default=True, help="light or dark."),
    click.option("--title", help="What stands above, instead of the name; '' for nothing."),
    click.option("--caption", default="", help="What stands below."),
    click.option("--width", callback=_length, help="Width of the picture: 88mm for one column, 178mm for two."),
)


def picture_options(command: Any) -> Any:
    """The options that every picture has."""
    for option in reversed(PICTURE):
        command = option(command)
    return command


@click.command()
@click.argument("net")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A .svg, .png, .pdf, .dot or .mmd (Mermaid) file.",
)
@click.option("--level", default="network", show_default=True, help="network, stage, block (each once) or full.")
@click.option("--depth", type=click.IntRange(0, 100), help="Levels of blocks to open, instead of what --level says.")
@click.option(
    "--expand", multiple=True, metavar="NAME", help="A block (or the path of a node) to open; may be repeated."
)
@click.option(
    "--show", default="", callback=words, help="What nodes say: name,attributes,shape,params,flops,share (heat)."
)
@click.option("--candidate", type=click.IntRange(0), help="Number of a candidate, where NET is the folder of a run.")
@click.option("--lineage", is_flag=True, help="Draw how a candidate came about, edit by edit.")
@picture_options
def render(net: str, output: Path, candidate: int | None, lineage: bool, **options: Any) -> None:
    """Draw NET: a network, a block, a search space or a candidate of a run.

    A candidate is named by RUN:NUMBER (runs/first:12) or by --candidate.
    """
    from uninas.render import Film
    from uninas.render import render as draw

    folder, number = _run_of(net, candidate)
    subject: Subject
    if lineage:
        if folder is None:
            raise error("UNI070", f"expected a candidate of a run, but got {net}", None, "name one: runs/first:12")
        subject = Film(list(_steps(folder, number)))
    else:
        subject = _subject(net) if folder is None else _candidate(folder, number)
    click.echo(f"wrote {draw(subject, output, **options)}")


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--render", "output", type=click.Path(path_type=Path), help="Draw both as one into this file.")
@click.option("--space", "name", metavar="SPACE", help="Also find moves of SPACE that lead from BEFORE to AFTER.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@picture_options
def diff(before: str, after: str, output: Path | None, name: str | None, as_json: bool, **options: Any) -> None:
    """Say (and draw) what differs between two networks or blocks, or candidates of runs.

    Names do not matter; what is computed does. Exit status 0 whether they differ or not; 1 where --space has no way
    from one to the other, or none was found. Of a few moves the way is found; it need not be the shortest.
    """
    from uninas.graph import Graph
    from uninas.graph.diff import diff as compared
    from uninas.render import Difference
    from uninas.render import render as draw

    graphs = [_subject(net) if folder is None else _candidate(folder, number)
              for net in (before, after) for folder, number in [_run_of(net, None)]]  # fmt: skip
    one, two = graphs
    if not isinstance(one, Graph) or not isinstance(two, Graph):
        raise error("UNI042", "expected two networks or blocks, but got a search space", None, "draw it: uninas render")
    found = compared(one, two)
    way = [] if name is None else _way(one, two, name, as_json)
    told = found.as_dict() if name is None else {**found.as_dict(), "moves": way}
    click.echo(json.dumps(told, indent=2, ensure_ascii=False) if as_json else "\n".join([found.text(), *map(str, way)]))
    if output:
        click.echo(f"wrote {draw(Difference(one, two), output, **options)}", err=as_json)


def _way(one: Graph, two: Graph, name: str, as_json: bool) -> list[Any]:
    """Moves of a space from one network to another, each with the network that it leads to, as `uninas moves` has them.

    Raises NoLegalEdit where there is no way, or none was found.
    """
    from uninas.cli.walk import line, move
    from uninas.errors import NoLegalEdit
    from uninas.language.elaborate import space
    from uninas.language.library import find
    from uninas.mutate.path import edit_path
    from uninas.mutate.propose import Proposal
    from uninas.mutate.sites import Refusal
    from uninas.mutate.walk import walk_of

    walk = walk_of(space(*find(name)), one)
    edits = edit_path(one, two, walk)
    if isinstance(edits, Refusal):
        raise NoLegalEdit.because(f"no moves of {name} lead from {one.name} to {two.name}: {edits.why}")
    told = []
    for edit in edits:
        one = walk.apply(one, edit)
        row = move(Proposal(one, edit), as_json)
        told.append(row if as_json else line(row, as_json))
    return told


# ---- what is meant ---------------------------------------------------------------------------------------------------


def _run_of(net: str, candidate: int | None) -> tuple[Path | None, int | None]:
    """The folder of a run and the number of a candidate, where NET names them."""
    from uninas.search.store import FILE

    path, colon, number = net.rpartition(":")
    named = whole(number, 0, 10**9) if colon and candidate is None else None
    if named is not None and Path(path).is_dir():
        return Path(path), named
    if candidate is not None:
        return Path(net), candidate
    # A folder may well be called as a network is.
    word = net.isidentifier() and not (Path(net) / FILE).exists()
    if word or "{" in net or not Path(net).is_dir():
        return None, None
    return Path(net), None


def _subject(net: str) -> Subject:
    """A graph or a search space, by what NET defines."""
    from uninas.language.elaborate import build
    from uninas.language.elaborate import space as read_space
    from uninas.language.library import find

    module, name = find(net)
    return read_space(module, name) if module.definitions[name].kind == "space" else build(module, name)


def _candidate(folder: Path, number: int | None) -> Subject:
    """A candidate of a run; without a number, the best."""
    from uninas.search.opened import open_run

    with open_run(folder) as run:
        return run.graph(run.best.number if number is None else number)


def _steps(folder: Path, number: int | None) -> Iterator[Step]:
    """The ancestors of a candidate and itself, the start first."""
    from uninas.graph.summary import human
    from uninas.render import Step
    from uninas.search.opened import open_run

    with open_run(folder) as run:
        line = run.store.lineage(run.best.number if number is None else number)
        for candidate in map(run.store.__getitem__, reversed(line)):
            if candidate.promoted:  # the same architecture, scored again
                continue
            origin = [str(candidate.edit)] if candidate.edit else []
            score = [] if candidate.score is None else [f"score {candidate.score:.5g}"]
            costs = f"{human(candidate.params)} parameters, {human(candidate.flops)} FLOPs"
            title = f"candidate {candidate.number}" if candidate.number else "start"
            yield Step(run.graph(candidate.number), title, (*origin, *score, costs))
