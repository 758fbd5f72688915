"""Syntax -> graphs and spaces: the only bridge. Names are looked up, expressions computed, shapes checked.

One function per syntax class. A block is elaborated for the shapes and arguments it meets and remembered, so equal
uses share one `Graph`. Mistakes are collected (a wire that failed is poisoned, so it causes no second message) and
raised once, all together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from uninas.errors import Diagnostic, Span, UninasError, did_you_mean, error, shown
from uninas.graph import Graph
from uninas.graph.builder import Wires
from uninas.graph.graph import Operator
from uninas.language import tree as ast
from uninas.language.elaborate.core import LARGEST_EXTENT, MAX_PROBLEMS, PROBE
from uninas.language.elaborate.definitions import Elaborator
from uninas.language.elaborate.spaces import read_space
from uninas.language.library import Module, module_of
from uninas.language.parser import Unparsed
from uninas.language.scope import Callee, Scope, Symbol, Value
from uninas.ops.op import REGISTRY, Shape
from uninas.space import Decide, Space

__all__ = ["Checked", "Passage", "build", "check", "check_rest", "checked", "image_of", "passages", "sized", "space"]

# What no argument could mend: the only mistakes that count where arguments had to be guessed.
_CERTAIN = ("UNI010", "UNI011", "UNI012", "UNI013", "UNI016", "UNI019", "UNI023", "UNI030")


def build(
    module: Module,
    name: str,
    *,
    input: Shape | None = None,
    arguments: Mapping[str, int | float | bool | str] | None = None,
    decide: Decide | None = None,
) -> Graph:
    """The graph of a block, network or space by name.

    `input` takes the place of the shape in the text (a block that names none gets 64 x 56 x 56), `arguments` give
    values to parameters, `decide` answers open choices. Raises UninasError with every mistake found.
    """
    run = Elaborator(decide)
    return run.collected(lambda: run.top(module, _definition(module, name), input, dict(arguments or {})))


def sized(
    module: Module,
    name: str,
    size: int | tuple[int, int] | None,
    *,
    channels: int | None = None,
    arguments: Mapping[str, int | float | bool | str] | None = None,
) -> Graph:
    """`build`, for images of another height and width (one number for both) or number of channels; None keeps them."""
    graph = build(module, name, arguments=arguments)
    if size is None and channels is None:
        return graph
    return build(module, name, input=image_of(graph, size, channels), arguments=arguments)


def image_of(graph: Graph, size: int | tuple[int, int] | None, channels: int | None = None) -> Shape:
    """The shape of a network's input at another size. Raises UNI060 where it is no image, or none of such a size."""
    if len(graph.inputs) != 1 or len(graph.inputs[0]) != 3:
        raise error("UNI060", f"expected an image as the input of {graph.name}, to change its size")
    depth, *extents = graph.inputs[0]
    height, width = (size, size) if isinstance(size, int) else size or extents
    shape = (depth if channels is None else channels, height, width)
    if not all(1 <= extent <= LARGEST_EXTENT for extent in shape):
        wanted = "x".join(map(str, shape))
        raise error("UNI060", f"expected channels, height and width from 1 to {LARGEST_EXTENT}, but got {wanted}")
    return shape


def space(module: Module, name: str, *, input: Shape | None = None) -> Space:
    """The search space of that name; a network is a space with one member."""
    return read_space(module, _network(module, name), input)


@dataclass(frozen=True)
class Passage:
    """A step of a text where it was first made: what flows into it and out of it, and which node it added last."""

    step: ast.Step
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    operator: Operator | None
    """None where the step is made of others, and adds no node itself."""
    sizes: Shape = ()
    """What C, H and W mean where the step stands."""


@dataclass(frozen=True)
class Checked:
    """A file without mistakes."""

    definitions: dict[str, Graph | Space | None]
    """None stands for a block that cannot be typed without arguments."""
    passages: Mapping[tuple[int, int], Passage]
    """What flows through every step; see `passages`."""


def check(module: Module) -> dict[str, Graph | Space | None]:
    """Elaborate every definition of a file. None stands for a block that cannot be typed without arguments.

    Raises one UninasError with all mistakes of all definitions.
    """
    return checked(module).definitions


def checked(module: Module) -> Checked:
    """The same, and what flows through every step."""
    results: dict[str, Graph | Space | None] = {}
    problems: dict[Diagnostic, None] = {}
    seen = _Seen()
    for name, definition in module.definitions.items():
        if len(problems) >= MAX_PROBLEMS:
            break
        try:
            results[name] = _alone(module, definition, seen)
        except UninasError as problem:
            problems.update(dict.fromkeys(problem.diagnostics))
    if problems:
        raise UninasError(_in_order(problems))
    return Checked(results, seen.passages)


