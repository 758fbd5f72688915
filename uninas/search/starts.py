"""Where a search may begin, besides the start of its space: networks by name or path, and candidates of other runs.

| written | what it means |
|---|---|
| coatnet, mine.uni | a network |
| runs/first | the candidates of a run that no other beats in all objectives, the best first |
| runs/first:12 | its candidate 12 |
| runs/first:top5 | its five best |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from uninas.errors import UninasError, error, shown
from uninas.graph import Graph
from uninas.language.alone import alone
from uninas.language.library import Module, find
from uninas.language.printer import dumps
from uninas.mutate import ChoiceWalk, Walk
from uninas.search.store import FILE, Store
from uninas.search.top import top

MOST = 10_000  # starts of one run


def is_run(name: str) -> bool:
    """Whether a start names the folder of a run."""
    return bool(name) and (Path(parted(name)[0]) / FILE).is_file()


def read_starts(names: Sequence[str], home: Module) -> list[tuple[Module, str]]:
    """The networks that starts name, those of the space's own file first. Raises UNI010 and UNI070."""
    found: list[tuple[Module, str]] = []
    for name in names:
        if is_run(name):
            found += [alone(text, "start") for text in _texts(*parted(name))]
        elif visible := home.find(name):
            found.append((visible[0], name))
        elif parted(name)[1]:
            raise error("UNI070", f"there is no run in {shown(parted(name)[0], 200)}", None,
                        "RUN:12 names candidate 12 of the run in the folder RUN, RUN:top5 its five best")  # fmt: skip
        else:
            found.append(find(name))
    return found


def kept_starts(texts: Sequence[str]) -> list[tuple[Module, str]]:
    """The same from the texts that a run has kept."""
    return [alone(text, "start") for text in texts]


def texts_of(graphs: Sequence[Graph]) -> list[str]:
    """What a run keeps of its starts."""
    return [dumps(graph, explicit=True) for graph in graphs]


def fitting(graphs: Sequence[Graph], walk: Walk, start: Graph, forgiving: bool) -> list[Graph]:
    """Starts besides the first, each once, as the walk knows them. Raises UNI040, UNI042 and UNI071.

    `forgiving` leaves out those that break the budget or are no members of the space, as candidates of another run may.
    """
    seen, found = {start.key}, []
    for graph in graphs:
        try:
            one = as_start(graph, walk, start)
        except UninasError:
            if forgiving:
                continue
            raise
        if one.key not in seen:
            seen.add(one.key)
            found.append(one)
    return found


def as_start(graph: Graph, walk: Walk, start: Graph | None = None) -> Graph:
    """An architecture as a place to go on from in a walk. Raises UNI040, UNI042, and UNI071 for other inputs."""
    if isinstance(walk, ChoiceWalk):
        return walk.member(graph).graph
    if broken := walk.budget.violations(graph):
        raise error("UNI040", f"the start {graph.name} breaks the budget: {broken[0]}")
    if start is not None and (graph.inputs, graph.output_shapes) != (start.inputs, start.output_shapes):
        raise error("UNI071", f"expected {graph.name} to have the inputs and outputs of {start.name}", None,
                    "all starts of a search solve one task")  # fmt: skip
    return graph


def parted(name: str) -> tuple[str, str]:
    """Folder and part of a run: runs/first:top5 -> ('runs/first', 'top5')."""
    found = re.fullmatch(r"(.+):(top\d{1,5}|\d{1,9})", name)
    return (found[1], found[2]) if found else (name, "")


def _texts(folder: str, part: str) -> list[str]:
    with Store(Path(folder), read_only=True) as store:
        if part.isdecimal():
            numbers = [store[int(part)].number]
        elif part:
            numbers = [candidate.number for candidate, _ in top(store, int(part.removeprefix("top")))]
        else:
            numbers = [candidate.number for candidate in store.front()[:MOST]]
        if not numbers:
            raise error("UNI070", f"no candidate in {shown(folder, 200)} has a score to start from")
        return [store.text(number) for number in numbers]
