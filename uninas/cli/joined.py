"""`uninas enqueue`, `fork` and `merge`: candidates handed to a run, and runs made of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from uninas.cli.options import budget, merged, trust_option, tuning_option
from uninas.errors import error, shown

MOST_JSON = 16 * 2**20  # bytes of edits

_run = click.argument("run", type=click.Path(path_type=Path))
_output = click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the new run.")


@click.command()
@_run
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@trust_option
def enqueue(run: Path, files: Sequence[str], trust: bool) -> None:
    """Hand candidates to RUN, which scores them next, also while it goes on elsewhere.

    FILE is a network by name or path, candidates of another run (RUN:12, RUN:top5), or a .json file with an edit, or a
    list of them, as uninas moves --json writes them, each with the number of its parent: {"parent": 3, "edit": {...}}.
    """
    from uninas.search import kept

    handed = list(_handed(run, files, trust))
    for path in kept.enqueue(run, handed):
        click.echo(f"queued {path}")
    click.echo(f"{len(handed)} candidates wait in {run}; where it does not go on: uninas resume {run} --iterations N")


@click.command()
@_run
@_output
@click.option("--strategy", help="Another strategy.")
@tuning_option
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Another seed.")
@budget
@trust_option
def fork(run: Path, output: Path, trust: bool, **changes: Any) -> None:
    """Begin a run with the scored candidates of RUN that keep another budget; uninas resume goes on with it.

    Their scores are taken along. What is not named stays as it is in RUN.
    """
    _joined([run], output, trust, {name: value for name, value in changes.items() if value not in (None, {}, ())})


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@_output
@trust_option
def merge(runs: Sequence[Path], output: Path, trust: bool) -> None:
    """Make one run of several that score in the same way; it has their candidates and the settings of the first."""
    _joined(runs, output, trust, {})


def _joined(folders: Sequence[Path], output: Path, trust: bool, changes: Mapping[str, Any]) -> None:
    from uninas.cli.search import ITERATIONS
    from uninas.search.join import join
    from uninas.search.store import Store

    with Store(folders[0], read_only=True) as store:
        stored = store.settings
    own = {**stored, "start": str(folders[0]), "starts": [str(folder) for folder in folders[1:]]}
    if not trust:
        _safe(stored)
    if "strategy" in changes and "tuning" not in changes:
        own["tuning"] = {}
    found = join(folders, output, settings_of(own, changes))
    with Store(output) as store:
        store.put({"iterations": found.taken - 1 + ITERATIONS})
    click.echo(f"{found.taken} candidates in {output}, {found.left} left behind; to go on: uninas resume {output}")


def _safe(stored: Mapping[str, Any]) -> None:
    """A run may be a stranger's: what it reads besides its folder is not read. Raises UNI070."""
    from uninas.cli.search import check_paths

    texts = stored.get("texts")
    kept = {**texts, "starts": texts.get("starts", [""])} if isinstance(texts, dict) else {}
    check_paths(settings_of(stored, {}), kept, {})


def settings_of(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    """The settings of a run as it stored them, with some changed. Raises UNI070 for values that are none of ours."""
    from uninas.search.plan import Settings

    names = {field.name for field in dataclasses.fields(Settings)}
    known = {name: value for name, value in stored.items() if name in names}
    if not {"space", "proxy"} <= known.keys():
        raise error("UNI070", "the run does not say what it searches", None, "is it complete?")
    return merged(Settings, {}, changes, {**known, **changes})


def _handed(run: Path, files: Sequence[str], trust: bool) -> Iterator[dict[str, Any]]:
    """What files hand in. What is wrong with them as candidates of this run is said at once."""
    from uninas.language.elaborate import sized
    from uninas.language.library import load_text
    from uninas.language.printer import dumps
    from uninas.search.plan import make_plan
    from uninas.search.starts import as_start, read_starts
    from uninas.search.store import Store

    with Store(run, read_only=True) as store:
        stored = store.settings
    for file in files:
        if file.endswith(".json"):
            yield from _edits(Path(file))
    nets = [file for file in files if not file.endswith(".json")]
    if not nets:
        return
    settings = settings_of(stored, {})
    if not trust:
        _safe(stored)
    texts = stored.get("texts")
    plan = make_plan(settings, texts if isinstance(texts, dict) else {})
    for home, name in read_starts(nets, load_text("")):
        graph = as_start(sized(home, name, settings.img_size), plan.walk, plan.start)
        yield {"parent": None, "text": dumps(graph, explicit=True)}


def _edits(path: Path) -> Iterator[dict[str, Any]]:
    from uninas.cli.walk import edit_records
    from uninas.mutate import read_edit, record
    from uninas.runs.process import read_json

    for one in edit_records(read_json(path, "UNI080", MOST_JSON)):
        if "edit" not in one or type(one.get("parent")) is not int:
            raise error("UNI080", f"expected an edit and its parent, but got {shown(one)}", None,
                        '{"parent": 3, "edit": {...}}, as uninas moves --json writes edits')  # fmt: skip
        yield {"parent": one["parent"], "edit": record(read_edit(one["edit"]))}
