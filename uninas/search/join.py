"""A new run from the candidates of others: one with another budget (a fork), or several that become one (a merge).

Candidates keep their scores, so nothing is scored again. They are the starts of the new run, in the order in which they
were asked for; what breaks its budget, or has no score, is left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uninas.errors import UninasError, error, shown
from uninas.search import kept
from uninas.search.asktell import Search
from uninas.search.candidate import Candidate
from uninas.search.plan import Plan, Settings, make_plan
from uninas.search.starts import MOST
from uninas.search.store import CHANGED, FILE, Store

SAME = ("protocol", "keys", "objectives", "text of the space", "moves", "proxy", "batch_size", "images", "fold",
        "options", "init", "img_size", "classes")  # fmt: skip
"""What two runs must have in common, so that their candidates and scores mean the same."""
FIRST_TRIED = 100  # candidates that are tried as the start of the new run, where its budget excludes the old one


@dataclass(frozen=True)
class Joined:
    """What became of the candidates."""

    taken: int
    left: int
    """Candidates that have no score, are there twice, or break the budget."""


def join(folders: Sequence[Path], output: Path, settings: Settings) -> Joined:
    """Begin a run in `output` with the scored candidates of others. Raises UNI070 where these do not go together.

    `settings` are those of the first run, perhaps with another budget or strategy.
    """
    if (output / FILE).exists():
        raise error("UNI070", f"there is a run in {shown(output, 200)}", None, "name a new folder")
    with ExitStack() as open_stores:
        stores = [open_stores.enter_context(Store(folder, read_only=True)) for folder in folders]
        for other in stores[1:]:
            _go_together(stores[0], other)
        found = _candidates(stores)
        plan = _plan(stores[0], settings, found)
        by_key = {candidate.key: (candidate, text) for candidate, text in found}
        Search(plan, proposer=lambda question: {})  # raises what is wrong with the strategy and its options
        rows = []
        for number, graph in enumerate((plan.start, *plan.others)):
            if graph.key not in by_key:  # the text of a candidate is not that of its key
                raise error("UNI070", f"a candidate of {shown(folders[0], 200)} cannot be read", None, CHANGED)
            candidate, text = by_key[graph.key]
            alone = replace(candidate, number=number, parent=None, mate=None, edit=None, refused={})
            rows.append((alone, text))
        with Store(output) as store:
            kept.begin(store, plan, stores[0].rungs)
            store.put({"plugins": stores[0].settings.get("plugins"), "joined": [str(folder) for folder in folders]})
            store.add_all(rows)
        return Joined(len(rows), sum(map(len, stores)) - len(rows))


def _go_together(one: Store, other: Store) -> None:
    differing = [name for name in SAME if one.settings.get(name) != other.settings.get(name)]
    if differing:
        raise error(
            "UNI070",
            f"the candidates of {shown(one.folder, 200)} and {shown(other.folder, 200)} do not mean the same",
            None,
            *(f"{name}: {shown(one.settings.get(name))}, and {shown(other.settings.get(name))}" for name in differing),
        )


def _candidates(stores: Sequence[Store]) -> list[tuple[Candidate, str]]:
    """Scored candidates of the last rung with their texts, each architecture once."""
    found: dict[str, tuple[Candidate, str]] = {}
    for store in stores:
        for candidate in store.select("rung = ? AND score IS NOT NULL ORDER BY number", store.last_rung):
            if candidate.key not in found:
                named = replace(candidate, worker=f"{store.folder.resolve().name}:{candidate.number}")
                found[candidate.key] = named, store.text(candidate.number)
    if not found:
        raise error("UNI070", f"no candidate in {shown(stores[0].folder, 200)} has a score")
    if len(found) > MOST:
        raise error("UNI070", f"expected at most {MOST:,} candidates, but got {len(found):,}", None,
                    "begin a run with the best of them: --start RUN:top1000")  # fmt: skip
    return list(found.values())


def _plan(first: Store, settings: Settings, found: Sequence[tuple[Candidate, str]]) -> Plan:
    """The plan that starts from all candidates that keep its budget: from the old start, or else from the best."""
    lower = [direction for _, direction in first.objectives[:1]] == ["lower"]
    best = sorted(found[1:], key=lambda one: (one[0].score or 0.0) * (1 if lower else -1))
    kept_texts: Any = first.settings.get("texts")
    space = kept_texts.get("space") if isinstance(kept_texts, dict) else None
    problem: UninasError | None = None
    for start in [found[0], *best][:FIRST_TRIED]:
        others = [text for one, text in found if one.key != start[0].key]
        try:
            return make_plan(settings, {"space": space, "starts": [start[1], *others], "from_run": True})
        except UninasError as reason:
            if reason.code != "UNI040":
                raise
            problem = problem or reason
    assert problem is not None
    why = problem.diagnostics[0].message
    raise error("UNI040", f"no candidate of {shown(first.folder, 200)} keeps the new budget; of the first, {why}")
