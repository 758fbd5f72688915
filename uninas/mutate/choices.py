"""Walks in a space of open choices: neighbours differ in one answer, a child takes each answer from one parent."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from uninas.errors import NoLegalEdit, UninasError, did_you_mean, error, shown
from uninas.graph import Graph
from uninas.mutate.edits import Bodies, Edit
from uninas.mutate.propose import Proposal, allowed, first_allowed
from uninas.mutate.sites import Refusal
from uninas.ops.op import Op
from uninas.space import Budget, Member, Space

SPOKEN = 6  # choices that an edit names when it is printed
KEPT = 4096  # architectures whose answers are remembered


@dataclass(frozen=True)
class Choose(Edit, kind="choose", level="network"):
    """Answer some choices anew; each change is 'choice=number of the option'. A child has a second parent, `mate`.

    `values` says of every change what the option is, as the space writes it, for whoever reads the edit; `closed` names
    the choices that are no longer asked.
    """

    changes: tuple[str, ...]
    mate: str = ""
    values: tuple[str, ...] | None = None
    closed: tuple[str, ...] | None = None

    def __str__(self) -> str:
        spoken = list(self.spoken().items())
        listed = ", ".join(f"{name} = {value}" for name, value in spoken[:SPOKEN])
        listed += f" and {len(spoken) - SPOKEN} more" if len(spoken) > SPOKEN else ""
        return f"choose {listed}" + (f" as in {self.mate[:8]}" if self.mate else "")

    def spoken(self) -> dict[str, str]:
        """What was chosen, by the choice: values, where the edit has them, else the numbers of options."""
        if self.values is not None and len(self.values) == len(self.changes):
            names = [change.rpartition("=")[0] for change in self.changes]
            return dict(zip(names, self.values, strict=True))
        return {name: f"option {number}" for name, number in self.answers({}).items()}

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        return Refusal("site", "choices belong to a space of choices")

    def answers(self, before: Mapping[str, int]) -> dict[str, int]:
        """All answers after the edit. Raises UNI080 for changes that cannot be read."""
        after = dict(before)
        for change in self.changes:
            name, _, option = change.rpartition("=")
            if not name or not option.isdecimal():
                raise error("UNI080", f"expected a choice and the number of an option, but got {change}")
            after[name] = int(option)
        return {name: option for name, option in after.items() if name not in (self.closed or ())}


def _difference(before: Mapping[str, int], member: Member, mate: str = "") -> Choose:
    changed = {name: option for name, option in member.answers.items() if before.get(name) != option}
    options = {choice.path: choice.options for choice in member.choices}
    return Choose(
        (), tuple(f"{name}={option}" for name, option in changed.items()), mate,
        tuple(options[name][option] for name, option in changed.items()),
        tuple(name for name in before if name not in member.answers) or None,
    )  # fmt: skip


class ChoiceWalk:
    """The members of a space of choices. The answers behind an architecture are remembered, or else found again."""

    def __init__(self, space: Space, budget: Budget):
        self.space, self.budget = space, budget
        self._members: OrderedDict[str, Member] = OrderedDict()

    def sample(self, rng: random.Random) -> Graph:
        """A random member that keeps the budget. Raises UNI080 when patience ends."""
        return self.draw(rng, ()).graph

    def draw(self, rng: random.Random, seen: Container[str]) -> Proposal:
        """A random new member; its edit answers all choices."""
        return self._first(dict, {}, rng, seen, self.space.patience)

    def propose(self, graph: Graph, rng: random.Random, seen: Container[str]) -> Proposal:
        """A member with one answer changed; where that opens new choices, these are answered at random."""
        member = self.member(graph)
        if not member.choices:
            raise NoLegalEdit.because(f"expected a space with choices, but {self.space.name} leaves nothing open")

        def other() -> dict[str, int]:
            choice = member.choices[rng.randrange(len(member.choices))]
            step = rng.randrange(1, len(choice.options))
            return {**member.answers, choice.path: (member.answers[choice.path] + step) % len(choice.options)}

        return self._first(other, member.answers, rng, seen, self._patience(member))

    def crossover(self, a: Graph, b: Graph, rng: random.Random, seen: Container[str]) -> Proposal:
        """A member that has each answer from one of two, as a change of the first."""
        member = self.member(a)
        first, second = member.answers, self.member(b).answers

        def child() -> dict[str, int]:
            return {**first, **{name: option for name, option in second.items() if rng.random() < 0.5}}

        return self._first(child, first, rng, seen, self._patience(member), b.key)

    def apply(self, graph: Graph, edit: Edit, mate: Graph | None = None) -> Graph:
        """The member after an edit. Raises UNI080 when it is no edit of choices, or does not fit."""
        if not isinstance(edit, Choose):
            raise error("UNI080", f"cannot {edit}: {self.space.name} is a space of choices")
        member = self.space.completed(edit.answers(self.member(graph).answers))
        options, spoken = {choice.path: choice.options for choice in member.choices}, edit.spoken()
        for path, option in edit.answers({}).items():
            if member.answers.get(path) != option:
                raise error("UNI080", f"cannot {edit}: {self.space.name} has no option {option} of {path} there")
            if edit.values is not None and spoken.get(path) != options[path][option]:
                now = f"option {option} of {path} is {options[path][option]}"
                raise error("UNI080", f"cannot {edit}: in {self.space.name}, {now}")
        return self._remember(member)

    def neighbours(self, graph: Graph) -> Iterator[Proposal]:
        """Every member that differs in one answer and keeps the budget, each once."""
        choices = self.member(graph).choices
        changes = ((choice.path, option) for choice in choices for option in range(len(choice.options)))
        yield from self._changed(graph, changes)

    def towards(self, graph: Graph, aim: Graph) -> Iterator[Proposal]:
        """Every member that has one more answer in common with `aim` and keeps the budget."""
        yield from self._changed(graph, self.member(aim).answers.items())

    def _changed(self, graph: Graph, changes: Iterable[tuple[str, int]]) -> Iterator[Proposal]:
        before, seen = self.member(graph).answers, {graph.key}
        for path, option in changes:
            if before.get(path) == option:
                continue
            try:
                member = self.space.completed({**before, path: option})
            except UninasError:  # it does not fit the other answers
                continue
            edit = _difference(before, member)
            outcome = allowed(self._remember(member), self.budget, seen)
            if edit.changes and isinstance(outcome, Graph):
                seen.add(outcome.key)
                yield Proposal(outcome, edit)

    def member(self, graph: Graph) -> Member:
        """The graph as a member of the space. Raises UNI042 when it is none, or that cannot be found out, and UNI040
        when it breaks the budget.
        """
        if broken := self.budget.violations(graph):
            raise error("UNI040", f"{graph.name} breaks the budget of {self.space.name}: {broken[0]}")
        known = self._members.get(graph.key)
        if known is None:
            known = member_of(self.space, graph)
            self._remember(known)
        return known

    def edit_to(self, member: Graph, origin: Graph | None = None) -> Choose:
        """The edit that makes one member of another, or of nothing. Raises UNI040 and UNI042 where it is no member."""
        return _difference({} if origin is None else self.member(origin).answers, self.member(member))

    def named(self, values: Mapping[str, str], origin: Graph) -> Graph:
        """The member in which some choices have other values, written as the space writes them. Raises UNI042."""
        member = self.member(origin)
        options = {choice.path: choice.options for choice in member.choices}
        answers = dict(member.answers)
        for path, value in values.items():
            if path not in options:
                hint = did_you_mean(path, options) or f"there are {', '.join(options)}"
                raise error("UNI042", f"{self.space.name} has no choice {shown(path)} there", None, hint)
            if value not in options[path]:
                raise error("UNI042", f"{path} cannot be {shown(value)}", None, f"one of {', '.join(options[path])}")
            answers[path] = options[path].index(value)
        return self._remember(self.space.completed(answers))

    def answers(self, graph: Graph) -> dict[str, str]:
        """The value of every choice behind a member, as the space writes it."""
        member = self.member(graph)
        return {choice.path: choice.options[member.answers[choice.path]] for choice in member.choices}

    def _patience(self, member: Member) -> int:
        """As many draws as meet nearly every neighbour, where these are few and all may be known."""
        neighbours = sum(len(choice.options) - 1 for choice in member.choices)
        return min(self.space.patience, 3 * max(8, neighbours))

    def _first(
        self, draw: Callable[[], dict[str, int]], before: Mapping[str, int], rng: random.Random, seen: Container[str],
        patience: int, mate: str = "",
    ) -> Proposal:  # fmt: skip
        """The first of the answers drawn whose member is allowed."""
        drawn: list[Graph] = []

        def edit() -> Edit | Refusal:
            try:
                member = self.space.completed(draw(), rng)
            except UninasError as problem:  # answers that do not fit each other
                return Refusal("type", problem.diagnostics[0].message)
            drawn.append(self._remember(member))
            found = _difference(before, member, mate)
            return found if found.changes else Refusal("known", "nothing would change")

        return first_allowed(edit, lambda _: drawn[-1], self.budget, seen, patience)

    def _remember(self, member: Member) -> Graph:
        self._members[member.graph.key] = member
        if len(self._members) > KEPT:
            self._members.popitem(last=False)
        return member.graph


# ---- membership ----------------------------------------------------------------------------------------------------


def member_of(space: Space, graph: Graph) -> Member:
    """The graph as a member of the space, with the answers that lead to it. Raises UNI042 when none are found.

    Choices are answered in turn, each by the option under which most of the graph appears, and again until nothing
    gets better. What is found is right: its graph has the same key. In a space where several answers must change
    together to come nearer, a member may be missed.
    """
    wanted = _traits(graph)
    best = space.completed({})
    alike = _alike(best.graph, wanted)
    improved = True
    while improved:
        improved = False
        for path in [choice.path for choice in best.choices]:
            if best.graph.key == graph.key:
                return best
            options = next((choice.options for choice in best.choices if choice.path == path), ())
            for option in range(len(options)):
                if option != best.answers[path]:
                    other = space.completed({**best.answers, path: option})
                    score = _alike(other.graph, wanted)
                    if score > alike:
                        best, alike, improved = other, score, True
    if best.graph.key == graph.key:
        return best
    raise error("UNI042", f"expected a member of {space.name}, but no answers lead to {graph.name or 'this graph'}")


def _traits(graph: Graph) -> set[object]:
    """What can be seen at each place of a network: that it is there, its shapes, its operation, and each attribute."""
    found: set[object] = {graph.inputs}
    for path, inner, node in graph.walk():
        found |= {path, (path, inner.shapes(node.name))}
        if isinstance(node.op, Op):
            found.add((path, node.op.name))
            found.update((path, attribute.name, getattr(node.op, attribute.name)) for attribute in node.op.attrs)
    return found


def _alike(graph: Graph, wanted: set[object]) -> tuple[int, int]:
    """Number of wanted traits that are present, then the negated number of others."""
    traits = _traits(graph)
    return len(traits & wanted), -len(traits)
