"""Definitions: blocks, and networks with their sections and stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from uninas.errors import Span, Unfit, UninasError, did_you_mean, error, shown
from uninas.graph import Block, Graph
from uninas.graph.builder import Builder, Wires
from uninas.graph.network import block_name, stage_name
from uninas.initial import names as names_of_schemes
from uninas.language import tree as ast
from uninas.language.elaborate.core import LARGEST_EXTENT, MAX_DEPTH, MAX_OPTIONS, Exhausted
from uninas.language.elaborate.steps import Steps
from uninas.language.library import Module
from uninas.language.scope import Poisoned, Scope, Symbol, Value
from uninas.ops.op import MAX_PORTS, Shape, show_shape
from uninas.space import COSTS, Limit

PROBE: Shape = (64, 56, 56)  # the input of a block that is looked at alone and names none


class Elaborator(Steps):
    """Builds the graph of a definition."""

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
        inputs = self.declared_inputs(definition, scope)
        if shape is not None:
            inputs = (shape,) * len(inputs) if len(set(inputs)) == 1 else (shape, *inputs[1:])
        return self.definition_graph(module, definition, values, inputs, definition.name.span)

    def guessed(self, module: Module, block: ast.Block, guess: Callable[[Shape], dict[str, Value]]) -> Graph:
        """A block alone, with guessed values for the parameters that have no default."""
        inputs = self.declared_inputs(block, Scope(module, None))
        return self.definition_graph(module, block, guess(inputs[0]), inputs, block.name.span)

    def declared_inputs(self, definition: ast.Definition, scope: Scope) -> tuple[Shape, ...]:
        """The shapes after `input` in a definition; blocks have a usual one. One stands for all wires that flow in."""
        if isinstance(definition, ast.Block):
            given = definition.input
        else:
            given = definition.only(ast.Input)
            if given is None and (start := definition.only(ast.Start)):
                what = f"a space, with the start {start.network.text}"
                way_out = f"walk in it: uninas search {definition.name.text}, or uninas mutate --space"
                message = f"expected a network, but {definition.name.text} is {what}"
                raise error("UNI014", message, definition.name.span, way_out)
            if given is None:
                raise error(
                    "UNI023",
                    f"expected {definition.name.text} to say its input",
                    definition.name.span,
                    "write for example: input 3 x 224 x 224",
                )
        if given is None:
            return (PROBE,) * wires_into(definition)
        shapes = [tuple(self.integer(n, scope, "a size of the input", 1) for n in wire.sizes) for wire in given.wires]
        for wire, sizes in zip(given.wires, shapes, strict=True):
            if len(sizes) not in (1, 3):
                raise error(
                    "UNI020", f"expected an input of 1 or 3 sizes (C or C x H x W), but got {len(sizes)}", wire.span
                )
        needed = wires_into(definition)
        if 1 < len(shapes) < needed:
            message = f"expected a shape for each of {needed} wires, but got {len(shapes)}"
            raise error("UNI021", message, given.span, "one shape stands for all of them")
        return tuple(shapes) * needed if len(shapes) == 1 else tuple(shapes)

    def definition_graph(
        self,
        module: Module,
        definition: ast.Definition,
        values: Mapping[str, Value],
        inputs: tuple[Shape, ...],
        span: Span,
    ) -> Graph:
        """The graph of a block or network for these parameter values and input shapes, built once for equal ones."""
        self.work(16 + 4 * len(definition.parameters))
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
        except (Exhausted, Unfit):
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

    # ---- blocks --------------------------------------------------------------------------------------------------

    def block_graph(
        self, module: Module, block: ast.Block, values: Mapping[str, Value], inputs: tuple[Shape, ...]
    ) -> Graph:
        builder = Builder(inputs, self.work)
        scope = Scope(module, builder)
        scope.bind_shape(inputs[0])
        self.bind_parameters(block, values, scope)
        scope.bind("in", builder.input)
        return self.body_graph(block.statements, scope, block.name.text, block.name.span)

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
            like = None if parameter.kind or parameter.default is None else self.value(parameter.default, scope, ())
            scope.bind(name, self.fitting(value, parameter, parameter.span, like), parameter.name.span)

    # ---- networks ------------------------------------------------------------------------------------------------

    def network_graph(
        self, module: Module, network: ast.Network, values: Mapping[str, Value], inputs: tuple[Shape, ...]
    ) -> Graph:
        builder = Builder(inputs, self.work)
        scope = Scope(module, builder)
        self.bind_parameters(network, values, scope)
        wires, stages = builder.input, 0
        named = Scope(module, builder, scope)  # what sections make, for those that take it by name
        named.bind("in", wires)
        chosen = network.only(ast.Init)
        init = self.init(chosen) if chosen else "default"
        astray = [member for member in network.members if isinstance(member, ast.Start | ast.Moves | ast.Patience)]
        if astray and not network.is_space:
            hint = f"write: space {network.name.text} {{ ... }}"
            raise error("UNI002", "a start, moves and their patience stand in a space", astray[0].span, hint)
        for member in network.members:
            if isinstance(member, ast.Choose):
                self.choose(member, scope, scope)
            elif isinstance(member, ast.Section):
                wires = self.sources(member, wires, named)
                graph = self.chain_graph(member.body, wires.shapes, scope, member.name.text)
                wires = self.add(Block(graph), wires, member.name.text, member.span, scope)
                named.bind(member.name.text, wires, member.name.span)
            elif isinstance(member, ast.Stage):
                wires = self.sources(member, wires, named)
                graph = self.stage(member, wires.shapes, scope, stage_name(stages))
                wires = self.add(Block(graph), wires, stage_name(stages), member.span, scope)
                builder.label(wires, stage_name(stages))
                stages += 1
                if member.label:
                    self.claim(member.label, wires, named)
        if not builder.ops:
            raise error("UNI023", f"expected {network.name.text} to have a stem, a stage or a head", network.name.span)
        if outcome := network.only(ast.Outcome):
            wires = self.existing((outcome.value,), outcome.span, named)
        graph = self.finish(builder, wires, network.name.text, network.name.span, init)
        self.keep_budget(network, graph)
        return graph

    def sources(self, member: ast.Section | ast.Stage, before: Wires, named: Scope) -> Wires:
        """What flows into a section: the wires that it names, or what the section before it makes."""
        return before if member.sources is None else self.existing(member.sources, member.span, named)

    def existing(self, values: tuple[ast.Expression, ...], span: Span, named: Scope) -> Wires:
        """Wires that sections have made, without anything done to them."""
        assert named.builder
        before = len(named.builder.ops)
        wires = self.bundle([self.wires(value, named) for value in values], span, named)
        if len(named.builder.ops) > before:
            message = "expected names of sections, or parts of what they make, but got steps"
            raise error("UNI014", message, values[0].span, "steps stand behind the arrow of a section, or in a block")
        return wires

    @staticmethod
    def init(member: ast.Init) -> str:
        if member.scheme.text not in (names := names_of_schemes()):
            raise error(
                "UNI010",
                f"unknown scheme of initial weights {member.scheme.text}",
                member.scheme.span,
                did_you_mean(member.scheme.text, names) or f"there are {', '.join(names)}",
            )
        return member.scheme.text

    def keep_budget(self, network: ast.Network, graph: Graph) -> None:
        """A network must keep its own budget; a space only says what its members must keep."""
        if network.is_space:
            return
        for member in network.members:
            for bound in member.bounds if isinstance(member, ast.Budgets) else ():
                limit = limit_of(bound).against(graph)
                if text := limit.violation_of(graph):
                    raise error("UNI040", text, bound.span)

    def chain_graph(self, chain: ast.Chain, inputs: tuple[Shape, ...], scope: Scope, name: str) -> Graph:
        """A chain as a graph of its own. A chain of one block is that block's graph."""
        names = sorted(self.names_in(chain))
        self.work(8 + len(names))
        bindings = [(text, binding.value) for text in names if (binding := scope.find(text))]
        key = self.key(chain, inputs, bindings)
        if key is not None and (known := self.memory.get(key)):
            return known
        asked = len(self.asked)
        builder = Builder(inputs, self.work)
        wires = self.run(chain.steps, builder.input, scope.inner(builder, inputs[0]))
        graph = self.finish(builder, wires, name, chain.span)
        first = graph.nodes[0] if graph.nodes else None
        alone = first is not None and isinstance(first.op, Block) and first.op.times == 1
        if first and alone and len(graph.nodes) == 1 and isinstance(first.op, Block) and not builder.labels:
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
                self.choose(choice, scope, inner)
            inner.bind("width", self.dimension("width", stage.width, scope))
            stride = 1 if stage.stride is None else self.dimension("stride", stage.stride, scope)
            wires = builder.input
            for index, body in enumerate(self.stage_items(stage, inner)):
                block = inner.inner()
                block.bind("index", index)
                block.bind("stride", stride if index == 0 else 1)
                with self.at(block_name(index)):
                    graph = self.chain_graph(body, wires.shapes, block, "block")
                wires = self.add(Block(graph), wires, block_name(index), body.span, inner)
                builder.label(wires, block_name(index))
            return self.finish(builder, wires, "stage", stage.span)

    def choose(self, choice: ast.Choose, scope: Scope, inner: Scope) -> None:
        """Bind every name of an open choice, in `inner`, to the option taken for it."""
        for name in choice.names:
            self.claim(name, self.chosen(name.text, choice.domain, scope), inner)
        if choice.where is not None and not self.truth(choice.where, inner):
            raise Unfit.at(choice.where.span)

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


