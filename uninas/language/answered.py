"""A member of a space of choices as its author would have written it: the text of the space, its choices answered.

A graph that is printed says everything, but its blocks are those that were met, each for its shapes. Here the blocks,
stages and names are those of the space, and only what was open is decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from uninas.errors import Span, UninasError
from uninas.graph import Graph
from uninas.language import tree as ast
from uninas.language.elaborate import build
from uninas.language.elaborate.definitions import Elaborator
from uninas.language.formatter import format_text
from uninas.language.library import Module, load_text
from uninas.ops.op import Shape


def answered(module: Module, name: str, answers: Mapping[str, int], wanted: Graph) -> str | None:
    """The text of a space as a network with these answers, and with the blocks that it imports.

    None where that cannot be written: a block that leaves something open may be answered differently each time that it
    is used. What is given elaborates to `wanted`, to its key.
    """
    definition = module.definitions.get(name)
    if not isinstance(definition, ast.Network):
        return None
    with suppress(UninasError):
        text = _written(module, definition, answers, wanted.inputs)
        if text is not None:
            text = format_text(text)
            if build(load_text(text, name), name).key == wanted.key:
                return text
    return None


class _Recorder(Elaborator):
    """Remembers where every choice stands, and what was answered there."""

    def __init__(self, answers: Mapping[str, int]):
        super().__init__(lambda choice: answers[choice.path])
        self.taken: dict[Span, dict[str, str]] = {}

    def ask(self, name: str, options: tuple[str, ...], span: Span) -> int:
        index = super().ask(name, options, span)
        if self.taken.setdefault(span, {}).setdefault(name, options[index]) != options[index]:
            self.taken[span][name] = ""  # answered in two ways
        return index


def _written(
    module: Module, definition: ast.Network, answers: Mapping[str, int], inputs: tuple[Shape, ...]
) -> str | None:
    run = _Recorder(answers)
    run.collected(lambda: run.top(module, definition, inputs[0], {}))
    if any("" in taken.values() for taken in run.taken.values()):
        return None
    changes = list(_decided(definition, run.taken, inputs))
    text = _changed(definition, changes)
    blocks = [_changed(block, changes) for block in _reached(module, text, definition.name.text)]
    doc = "".join(f"# {line}".rstrip() + "\n" for line in definition.doc.splitlines())
    return "\n\n".join([*blocks, doc + re.sub(r"^space\b", "network", text)])


def _changed(definition: ast.Definition, changes: Iterable[tuple[Span, str]]) -> str:
    """The text of a definition, with what is changed inside it."""
    whole = definition.span
    inside = [(span, new) for span, new in changes if span.source is whole.source
              and whole.start <= span.start and span.end <= whole.end]  # fmt: skip
    text = whole.source.text[: whole.end]
    for span, new in sorted(inside, key=lambda change: -change[0].start):
        text = text[: span.start] + new + text[span.end :]
    return text[whole.start :]


def _decided(
    definition: ast.Network, taken: Mapping[Span, Mapping[str, str]], inputs: tuple[Shape, ...]
) -> Iterator[tuple[Span, str]]:
    """What to write in place of what."""
    plain: set[Span] = set()
    several: dict[Span, ast.Choose] = {}
    for member in definition.members:
        if isinstance(member, ast.Stage):
            plain |= {side.span for side in (member.width, member.count, member.stride) if isinstance(side, ast.Range)}
        if isinstance(member, ast.Choose):
            several[member.domain.span] = member
        if isinstance(member, ast.Input):
            yield member.span, "input " + " x ".join(map(str, inputs[0]))
        if isinstance(member, ast.Budgets | ast.Moves | ast.Patience):
            yield member.span, ""
    for span, values in taken.items():
        if span in several:
            names = [name.text for name in several[span].names]
            groups = {value: [name for name in names if values[name] == value] for value in values.values()}
            lines = (f"choose {', '.join(group)} in {{{value}}}" for value, group in groups.items())
            yield several[span].span, "\n".join(lines)
        else:
            value = next(iter(values.values()))
            yield span, value if span in plain else f"{{{value}}}"


def _reached(module: Module, text: str, own: str) -> list[ast.Definition]:
    """The definitions that a text names, and those that these name, each before what uses it."""
    found: dict[str, ast.Definition] = {}

    def look(module: Module, text: str) -> None:
        for word in dict.fromkeys(re.findall(r"\w+", text)):
            known = module.find(word)
            if known is not None and word != own and word not in found:
                home, definition = known
                found[word] = definition  # so that it is not looked at again
                span = definition.span
                look(home, span.source.text[span.start : span.end])
                found[word] = found.pop(word)

    look(module, text)
    return list(found.values())
