"""Graph -> the shortest text that a person would write: equal blocks become one definition with parameters.

`dumps` keeps the names of all nodes, and writes a definition for each distinct block. Here names are those that the
text gives, and blocks of one class that differ in numbers alone share a definition: what differs becomes a parameter,
the most frequent value its default. The text elaborates to a graph with the same key and the same order of nodes.

Graphs with one input are written, and `shared each` with a chain inside, which is what importers make.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from uninas.errors import UninasError
from uninas.graph import INPUT, Block, Each, Graph, Node, Wire, subgraphs
from uninas.graph.graph import RESERVED
from uninas.graph.network import is_stage
from uninas.language.elaborate import build
from uninas.language.library import load_text
from uninas.language.printer import (
    INFIX,
    SMALLEST_SYMBOLIC,
    STRIDES,
    WIDTH,
    Names,
    input_line,
    is_network,
    outputs_of,
    sections_of,
    segments,
)
from uninas.ops.op import REGISTRY, Attr, Op, Shape, show_value

INLINE = 4  # steps of a chain that may stand inside a sum or a bundle
WORDS = {"out": "hidden", "height": "rows", "width": "columns", "start": "first", "stop": "last"}
KEYWORDS = frozenset(["stem", "stage", "head", "section", "input", "init", "choose", "start", "moves", "patience",
                      "budget", "stride", "with", "where", "x"])  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """A value inside a definition: `relative` says it by the sizes of the block, where that is possible."""

    value: Any
    relative: str
    name: str
    channels: bool = False


@dataclass
class Called:
    """A step: an operation, or a block of a group, with the slots of its arguments."""

    word: str
    slots: list[Slot]
    attrs: tuple[Attr, ...] = ()
    group: Group | None = None
    times: int = 1


Piece = str | Called


@dataclass
class Parameter:
    """A parameter of a definition, and its value in every graph that the definition stands for."""

    name: str
    values: dict[int, Any]
    channels: bool
    default: Any = None


@dataclass
class Group:
    """One definition, and the graphs that it stands for."""

    name: str
    bodies: dict[int, list[Piece]] = field(default_factory=dict)  # by the identity of the graph
    graphs: dict[int, Graph] = field(default_factory=dict)
    parameters: list[Parameter] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # what each slot is written as


def compact(graph: Graph, name: str = "") -> str:
    """The text of a network or block with one input."""
    return _Compact(name or graph.name or "model").text(graph)


class _Compact:
    def __init__(self, title: str):
        self.names = Names()
        self.title = self.names.free(title)
        self.groups: dict[int, Group] = {}  # by the identity of a graph
        self.kept: list[Graph] = []
        self.definitions: list[tuple[Group, str, str]] = []
        """Definitions in their order: the group, its first line, and the others but for the input."""

    def text(self, graph: Graph) -> str:
        network = is_network(graph)
        wanted = list(self.in_place(graph)) if network else [graph]
        levels: dict[int, list[Graph]] = {}
        known: dict[int, int] = {}
        for top in wanted:
            known[id(top)] = -1  # written in place
        for top in wanted:
            for node in top.nodes:
                for inner in defined(node):
                    self.levelled(inner, known, levels)
        for level in sorted(levels):
            self.grouped(levels[level])
        body = self.network(graph) if network else self.standalone(graph)
        needed = self.sized(body)
        return self.joined(body, needed)

    def joined(self, body: str, needed: Collection[str]) -> str:
        """The whole text; the definitions that are `needed` to say so name the shape of their input."""
        texts = []
        for group, head, rest in self.definitions:
            first = f"    {input_line(group.graphs[example(group)])}\n" if group.name in needed else ""
            texts.append(f"{head}\n{first}{rest}\n}}\n")
        return "\n".join([*texts, body])

    def sized(self, body: str) -> set[str]:
        """The definitions that cannot be built for the shape that one without an input is tried with."""
        needed = {group.name for group, _, _ in self.definitions if not _usual(next(iter(group.graphs.values())))}
        module = load_text(self.joined(body, needed))
        for group, _, _ in self.definitions:
            if group.name not in needed:
                given = [parameter for parameter in group.parameters if parameter.default is None]
                arguments = {parameter.name: parameter.values[example(group)] for parameter in given}
                try:
                    build(module, group.name, arguments=arguments)
                except UninasError:
                    needed.add(group.name)
        return needed

    # ---- groups --------------------------------------------------------------------------------------------------

    def levelled(self, graph: Graph, known: dict[int, int], levels: dict[int, list[Graph]]) -> int:
        """How deep blocks are nested inside a graph; graphs by that."""
        if id(graph) not in known:
            inner = [self.levelled(each, known, levels) for node in graph.nodes for each in defined(node)]
            known[id(graph)] = max(inner, default=-1) + 1
            self.kept.append(graph)
            levels.setdefault(known[id(graph)], []).append(graph)
        return known[id(graph)]

    def grouped(self, graphs: Sequence[Graph]) -> None:
        """Make definitions for graphs whose inner blocks have theirs."""
        found: dict[Any, Group] = {}
        for graph in graphs:
            pieces = self.statements(graph)
            kind = (graph.name, tuple(p if isinstance(p, str) else (p.word, len(p.slots)) for p in pieces))
            group = found.get(kind)
            if group is None:
                group = found[kind] = Group(self.names.free(graph.name or "Block"))
            group.bodies[id(graph)], group.graphs[id(graph)] = pieces, graph
            self.groups[id(graph)] = group
        for group in found.values():
            self.settle(group)
            self.definitions.append((group, *self.definition(group)))

    def settle(self, group: Group) -> None:
        """Decide what every slot of a definition is written as, and which become parameters."""
        bodies = {key: [slot for piece in body if isinstance(piece, Called) for slot in piece.slots]
                  for key, body in group.bodies.items()}  # fmt: skip
        count = len(next(iter(bodies.values())))
        changes = any(_width(g) != g.inputs[0][0] for g in group.graphs.values())
        widths = {key: _width(graph) for key, graph in group.graphs.items()}
        written = [piece for body in group.bodies.values() for piece in body if isinstance(piece, str)]
        taken = {word for piece in written for word in re.findall(r"\w+", piece)}
        for place in range(count):
            slots = {key: found[place] for key, found in bodies.items()}
            first = next(iter(slots.values()))
            values = {key: slot.value for key, slot in slots.items()}
            if changes and first.channels and values == widths:
                group.said.append(self.parameter(group, "width", values, True, taken).name)
            elif len({slot.relative for slot in slots.values()}) == 1:
                group.said.append(first.relative)
            elif len(set(map(repr, values.values()))) == 1:
                group.said.append(show_value(first.value))
            else:
                name = "width" if first.channels and values == widths else WORDS.get(first.name, first.name)
                name = "channels" if first.channels and name == WORDS["width"] else name
                group.said.append(self.derived(group, name, values, first.channels, taken))
        group.parameters.sort(key=lambda parameter: parameter.name != "width")
        optional = [parameter for parameter in group.parameters if parameter.name != "width"]
        for parameter in optional:
            common = Counter(map(repr, parameter.values.values())).most_common(1)[0][0]
            parameter.default = next(v for v in parameter.values.values() if repr(v) == common)
        if not any(as_usual(group, key) for key in group.graphs):  # the defaults must fit each other
            together = {key: repr([parameter.values[key] for parameter in optional]) for key in group.graphs}
            common = Counter(together.values()).most_common(1)[0][0]
            key = next(key for key, said in together.items() if said == common)
            for parameter in optional:
                parameter.default = parameter.values[key]

    def derived(self, group: Group, name: str, values: dict[int, Any], channels: bool, taken: set[str]) -> str:
        """A value as a multiple or a part of C or of a parameter, or as a new parameter."""
        if all(type(value) is int for value in values.values()):
            bases = [("C", {key: graph.inputs[0][0] for key, graph in group.graphs.items()})] * channels
            bases += [(each.name, each.values) for each in group.parameters if each.channels == channels or channels]
            for word, base in bases:
                if any(type(b) is not int or b == 0 for b in base.values()):
                    continue
                ratios = {Fraction(value, base[key]) for key, value in values.items()}
                if len(ratios) == 1 and (text := _times(word, ratios.pop())):
                    return text
        return self.parameter(group, name, values, channels, taken).name

    @staticmethod
    def parameter(group: Group, name: str, values: dict[int, Any], channels: bool, taken: set[str]) -> Parameter:
        """A parameter with these values: one that is there, or a new one."""
        for each in group.parameters:
            if each.values == values and list(map(type, each.values.values())) == list(map(type, values.values())):
                return each
        base, number = name, 2
        while (
            name in taken
            or name in RESERVED
            or name in REGISTRY
            or (name in KEYWORDS and name != "stride")
            or any(each.name == name for each in group.parameters)
        ):
            name, number = f"{base}{number}", number + 1
        found = Parameter(name, values, channels)
        group.parameters.append(found)
        return found

    def definition(self, group: Group) -> tuple[str, str]:
        """The first line of a definition, and the statements."""
        key = next(iter(group.graphs))
        given = ", ".join(
            p.name if p.default is None else f"{p.name} = {show_value(p.default)}" for p in group.parameters
        )
        body = self.rendered(group.bodies[key], iter(group.said))
        head = f"block {group.name}({given}) {{" if given else f"block {group.name} {{"
        return head, body

    # ---- text of pieces ------------------------------------------------------------------------------------------

    def rendered(self, pieces: Sequence[Piece], said: Iterator[str] | None) -> str:
        """The text of pieces, with slots as `said`, or as their own relative values."""
        lines: list[str] = [""]
        for piece in pieces:
            if piece == "\n":
                lines.append("")
            elif isinstance(piece, str):
                lines[-1] += piece
            else:
                texts = [next(said) if said is not None else slot.relative for slot in piece.slots]
                lines[-1] += self.step(piece, texts)
        return "\n".join("    " + text for line in lines for text in _broken(line))

    def step(self, called: Called, texts: Sequence[str]) -> str:
        """An operation or block with its arguments; what is as by default is left out."""
        if called.group is None:
            names = [attribute.name for attribute in called.attrs]
            defaults = [None if a.required else show_value(a.default) for a in called.attrs]
            kinds = [a.type is int for a in called.attrs]
        else:
            names = [parameter.name for parameter in called.group.parameters]
            defaults = [None if p.default is None else show_value(p.default) for p in called.group.parameters]
            kinds = [type(next(iter(p.values.values()))) is int for p in called.group.parameters]
        parts: list[str] = []
        positional = True
        for name, text, default, whole in zip(names, texts, defaults, kinds, strict=True):
            if text == default:
                positional = False
                continue
            positional = positional and whole
            parts.append(text if positional else f"{name}={text}")
        word = called.group.name if called.group else called.word
        text = f"{word}({', '.join(parts)})" if parts else word
        return text if called.times == 1 else f"shared repeat {called.times} {{ {text} }}"

    # ---- statements ----------------------------------------------------------------------------------------------

    def called(self, node: Node, shape: Shape) -> Called:
        """The step for a node inside a block whose input has that shape; no shape: everything in numbers."""
        if isinstance(node.op, Block):
            group = self.groups[id(node.op.graph)]
            slots = [
                Slot(value, _relative(value, shape, p.channels, ""), p.name, p.channels)
                for p in group.parameters
                for value in [p.values[id(node.op.graph)]]
            ]
            return Called(f"block {group.name} {node.op.times}", slots, group=group, times=node.op.times)
        assert isinstance(node.op, Op)
        spatial = {"height", "width"} <= {attribute.name for attribute in node.op.attrs}
        slots = []
        for attribute in node.op.attrs:
            value = getattr(node.op, attribute.name)
            axis = (
                attribute.name
                if spatial and node.op.name in ("untokens", "window_merge", "upsample", "window_mask")
                else ""
            )
            name = "num_heads" if attribute.name == "heads" or node.op.name in ("heads", "unheads") else attribute.name
            relative = _relative(value, shape, attribute.channels, axis)
            slots.append(Slot(value, relative, name, attribute.channels))
        return Called(node.op.name, slots, node.op.attrs)

    def statements(self, graph: Graph) -> list[Piece]:
        """The body of a definition."""
        return _Body(self, graph, graph.inputs[0]).pieces()

    # ---- networks ------------------------------------------------------------------------------------------------

    def in_place(self, graph: Graph) -> Iterator[Graph]:
        """The graphs of a network that are written in it: it itself, rows of blocks, and sections that are chains."""
        yield graph
        for node in graph.nodes:
            assert isinstance(node.op, Block)
            if is_stage(node):
                yield node.op.graph
                for block in node.op.graph.nodes:
                    if isinstance(block.op, Block) and block.op.graph.name == "block" and is_chain(block.op.graph):
                        yield block.op.graph
            elif is_chain(node.op.graph) and (node.op.graph.name == node.name or plain(node.op.graph)):
                yield node.op.graph

    def standalone(self, graph: Graph) -> str:
        body = self.rendered(self.statements(graph), None)
        return f"block {self.title} {{\n    {input_line(graph)}\n{body}\n}}\n"

    def network(self, graph: Graph) -> str:
        inside = {id(each) for each in self.in_place(graph)}
        lines = [input_line(graph)]
        lines += [f"init {graph.init}"] if graph.init != "default" else []
        for node, sources, label in sections_of(graph):
            if not isinstance(node.op, Block):
                lines.append(f"out = {sources}")
                continue
            if is_stage(node):
                lines += self.stage(node.op.graph, inside, sources, label).split("\n")
                continue
            word = node.name if node.name in ("stem", "head") else f"section {node.name}"
            text = self.chain(node.op.graph) if id(node.op.graph) in inside else self.use(node, ())
            lines += _broken(f"{word} {sources}{text}")
        return f"network {self.title} {{\n" + "\n".join(f"    {line}" for line in lines) + "\n}\n"

    def use(self, node: Node, shape: Shape, width: int = 0, stride: bool = False) -> str:
        """A step with its arguments in numbers; the width of a stage by its name."""
        if isinstance(node.op, Each):
            return f"shared each part {{ out = part -> {self.chain(node.op.body)} }}"
        if is_repeated_step(node):
            assert isinstance(node.op, Block)
            return f"shared repeat {node.op.times} {{ {self.chain(node.op.graph)} }}"
        called = self.called(node, shape)
        texts = []
        for slot in called.slots:
            if width and slot.channels and slot.value == width:
                texts.append("width")
            elif stride and slot.name == "stride":
                texts.append("stride")
            else:
                texts.append(slot.relative)
        return self.step(called, texts)

    def chain(self, graph: Graph) -> str:
        return " -> ".join(self.use(node, ()) for node in graph.nodes)

    def stage(self, graph: Graph, inside: set[int], sources: str, label: str) -> str:
        called = f" as {label}" if label else ""
        width = graph.output_shapes[0][0]

        def item(node: Node, stride: bool = False) -> str:
            assert isinstance(node.op, Block)
            if id(node.op.graph) in inside:
                return self.chain(node.op.graph)
            return self.use(node, (), width, stride)

        first, *rest = graph.nodes
        strides = [self.stride_of(node, inside) for node in graph.nodes]
        general = [item(node, True) for node in graph.nodes]
        slowing = strides[0] > 1 and all(s == 1 for s in strides[1:])
        if slowing and len(set(general)) == 1 and "stride" in general[0]:
            return f"stage {sources}{width} x {len(graph.nodes)} stride {strides[0]}{called} {{ {general[0]} }}"
        items: list[tuple[str, int]] = []
        for text in [item(node) for node in (first, *rest)]:
            if items and items[-1][0] == text:
                items[-1] = (text, items[-1][1] + 1)
            else:
                items.append((text, 1))
        if len(items) == 1:
            return f"stage {sources}{width} x {items[0][1]}{called} {{ {items[0][0]} }}"
        listed = [text if count == 1 else f"{text} x {count}" for text, count in items]
        head = f"stage {sources}{width}{called} {{"
        line = f"{head} {', '.join(listed)} }}"
        if len(line) <= WIDTH:
            return line
        return f"{head}\n" + "\n".join(_filled(listed)) + "\n}"

    def stride_of(self, node: Node, inside: set[int]) -> int:
        """The argument that a block calls its stride; 0 without one."""
        assert isinstance(node.op, Block)
        if id(node.op.graph) in inside:
            return 0
        group = self.groups[id(node.op.graph)]
        return next((p.values[id(node.op.graph)] for p in group.parameters if p.name == "stride"), 0)


class _Body:
    """The statements of one block."""

    def __init__(self, printer: _Compact, graph: Graph, shape: Shape):
        self.printer, self.graph, self.shape = printer, graph, shape
        self.segments = segments(graph)
        self.ends = {segment[-1].name: n for n, segment in enumerate(self.segments)}
        self.names: dict[str, str] = {}
        self.parts: dict[str, list[str]] = {}
        self.inlined: dict[str, list[Piece]] = {}

    def pieces(self) -> list[Piece]:
        last = self.graph.nodes[-1] if self.graph.nodes else None
        whole = last is not None and self.graph.outputs == outputs_of(self.graph, last)
        lines: list[list[Piece]] = []
        waiting: list[tuple[str, list[Piece]]] = []  # chains that may go into the next statement
        for number, segment in enumerate(self.segments):
            end = segment[-1]
            self.inlined = {}
            if any(wire.node == name for name, _ in waiting for wire in segment[0].inputs):
                taken = self.claimed(segment[0], [name for name, _ in waiting])
                for name, pieces in waiting[: len(waiting) - taken]:
                    lines.append([f"{self.named(name)} = ", *pieces])
                self.inlined = dict(waiting[len(waiting) - taken :]) if taken else {}
                waiting = []
            pieces = self.expression(segment)
            if whole and end is last:
                lines.append(["out = ", *pieces])
            elif self.inlinable(number) and sum(isinstance(p, Called) for p in pieces) <= INLINE:
                waiting.append((end.name, pieces))
            else:
                for name, waits in waiting:
                    lines.append([f"{self.named(name)} = ", *waits])
                waiting = []
                lines.append([f"{self.named(end.name)} = ", *pieces])
        for name, pieces in waiting:
            lines.append([f"{self.named(name)} = ", *pieces])
        if not whole:
            outs = [self.operand(wire) for wire in self.graph.outputs]
            lines.append(["out = ", *_joined(outs)])
        return [piece for n, line in enumerate(lines) for piece in (["\n"] if n else []) + line]

    def claimed(self, node: Node, waiting: Sequence[str]) -> int:
        """How many of the chains that wait, from the last on, a node takes, in the order in which it takes them."""
        order = [wire.node for wire in node.inputs]
        for count in range(len(waiting), 0, -1):
            tail = list(waiting[len(waiting) - count :])
            if [name for name in order if name in tail] == tail:
                return count
        return 0

    def inlinable(self, number: int) -> bool:
        """Whether the chain that ends in a node may stand where it is used."""
        segment = self.segments[number]
        end = segment[-1]
        if len(self.graph.shapes(end.name)) != 1 or len(segment) > INLINE:
            return False
        if sum(wire.node == end.name for node in self.graph.nodes for wire in node.inputs) != 1:
            return False
        if any(wire.node == end.name for wire in self.graph.outputs):
            return False
        if len(segment) == 1 and self.is_infix(end) and self.infix_user(end):
            return False
        # It must be taken by the next chain that is not itself taken by the same one.
        user = next(n for n, other in enumerate(self.segments) if any(w.node == end.name for w in other[0].inputs))
        between = range(number + 1, user)
        return (
            all(len(self.segments[n]) <= INLINE and self.goes_to(n, user) for n in between)
            and len(self.segments[user][0].inputs) <= 4
        )

    @staticmethod
    def is_infix(node: Node) -> bool:
        return isinstance(node.op, Op) and node.op.name in INFIX

    def infix_user(self, node: Node) -> bool:
        """Whether a sum or product takes a node; one inside the other would become one."""
        return any(self.is_infix(user) for user in self.graph.nodes if Wire(node.name) in user.inputs)

    def goes_to(self, number: int, user: int) -> bool:
        name = self.segments[number][-1].name
        users = [n for n, other in enumerate(self.segments) for node in other for w in node.inputs if w.node == name]
        return users == [user] and len(self.graph.shapes(name)) == 1

    def expression(self, segment: Sequence[Node]) -> list[Piece]:
        first = segment[0]
        infix = isinstance(first.op, Op) and first.op.name in INFIX and len(first.inputs) > 1
        infix = infix and not (isinstance(first.op, Op) and first.op.name == "subtract" and len(first.inputs) != 2)
        pieces: list[Piece] = []
        rest = segment
        if infix:
            assert isinstance(first.op, Op)
            for n, wire in enumerate(first.inputs):
                pieces += [INFIX[first.op.name]] if n else []
                pieces += self.operand(wire)
            rest = segment[1:]
            if rest:
                pieces = ["(", *pieces, ")"]
        else:
            pieces += self.bundle(first.inputs)
        for node in rest:
            pieces += self.step(node)
        return pieces

    def step(self, node: Node) -> list[Piece]:
        """An arrow and what it leads to."""
        if isinstance(node.op, Each):
            assert node.op.shared, "importers make no other"
            inside: list[list[Piece]] = [[" -> ", self.printer.called(each, ())] for each in node.op.body.nodes]
            return [" -> shared each part { out = part", *(piece for pieces in inside for piece in pieces), " }"]
        if is_repeated_step(node):
            assert isinstance(node.op, Block)
            return [f" -> shared repeat {node.op.times} {{ ", self.printer.called(node.op.graph.nodes[0], ()), " }"]
        return [" -> ", self.printer.called(node, self.shape)]

    def bundle(self, wires: Sequence[Wire]) -> list[Piece]:
        first = wires[0].node
        ports = len(self.graph.shapes(first))
        if tuple(wires) == tuple(Wire(first, port) for port in range(ports)) and (
            ports == 1 or first not in self.parts
        ):
            if first in self.inlined:
                return self.operand(wires[0])
            return ["in" if first == INPUT else self.named(first)]
        return _joined([self.operand(wire) for wire in wires]) if len(wires) > 1 else self.operand(wires[0])

    def operand(self, wire: Wire) -> list[Piece]:
        if wire.node in self.inlined:
            pieces = self.inlined[wire.node]
            single = len(pieces) == 1
            return pieces if single else ["(", *pieces, ")"]
        if wire.node == INPUT:
            return ["in" if len(self.graph.inputs) == 1 else f"in[{wire.port}]"]
        if len(self.graph.shapes(wire.node)) == 1:
            return [self.named(wire.node)]
        self.named(wire.node)
        return (
            [self.parts[wire.node][wire.port]] if wire.node in self.parts else [f"{self.names[wire.node]}[{wire.port}]"]
        )

    def named(self, name: str) -> str:
        """What a node is called in the text; of one with several outputs, the names of all."""
        if name not in self.names:
            ports = len(self.graph.shapes(name))
            used = {wire.port for node in self.graph.nodes for wire in node.inputs if wire.node == name}
            if 1 < ports <= 6 and used == set(range(ports)):
                words = self.words(name, ports)
                self.parts[name] = words
                self.names[name] = ", ".join(words)
            else:
                self.names[name] = self.free(_stem(name))
        return self.names[name]

    def words(self, name: str, ports: int) -> list[str]:
        products = any(isinstance(node.op, Op) and node.op.name == "matmul2" for node in self.graph.nodes)
        letters = "qkv" if products and ports == 3 else "kv" if products and ports == 2 else "abcdef"
        return [self.free(letter) for letter in letters[:ports]]

    def free(self, word: str) -> str:
        taken = {each for names in self.names.values() for each in names.split(", ")}
        found, number = word, 2
        while found in taken or found in RESERVED or found in ("width", "stride", "x"):
            found, number = f"{word}{number}", number + 1
        return found


def is_repeated_step(node: Node) -> bool:
    """Whether a node is one operation again and again with the same weights, which needs no definition."""
    return isinstance(node.op, Block) and node.op.times > 1 and node.op.graph.name == "Repeat"


def defined(node: Node) -> list[Graph]:
    """The graphs inside a node that get a definition: those of blocks, also of blocks inside `each`."""
    if isinstance(node.op, Each):
        return [graph for inner in node.op.body.nodes for graph in defined(inner)]
    return [] if is_repeated_step(node) else [graph for graph, _ in subgraphs(node)]


def _stem(name: str) -> str:
    word = name.rstrip("0123456789").rstrip("_")
    return word if word.isidentifier() and word not in KEYWORDS else "y"


def _joined(operands: Sequence[list[Piece]]) -> list[Piece]:
    pieces: list[Piece] = ["("]
    for n, operand in enumerate(operands):
        inner = operand[1:-1] if len(operand) > 2 and operand[0] == "(" and operand[-1] == ")" else operand
        pieces += ([", "] if n else []) + inner
    return [*pieces, ")"]


def _relative(value: Any, shape: Shape, channels: bool, axis: str) -> str:
    """A value by the sizes of what flows into the block, where that says more than the number."""
    if type(value) is not int or not shape:
        return show_value(value)
    c = shape[0]
    if channels and c >= SMALLEST_SYMBOLIC and value:
        if value % c == 0:
            return _times("C", Fraction(value, c))
        if c % value == 0 and value > 1:
            return _times("C", Fraction(value, c))
    if axis in ("height", "width") and len(shape) == 3 and value > 1:
        extent, letter = (shape[1], "H") if axis == "height" else (shape[2], "W")
        if value == extent:
            return letter
        if extent % value == 0 and extent // value in STRIDES:
            return f"{letter} / {extent // value}"
    return str(value)


def _times(word: str, ratio: Fraction) -> str:
    """A multiple or a part of a number; nothing where it is neither."""
    if ratio == 1:
        return word
    if ratio.denominator == 1:
        return f"{word} * {ratio.numerator}"
    return f"{word} / {ratio.denominator}" if ratio.numerator == 1 else ""


def example(group: Group) -> int:
    """The identity of the first graph with the default of every parameter."""
    return next(key for key in group.graphs if as_usual(group, key))


def as_usual(group: Group, key: int) -> bool:
    """Whether a graph of a group has the default of every parameter that has one."""
    return all(p.default is None or repr(p.values[key]) == repr(p.default) for p in group.parameters)


def _usual(graph: Graph) -> bool:
    """Whether a block takes one map, as those do that name no input."""
    return len(graph.inputs) == 1 and len(graph.inputs[0]) == 3


def _width(graph: Graph) -> int:
    return graph.output_shapes[0][0]


def is_chain(graph: Graph) -> bool:
    """Whether a chain of steps elaborates to this graph."""
    found = segments(graph)
    alone = len(graph.nodes) == 1 and isinstance(graph.nodes[0].op, Block)
    whole = len(found) == 1 and found[0][0].inputs == (Wire(INPUT),)
    return whole and not alone and graph.outputs == outputs_of(graph, found[0][-1])


def plain(graph: Graph) -> bool:
    """Whether there are no blocks inside."""
    return all(isinstance(node.op, Op) for node in graph.nodes)


def _broken(line: str) -> list[str]:
    """A line, broken before arrows where it is too long."""
    if len(line) + 4 <= WIDTH:
        return [line]
    lines, current = [], ""
    for n, part in enumerate(line.split(" -> ")):
        if n and len(current) + len(part) + 8 > WIDTH and current.count("(") == current.count(")"):
            lines.append(current)
            current = f"    -> {part}"
        else:
            current = f"{current} -> {part}" if n else part
    return [*lines, current]


def _filled(items: Sequence[str]) -> list[str]:
    """Items of a list, as many on a line as fit."""
    lines, current = [], "   "
    for item in items:
        if len(current) + len(item) + 6 > WIDTH and current.strip():
            lines.append(current)
            current = "   "
        current += f" {item},"
    return [*lines, current]