def limit_of(bound: ast.Bound) -> Limit:
    """The limit that a budget states; its metric must exist."""
    metric = bound.metric
    if metric.text not in COSTS:
        raise error(
            "UNI010",
            f"unknown metric {metric.text}",
            metric.span,
            did_you_mean(metric.text, COSTS) or f"there are {', '.join(COSTS)}",
        )
    if bound.low is not None and bound.high is not None and bound.low > bound.high:
        raise error(
            "UNI041", f"expected a low end below the high end, but got {bound.low:,}..{bound.high:,}", bound.span
        )
    return Limit(metric.text, bound.low, bound.high, bound.relative, _size_of(bound))


def _size_of(bound: ast.Bound) -> tuple[int, int] | None:
    """Height and width of the images that a budget speaks of."""
    if bound.at is None:
        return None
    for number in bound.at:
        if not isinstance(number.value, int) or not 1 <= number.value <= LARGEST_EXTENT:
            raise error("UNI015", f"expected from 1 to {LARGEST_EXTENT} pixels, but got {number.value:,}", number.span)
    return int(bound.at[0].value), int(bound.at[1].value)


def wires_into(definition: ast.Definition) -> int:
    """How many wires a block takes, as far as its text says: by `in[1]`, or by `a, b = in`."""
    count, waiting = 1, list[object](definition.statements if isinstance(definition, ast.Block) else ())
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Statement) and isinstance(part.value, ast.BlockInput):
            count = max(count, len(part.names))
        if isinstance(part, ast.Item) and isinstance(part.of, ast.BlockInput):
            index = part.index.high if isinstance(part.index, ast.Range) else part.index
            if isinstance(index, ast.Number):
                count = max(count, min(int(index.value) + 1, MAX_PORTS))
        if isinstance(part, tuple | list):
            waiting += part
        elif isinstance(part, ast.Syntax):
            waiting += [value for name, value in vars(part).items() if name != "span"]
    return count
