"""What every part of an elaboration shares: mistakes, bounds, memory, names and open choices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import uninas.ops  # noqa: F401  # fills the registry
from uninas.errors import Diagnostic, Span, Unfit, UninasError, did_you_mean, error, shown
from uninas.graph import Block, Each, Graph
from uninas.graph.builder import Builder, Wires
from uninas.language import tree as ast
from uninas.language.parser import deep_recursion
from uninas.language.scope import Callee, Nameless, Poison, Poisoned, Scope, Value
from uninas.language.synonyms import meant
from uninas.ops.op import REGISTRY, Op, Shape, ShapeError, show_shape, show_value
from uninas.space import Choice, Decide

T = TypeVar("T")

LARGEST_EXTENT = 65_536
"""Of an image, in pixels or channels."""
MOST_NAMES = 16  # that a hint lists
MAX_DEPTH = 64  # blocks within blocks
MAX_WORK = 1_000_000  # steps of work for one architecture: an expression is one, a node or a block several
MAX_OPERATIONS = 200_000  # elementary operations of one network
MAX_PLACES = 1_000_000  # operations and blocks of one network, with all that is inside them
MAX_OPTIONS = 10_000  # options of one choice, repetitions of one repeat
FUNCTIONS = ("min", "max", "divisible")
MAX_PROBLEMS = 100  # reported at once
PROBE: Shape = (64, 56, 56)  # the input of a block that is looked at alone and names none


Watch = Callable[[ast.Step, Wires, Wires, Scope], None]
"""Is told every step that is made, with the wires before and after it, and what names mean there."""


class Exhausted(UninasError):
    """The bound on work, or on mistakes, is reached: nothing more is tried."""


class Core:
    """One elaboration: what has been built, what went wrong, and how open choices are answered."""

    def __init__(self, decide: Decide | None, watch: Watch | None = None):
        self.decide = decide
        self.watch = watch
        self.problems: dict[object, Diagnostic] = {}
        self.memory: dict[object, Graph | None] = {}
        self.equal: dict[Graph, Graph] = {}
        self.free_names: dict[int, frozenset[str]] = {}
        self.block_keys: dict[int, tuple[Callee | Nameless, int | None]] = {}
        self.numbers: dict[object, int] = {}
        self.building: set[object] = set()
        self.calls: list[str] = []
        self.path: list[str] = []
        self.asked: list[Choice] = []
        self.steps = 0
        self.failures = 0  # statements that could not be elaborated

    # ---- mistakes and bounds -------------------------------------------------------------------------------------

    def collected(self, make: Callable[[], T]) -> T:
        """The result of `make`; raises everything that was reported on the way."""
        try:
            with deep_recursion():
                result = make()
        except Unfit:
            raise
        except UninasError as problem:
            self.report(problem)
        except RecursionError:
            self.report(error("UNI019", "blocks and expressions are nested too deeply to follow"))
        except Poisoned:
            pass
        else:
            if not self.problems:
                return result
        raise UninasError(self.problems.values())

    def report(self, problem: UninasError) -> None:
        for found in problem.diagnostics:
            # The same mistake in a block that is used at many shapes is one mistake.
            key = (found.code, found.span, found.message)
            if key not in self.problems and len(self.problems) < MAX_PROBLEMS:
                context = tuple(self.calls[1:][-1:]) if found.span else ()
                self.problems[key] = dataclasses.replace(found, notes=found.notes + context)

    def work(self, steps: int = 8) -> None:
        """Count what is about to be done, in steps of a microsecond or two."""
        if len(self.problems) >= MAX_PROBLEMS:
            raise Exhausted(())
        self.steps += steps
        if self.steps > MAX_WORK:
            raise Exhausted(
                Diagnostic(
                    "UNI030",
                    f"expected at most {MAX_WORK:,} steps of work to elaborate one architecture, but it takes more",
                    None,
                    ("look for a repeat that is too long, or a block that doubles at every level",),
                )
            )

    def finish(self, builder: Builder, outputs: Wires, name: str, span: Span, init: str = "default") -> Graph:
        graph = builder.finish(outputs, name, init)
        if graph.operations > MAX_OPERATIONS:
            raise error(
                "UNI030",
                f"expected at most {MAX_OPERATIONS:,} operations, but {name or 'this'} has {graph.operations:,}",
                span,
            )
        if graph.places > MAX_PLACES:
            raise error(
                "UNI030",
                f"expected at most {MAX_PLACES:,} operations and blocks, but {name or 'this'} has {graph.places:,}",
                span,
                "look for a block that uses itself twice",
            )
        return self.equal.setdefault(graph, graph)

    @property
    def kept(self) -> int:
        """Number of entries in the caches: graphs by their dependences, equal graphs, keys of blocks."""
        return len(self.memory) + len(self.equal) + len(self.block_keys) + len(self.numbers)

    # ---- memory: what an elaboration depends on ------------------------------------------------------------------

    def key(self, syntax: object, inputs: tuple[Shape, ...], values: Iterable[tuple[str, Value]]) -> object | None:
        """The key of an elaboration in the cache, or None where it captures wires and so has none."""
        parts: list[object] = [id(syntax), inputs]
        for name, value in values:
            part = self.value_key(value)
            if part is None:
                return None
            parts.append((name, part))
        return tuple(parts)

    def value_key(self, value: Value) -> object | None:
        if isinstance(value, (Wires, Poison)):
            return None
        if not isinstance(value, (Callee, Nameless)):
            return (type(value), value)
        if id(value) not in self.block_keys:  # the value is kept, so its id stays its own
            self.block_keys[id(value)] = value, self.block_key(value)
        return self.block_keys[id(value)][1]

    def block_key(self, value: Callee | Nameless) -> int | None:
        """A number for what a block as a value depends on: equal for equal ones, however many blocks it has inside."""
        written: tuple[ast.Syntax, ...]
        head: object
        if isinstance(value, Nameless):
            head, written = id(value.origin), value.steps
        else:
            written = value.arguments or ()
            head = id(value.target if isinstance(value.target, type) else value.target[1]), tuple(map(id, written))
        captured: list[tuple[str, Value]] = []
        for name in sorted(frozenset().union(*(self.names_in(part) for part in written))):
            self.work(1)
            binding = value.scope.find(name) if value.scope else None
            if binding:
                captured.append((name, binding.value))
        inner = self.key(None, (), captured)
        return None if inner is None else self.numbers.setdefault((head, inner), len(self.numbers))

    def names_in(self, syntax: Any) -> frozenset[str]:
        """Every name that a piece of syntax mentions."""
        known = self.free_names.get(id(syntax))
        if known is None:
            names: set[str] = set()
            stack = [syntax]
            while stack:
                part = stack.pop()
                if isinstance(part, ast.Word):
                    names.add(part.text)
                elif isinstance(part, tuple):
                    stack += part
                elif isinstance(part, ast.Syntax):
                    stack += [getattr(part, f.name) for f in dataclasses.fields(part) if f.name != "span"]
            known = self.free_names[id(syntax)] = frozenset(names)
        return known

    # ---- names and nodes -----------------------------------------------------------------------------------------

    def claim(self, word: ast.Word, value: Value, scope: Scope) -> None:
        if word.text in scope.names:
            raise error(
                "UNI011",
                f"{word.text} is defined twice in this block",
                word.span,
                "wires keep their value: give the new one a name of its own",
            )
        scope.bind(word.text, value, word.span)

    def lookup(self, word: ast.Word, scope: Scope, wires: bool = True) -> Value:
        """The value of a name: from the scopes, the file and its imports, or the registry of operations.

        Wires, numbers and operations do not share names: in `conv = in -> conv(C, 1)` what stands after the arrow is
        looked up without the wires, and without what cannot be applied.
        """
        found = scope.module.find(word.text)
        known = Callee(found) if found else Callee(REGISTRY[word.text]) if word.text in REGISTRY else None
        binding = scope.find(word.text)
        if binding and (wires or known is None or isinstance(binding.value, (Callee, Nameless))):
            binding.used = True
            if isinstance(binding.value, Poison):
                raise Poisoned
            return binding.value
        if known:
            return known
        message = f"unknown name {shown(word.text)}"
        if ("UNI010", word.span, message) in self.problems:  # a hint takes long to find, and is wanted once
            raise Poisoned
        hint = meant(word.text, REGISTRY) or did_you_mean(word.text, [*scope.known(), *REGISTRY, *FUNCTIONS])
        if word.text in ("C", "H", "W"):
            hint = "the sizes C, H and W exist inside a block or chain, of an input that has them"
        raise error("UNI010", message, word.span, hint, "" if hint else self.known_here(scope))

    @staticmethod
    def known_here(scope: Scope) -> str:
        """The wires, sections and parameters at a place, for who wrote a name that there is not."""
        names: list[str] = []
        while scope.parent is not None or scope.names:
            names += [name for name in scope.names if name not in ("C", "H", "W")]
            if scope.parent is None:
                break
            scope = scope.parent
        names = sorted(dict.fromkeys(names))
        return f"known here: {', '.join(names)}" if 0 < len(names) <= MOST_NAMES else ""

    def add(self, op: Op | Block | Each, wires: Wires, base: str, span: Span, scope: Scope) -> Wires:
        self.own(wires, span, scope)
        self.work(len(wires.wires) // 4)
        try:
            return wires.builder.add(op, wires, base, span)
        except ShapeError as problem:
            sizes = ", ".join(map(show_shape, wires.shapes[:6])) + (", ..." if len(wires.shapes) > 6 else "")
            raise error("UNI020", str(problem), span, f"what flows into it: {sizes}") from None

    @staticmethod
    def own(wires: Wires, span: Span, scope: Scope) -> None:
        """Guard: wires must belong to the graph that is being built."""
        if wires.builder is not scope.builder:
            raise error(
                "UNI014",
                "expected a wire of this graph, but got one of the block around it",
                span,
                "the body of `each` sees only its own part",
            )

    # ---- open choices --------------------------------------------------------------------------------------------

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Choices asked inside are those of `place`."""
        self.path.append(place)
        try:
            yield
        finally:
            self.path.pop()

    def ask(self, name: str, options: tuple[str, ...], span: Span) -> int:
        """Which option of an open choice to take; without anyone to decide, choices are a mistake."""
        self.work(len(options))
        choice = Choice(".".join((*self.path, name)), options)
        self.asked.append(choice)
        if len(options) == 1:
            return 0
        if self.decide is None:
            raise error(
                "UNI042",
                f"expected everything to be fixed, but {name} is open",
                span,
                "open choices belong in a `space`; sample it, or name one value",
            )
        return self.decide(choice)


def whole(value: Value) -> Value:
    """What stands where an integer is expected: a number such as 3.5 * 64 = 224.0 is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def describe(value: object) -> str:
    """A value in the words of a message."""
    if isinstance(value, Wires):
        shapes = ", ".join(map(show_shape, value.shapes[:3]))
        return (
            f"a wire of {shapes}" if len(value.wires) == 1 else f"a bundle of {len(value.wires)} wires ({shapes}, ...)"
        )
    if isinstance(value, Callee):
        return f"the {'operation' if isinstance(value.target, type) else 'block'} {value}"
    if isinstance(value, (bool, int, float)):
        return show_value(value)
    return str(value)


def text_of(syntax: ast.Syntax) -> str:
    """A piece of syntax as it was written, on one line."""
    return " ".join(syntax.span.source.text[syntax.span.start : syntax.span.end].split())
