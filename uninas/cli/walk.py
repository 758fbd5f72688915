"""The commands that go through spaces: `uninas sample` and `uninas mutate`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import click

from uninas.errors import NoLegalEdit, error
from uninas.graph import Graph
from uninas.language.elaborate import build, space
from uninas.language.library import find
from uninas.language.printer import dumps
from uninas.mutate.choices import ChoiceWalk
from uninas.mutate.edits import record
from uninas.mutate.walk import walk_of

seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all draws.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")


@click.command()
@click.argument("name", metavar="SPACE")
@click.option("-n", "number", type=click.IntRange(1), default=1, show_default=True, help="How many members.")
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
        click.echo(_line({**_costs(graph), "answers": answers}, as_json))
        if output:
            _write(output, f"{graph.name}_{index}.uni", dumps(graph))


@click.command()
@click.argument("net", required=False)
@click.option("--space", "name", default="UniNAS", show_default=True, help="The space whose moves are drawn.")
@click.option("--moves", type=click.IntRange(1), default=1, show_default=True, help="How many moves in a row.")
@click.option(
    "--even",
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
        shown = {**_costs(graph), "edit": record(proposal.edit) if as_json else str(proposal.edit)}
        click.echo(_line(shown, as_json))
    if output:
        _write(output.parent, output.name, dumps(graph))


def _drawn(walk: ChoiceWalk, rng: random.Random, seen: set[str], number: int) -> Graph:
    """A member that is not there yet. Raises UNI080 where no further one is found, with how many there were."""
    try:
        return walk.draw(rng, seen).graph
    except NoLegalEdit as problem:
        if not seen:
            raise
        found = f"expected {number} different members of {walk.space.name}, but found {len(seen)}"
        raise NoLegalEdit.because(found, problem.diagnostics[0].message) from None


def _costs(graph: Graph) -> dict[str, Any]:
    return {"key": graph.key[:16], "params": graph.cost.params, "flops": graph.cost.flops}


def _line(values: dict[str, Any], as_json: bool) -> str:
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
