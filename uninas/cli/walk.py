"""The commands that go through spaces: `uninas sample`, `mutate`, `moves` and `apply`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import click

from uninas.cli.options import json_option, output_option, seed_option
from uninas.errors import NoLegalEdit, error, shown
from uninas.graph import Graph
from uninas.language.elaborate import build, space
from uninas.language.library import find
from uninas.language.printer import dumps
from uninas.mutate.choices import ChoiceWalk
from uninas.mutate.edits import Edit, read_edit, record
from uninas.mutate.propose import Proposal
from uninas.mutate.walk import walk_of

MOST_JSON = 1 << 20  # characters of an edit


@click.command()
@click.argument("name", metavar="SPACE")
@click.option("-n", "number", type=click.IntRange(1, 10**9), default=1, show_default=True, help="How many members.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A folder, for the text of each member.")
@seed_option
@json_option
def sample(name: str, number: int, output: Path | None, seed: int, as_json: bool) -> None:
    """Draw different members of SPACE, a space with open choices, that keep its budget."""
    walk = walk_of(space(*find(name)))
    if not isinstance(walk, ChoiceWalk):
        raise error("UNI042", f"{name} has no open choices", None, f"walk in it: uninas mutate --space {name}")
    rng, seen = random.Random(seed), set[str]()
    for index in range(number):
        graph = _drawn(walk, rng, seen, number)
        seen.add(graph.key)
        member = walk.member(graph)
        answers = {choice.path: choice.options[member.answers[choice.path]] for choice in member.choices}
        click.echo(line({**costs(graph), "answers": answers}, as_json))
        if output:
            _write(output, f"{graph.name}_{index}.uni", dumps(graph))


@click.command()
@click.argument("net", required=False)
@click.option("--space", "name", default="UniNAS", show_default=True, help="The space whose moves are drawn.")
@click.option("--moves", type=click.IntRange(1), default=1, show_default=True, help="How many moves in a row.")
@click.option(
    "--sample-moves",
    "--even",
    "even",
    type=click.Choice(["rules", "moves"]),
    default="rules",
    show_default=True,
    help="Odds within a kind of moves: equal for all sites, or for all moves, so that a site with many has more.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file, for the text of the last network.")
@seed_option
@json_option
def mutate(net: str | None, name: str, moves: int, even: str, output: Path | None, seed: int, as_json: bool) -> None:
    """Walk from NET, or from where the space starts, by random moves; print each as a sentence."""
    start = build(*find(net)) if net else None
    walk = walk_of(space(*find(name)), start, even=even)
    rng = random.Random(seed)
    if start is not None and isinstance(walk, ChoiceWalk):
        walk.member(start)  # raises where it is none
        graph = start
    else:
        graph = walk.sample(rng)
    seen = {graph.key}
    for _ in range(moves):
        proposal = walk.propose(graph, rng, seen)
        graph = proposal.graph
        seen.add(graph.key)
        click.echo(line(move(proposal, as_json), as_json))
    if output:
        _write(output.parent, output.name, dumps(graph))


@click.command()
@click.argument("net")
@click.option("--space", "name", default="UniNAS", show_default=True, help="The space whose moves are listed.")
@click.option("--at", "place", default="", metavar="PATH", help="Only moves at or inside this place: stages.1.blocks.0")
@click.option("-n", "number", type=click.IntRange(1, 10**9), default=100, show_default=True, help="At most so many.")
@json_option
def moves(net: str, name: str, place: str, number: int, as_json: bool) -> None:
    """List the legal moves from NET in a space, each with what it costs; `uninas apply` makes one of them."""
    for proposal in legal_moves(net, name, place, number):
        click.echo(line(move(proposal, as_json), as_json))


def legal_moves(net: str, name: str, place: str, number: int) -> Iterator[Proposal]:
    """At most so many moves from a network in a space, at or inside a place."""
    graph = build(*find(net))
    walk = walk_of(space(*find(name)), graph)
    if isinstance(walk, ChoiceWalk) and place:
        raise error("UNI042", f"{name} is a space of choices, whose moves have no place", None, "leave out --at")
    return islice((one for one in walk.neighbours(graph) if _lies(one.edit, place)), number)


def _lies(edit: Edit, place: str) -> bool:
    """Whether an edit happens at a place: in a graph whose path begins so, or at a node there."""
    node = getattr(edit, "node", "")
    path = ".".join([*edit.path, node] if isinstance(node, str) and node else edit.path)
    return path == place or path.startswith(f"{place}.") or not place


@click.command(name="apply")
@click.argument("net")
@click.argument("edit", type=click.File("r"))
@click.option("--space", "name", default="UniNAS", show_default=True, help="The space whose moves these are.")
@output_option
def apply_(net: str, edit: IO[str], name: str, output: Path | None) -> None:
    """Apply an EDIT, a JSON file or - for standard input, to NET, and print the network that it leads to.

    EDIT is one record of `uninas moves --json` or `uninas mutate --json`, a list of them, one after the other, or what
    `uninas diff --space --json` prints.
    """
    from uninas.cli.main import write

    write(edited(net, name, edit.read(MOST_JSON + 1)), output)


def edited(net: str, name: str, edits: str) -> str:
    """The text of the network that edits, as JSON, make of another one in a space."""
    graph = build(*find(net))
    walk = walk_of(space(*find(name)), graph)
    for one in edit_records(_parsed(edits)):
        made = read_edit(one.get("edit", one))
        graph = walk.apply(graph, made)
        if broken := walk.budget.violations(graph):
            raise error("UNI040", f"{shown(made)} breaks the budget: {broken[0]}")
    return dumps(graph)


def _parsed(text: str) -> object:
    if len(text) > MOST_JSON:
        raise error("UNI080", f"expected at most {MOST_JSON:,} characters of JSON")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error("UNI080", f"expected an edit as JSON: {shown(problem)}", None, "uninas moves NET --json") from None


def edit_records(read: object) -> list[dict[str, Any]]:
    """The records of edits in a value of JSON: one, or a list, or those of `moves --json` or `diff --space --json`."""
    found: list[dict[str, Any]] = []
    rows = read.get("moves", read) if isinstance(read, dict) else read
    for one in rows if isinstance(rows, list) else [rows]:
        if not isinstance(one, dict) or not isinstance(one.get("edit", one), dict):
            raise error("UNI080", f"expected the record of an edit, but got {shown(one)}", None, "uninas moves --json")
        found.append(one)
    return found


def _drawn(walk: ChoiceWalk, rng: random.Random, seen: set[str], number: int) -> Graph:
    """A member that is not there yet. Raises UNI080 where no further one is found, with how many there were."""
    try:
        return walk.draw(rng, seen).graph
    except NoLegalEdit as problem:
        if not seen:
            raise
        found = f"expected {number} different members of {walk.space.name}, but found {len(seen)}"
        raise NoLegalEdit.because(found, problem.diagnostics[0].message) from None


def costs(graph: Graph) -> dict[str, Any]:
    """Key, parameters and FLOPs of a network."""
    return {"key": graph.key[:16], "params": graph.cost.params, "flops": graph.cost.flops}


def move(proposal: Proposal, as_json: bool) -> dict[str, Any]:
    """A move and the network that it leads to: a record of the edit for JSON, else its sentence."""
    return {**costs(proposal.graph), "edit": record(proposal.edit) if as_json else str(proposal.edit)}


def line(values: dict[str, Any], as_json: bool) -> str:
    """One architecture on one line."""
    if as_json:
        return json.dumps(values, ensure_ascii=False)
    said = values.get("edit") or ", ".join(f"{path} = {option}" for path, option in values["answers"].items())
    return f"{values['key'][:8]}  {values['params']:>12,} params  {values['flops']:>16,} FLOPs  {said}"


def _write(folder: Path, name: str, text: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    except OSError as problem:
        raise error("UNI100", f"cannot write {folder / name}: {problem.strerror or problem}") from None
    click.echo(f"wrote {folder / name}", err=True)
