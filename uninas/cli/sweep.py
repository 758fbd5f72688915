"""`uninas sweep`: several searches from one file, each with its own seed, strategy or proxy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import click

from uninas.cli.config import write_config
from uninas.errors import error, shown
from uninas.runs.plain_yaml import read_yaml

MOST = 10_000  # searches of one sweep
MOST_LETTERS = 200  # of a folder's name
EXAMPLE = "sweep: {seed: [0, 1, 2], strategy: [climb, evolution]}"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of all runs.")
@click.option("--dry", is_flag=True, help="Only say which runs there would be.")
def sweep(file: Path, output: Path, dry: bool) -> None:
    """Run all searches that FILE describes, one after the other; those that are done are left alone.

    FILE is a configuration of uninas search whose part "sweep" has lists: seed: [0, 1, 2], strategy: [climb, walk].
    uninas compare --means OUTPUT/* sets the results side by side.
    """
    from uninas.cli.search import ITERATIONS, search

    options = read_yaml(file, "UNI071", EXAMPLE)
    for name, settings in combinations(options, file):
        folder = output / name
        iterations = settings.get("iterations", ITERATIONS)
        if dry or (isinstance(iterations, int) and _done(folder, iterations)):
            click.echo(f"{folder}: {'to do' if dry else 'done'}")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder / "asked.yaml", settings, f"One of the searches of {file.name}.")
        search.main(["--config", str(folder / "asked.yaml"), "-o", str(folder)], standalone_mode=False)
    click.echo(f"set side by side: uninas compare --means {output}/*")


def combinations(options: Mapping[str, Any], file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and options of every search. Raises UNI071 for a file that describes none."""
    lists = options.get("sweep")
    if not isinstance(lists, Mapping) or not all(isinstance(one, list) and one for one in lists.values()):
        raise error("UNI071", f"expected lists of values under sweep in {shown(file, 200)}", None,
                    EXAMPLE)  # fmt: skip
    count = 1
    for one in lists.values():
        count *= len(one)
    if count > MOST:
        raise error("UNI071", f"expected at most {MOST:,} searches, but {shown(file, 200)} describes {count:,}")
    common = {str(name): value for name, value in options.items() if name != "sweep"}
    taken: set[str] = set()
    for values in product(*lists.values()):
        chosen = dict(zip(map(str, lists), values, strict=True))
        folder = ",".join(f"{_plain(name)}={_plain(value)}" for name, value in chosen.items())[:MOST_LETTERS]
        if folder in taken:  # values that differ in what a folder cannot be called, or behind so many letters
            folder += f"-{len(taken)}"
        taken.add(folder)
        yield folder, {**common, **chosen}


def _plain(value: Any) -> str:
    """A value in the name of a folder."""
    text = str(value) if not isinstance(value, Mapping) else " ".join(f"{key} {one}" for key, one in value.items())
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in text)[:60]


def _done(folder: Path, iterations: int) -> bool:
    """Whether a run has as many candidates as it was to have."""
    from uninas.search.store import FILE, Store

    if not (folder / FILE).is_file():
        return False
    with Store(folder, read_only=True) as store:
        return len(store) > iterations
