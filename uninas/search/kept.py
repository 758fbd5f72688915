"""What a search keeps in a folder: settings, candidates as they are scored, and what was handed in meanwhile.

The queue of a run is a folder of small JSON files beside its database, written by `uninas enqueue` at any time, also
while the run goes on elsewhere. A file is taken when the run looks for its next candidate, and removed when that
candidate is stored, or was refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from platform import python_version
from typing import Any

from uninas import plugins
from uninas.errors import UninasError, error, shown
from uninas.graph.graph import KEY_VERSION
from uninas.runs.process import read_json
from uninas.scores.objectives import PROTOCOL, Objective
from uninas.search.plan import Plan, Settings, values_of
from uninas.search.store import Store
from uninas.version import __version__

QUEUE = "queue"
MOST_QUEUED = 10_000  # files that are looked at; a folder with more was not filled by us
MOST_HANDED = 16 * 2**20  # bytes of one


def agree(store: Store, plan: Plan, rungs: Sequence[Sequence[Objective]], any_version: bool = False) -> None:
    """A new run writes its settings; one that is there must have been begun with the same ones. Raises UNI070."""
    stored, folder = store.settings, store.folder
    now = {**plan.as_dict(), "protocol": PROTOCOL, "keys": KEY_VERSION}
    if not len(store):  # new, or stopped before anything was scored: then the settings may be better ones
        begin(store, plan, [[(one.name, one.direction) for one in rung] for rung in rungs])
        return
    if not any_version:
        plugins.require(stored.get("plugins"), folder)
    if not plan.recipe.needs_torch:
        del now["protocol"]  # costs are what they are
    elif stored.get("protocol") != PROTOCOL:
        raise error(
            "UNI070",
            f"the scores in {shown(folder, 200)} were drawn in another way than this version draws them",
            None,
            "going on would mix two kinds of scores: look at it, and begin a new run in another folder",
        )
    keys = stored.get("keys", 2)  # those that do not say it were begun with version 2
    if keys != KEY_VERSION:
        raise error(
            "UNI070",
            f"{shown(folder, 200)} knows networks by keys of version {shown(keys)}, this release by version "
            f"{KEY_VERSION}",
            None,
            "going on would score again what is there: look at it, and begin a new run in another folder",
        )
    del now["keys"]
    # A setting that the run does not know came later, and was not asked for then.
    known = values_of(Settings("", ""))
    changed = [
        name for name in now if stored.get(name) != now[name] and (name in stored or now[name] != known.get(name))
    ]
    if changed:
        raise error(
            "UNI070",
            f"{folder} holds a run with other settings",
            None,
            *(f"{name} was {stored.get(name)}, now {now[name]}" for name in changed[:8]),
            "use another folder, or --resume with nothing else to go on as it was begun",
        )
    if stored.get("version") != __version__ and not any_version:
        raise error(
            "UNI070",
            f"{folder} was begun with version {stored.get('version')} of this software, and this is {__version__}",
            None,
            "other versions may go on in other ways: use that one, or accept it with --any-version",
        )
    store.put({"version": __version__})


def begin(store: Store, plan: Plan, rungs: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Write what a new run is."""
    store.put({**plan.as_dict(), "protocol": PROTOCOL, "keys": KEY_VERSION, "objectives": rungs, "version": __version__,
               "python": python_version(), "texts": plan.texts, "plugins": plugins.loaded()})  # fmt: skip


# ---- the queue -----------------------------------------------------------------------------------------------------


def enqueue(folder: Path, handed: Iterable[Mapping[str, Any]]) -> list[Path]:
    """Put candidates into the queue of a run, in this order: texts, or edits of a parent. Gives the files."""
    queue = folder / QUEUE
    queue.mkdir(exist_ok=True)
    found = []
    for one in handed:
        number = max((int(path.stem) for path in queue.glob("*.json") if path.stem.isdecimal()), default=0)
        while True:
            number += 1
            path = queue / f"{number:08d}.json"
            draft = path.with_suffix(".part")
            with suppress(FileExistsError):
                with draft.open("x", encoding="utf-8") as file:
                    json.dump(one, file)
                if not path.exists():
                    break
                draft.unlink()
        draft.rename(path)
        found.append(path)
    return found


def queued(folder: Path, taken: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """What waits in the queue of a run besides what was taken, in its order, by the names of its files.

    A file that holds nothing of ours gives an empty candidate, which will be refused.
    """
    queue, known = folder / QUEUE, set(taken)
    if not queue.is_dir():
        return []
    paths = sorted(path for path in queue.glob("*.json") if path.name not in known)[:MOST_QUEUED]
    return [(path.name, _read(path)) for path in paths]


def done(folder: Path, name: str) -> None:
    """A candidate of the queue is stored, or was refused."""
    (folder / QUEUE / name).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = {} if path.is_symlink() else read_json(path, "UNI080", MOST_HANDED)
    except UninasError:
        return {}
    return found if isinstance(found, dict) else {}