def check_rest(broken: Unparsed, roots: Iterable[Path] = ()) -> UninasError:
    """The syntax errors of a text, and all that is wrong in the definitions that have none and use none with one."""
    text = broken.rest.source.text
    known = {definition.name.text for definition in broken.rest.definitions}
    missing = set(_DEFINED.findall(text)) - known
    whole = list(broken.rest.definitions)
    while dropped := [one for one in whole if missing.intersection(_words(one))]:
        whole = [one for one in whole if one not in dropped]
        missing |= {one.name.text for one in dropped}
    problems = list(broken.diagnostics)
    try:
        check(module_of(replace(broken.rest, definitions=tuple(whole)), roots))
    except UninasError as problem:
        problems += problem.diagnostics
    return UninasError(_in_order(dict.fromkeys(problems)))


_DEFINED = re.compile(r"^[ \t]*(?:block|network|space)\s+(\w+)", re.MULTILINE)


def _words(definition: ast.Definition) -> set[str]:
    span = definition.span
    return set(re.findall(r"\w+", span.source.text[span.start : span.end]))


def _in_order(problems: Iterable[Diagnostic]) -> list[Diagnostic]:
    return sorted(problems, key=lambda d: (d.span.source.name, d.span.start) if d.span else ("", 0))


def passages(module: Module) -> dict[tuple[int, int], Passage]:
    """What flows through every step of a file, by the begin and end of the step in its text.

    A block is looked at alone, as `check` does, or where it is used in the file if it needs arguments; a space answers
    every choice with its first option. Steps that are not reached, after a mistake or in a branch that is not taken,
    are missing.
    """
    seen = _Seen()
    for definition in module.definitions.values():
        if all(parameter.default is not None for parameter in definition.parameters):
            with suppress(UninasError):
                _watched(module, definition, seen, lambda choice: 0)
    return seen.passages


class _Seen:
    """What flows through steps, from definitions that are elaborated one after the other."""

    def __init__(self) -> None:
        self.own: dict[tuple[int, int], Passage] = {}
        self.used: dict[tuple[int, int], Passage] = {}

    @property
    def passages(self) -> dict[tuple[int, int], Passage]:
        return self.used | self.own

    def note(self, whole: Span, step: ast.Step, before: Wires, after: Wires, at: Scope) -> None:
        """Note a step, by where it stands: in the definition at hand, or in one that it uses."""
        span = step.span
        if span.source is whole.source:
            number = after.wires[0][0]
            made = isinstance(step, ast.Apply | ast.Each) and number >= 0 and after.wires != before.wires
            known = [found.value for letter in "CHW" if (found := at.find(letter))]
            sizes = tuple(value for value in known if isinstance(value, int))
            operator = after.builder.ops[number][0] if made else None
            passage = Passage(step, before.shapes, after.shapes, operator, sizes)
            place = self.own if whole.start <= span.start < whole.end else self.used
            place.setdefault((span.start, span.end), passage)


def _watched(module: Module, definition: ast.Definition, seen: _Seen, decide: Decide | None) -> Graph:
    """The graph of a definition with its own input and defaults, its steps noted."""
    run = Elaborator(decide, partial(seen.note, definition.span))
    return run.collected(partial(run.top, module, definition, None, {}))


def _definition(module: Module, name: str) -> ast.Definition:
    if name not in module.definitions:
        raise error(
            "UNI010",
            f"there is no definition {shown(name)!r} in {module.file.source.name}",
            None,
            did_you_mean(name, module.definitions),
        )
    return module.definitions[name]


def _network(module: Module, name: str) -> ast.Network:
    definition = _definition(module, name)
    if not isinstance(definition, ast.Network):
        raise error("UNI014", f"expected {name} to be a network or a space, but it is a block", definition.name.span)
    return definition


def _alone(module: Module, definition: ast.Definition, seen: _Seen) -> Graph | Space | None:
    """A definition with its own input and defaults."""
    if isinstance(definition, ast.Network):
        made = read_space(module, definition, None)
        _check_moves(made)
        if not (definition.is_space or made.choices or made.nested):
            return _watched(module, definition, seen, None)
        with suppress(UninasError):
            _watched(module, definition, seen, lambda choice: 0)
        return made
    required = [parameter for parameter in definition.parameters if parameter.default is None]
    if not required:
        return _watched(module, definition, seen, None)
    run = Elaborator(None)
    with _only_certain():
        run.collected(
            lambda: run.guessed(module, definition, lambda shape: {p.name.text: _guess(p, shape) for p in required})
        )
    return None


def _check_moves(space: Space) -> None:
    """Look at what moves may insert, though not at the shapes where they will."""
    for option in (option for rule in space.moves for option in rule.options):
        with _only_certain():
            option.on(PROBE)


@contextmanager
def _only_certain() -> Iterator[None]:
    """Let pass what may be mended by another argument or shape than the guessed one."""
    try:
        yield
    except UninasError as problem:
        certain = [found for found in problem.diagnostics if found.code in _CERTAIN]
        if certain:
            raise UninasError(certain) from None


def _guess(parameter: ast.Parameter, shape: Shape) -> Value:
    """Some value of the parameter's kind."""
    kind = parameter.kind
    if isinstance(kind, tuple):
        return Symbol(kind[0].text)
    guesses: dict[str, Value] = {"float": 0.0, "bool": True, "block": Callee(REGISTRY["identity"], guessed=True)}
    return guesses.get(kind.text if kind else "int", shape[0])
