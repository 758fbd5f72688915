"""How many members a space has when inner choices depend on outer ones, without building them all.

What a section or block chooses inside reaches what follows through the shape it makes alone. So the answers that lead
to each shape are counted from section to section, block to block; only the choices of one block at a time, those of a
stage and those of the whole space are tried one by one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from uninas.errors import Unfit, UninasError, error
from uninas.graph.builder import Builder
from uninas.graph.network import stage_name
from uninas.language import tree as ast
from uninas.language.elaborate.core import text_of
from uninas.language.elaborate.definitions import Elaborator
from uninas.language.library import Module
from uninas.language.scope import Scope
from uninas.ops.op import Shape
from uninas.space import Choice

MAX_TRIED = 200_000  # answers tried one by one

T = TypeVar("T")
Shapes = tuple[Shape, ...]
Made = Counter[Shapes]
"""Numbers of answers by the shapes that they lead to."""


class Counting(Elaborator):
    """Counts the answers that a space can be given. Raises UNI030 when too many would have to be tried one by one."""

    def __init__(self) -> None:
        super().__init__(None)
        self.tried = 0

    def members(self, module: Module, network: ast.Network, shape: Shape | None) -> int:
        outermost = Scope(module, None)
        declared = self.declared_inputs(network, outermost)
        inputs = (shape, *declared[1:]) if shape else declared
        if any(isinstance(m, ast.Outcome) or getattr(m, "sources", None) for m in network.members):
            members = self._answers(lambda: self.definition_graph(module, network, {}, inputs, network.span))
            return sum(1 for _ in members)
        chosen = [member for member in network.members if isinstance(member, ast.Choose)]

        def bound() -> Scope:
            scope = Scope(module, Builder(inputs, self.work))
            self.bind_parameters(network, {}, scope)
            for member in chosen:
                self.choose(member, scope, scope)
            return scope

        return sum(self._through(network, inputs, scope).total() for scope in self._answers(bound))

    def that_fit(self, module: Module, network: ast.Network, shape: Shape | None, choices: Sequence[Choice]) -> int:
        """Answers that fit each other, of a space whose blocks choose nothing, so that none has to be built.

        Answers of which no condition speaks are as many as their options; those of the others are tried.
        """
        lines = [member for member in network.members if isinstance(member, ast.Choose)]
        names = {name.text for line in lines for name in line.names}
        spoken = {name for line in lines if line.where for name in _words(line.where) & names}
        for line in lines:
            if others := _words(line.domain) & names:
                spoken |= others | {name.text for name in line.names}
        tried = math.prod(len(choice.options) for choice in choices if choice.path in spoken)
        if tried > MAX_TRIED:
            raise _too_many()
        outermost = Scope(module, None)
        declared = self.declared_inputs(network, outermost)

        def bound() -> None:
            scope = Scope(module, Builder((shape, *declared[1:]) if shape else declared, self.work))
            self.bind_parameters(network, {}, scope)
            for line in lines:
                kept = tuple(name for name in line.names if name.text in spoken)
                self.choose(replace(line, names=kept), scope, scope)

        found = sum(1 for _ in self._answers(bound))
        return found * math.prod(len(choice.options) for choice in choices if choice.path not in spoken)

    def _through(self, network: ast.Network, inputs: Shapes, scope: Scope) -> Made:
        made = Made({inputs: 1})
        stages = 0
        for member in network.members:
            if isinstance(member, ast.Section):
                made = self._chain(member.body, made, scope, member.name.text)
            elif isinstance(member, ast.Stage):
                made = self._stage(member, made, scope, stage_name(stages))
                stages += 1
        return made

    def _chain(self, chain: ast.Chain, made: Made, scope: Scope, place: str) -> Made:
        after = Made()
        for shapes, times in made.items():
            for graph in self._answers(lambda: self.chain_graph(chain, shapes, scope, place)):  # noqa: B023
                after[graph.output_shapes] += times
        return after

    def _stage(self, stage: ast.Stage, made: Made, scope: Scope, place: str) -> Made:
        def opened() -> tuple[Scope, int, list[ast.Chain]]:
            inner = scope.inner()
            for choice in stage.choices:
                self.choose(choice, scope, inner)
            inner.bind("width", self.dimension("width", stage.width, scope))
            stride = 1 if stage.stride is None else self.dimension("stride", stage.stride, scope)
            return inner, stride, list(self.stage_items(stage, inner))

        after = Made()
        for inner, stride, items in self._answers(opened):
            row = made
            for index, body in enumerate(items):
                block = inner.inner()
                block.bind("index", index)
                block.bind("stride", stride if index == 0 else 1)
                row = self._chain(body, row, block, place)
            after.update(row)
        return after

    def _answers(self, make: Callable[[], T]) -> Iterator[T]:
        """The results of `make` for all answers to the choices that it asks; the last choice varies fastest."""
        given: list[tuple[int, int]] = []
        while True:
            asked: dict[str, tuple[int, int]] = {}
            before = given

            def decide(choice: Choice) -> int:
                known = before[len(asked)][0] if len(asked) < len(before) else 0  # noqa: B023
                return asked.setdefault(choice.path, (known, len(choice.options)))[0]  # noqa: B023

            self.tried += 1
            if self.tried > MAX_TRIED:
                raise _too_many()
            self.decide, self.steps = decide, 0
            with suppress(Unfit):
                yield make()
            given = list(asked.values())
            while given and given[-1][0] + 1 == given[-1][1]:
                given.pop()
            if not given:
                return
            given[-1] = (given[-1][0] + 1, given[-1][1])


def _words(syntax: ast.Syntax) -> set[str]:
    return set(re.findall(r"\w+", text_of(syntax)))


def _too_many() -> UninasError:
    asked = f"expected at most {MAX_TRIED:,} answers to try one by one, to count a space"
    return error("UNI030", asked, None, "sample it instead")
