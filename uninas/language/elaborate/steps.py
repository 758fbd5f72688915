"""Statements and steps: tensors flow along arrows, and every step adds nodes to the graph being built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from uninas.errors import Span, UninasError, did_you_mean, error, shown
from uninas.graph import Block, Each, Graph, GraphError
from uninas.graph.builder import Builder, Wires, snake_case
from uninas.graph.graph import bundled
from uninas.graph.resolve import shared_each
from uninas.language import tree as ast
from uninas.language.elaborate.core import MAX_OPTIONS, Exhausted, describe, text_of, whole
from uninas.language.elaborate.expressions import Expressions
from uninas.language.library import Module
from uninas.language.scope import Binding, Callee, Nameless, Poison, Poisoned, Scope, Symbol, Value
from uninas.ops.op import Attr, Op, Shape, ShapeError

UNUSED = "_"
"""The name for parts of a bundle that nothing uses."""
KINDS: dict[str, type] = {"int": int, "float": float, "bool": bool}


class Steps(Expressions):
    """Adds nodes for what stands after arrows."""

    def definition_graph(
        self,
        module: Module,
        definition: ast.Definition,
        values: Mapping[str, Value],
        inputs: tuple[Shape, ...],
        span: Span,
    ) -> Graph:
        """The graph of a block for these arguments (see `Elaborator`)."""
        raise NotImplementedError

    def chain_graph(self, chain: ast.Chain, inputs: tuple[Shape, ...], scope: Scope, name: str) -> Graph:
        """The graph of a chain of steps (see `Elaborator`)."""
        raise NotImplementedError

    def body_graph(self, statements: Sequence[ast.Statement], scope: Scope, name: str, span: Span) -> Graph:
        """The graph of statements that end in `out`."""
        assert scope.builder
        failures = self.failures
        for statement in statements:
            self.statement(statement, scope)
        out = scope.names.get("out")
        if out is None:
            raise error("UNI023", f"expected a wire called out in {name}", span, "name the result: out = ...")
        if self.failures > failures:  # what looks unused may have been meant for what went wrong
            raise Poisoned
        unused = [
            (wire, binding)
            for wire, binding in scope.names.items()
            if isinstance(binding.value, Wires) and binding.span and not binding.used and wire != "out"
        ]
        for wire, binding in unused:
            self.report(error("UNI016", f"the wire {wire} is never used", binding.span, "lead it to out, or remove it"))
        if unused:
            raise Poisoned
        if not isinstance(out.value, Wires):
            raise error(
                "UNI014",
                f"expected out to be a wire of {name}, but it is {shown(describe(out.value))}",
                out.span or span,
                "out is the result: call the parameter something else",
            )
        return self.finish(scope.builder, out.value, name, span)

    def statement(self, statement: ast.Statement, scope: Scope) -> None:
        try:
            value = self.wires(statement.value, scope)
            self.own(value, statement.value.span, scope)
            assert scope.builder
            if len(statement.names) == 1:
                made = [value]
                name = statement.names[0].text
                if name not in ("out", "in", UNUSED) and isinstance(statement.value, (ast.Pipeline, ast.Operation)):
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
                if word.text != UNUSED:
                    self.claim(word, wires, scope)
        except Exhausted:
            raise
        except (UninasError, Poisoned) as problem:
            if isinstance(problem, UninasError):
                self.report(problem)
            self.failures += 1
            for word in statement.names:
                scope.names.setdefault(word.text, Binding(Poison(), word.span))

    def run(self, steps: Sequence[ast.Step], wires: Wires, scope: Scope) -> Wires:
        for step in steps:
            wires = self.step(step, wires, scope)
        return wires

    def step(self, step: ast.Step, wires: Wires, scope: Scope) -> Wires:
        made = self.stepped(step, wires, scope)
        if self.watch:
            self.watch(step, wires, made, scope)
        return made

    def stepped(self, step: ast.Step, wires: Wires, scope: Scope) -> Wires:
        self.work()
        if isinstance(step, ast.Apply):
            return self.labelled(step.label, self.apply(self.callee(step, scope), wires, step.name.span, scope))
        if isinstance(step, ast.Repeat) and step.shared:
            return self.labelled(step.label, self.again(step, wires, scope))
        if isinstance(step, ast.Repeat):
            if step.label:
                hint = "name a step inside, or write shared repeat"
                raise error("UNI002", "expected no name for steps that become several nodes", step.label.span, hint)
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
            if label.text in wires.builder.taken:
                raise error("UNI011", f"{label.text} is defined twice in this block", label.span)
            wires.builder.label(wires, label.text)
        return wires

    @staticmethod
    def chain_scope(wires: Wires, scope: Scope) -> Scope:
        """Inside braces, C, H and W are the shape of what flows into the braces."""
        return scope.inner(shape=wires.shapes[0])

    def again(self, step: ast.Repeat, wires: Wires, scope: Scope) -> Wires:
        """The same steps several times with the same weights, as one node."""
        times = self.integer(step.count, scope, "the number of repetitions", 1, MAX_OPTIONS)
        graph = self.chain_graph(step.body, wires.shapes, scope, "Repeat")
        return self.add(Block(graph, times), wires, "again", step.span, scope)

    def shared(self, step: ast.Each, wires: Wires, scope: Scope) -> Wires:
        """Every wire treated with the same weights. The steps are built for the first, and solved for other sizes."""
        parts = bundled(wires.shapes, self.copies(step, wires))
        first, *others = dict.fromkeys(parts)
        body = self.each_body(step, first, scope, "each")
        try:
            each = shared_each(body, parts)
        except GraphError as problem:
            raise error("UNI020", str(problem), step.span) from None
        if self.names_in(step.body) & {"H", "W"}:
            for shapes, variant in zip(others, each.variants, strict=True):
                if self.each_body(step, shapes, scope, "each") != variant:
                    message = (
                        "expected steps with shared weights that speak of H and W only where these stay as they are"
                    )
                    raise error("UNI020", message, step.span, "resize maps before or behind them")
        return self.add(each, wires, "parts", step.span, scope)

    def each(self, step: ast.Each, wires: Wires, scope: Scope) -> Wires:
        if step.shared:
            return self.shared(step, wires, scope)
        copies = self.copies(step, wires)
        parts = bundled(wires.shapes, copies)
        shapes = tuple(dict.fromkeys(parts))
        called = step.names[0].text
        name = "each" if len(shapes) == 1 else called.capitalize()
        bodies = {part: self.each_body(step, part, scope, name) for part in shapes}
        if len(bodies) == 1:
            return self.add(Each(bodies[shapes[0]]), wires, "parts", step.span, scope)
        made = []
        for part, taken in zip(parts, bundled(wires.wires, copies), strict=True):
            self.work()
            given = Wires(wires.builder, taken)
            made.append(self.add(Block(bodies[part]), given, snake_case(called), step.span, scope))
        return self.bundle(made, step.span, scope)

    def copies(self, step: ast.Each, wires: Wires) -> int:
        """How often the body is used: for every wire of the bundle, or of each of the bundles that are named."""
        self.work(2 * len(wires.wires))
        count = len(step.names)
        lengths = wires.lengths if count > 1 else (len(wires.wires),)
        names = ", ".join(name.text for name in step.names)
        if len(lengths) != count:
            found = f"{len(lengths)} of them" if lengths else f"one of {len(wires.wires)} wires"
            raise error("UNI021", f"expected {count} bundles for {names}, but got {found}", step.span,
                        f"put them side by side: (first, second) -> each {names} {{ ... }}")  # fmt: skip
        if len(set(lengths)) > 1:
            several = " and ".join(map(str, lengths))
            raise error("UNI021", f"expected bundles of equal length for {names}, but got {several} wires", step.span)
        return lengths[0]

    def each_body(self, step: ast.Each, shapes: tuple[Shape, ...], scope: Scope, name: str) -> Graph:
        """What happens to a part of these shapes."""
        builder = Builder(shapes, self.work)
        inner = scope.inner(builder, shapes[0])
        several = len(step.names) > 1
        for word, wire in zip(step.names, builder.input.wires, strict=True):
            if several and word.text in inner.names:
                raise error("UNI011", f"{word.text} is defined twice in this each", word.span)
            if not several or word.text != UNUSED:
                inner.bind(word.text, Wires(builder, (wire,)), word.span if several else None)
        return self.body_graph(step.body, inner, name, step.span)

    # ---- operations and blocks with their arguments --------------------------------------------------------------

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
            value = whole(value) if attrs[name].type is int else value
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
            parameter = parameters[name]
            value = self.argument(argument, callee, self.symbols(parameter.kind))
            default = parameter.default
            like = default.value if isinstance(default, (ast.Number, ast.Boolean)) else None
            if parameter.kind or like is not None:  # other defaults need the block's own sizes, and are met inside it
                value = self.fitting(value, parameter, argument.span, like)
            values[name] = value
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
        try:
            return self.value(argument.value, callee.scope, symbols)
        except UninasError:
            if symbols and isinstance(argument.value, ast.Reference) and argument.value.arguments is None:
                word = argument.value.name.text
                wanted = f"expected {' or '.join(symbols)}, but got {shown(word)}"
                raise error("UNI014", wanted, argument.span, did_you_mean(word, symbols)) from None
            raise

    def fitting(self, value: Value, parameter: ast.Parameter, span: Span, like: Value | None = None) -> Value:
        """The value, when it is of the parameter's kind; without a kind, when it is of that of the default, `like`."""
        kind = parameter.kind
        if isinstance(kind, tuple):
            words = self.symbols(kind)
            fits, wanted = isinstance(value, Symbol) and value.text in words, " or ".join(words)
        elif kind and kind.text == "block":
            fits, wanted = isinstance(value, (Callee, Nameless)), "a block"
        elif kind and kind.text in KINDS:
            types = (int, float) if kind.text == "float" else (KINDS[kind.text],)
            value = whole(value) if kind.text == "int" else value
            fits, wanted = type(value) in types, kind.text
        elif kind:
            raise error(
                "UNI014",
                f"expected a kind int, float, bool, block or {{a, b}}, but got {kind.text}",
                kind.span,
                did_you_mean(kind.text, [*KINDS, "block"]),
            )
        else:
            callable_ = isinstance(like, (Callee, Nameless))
            types = (bool,) if isinstance(like, bool) else (int, float) if isinstance(like, float) else (int,)
            value = whole(value) if types == (int,) else value
            fits = isinstance(value, (Callee, Nameless)) if callable_ else type(value) in types
            wanted = "a block" if callable_ else types[-1].__name__
        if not fits:
            found = shown(describe(value))
            named = isinstance(value, (Callee, Nameless)) and not kind
            hint = f"a parameter takes one where it says so: {parameter.name.text}: block" if named else ""
            raise error("UNI014", f"expected {parameter.name.text} to be {wanted}, but got {found}", span, hint)
        return value

    def symbols(self, kind: ast.Word | tuple[ast.Word, ...] | None) -> tuple[str, ...]:
        """The words of a choice kind."""
        if not isinstance(kind, tuple):
            return ()
        self.work(len(kind))
        return tuple(word.text for word in kind)
