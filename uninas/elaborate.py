"""Syntax -> graphs and spaces: the only bridge. Names are looked up, expressions computed, shapes checked.

One function per syntax class. A block is elaborated for the shapes and arguments it meets and remembered, so equal
uses share one `Graph`. Mistakes are collected (a wire that failed is poisoned, so it causes no second message) and
raised once, all together.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import uninas.ops  # noqa: F401  # fills the registry
from uninas import syntax as ast
from uninas.builder import Builder, Wires, snake_case
from uninas.errors import Diagnostic, Span, UninasError, did_you_mean, error, shown
from uninas.graph import Block, Each, Graph
from uninas.library import Module
from uninas.op import MAX_INT, MAX_PORTS, REGISTRY, Attr, Op, Shape, ShapeError, show_shape, show_value
from uninas.scope import Binding, Callee, Nameless, Poison, Poisoned, Scope, Symbol, Value
from uninas.space import METRICS, Budget, Choice, Decide, Limit, MoveOption, MoveRule, Space

T = TypeVar("T")

MAX_DEPTH = 64  # blocks within blocks
MAX_WORK = 200_000  # nodes made while elaborating one text
MAX_OPERATIONS = 200_000  # elementary operations of one network
MAX_OPTIONS = 10_000  # options of one choice, repetitions of one repeat
MAX_PROBLEMS = 100  # reported at once
PROBE: Shape = (64, 56, 56)  # the input of a block that is looked at alone and names none
INITS = ("default", "kaiming_fan_out", "kaiming_fan_in", "xavier", "trunc_normal", "torch")

FUNCTIONS: dict[str, Callable[[list[int | float]], int | float]] = {"min": min, "max": max}
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
WIRE_OPERATORS = {"+": "add", "*": "multiply", "-": "subtract"}
KINDS: dict[str, type] = {"int": int, "float": float, "bool": bool}


# ---- the public functions ------------------------------------------------------------------------------------------


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
    run = _Elaborator(decide)
    return run.collected(lambda: run.top(module, _definition(module, name), input, dict(arguments or {})))


def space(module: Module, name: str, *, input: Shape | None = None) -> Space:
    """The search space of that name; a network is a space with one member."""
    run = _Elaborator(None)
    return run.collected(lambda: run.space(module, _network(module, name), input))


def check(module: Module) -> dict[str, Graph | Space | None]:
    """Elaborate every definition of a file. None stands for a block that cannot be typed without arguments.

    Raises one UninasError with all mistakes of all definitions.
    """
    results: dict[str, Graph | Space | None] = {}
    problems: dict[Diagnostic, None] = {}
    for name, definition in module.definitions.items():
        run = _Elaborator(None)
        try:
            results[name] = run.collected(lambda run=run, it=definition: run.alone(module, it))  # type: ignore[misc]
        except UninasError as problem:
            problems.update(dict.fromkeys(problem.diagnostics))
    if problems:
        raise UninasError(sorted(problems, key=lambda d: (d.span.source.name, d.span.start) if d.span else ("", 0)))
    return results


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


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Elaboration is recursive and bounded (MAX_DEPTH, MAX_NESTING), but Python's default limit is lower still."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


class Exhausted(UninasError):
    """The bound on work is reached: nothing more is tried."""


class _Elaborator:
    """One elaboration: what has been built, what went wrong, and how open choices are answered."""

    def __init__(self, decide: Decide | None):
        self.decide = decide
        self.problems: dict[object, Diagnostic] = {}
        self.memory: dict[object, Graph | None] = {}
        self.equal: dict[Graph, Graph] = {}
        self.free_names: dict[int, frozenset[str]] = {}
        self.building: set[object] = set()
        self.calls: list[str] = []
        self.path: list[str] = []
        self.asked: list[Choice] = []
        self.steps = 0

    # ---- mistakes and limits -------------------------------------------------------------------------------------

    def collected(self, make: Callable[[], T]) -> T:
        """The result of `make`; raises everything that was reported on the way."""
        try:
            with _deep_recursion():
                result = make()
        except UninasError as problem:
            self.report(problem)
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

    def work(self) -> None:
        self.steps += 1
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
        return self.equal.setdefault(graph, graph)

    # ---- definitions ---------------------------------------------------------------------------------------------

    def top(self, module: Module, definition: ast.Definition, shape: Shape | None, given: dict[str, Any]) -> Graph:
        """A definition as the whole architecture."""
        scope = Scope(module, None)
        known = [parameter.name.text for parameter in definition.parameters]
        for name in given:
            if name not in known:
                raise error(
                    "UNI012",
                    f"{definition.name.text} has no parameter {shown(name)}",
                    definition.name.span,
                    did_you_mean(name, known),
                )
        values = {name: Symbol(v) if isinstance(v, str) else v for name, v in given.items()}
        if shape is None:
            shape = self.declared_input(definition, scope)
        return self.definition_graph(module, definition, values, (shape,), definition.name.span)

    def alone(self, module: Module, definition: ast.Definition) -> Graph | Space | None:
        """A definition as `check` looks at it: with its own input and defaults."""
        if isinstance(definition, ast.Network):
            made = self.space(module, definition, None)
            return (
                made if definition.is_space or made.choices or made.nested else self.top(module, definition, None, {})
            )
        required = [parameter for parameter in definition.parameters if parameter.default is None]
        if not required:
            return self.top(module, definition, None, {})
        shape = self.declared_input(definition, Scope(module, None))
        guesses: dict[str, Value] = {p.name.text: self.guess(p, shape) for p in required}
        try:
            self.definition_graph(module, definition, guesses, (shape,), definition.name.span)
        except UninasError as problem:
            self.report(problem)
        except Poisoned:
            pass
        # With guessed arguments only a mistake that no argument could mend is a mistake.
        certain = ("UNI010", "UNI011", "UNI012", "UNI013", "UNI016", "UNI019", "UNI023", "UNI030")
        self.problems = {key: found for key, found in self.problems.items() if found.code in certain}
        return None

    def guess(self, parameter: ast.Parameter, shape: Shape) -> Value:
        kind = parameter.kind
        if isinstance(kind, tuple):
            return Symbol(kind[0].text)
        guesses: dict[str, Value] = {"float": 0.0, "bool": True, "block": Callee(REGISTRY["identity"])}
        return guesses.get(kind.text if kind else "int", shape[0])

    def declared_input(self, definition: ast.Definition, scope: Scope) -> Shape:
        """The `input` of a definition; blocks have a usual one."""
        if isinstance(definition, ast.Block):
            given = definition.input
        else:
            given = next((member for member in definition.members if isinstance(member, ast.Input)), None)
            if given is None:
                raise error(
                    "UNI023",
                    f"expected {definition.name.text} to say its input",
                    definition.name.span,
                    "write for example: input 3 x 224 x 224",
                )
        if given is None:
            return PROBE
        sizes = tuple(self.integer(size, scope, "a size of the input", 1) for size in given.sizes)
        if len(sizes) not in (1, 3):
            raise error(
                "UNI020", f"expected an input of 1 or 3 sizes (C or C x H x W), but got {len(sizes)}", given.span
            )
        return sizes

    def definition_graph(
        self,
        module: Module,
        definition: ast.Definition,
        values: Mapping[str, Value],
        inputs: tuple[Shape, ...],
        span: Span,
    ) -> Graph:
        """The graph of a block or network for these parameter values and input shapes, built once for equal ones."""
        key = self.key(definition, inputs, values.items())
        if key is not None and key in self.memory:
            known = self.memory[key]
            if known is None:
                raise Poisoned
            return known
        if len(self.calls) >= MAX_DEPTH:
            raise error(
                "UNI019",
                f"expected blocks nested at most {MAX_DEPTH} deep, but {definition.name.text} goes deeper",
                span,
                "a block that uses itself needs an `if` that ends it",
            )
        if key is not None and key in self.building:
            raise error("UNI019", f"{definition.name.text} uses itself without end", span, "an `if` must end it")
        asked = len(self.asked)
        self.building.add(key)
        graph: Graph | None
        self.calls.append(
            f"while building {definition.name.text} for {', '.join(map(show_shape, inputs))}, used at {span}"
        )
        try:
            make = self.block_graph if isinstance(definition, ast.Block) else self.network_graph
            graph = make(module, definition, values, inputs)  # type: ignore[arg-type]
        except Exhausted:
            raise
        except (UninasError, Poisoned) as problem:
            if isinstance(problem, UninasError):
                self.report(problem)
            graph = None
        finally:
            self.calls.pop()
            self.building.discard(key)
        if key is not None and len(self.asked) == asked:
            self.memory[key] = graph
        if graph is None:
            raise Poisoned
        return graph

    def key(self, syntax: object, inputs: tuple[Shape, ...], values: Iterable[tuple[str, Value]]) -> object | None:
        """What an elaboration depends on, or None when that cannot be told (it captures wires)."""
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
        if isinstance(value, (Callee, Nameless)):
            if isinstance(value, Nameless):
                written: tuple[object, ...] = value.steps
                head: object = id(value.origin)
            else:
                written = value.arguments or ()
                head = (
                    id(value.target if isinstance(value.target, type) else value.target[1]),
                    tuple(map(id, written)),
                )
            captured: list[tuple[str, Value]] = []
            for name in sorted(frozenset().union(*(self.names_in(part) for part in written))):
                binding = value.scope.find(name) if value.scope else None
                if binding:
                    captured.append((name, binding.value))
            inner = self.key(None, (), captured)
            return None if inner is None else (head, inner)
        return (type(value), value)

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

    def block_graph(
        self, module: Module, block: ast.Block, values: Mapping[str, Value], inputs: tuple[Shape, ...]
    ) -> Graph:
        builder = Builder(inputs, self.work)
        scope = Scope(module, builder)
        scope.bind_shape(inputs[0])
        self.bind_parameters(block, values, scope)
        scope.bind("in", builder.input)
        return self.body_graph(block.statements, scope, block.name.text, block.name.span)

    def body_graph(self, statements: Sequence[ast.Statement], scope: Scope, name: str, span: Span) -> Graph:
        """The graph of statements that end in `out`."""
        assert scope.builder
        for statement in statements:
            self.statement(statement, scope)
        out = scope.names.get("out")
        if out is None:
            raise error("UNI023", f"expected a wire called out in {name}", span, "name the result: out = ...")
        for wire, binding in scope.names.items():
            if isinstance(binding.value, Wires) and binding.span and not binding.used and wire != "out":
                self.report(error("UNI016", f"the wire {wire} is never used", binding.span))
        if isinstance(out.value, Poison):
            raise Poisoned
        assert isinstance(out.value, Wires)
        return self.finish(scope.builder, out.value, name, span)

    def bind_parameters(self, definition: ast.Definition, values: Mapping[str, Value], scope: Scope) -> None:
        """Bind every parameter to the value given, or to its default, and check its kind."""
        for parameter in definition.parameters:
            name = parameter.name.text
            if name in scope.names:
                raise error(
                    "UNI011", f"{name} is defined twice, or is the name of a size of the input", parameter.name.span
                )
            if name in values:
                value = values[name]
            elif parameter.default is not None:
                value = self.value(parameter.default, scope, self.symbols(parameter.kind))
            else:
                raise error(
                    "UNI013", f"expected a value for the parameter {name} of {definition.name.text}", parameter.span
                )
            scope.bind(name, self.fitting(value, parameter, scope))

    @staticmethod
    def symbols(kind: ast.Word | tuple[ast.Word, ...] | None) -> tuple[str, ...]:
        return tuple(word.text for word in kind) if isinstance(kind, tuple) else ()

    def fitting(self, value: Value, parameter: ast.Parameter, scope: Scope) -> Value:
        """The value, when it is of the parameter's kind. A parameter without a kind takes that of its default."""
        kind = parameter.kind
        if isinstance(kind, tuple):
            words = self.symbols(kind)
            fits, wanted = isinstance(value, Symbol) and value.text in words, " or ".join(words)
        elif kind and kind.text == "block":
            fits, wanted = isinstance(value, (Callee, Nameless)), "a block"
        elif kind and kind.text in KINDS:
            types = (int, float) if kind.text == "float" else (KINDS[kind.text],)
            fits, wanted = type(value) in types, kind.text
        elif kind:
            raise error(
                "UNI014",
                f"expected a kind int, float, bool, block or {{a, b}}, but got {kind.text}",
                kind.span,
                did_you_mean(kind.text, [*KINDS, "block"]),
            )
        else:
            like = None if parameter.default is None else self.value(parameter.default, scope, ())
            callable_ = isinstance(like, (Callee, Nameless))
            types = (bool,) if isinstance(like, bool) else (int, float) if isinstance(like, float) else (int,)
            fits = isinstance(value, (Callee, Nameless)) if callable_ else type(value) in types
            wanted = "a block" if callable_ else types[-1].__name__
        if not fits:
            raise error(
                "UNI014",
                f"expected {parameter.name.text} to be {wanted}, but got {shown(describe(value))}",
                parameter.span,
            )
        return value

    # ---- statements and steps ------------------------------------------------------------------------------------

    def statement(self, statement: ast.Statement, scope: Scope) -> None:
        try:
            value = self.wires(statement.value, scope)
            assert scope.builder
            if len(statement.names) == 1:
                made = [value]
                name = statement.names[0].text
                if name not in ("out", "in") and isinstance(statement.value, (ast.Pipeline, ast.Operation)):
                    scope.builder.label(value, name)
            else:
                if len(value.wires) != len(statement.names):
                    raise error(
                        "UNI021",
                        f"expected {len(statement.names)} wires for {len(statement.names)} names, "
                        f"but got {len(value.wires)}",
                        statement.span,
                    )
                made = [Wires(value.builder, (wire,)) for wire in value.wires]
            for word, wires in zip(statement.names, made, strict=True):
                self.claim(word, wires, scope)
        except Exhausted:
            raise
        except (UninasError, Poisoned) as problem:
            if isinstance(problem, UninasError):
                self.report(problem)
            for word in statement.names:
                scope.names.setdefault(word.text, Binding(Poison(), word.span))

    def claim(self, word: ast.Word, value: Value, scope: Scope) -> None:
        if word.text in scope.names:
            raise error(
                "UNI011",
                f"{word.text} is defined twice in this block",
                word.span,
                "wires keep their value: give the new one a name of its own",
            )
        scope.bind(word.text, value, word.span)

    def run(self, steps: Sequence[ast.Step], wires: Wires, scope: Scope) -> Wires:
        for step in steps:
            wires = self.step(step, wires, scope)
        return wires

    def step(self, step: ast.Step, wires: Wires, scope: Scope) -> Wires:
        self.work()
        if isinstance(step, ast.Apply):
            return self.labelled(step.label, self.apply(self.callee(step, scope), wires, step.name.span, scope))
        if isinstance(step, ast.Repeat):
            for _ in range(self.integer(step.count, scope, "the number of repetitions", 0, MAX_OPTIONS)):
                self.work()
                wires = self.run(step.body.steps, wires, self.chain_scope(wires, scope))
            return wires
        if isinstance(step, ast.When):
            chosen = step.then if self.truth(step.condition, scope) else step.otherwise
            return self.run(chosen.steps, wires, self.chain_scope(wires, scope)) if chosen else wires
        if isinstance(step, ast.Alternatives):
            labels = tuple(text_of(option) for option in step.options)
            with self.at(f"@{len(wires.builder.ops)}"):
                index = self.ask("alternative", labels, step.span)
            return self.step(step.options[index], wires, scope)
        return self.labelled(step.label, self.each(step, wires, scope))

    @staticmethod
    def labelled(label: ast.Word | None, wires: Wires) -> Wires:
        if label:
            if label.text in wires.builder.labels.values():
                raise error("UNI011", f"{label.text} is defined twice in this block", label.span)
            wires.builder.label(wires, label.text)
        return wires

    @staticmethod
    def chain_scope(wires: Wires, scope: Scope) -> Scope:
        """Inside braces, C, H and W are the shape of what flows into the braces."""
        return scope.inner(shape=wires.shapes[0])

    def each(self, step: ast.Each, wires: Wires, scope: Scope) -> Wires:
        builder = Builder(wires.shapes[:1], self.work)
        inner = scope.inner(builder, wires.shapes[0])
        inner.bind(step.name.text, builder.input)
        body = self.body_graph(step.body, inner, "each", step.span)
        return self.add(Each(body), wires, "parts", step.span, scope)

    def add(self, op: Op | Block | Each, wires: Wires, base: str, span: Span, scope: Scope) -> Wires:
        if wires.builder is not scope.builder:
            raise error(
                "UNI014",
                "expected a wire of this graph, but got one of the block around it",
                span,
                "the body of `each` sees only its own part",
            )
        try:
            return wires.builder.add(op, wires, base, span)
        except ShapeError as problem:
            sizes = ", ".join(map(show_shape, wires.shapes[:6])) + (", ..." if len(wires.shapes) > 6 else "")
            raise error("UNI020", str(problem), span, f"what flows into it: {sizes}") from None

    def callee(self, step: ast.Apply | ast.Reference, scope: Scope) -> Callee | Nameless:
        """What a step applies, with its arguments."""
        value = self.lookup(step.name, scope, wires=False)
        if isinstance(value, (Callee, Nameless)):
            if step.arguments is None:
                return value
            if isinstance(value, Callee) and value.arguments is None:
                return Callee(value.target, step.arguments, scope, step.span)
            raise error("UNI012", f"{step.name.text} has its arguments already", step.span)
        raise error(
            "UNI014", f"expected an operation or a block, but {step.name.text} is {describe(value)}", step.name.span
        )

    def lookup(self, word: ast.Word, scope: Scope, wires: bool = True) -> Value:
        """The value of a name: from the scopes, the file and its imports, or the registry of operations.

        Wires and operations do not share names: in `conv = in -> conv(C, 1)` what stands after the arrow is looked up
        without the wires.
        """
        found = scope.module.find(word.text)
        known = Callee(found) if found else Callee(REGISTRY[word.text]) if word.text in REGISTRY else None
        binding = scope.find(word.text)
        if binding and (wires or known is None or not isinstance(binding.value, (Wires, Poison))):
            binding.used = True
            if isinstance(binding.value, Poison):
                raise Poisoned
            return binding.value
        if known:
            return known
        hint = did_you_mean(word.text, [*scope.known(), *REGISTRY, *FUNCTIONS])
        if word.text in ("C", "H", "W"):
            hint = "the sizes C, H and W exist inside a block or chain, of an input that has them"
        raise error("UNI010", f"unknown name {shown(word.text)}", word.span, hint)

    def apply(self, callee: Callee | Nameless, wires: Wires, span: Span, scope: Scope) -> Wires:
        if isinstance(callee, Nameless):
            inner = callee.scope.inner(scope.builder, wires.shapes[0])
            return self.run(callee.steps, wires, inner)
        if isinstance(callee.target, type):
            with self.at(f"{callee}@{len(wires.builder.ops)}"):
                op = self.operation(callee.target, callee, span)
            low, high = op.arity
            if not low <= len(wires.wires) <= high:
                many = "1 wire" if high == 1 else f"{low} wires" if low == high else f"{low} wires or more"
                hint = (
                    "write each NAME { ... } to treat every wire alike" if high == 1 else "bundle wires: (a, b) -> ..."
                )
                raise error("UNI021", f"expected {many} into {op.name}, but got {len(wires.wires)}", span, hint)
            return self.add(op, wires, op.name, span, scope)
        module, definition = callee.target
        base = snake_case(definition.name.text)
        with self.at(f"{base}@{len(wires.builder.ops)}"):
            values = self.arguments(definition, callee, span)
            graph = self.definition_graph(module, definition, values, wires.shapes, span)
        return self.add(Block(graph), wires, base, span, scope)

    def operation(self, target: type[Op], callee: Callee, span: Span) -> Op:
        """An operation with its arguments, each computed for the attribute it goes to."""
        attrs = {attribute.name: attribute for attribute in target.attrs}
        values: dict[str, Any] = {}
        for name, argument in self.matched(callee, list(attrs), span):
            value = self.argument(argument, callee, attrs[name].choices)
            values[name] = value.text if isinstance(value, Symbol) else value
            self.check_attribute(attrs[name], values[name], argument.span)
        missing = [name for name, attribute in attrs.items() if attribute.required and name not in values]
        if missing:
            raise error("UNI013", f"expected a value for {missing[0]} of {target.name}: {attrs[missing[0]].doc}", span)
        try:
            return target(**values)
        except ShapeError as problem:
            raise error("UNI015", str(problem), span) from None

    @staticmethod
    def check_attribute(attribute: Attr, value: Value, span: Span) -> None:
        try:
            attribute.check(value)
        except ShapeError:
            code = "UNI015" if type(value) is attribute.type else "UNI014"
            raise error(
                code,
                f"expected {attribute.name} to be {attribute.domain}, but got {shown(describe(value))}",
                span,
                f"{attribute.name}: {attribute.doc}",
            ) from None

    def arguments(self, definition: ast.Definition, callee: Callee, span: Span) -> dict[str, Value]:
        parameters = {parameter.name.text: parameter for parameter in definition.parameters}
        values: dict[str, Value] = {}
        for name, argument in self.matched(callee, list(parameters), span):
            values[name] = self.argument(argument, callee, self.symbols(parameters[name].kind))
        for name, parameter in parameters.items():
            if name not in values and parameter.default is None:
                raise error("UNI013", f"expected a value for the parameter {name} of {definition.name.text}", span)
        return values

    @staticmethod
    def matched(callee: Callee, names: Sequence[str], span: Span) -> Iterator[tuple[str, ast.Argument]]:
        """Arguments with the parameter each goes to: positions first, then names."""
        seen: set[str] = set()
        for position, argument in enumerate(callee.arguments or ()):
            if argument.name is None:
                if position >= len(names):
                    raise error(
                        "UNI012",
                        f"expected at most {len(names)} arguments for {callee}, but got {len(callee.arguments or ())}",
                        argument.span,
                    )
                if len(seen) < position:
                    raise error("UNI012", "expected arguments without a name before those with one", argument.span)
                name = names[position]
            else:
                name = argument.name.text
                if name not in names:
                    raise error(
                        "UNI012",
                        f"{callee} has no parameter {name}",
                        argument.name.span,
                        did_you_mean(name, names) or f"it has {', '.join(names) or 'none'}",
                    )
            if name in seen:
                raise error("UNI012", f"{name} of {callee} is given twice", argument.span)
            seen.add(name)
            yield name, argument

    def argument(self, argument: ast.Argument, callee: Callee, symbols: tuple[str, ...]) -> Value:
        assert callee.scope
        if isinstance(argument.value, (ast.Options, ast.Range)):
            assert argument.name
            return self.chosen(argument.name.text, argument.value, callee.scope, symbols)
        return self.value(argument.value, callee.scope, symbols)

    # ---- expressions ---------------------------------------------------------------------------------------------

    def value(self, value: ast.Value, scope: Scope, symbols: tuple[str, ...] = ()) -> Value:
        """Any value. A bare word among `symbols` stands for itself; a chain becomes a nameless block."""
        if isinstance(value, ast.Chain):
            return Nameless(value.steps, scope, value)
        if isinstance(value, ast.Reference) and value.arguments is None and value.name.text in symbols:
            return Symbol(value.name.text)
        if isinstance(value, ast.Pipeline) and isinstance(value.head, ast.Reference):
            head = self.expression(value.head, scope)
            if isinstance(head, (Callee, Nameless)):
                first = ast.Apply(value.head.span, value.head.name, value.head.arguments, None)
                return Nameless((first, *value.steps), scope, value)
        return self.expression(value, scope)

    def expression(self, value: ast.Expression, scope: Scope) -> Value:
        if isinstance(value, (ast.Number, ast.Boolean)):
            return value.value
        if isinstance(value, ast.BlockInput):
            return self.lookup(ast.Word(value.span, "in"), scope)
        if isinstance(value, ast.Reference):
            return self.reference(value, scope)
        if isinstance(value, ast.Operation):
            return self.operator(value, scope)
        if isinstance(value, ast.Member):
            return self.member(value, scope)
        if isinstance(value, ast.Item):
            return self.item(value, scope)
        if isinstance(value, ast.Group):
            parts = [self.wires(item, scope) for item in value.items]
            wires = tuple(wire for part in parts for wire in part.wires)
            if len(wires) > MAX_PORTS:
                raise error(
                    "UNI030", f"expected at most {MAX_PORTS} wires in a bundle, but got {len(wires)}", value.span
                )
            return Wires(parts[0].builder, wires)
        return self.run(value.steps, self.wires(value.head, scope), scope)

    def reference(self, value: ast.Reference, scope: Scope) -> Value:
        name = value.name.text
        if name in FUNCTIONS and not scope.find(name):
            return self.function(name, value, scope)
        if value.arguments is None:
            return self.lookup(value.name, scope)
        return self.callee(value, scope)

    def function(self, name: str, value: ast.Reference, scope: Scope) -> int | float:
        """`min` or `max` of two or more numbers."""
        numbers: list[int | float] = []
        for argument in value.arguments or ():
            if argument.name is None and not isinstance(argument.value, (ast.Chain, ast.Options, ast.Range)):
                number = self.expression(argument.value, scope)
                if isinstance(number, (int, float)) and not isinstance(number, bool):
                    numbers.append(number)
        if len(numbers) < 2 or len(numbers) != len(value.arguments or ()):
            raise error("UNI014", f"expected two or more numbers for {name}", value.span)
        return FUNCTIONS[name](numbers)

    def operator(self, value: ast.Operation, scope: Scope) -> Value:
        if value.operator in ("and", "or", "not"):
            return self.logic(value, scope)
        operands = [self.expression(operand, scope) for operand in value.operands]
        if value.operator == "negative":
            operands.insert(0, 0)
        sign = "-" if value.operator == "negative" else value.operator
        wires = [operand for operand in operands if isinstance(operand, Wires)]
        if wires:
            return self.wire_operator(sign, operands, wires, value, scope)
        result = operands[0]
        for operand in operands[1:]:
            result = self.arithmetic(sign, result, operand, value.span)
        return result

    def wire_operator(
        self, sign: str, operands: Sequence[Value], wires: list[Wires], value: ast.Operation, scope: Scope
    ) -> Wires:
        if sign not in WIRE_OPERATORS or len(wires) != len(operands) or value.operator == "negative":
            raise error(
                "UNI014",
                f"expected wires joined by + - or *, but got {' and '.join(map(describe, operands))} with {sign}",
                value.span,
            )
        for wire in wires:
            if len(wire.wires) != 1:
                raise error("UNI021", f"expected one wire on each side of {sign}, but got {describe(wire)}", value.span)
        joined = Wires(wires[0].builder, tuple(wire.wires[0] for wire in wires))
        name = WIRE_OPERATORS[sign]
        return self.add(REGISTRY[name](), joined, name, value.span, scope)

    def arithmetic(self, sign: str, left: Value, right: Value, span: Span) -> Value:
        if sign in ("==", "!=") and isinstance(left, Symbol) and isinstance(right, Symbol):
            return (left == right) == (sign == "==")
        numbers = (int, float, bool) if sign in ("==", "!=") else (int, float)
        if type(left) not in numbers or type(right) not in numbers:
            raise error(
                "UNI014",
                f"expected numbers on both sides of {sign}, but got {describe(left)} and {describe(right)}",
                span,
            )
        assert isinstance(left, (int, float)) and isinstance(right, (int, float))
        if sign in ("/", "//", "%") and right == 0:
            raise error("UNI022", f"cannot divide {show_value(left)} by zero", span)
        result: int | float | bool
        if sign != "/":
            result = OPERATORS[sign](left, right)
        elif isinstance(left, int) and isinstance(right, int):
            if left % right:
                raise error(
                    "UNI022",
                    f"expected {left} to be divisible by {right}, but {left % right} remains",
                    span,
                    "// rounds down",
                )
            result = left // right
        else:
            result = left / right
        if not isinstance(result, bool) and not abs(result) <= MAX_INT:
            raise error("UNI004", "expected a result of at most 2^40 in size", span)
        return result

    def logic(self, value: ast.Operation, scope: Scope) -> bool:
        if value.operator == "not":
            return not self.truth(value.operands[0], scope)
        decisive = value.operator == "or"
        return any(self.truth(o, scope) == decisive for o in value.operands) == decisive

    def truth(self, value: ast.Expression, scope: Scope) -> bool:
        result = self.expression(value, scope)
        if not isinstance(result, bool):
            raise error("UNI014", f"expected a condition, but got {describe(result)}", value.span)
        return result

    def member(self, value: ast.Member, scope: Scope) -> Value:
        wires = self.wires(value.of, scope)
        shape, letter = wires.shapes[0], value.field.text
        if letter not in "CHW"[: len(shape)]:
            raise error(
                "UNI010",
                f"a wire of shape {show_shape(shape)} has no {letter}",
                value.field.span,
                f"it has {', '.join('CHW'[: len(shape)])}",
            )
        return shape["CHW".index(letter)]

    def item(self, value: ast.Item, scope: Scope) -> Wires:
        wires = self.wires(value.of, scope)
        index = self.integer(value.index, scope, "a position in a bundle", 0)
        if index >= len(wires.wires):
            raise error("UNI021", f"expected a position below {len(wires.wires)}, but got {index}", value.index.span)
        return Wires(wires.builder, (wires.wires[index],))

    def wires(self, value: ast.Expression, scope: Scope) -> Wires:
        result = self.expression(value, scope)
        if not isinstance(result, Wires):
            hint = "arrows carry tensors: write in -> ..." if isinstance(result, Callee) else ""
            raise error("UNI014", f"expected a wire, but got {describe(result)}", value.span, hint)
        return result

    def integer(self, value: ast.Expression, scope: Scope, what: str, low: int, high: int = MAX_INT) -> int:
        result = self.expression(value, scope)
        if type(result) is not int:
            raise error("UNI014", f"expected {what} to be an integer, but got {describe(result)}", value.span)
        if not low <= result <= high:
            code = "UNI030" if result > high else "UNI015"
            raise error(code, f"expected {what} to be from {low:,} to {high:,}, but got {result:,}", value.span)
        return result

    # ---- choices -------------------------------------------------------------------------------------------------

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

    def chosen(self, name: str, domain: ast.Domain, scope: Scope, symbols: tuple[str, ...] = ()) -> Value:
        if isinstance(domain, ast.Options):
            index = self.ask(name, tuple(text_of(value) for value in domain.values), domain.span)
            return self.value(domain.values[index], scope, symbols)
        values = self.range(domain, scope)
        return values[self.ask(name, tuple(map(str, values)), domain.span)]

    def range(self, domain: ast.Range, scope: Scope) -> range:
        low = self.integer(domain.low, scope, "the low end of a range", -MAX_INT)
        high = self.integer(domain.high, scope, "the high end of a range", -MAX_INT)
        step = 1 if domain.step is None else self.integer(domain.step, scope, "the step of a range", 1)
        values = range(low, high + 1, step)
        if not 1 <= len(values) <= MAX_OPTIONS:
            raise error(
                "UNI015", f"expected a range of 1 to {MAX_OPTIONS:,} values, but got {len(values):,}", domain.span
            )
        return values

    # ---- networks and spaces -------------------------------------------------------------------------------------

    def network_graph(
        self, module: Module, network: ast.Network, values: Mapping[str, Value], inputs: tuple[Shape, ...]
    ) -> Graph:
        builder = Builder(inputs, self.work)
        scope = Scope(module, builder)
        self.bind_parameters(network, values, scope)
        wires, init, stages = builder.input, "default", 0
        for member in network.members:
            if isinstance(member, ast.Init):
                init = self.init(member)
            elif isinstance(member, ast.Choose):
                self.claim(member.name, self.chosen(member.name.text, member.domain, scope), scope)
            elif isinstance(member, ast.Section):
                graph = self.chain_graph(member.body, wires.shapes, scope, member.name.text)
                wires = self.add(Block(graph), wires, member.name.text, member.span, scope)
            elif isinstance(member, ast.Stage):
                graph = self.stage(member, wires.shapes, scope, f"stages.{stages}")
                wires = self.add(Block(graph), wires, f"stages.{stages}", member.span, scope)
                builder.label(wires, f"stages.{stages}")
                stages += 1
        if not builder.ops:
            raise error("UNI023", f"expected {network.name.text} to have a stem, a stage or a head", network.name.span)
        graph = self.finish(builder, wires, network.name.text, network.name.span, init)
        self.keep_budget(network, graph)
        return graph

    @staticmethod
    def init(member: ast.Init) -> str:
        if member.scheme.text not in INITS:
            raise error(
                "UNI010",
                f"unknown scheme of initial weights {member.scheme.text}",
                member.scheme.span,
                did_you_mean(member.scheme.text, INITS) or f"there are {', '.join(INITS)}",
            )
        return member.scheme.text

    def keep_budget(self, network: ast.Network, graph: Graph) -> None:
        """A network must keep its own budget; a space only says what its members must keep."""
        if network.is_space:
            return
        for member in network.members:
            for bound in member.bounds if isinstance(member, ast.Budgets) else ():
                limit = self.limit(bound).against(graph)
                if text := limit.broken(METRICS[limit.metric](graph)):
                    raise error("UNI040", text, bound.span)

    def chain_graph(self, chain: ast.Chain, inputs: tuple[Shape, ...], scope: Scope, name: str) -> Graph:
        """A chain as a graph of its own. A chain of one block is that block's graph."""
        names = sorted(self.names_in(chain))
        bindings = [(text, binding.value) for text in names if (binding := scope.find(text))]
        key = self.key(chain, inputs, bindings)
        if key is not None and (known := self.memory.get(key)):
            return known
        asked = len(self.asked)
        builder = Builder(inputs, self.work)
        wires = self.run(chain.steps, builder.input, scope.inner(builder, inputs[0]))
        graph = self.finish(builder, wires, name, chain.span)
        first = graph.nodes[0] if graph.nodes else None
        if first and len(graph.nodes) == 1 and isinstance(first.op, Block) and not builder.labels:
            graph = first.op.graph
        if key is not None and len(self.asked) == asked:
            self.memory[key] = graph
        return graph

    def stage(self, stage: ast.Stage, inputs: tuple[Shape, ...], scope: Scope, name: str) -> Graph:
        """Blocks in a row. `width` is the stage's, `stride` that of its first block (else 1), `index` counts blocks."""
        builder = Builder(inputs, self.work)
        with self.at(name):
            inner = scope.inner(builder)
            for choice in stage.choices:
                self.claim(choice.name, self.chosen(choice.name.text, choice.domain, scope), inner)
            inner.bind("width", self.dimension("width", stage.width, scope))
            stride = 1 if stage.stride is None else self.dimension("stride", stage.stride, scope)
            items = list(self.stage_items(stage, inner))
            wires = builder.input
            for index, body in enumerate(items):
                block = inner.inner()
                block.bind("index", index)
                block.bind("stride", stride if index == 0 else 1)
                with self.at(f"blocks.{index}"):
                    graph = self.chain_graph(body, wires.shapes, block, "block")
                wires = self.add(Block(graph), wires, f"blocks.{index}", body.span, inner)
                builder.label(wires, f"blocks.{index}")
            return self.finish(builder, wires, "stage", stage.span)

    def dimension(self, name: str, value: ast.Expression | ast.Range, scope: Scope) -> int:
        if isinstance(value, ast.Range):
            chosen = self.chosen(name, value, scope)
            assert isinstance(chosen, int)
            return chosen
        return self.integer(value, scope, f"the {name} of a stage", 1)

    def stage_items(self, stage: ast.Stage, scope: Scope) -> Iterator[ast.Chain]:
        if stage.count is not None and (len(stage.items) > 1 or stage.items[0].count is not None):
            raise error(
                "UNI012",
                "expected one block in a stage that says how often, but got a list",
                stage.span,
                "write the numbers in the list: stage 96 { A, B x 2 }",
            )
        for item in stage.items:
            count: int = 1
            if stage.count is not None:
                count = self.dimension("count", stage.count, scope)
            elif item.count is not None:
                count = self.integer(item.count, scope, "the number of blocks", 1)
            if count > MAX_OPTIONS:
                raise error(
                    "UNI030", f"expected at most {MAX_OPTIONS:,} blocks in a stage, but got {count:,}", stage.span
                )
            for _ in range(count):
                yield item.body

    def space(self, module: Module, network: ast.Network, shape: Shape | None) -> Space:
        starts = [member for member in network.members if isinstance(member, ast.Start)]
        sections = [m for m in network.members if isinstance(m, (ast.Section, ast.Stage))]
        if network.is_space and not starts and not sections:
            raise error(
                "UNI023", f"expected {network.name.text} to have a start, or sections of its own", network.name.span
            )
        moves = [self.move(m, module) for part in network.members if isinstance(part, ast.Moves) for m in part.moves]
        limits = [self.limit(b) for part in network.members if isinstance(part, ast.Budgets) for b in part.bounds]
        start = self.start(starts[0], module) if starts else None
        choices, nested = self.probe(module, network, shape) if sections else ((), False)

        def member(decide: Decide) -> Graph:
            run = _Elaborator(decide)
            return run.collected(lambda: run.top(module, network, shape, {}))

        return Space(
            network.name.text,
            network.doc,
            Budget(tuple(limits)),
            tuple(moves),
            start,
            member if sections else None,
            choices,
            nested,
        )

    def probe(self, module: Module, network: ast.Network, shape: Shape | None) -> tuple[tuple[Choice, ...], bool]:
        """The choices on the level of the space and its stages, by answering all with their first option."""
        run = _Elaborator(lambda choice: 0)
        run.collected(lambda: run.top(module, network, shape, {}))
        asked = tuple(dict.fromkeys(choice for choice in run.asked if len(choice.options) > 1))
        outer = tuple(choice for choice in asked if "blocks." not in choice.path and "@" not in choice.path)
        return outer, len(outer) < len(asked)

    def start(self, start: ast.Start, module: Module) -> Callable[[], Graph]:
        found = module.find(start.network.text)
        if found is None or not isinstance(found[1], ast.Network):
            known = list(module.names())
            raise error(
                "UNI010",
                f"expected a network to start from, but {start.network.text} is none",
                start.network.span,
                did_you_mean(start.network.text, known) or "import it: from networks.NAME import NAME",
            )
        home, network = found
        return lambda: build(home, network.name.text)

    def move(self, move: ast.Move, module: Module) -> MoveRule:
        return MoveRule(move.name.text, move.weight, tuple(self.option(chain, module) for chain in move.options))

    def option(self, chain: ast.Chain, module: Module) -> MoveOption:
        known: dict[Shape, Graph] = {}

        def on(shape: Shape) -> Graph:
            if shape not in known:
                run = _Elaborator(None)
                scope = Scope(module, None)
                known[shape] = run.collected(lambda: run.chain_graph(chain, (shape,), scope, "inserted"))
            return known[shape]

        return MoveOption(text_of(chain), on)

    def limit(self, bound: ast.Bound) -> Limit:
        metric = bound.metric
        if metric.text not in METRICS:
            raise error(
                "UNI010",
                f"unknown metric {metric.text}",
                metric.span,
                did_you_mean(metric.text, METRICS) or f"there are {', '.join(METRICS)}",
            )
        if bound.low is not None and bound.high is not None and bound.low > bound.high:
            raise error(
                "UNI041", f"expected a low end below the high end, but got {bound.low:,}..{bound.high:,}", bound.span
            )
        return Limit(metric.text, bound.low, bound.high, bound.relative)


# ---- words for messages --------------------------------------------------------------------------------------------


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
