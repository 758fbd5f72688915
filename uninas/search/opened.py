"""A run as data: `open_run` looks at a run, finished or going on, without touching it.

run = uninas.open_run("runs/first")
run.best.score, run.graph(run.best.number).cost.params
table = run.frame()         # pandas, if it is installed; run.rows() needs nothing
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from uninas.errors import UninasError, error
from uninas.graph import Graph
from uninas.language.alone import architecture
from uninas.mutate.choices import ChoiceWalk, Choose
from uninas.search.candidate import Candidate
from uninas.search.store import Store
from uninas.search.texts import found_again
from uninas.space import Budget, Space


class OpenedRun:
    """The candidates of a run. Use it as a context, or `close` it; it never changes the folder."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.store = Store(self.folder, read_only=True)

    def close(self) -> None:
        """Let go of the file."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of candidates that have a score or a failure, the start included."""
        return len(self.store)

    def __repr__(self) -> str:
        names = ", ".join(name for name, _ in self.store.objectives)
        return f"OpenedRun({str(self.folder)!r}: {len(self)} candidates by {names})"

    @property
    def settings(self) -> dict[str, Any]:
        """What the run was asked for, as plain values."""
        return dict(self.store.settings)

    @property
    def best(self) -> Candidate:
        """The best candidate, as `uninas top` orders them. Raises UNI070 if none has a score."""
        from uninas.search.top import top  # here, because it loads numpy

        found = top(self.store, 1)
        if not found:
            raise error("UNI070", f"no candidate in {self.folder} has a score", None, "uninas status tells why")
        return found[0][0]

    def candidates(self) -> Iterator[Candidate]:
        """All candidates in the order of their numbers."""
        return iter(self.store)

    def pareto(self) -> list[Candidate]:
        """The candidates that no other beats in all objectives."""
        return self.store.front()

    def graph(self, number: int) -> Graph:
        """The architecture of a candidate."""
        return architecture(self.store.text(number))

    def answers(self) -> dict[int, dict[str, str]]:
        """For a run in a space of choices: the value of every choice, by the candidate's number; else nothing."""
        found: dict[int, dict[str, str]] = {}
        other = "edit NOT NULL AND edit NOT LIKE ? LIMIT 1"
        if any(True for _ in self.store.raw(other, '%"move": "choose"%')):
            return {}  # a space of moves
        for candidate in self.candidates():
            before = found.get(candidate.parent if candidate.parent is not None else -1, {})
            edit = candidate.edit
            if isinstance(edit, Choose):
                gone = set(edit.closed or ())
                found[candidate.number] = {n: v for n, v in before.items() if n not in gone} | self._values(edit)
            elif candidate.parent is None:
                found[candidate.number] = self._answers_of(candidate.number)
            else:
                found[candidate.number] = dict(before)
        return found if any(found.values()) else {}

    def _values(self, edit: Choose) -> dict[str, str]:
        """What an edit chose, by its choices; of one that was stored without values, as the space has them."""
        if edit.values is not None:
            return edit.spoken()
        return {path: _value(self._options, path, answer) for path, answer in edit.answers({}).items()}

    def rows(self) -> list[dict[str, Any]]:
        """A dictionary for each candidate: number, score, failure, costs, components, parent, edit, seconds, choices.

        Choices stand under their names with their values, as the space writes them.
        """
        chosen = self.answers()
        return [
            {
                "number": one.number, "score": one.score, "failure": one.failure, "params": one.params,
                "flops": one.flops, "operations": one.operations, "parent": one.parent, "mate": one.mate,
                "rung": one.rung, "edit": str(one.edit) if one.edit else None, "seconds": one.seconds,
                "started": one.started, "key": one.key,
                **{name: value for name, value in one.components.items() if name != "score"},
                **chosen.get(one.number, {}),
            }
            for one in self.candidates()
        ]  # fmt: skip

    def frame(self) -> Any:
        """`rows` as a pandas DataFrame with one column for each name. Raises UNI060 where pandas is not installed."""
        try:
            pandas = import_module("pandas")
        except ImportError:
            hint = "pip install 'uninas-toolkit[frames]', or use rows(), which needs nothing"
            raise error("UNI060", "a frame needs pandas, which is not installed", None, hint) from None
        return pandas.DataFrame(self.rows())

    def _answers_of(self, number: int) -> dict[str, str]:
        """The answers behind a start, which was there before there was an edit to write down."""
        try:
            if self._walk is None:
                return {}
            member = self._walk.member(self.graph(number))
        except UninasError:
            return {}
        return {choice.path: choice.options[member.answers[choice.path]] for choice in member.choices}

    @cached_property
    def _walk(self) -> ChoiceWalk | None:
        """What finds the answers behind an architecture; None in a space of moves."""
        space = self.space()
        return ChoiceWalk(space, Budget()) if space.build is not None else None

    @cached_property
    def _options(self) -> Mapping[str, tuple[str, ...]]:
        """The options of every choice of the space; none where its text cannot be read any more."""
        try:
            return {choice.path: choice.options for choice in self.space().choices}
        except UninasError:
            return {}

    def space(self) -> Space:
        """The space of the run, from the text that the run has kept."""
        from uninas.language.elaborate import space

        texts = self.store.settings.get("texts")
        kept = texts.get("space") if isinstance(texts, dict) else None
        return space(*found_again(str(self.store.settings.get("space")), kept))


def open_run(folder: str | Path) -> OpenedRun:
    """Look at a run that is finished or goes on. Raises UNI070 where the folder holds none."""
    return OpenedRun(folder)


def _value(options: Mapping[str, tuple[str, ...]], path: str, answer: int) -> str:
    """What an answer stands for; of choices inside blocks, which depend on others, the number of the option."""
    known = options.get(path, ())
    return known[answer] if 0 <= answer < len(known) else str(answer)
