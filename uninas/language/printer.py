"""Graph -> text. `dumps` writes a graph as a person would, in a form that parses back to an equal graph.

Channel counts are written relative to C where they are multiples of it, so blocks that differ only in their width
become one definition. Where a node bears a name that elaboration would not give it, the step says so (`as`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from uninas.graph import INPUT, Block, Each, Graph, Node, Wire
from uninas.graph.builder import node_names, snake_case
from uninas.graph.graph import RESERVED
from uninas.graph.network import HEAD, STEM, stage_number
from uninas.language.formatter import FAR, INDENT
from uninas.ops.op import REGISTRY, Attr, Op, Shape, show_shape, show_value
from uninas.ops.shape import Identity

WIDTH = 100  # where a pipeline is broken into lines
INFIX = {"add": " + ", "multiply": " * ", "subtract": " - "}
STRIDES = (2, 4)  # by which a block may make its maps smaller
Source = str | tuple[str, ...]
MOST_OF_TITLE = 160  # characters of a title that its name keeps; a name may have 200
SMALLEST_SYMBOLIC = 8  # below this many channels, multiples of C say nothing


def dumps(graph: Graph, name: str = "", *, explicit: bool = False) -> str:
    """The text of a graph: a network when it consists of sections, otherwise a block.

    The text elaborates to an equal graph. Only nodes with numbers in their names that are no stages of a network, as
    the blocks of a stage alone, get names that a text can have: blocks_0 for blocks.0.

    `explicit` writes every attribute in numbers, so that the text keeps its meaning even if a default changes.
    """
    title = name or graph.name or "model"
    names = Names()
    printer = _Printer(explicit, names.free(title), names)
    body = printer.network(graph) if is_network(graph) else printer.standalone(graph)
    return "\n".join([*printer.texts, body])


def is_network(graph: Graph) -> bool:
    """Whether the graph consists of sections, as a `network` elaborates to."""
    stages = 0
    for node in graph.nodes:
        number = stage_number(node.name)
        rows = (
            isinstance(node.op, Block)
            and node.op.times == 1
            and (number < 0 or (number == stages and _is_stage(node.op.graph)))
        )
        if not rows or not re.fullmatch(r"stages\.\d+|[A-Za-z_]\w*", node.name):
            return False
        stages += number >= 0
    return bool(graph.nodes) and (stages > 0 or is_chained(graph) or bool({STEM, HEAD} & set(graph.by_name)))


def _is_stage(graph: Graph) -> bool:
    """Whether the graph is blocks in a row, as a `stage` elaborates to."""
    return is_chained(graph) and all(isinstance(node.op, Block) and node.op.times == 1 for node in graph.nodes)


def is_chained(graph: Graph) -> bool:
    """Whether every node takes all that the one before it makes, and the last makes what the graph gives."""
    before = INPUT
    for node in graph.nodes:
        if node.inputs != all_of(graph, before):
            return False
        before = node.name
    return graph.outputs == all_of(graph, before)


def all_of(graph: Graph, name: str) -> tuple[Wire, ...]:
    """All outputs of the node of that name, or all inputs of the graph."""
    return tuple(Wire(name, port) for port in range(len(graph.shapes(name))))


def sections_of(graph: Graph) -> Iterator[tuple[Node, str, str]]:
    """The sections of a network, each with the text of what flows in, and with the label that others need.

    The text ends in an arrow, and is empty where it is simply what the section before makes. In the end comes what the
    network gives, as the inputs of a node called out, unless that is what the last section makes.
    """
    uses: set[str] = set()
    before = INPUT
    for node in (*graph.nodes, Node("out", Identity(), graph.outputs)):
        if node.inputs != all_of(graph, before):
            uses.update(wire.node for wire in node.inputs)
        before = node.name
    taken = {node.name for node in graph.nodes} | {INPUT}
    labels = {}
    for node in graph.nodes:
        number = stage_number(node.name)
        label = f"c{number + 1}"
        while number >= 0 and label in taken:
            label += "_"
        labels[node.name] = label if number >= 0 else node.name
        taken.add(label)
    before = INPUT
    for node in (*graph.nodes, Node("out", Identity(), graph.outputs)):
        text = ""
        if node.inputs != all_of(graph, before):
            text = f"({', '.join(_whole(graph, node.inputs, labels))})"
        if node.name != "out":
            yield node, text and f"{text} -> ", labels[node.name] if node.name in uses else ""
        elif text:
            yield node, text, ""
        before = node.name


def _whole(graph: Graph, wires: Sequence[Wire], labels: Mapping[str, str]) -> Iterator[str]:
    """Wires by the labels of what makes them; all outputs of one node in a row by its label alone."""
    position = 0
    while position < len(wires):
        node, port = wires[position]
        everything = all_of(graph, node)
        label = labels.get(node, node)
        if tuple(wires[position : position + len(everything)]) == everything:
            yield label
            position += len(everything)
        else:
            yield f"{label}[{port}]"
            position += 1


def input_line(graph: Graph) -> str:
    """`input 3 x 224 x 224`, with the shape of every wire."""
    return f"input {', '.join(map(show_shape, graph.inputs))}"


@dataclass(frozen=True)
class _Frame:
    """The sizes that attributes inside one definition may be written relative to."""

    shape: Shape = ()
    width: int = 0
    symbolic: bool = True

    def number(self, attribute: Attr, value: int, spatial: bool) -> str:
        """An attribute's value; `spatial` operations have a height and a width that speak of the map."""
        if attribute.channels and self.symbolic and self.shape and self.shape[0] >= SMALLEST_SYMBOLIC:
            return self.channels(value)
        if spatial and self.symbolic and len(self.shape) == 3 and value > 1:
            letters = {"height": (self.shape[1], "H"), "width": (self.shape[2], "W")}
            extent, letter = letters.get(attribute.name, (0, ""))
            return _part(value, extent, letter) if letter else str(value)
        return str(value)

    def width_of(self, value: int) -> str:
        """The width that a block is told, which a stage calls by its own name."""
        if self.symbolic and self.shape and self.shape[0] >= SMALLEST_SYMBOLIC:
            return self.channels(value)
        return "width" if value == self.width else str(value)

    def channels(self, value: int) -> str:
        c = self.shape[0]
        if value == 0:
            return "0"
        if value == self.width:
            return "width"
        if value == c:
            return "C"
        if value % c == 0:
            return f"C * {value // c}"
        if self.width and value % self.width == 0:
            return f"width * {value // self.width}"
        if c % value == 0:
            return f"C / {c // value}"
        return str(value)


def _part(value: int, extent: int, letter: str) -> str:
    """A height or width relative to the block's: the same, or what strides make of it, which round up."""
    if value == extent:
        return letter
    strides = (stride for stride in STRIDES if value == -(-extent // stride))
    return next((f"({letter} + {stride - 1}) // {stride}" for stride in strides), str(value))


@dataclass
class _Printer:
    explicit: bool
    title: str
    reserved: Names
    texts: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # body -> name of the definition
    bodies: dict[int, tuple[Graph, str, bool]] = field(default_factory=dict)

    # ---- definitions ---------------------------------------------------------------------------------------------

    def standalone(self, graph: Graph) -> str:
        lines = [input_line(graph)]
        lines += self.statements(graph, _Frame(graph.inputs[0], symbolic=not self.explicit), "in")
        return f"block {self.title} {{\n" + _indented(lines) + "\n}\n"

    def definition(self, graph: Graph, title: str) -> tuple[str, bool]:
        """The name under which a block is defined, written on first use; and whether it has a width parameter."""
        known = self.bodies.get(id(graph))
        if known:
            _, body, wide = known
        else:
            changes = len(graph.inputs[0]) == 3 and graph.output_shapes[0][0] != graph.inputs[0][0]
            width = graph.output_shapes[0][0] if changes and "width" not in graph.by_name else 0
            frame = _Frame(graph.inputs[0], width, symbolic=not self.explicit)
            body = _indented(self.statements(graph, frame, "in"))
            wide = bool(width and re.search(r"\bwidth\b(?! *=)", body))
            self.bodies[id(graph)] = (graph, body, wide)  # the graph is kept, so its id stays its own
        if body not in self.names:
            name = self.names[body] = self.reserved.free(title)
            # Where it was met first, so that the definition also checks alone.
            head = f"block {name}{'(width)' if wide else ''} {{"
            self.texts.append(f"{head}\n    {input_line(graph)}\n{body}\n}}\n")
        return self.names[body], wide

    # ---- networks ------------------------------------------------------------------------------------------------

    def network(self, graph: Graph) -> str:
        lines = [input_line(graph)]
        if graph.init != "default":
            lines.append(f"init {graph.init}")
        for node, sources, label in sections_of(graph):
            if not isinstance(node.op, Block):
                lines.append(f"out = {sources}")
            elif stage_number(node.name) >= 0:
                lines.append(self.stage(node.op.graph, sources, label))
            else:
                word = node.name if node.name in (STEM, HEAD) else f"section {node.name}"
                lines.append(f"{word} {sources}{self.section(node.op.graph, node.name)}")
        return f"network {self.title} {{\n" + _indented(lines) + "\n}\n"

    def section(self, graph: Graph, title: str) -> str:
        """A chain written in place, or the name of a block."""
        if graph.name == title and self.is_chain(graph):
            return self.chain(graph, _Frame(symbolic=False))
        name, wide = self.definition(graph, title.capitalize() if graph.name == title else graph.name or title)
        return f"{name}({graph.output_shapes[0][0]})" if wide else name

    def stage(self, graph: Graph, sources: str = "", label: str = "") -> str:
        called = f" as {label}" if label else ""
        width = graph.output_shapes[0][0]
        items: list[tuple[str, int]] = []
        for node in graph.nodes:
            assert isinstance(node.op, Block)
            text = self.stage_block(node.op.graph, width)
            if items and items[-1][0] == text:
                items[-1] = (text, items[-1][1] + 1)
            else:
                items.append((text, 1))
        if len(items) == 1:
            return f"stage {sources}{width} x {items[0][1]}{called} {{ {items[0][0]} }}"
        listed = [text if count == 1 else f"{text} x {count}" for text, count in items]
        head = f"stage {sources}{width}{called} {{"
        line = f"{head} {', '.join(listed)} }}"
        return line if len(line) <= WIDTH else f"{head}\n" + _indented([f"{item}," for item in listed]) + "\n}"

    def stage_block(self, graph: Graph, width: int) -> str:
        if graph.name == "block" and self.is_chain(graph) and all(isinstance(n.op, Block) for n in graph.nodes):
            return self.chain(graph, _Frame(width=width, symbolic=False))
        name, wide = self.definition(graph, "Block" if graph.name == "block" else graph.name or "Block")
        own = graph.output_shapes[0][0]
        return f"{name}({'width' if own == width else own})" if wide else name

    def is_chain(self, graph: Graph) -> bool:
        """Whether a chain of steps elaborates to this graph (a chain of a single block would be that block)."""
        found = segments(graph)
        alone = len(graph.nodes) == 1 and isinstance(op := graph.nodes[0].op, Block) and op.times == 1
        whole = len(found) == 1 and found[0][0].inputs == tuple(Wire(INPUT, n) for n in range(len(graph.inputs)))
        return (
            whole
            and not alone
            and not is_side_by_side(graph.nodes[0])
            and graph.outputs == outputs_of(graph, found[0][-1])
        )

    def chain(self, graph: Graph, frame: _Frame) -> str:
        graph = _undotted(graph)
        steps = [self.step(node, graph, frame) for node in graph.nodes]
        labels = _labels(graph, [self.base(node) for node in graph.nodes], {})
        return " -> ".join(_labelled(step, labels.get(n)) for n, step in enumerate(steps))

    # ---- statements ----------------------------------------------------------------------------------------------

    def statements(self, graph: Graph, frame: _Frame, source: Source) -> list[str]:
        """The body of a definition. `source` is what its input is called, or each of its inputs."""
        graph = _undotted(graph)
        found = segments(graph)
        number = {node.name: n for n, node in enumerate(graph.nodes)}
        last = graph.nodes[-1] if graph.nodes else None
        ends_in_out = last is not None and graph.outputs == outputs_of(graph, last)
        named = {number[s[-1].name]: s[-1].name for s in found if not (ends_in_out and s[-1] is last)}
        steps = {node.name: self.step(node, graph, frame) for node in graph.nodes}
        labels = _labels(graph, [self.base(node) for node in graph.nodes], named)
        lines: list[str] = []
        for segment in found:
            end = segment[-1]
            name = named.get(number[end.name], "out")
            infix = self.infix(segment[0], graph, source)
            # An infix node takes the statement's name; with a name of its own it is written as a step.
            if infix and labels.get(number[segment[0].name]) not in (None, name):
                infix = ""
            rest = segment[1:] if infix else segment
            head = infix or self.taken(segment[0], graph, source)
            if infix and rest:
                head = f"({infix})"
            parts = [head]
            for node in rest:
                label = labels.get(number[node.name])
                parts.append(_labelled(steps[node.name], None if label == name and node is end else label))
            lines.append(_pipeline(name, parts))
        if not ends_in_out:
            lines.append(f"out = {self.operands(graph.outputs, graph, source)}")
        return lines

    def taken(self, node: Node, graph: Graph, source: Source) -> str:
        """What flows into a node; several bundles side by side into an `each` that has a name for each."""
        if not is_side_by_side(node):
            return self.operands(node.inputs, graph, source)
        assert isinstance(node.op, Each)
        bundles = zip(*node.op.parts(node.inputs), strict=True)
        return f"({', '.join(self.operands(bundle, graph, source) for bundle in bundles)})"

    def infix(self, node: Node, graph: Graph, source: Source) -> str:
        """a + b, for a sum, product or difference of two wires or more."""
        if not isinstance(node.op, Op) or node.op.name not in INFIX or len(node.inputs) < 2 or self.explicit:
            return ""
        if node.op.name == "subtract" and len(node.inputs) != 2:
            return ""
        return INFIX[node.op.name].join(self.operand(wire, graph, source) for wire in node.inputs)

    def operands(self, wires: Sequence[Wire], graph: Graph, source: Source) -> str:
        first = wires[0].node
        if tuple(wires) == all_of(graph, first) and (first != INPUT or isinstance(source, str)):
            return str(source) if first == INPUT else first
        texts = [self.operand(wire, graph, source) for wire in wires]
        return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"

    def operand(self, wire: Wire, graph: Graph, source: Source) -> str:
        if wire.node == INPUT and not isinstance(source, str):
            return source[wire.port]
        name = str(source) if wire.node == INPUT else wire.node
        return name if len(graph.shapes(wire.node)) == 1 else f"{name}[{wire.port}]"

    def step(self, node: Node, graph: Graph, frame: _Frame) -> str:
        if isinstance(node.op, Block):
            name, wide = self.definition(node.op.graph, node.op.graph.name or "Block")
            out = node.op.graph.output_shapes[0][0]
            step = f"{name}({frame.width_of(out)})" if wide else name
            return step if node.op.times == 1 else f"shared repeat {node.op.times} {{ {step} }}"
        if isinstance(node.op, Each):
            body = node.op.body
            own = _Frame(body.inputs[0], symbolic=frame.symbolic and not node.op.variants)
            many = len(body.inputs)
            names = ["part"] if many == 1 else [chr(97 + n) if many < 20 else f"part_{n}" for n in range(many)]
            used = {wire for each in body.nodes for wire in each.inputs} | set(body.outputs)
            parts = tuple(
                body.fresh(name) if many == 1 or Wire(INPUT, port) in used else "_" for port, name in enumerate(names)
            )
            lines = self.statements(body, own, parts if many > 1 else parts[0])
            return f"{node.op} {', '.join(parts)} {{\n" + _indented(lines) + "\n}"
        return self.operation(node.op, frame)

    def operation(self, op: Op, frame: _Frame) -> str:
        parts: list[str] = []
        positional = True
        spatial = {"height", "width"} <= {attribute.name for attribute in op.attrs}
        for attribute in op.attrs:
            value = getattr(op, attribute.name)
            if not self.explicit and not attribute.required and value == attribute.default:
                positional = False
                continue
            text = frame.number(attribute, value, spatial) if type(value) is int else show_value(value)
            parts.append(text if positional and type(value) is int else f"{attribute.name}={text}")
            positional = positional and type(value) is int
        return f"{op.name}({', '.join(parts)})" if parts else op.name

    def base(self, node: Node) -> str:
        """The name elaboration starts from for this node, as printed."""
        if isinstance(node.op, Block):
            if node.op.times > 1:
                return "again"
            return snake_case(self.definition(node.op.graph, node.op.graph.name or "Block")[0])
        return "parts" if isinstance(node.op, Each) else node.op.name


def _undotted(graph: Graph) -> Graph:
    """The graph with names that statements can have, which know no dots."""
    taken = {node.name for node in graph.nodes}
    names: dict[str, str] = {}
    for name in sorted(name for name in taken if "." in name):
        names[name] = name.replace(".", "_")
        while names[name] in taken:
            names[name] += "_"
        taken.add(names[name])
    if not names:
        return graph

    def wires(old: Sequence[Wire]) -> tuple[Wire, ...]:
        return tuple(Wire(names.get(wire.node, wire.node), wire.port) for wire in old)

    nodes = (Node(names.get(node.name, node.name), node.op, wires(node.inputs)) for node in graph.nodes)
    return Graph(graph.inputs, tuple(nodes), wires(graph.outputs), graph.name, graph.init)


def segments(graph: Graph) -> list[list[Node]]:
    """Runs of nodes in which each takes all that the one before it makes, and nothing else uses that."""
    uses: dict[str, int] = {}
    for wires in [*(node.inputs for node in graph.nodes), graph.outputs]:
        for wire in wires:
            uses[wire.node] = uses.get(wire.node, 0) + 1
    found: list[list[Node]] = []
    for node in graph.nodes:
        previous = found[-1][-1] if found else None
        follows = previous and node.inputs == outputs_of(graph, previous) and not is_side_by_side(node)
        if follows and uses[found[-1][-1].name] == len(node.inputs):
            found[-1].append(node)
        else:
            found.append([node])
    return found


def is_side_by_side(node: Node) -> bool:
    """Whether a node treats several bundles at once, which have to be said one by one."""
    return isinstance(node.op, Each) and len(node.op.body.inputs) > 1


def outputs_of(graph: Graph, node: Node) -> tuple[Wire, ...]:
    """All outputs of a node."""
    return all_of(graph, node.name)


def _labels(graph: Graph, bases: Sequence[str], named: dict[int, str]) -> dict[int, str]:
    """Which nodes need a label so that all get their names back."""
    labels = dict(named)
    while True:
        given = node_names(bases, labels)
        wrong = {n: node.name for n, node in enumerate(graph.nodes) if given[n] != node.name}
        if not wrong:
            return labels
        labels.update(wrong)


def _labelled(step: str, label: str | None) -> str:
    return f"{step} as {label}" if label else step


def _pipeline(name: str, parts: Sequence[str]) -> str:
    """One statement; broken before arrows when it would be too long for a line, in the layout of `formatter`."""
    line = f"{name} = " + " -> ".join(parts)
    if len(line) <= WIDTH or "\n" in line:
        return line
    lines, current = [], f"{name} = {parts[0]}"
    column = len(current) + 1 if len(current) + 1 <= FAR else INDENT  # where arrows stand that begin a line
    for number, part in enumerate(parts[1:]):
        if len(current) + len(part) + 4 > WIDTH:
            column = column if number else INDENT  # under the first one, if that is in its place
            lines.append(current)
            current = " " * column + f"-> {part}"
        else:
            current += f" -> {part}"
    return "\n".join([*lines, current])


def _indented(lines: Sequence[str]) -> str:
    return "\n".join("    " + part for line in lines for part in line.split("\n"))


@dataclass
class Names:
    """The names of the definitions of one text, which differ from each other and mean nothing else in it."""

    taken: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)  # the last one behind each name

    def free(self, title: str) -> str:
        """A new name that is like the title."""
        name = base = identifier(title)
        while name in self.taken or name in REGISTRY or name in RESERVED:
            self.numbers[base] = self.numbers.get(base, 1) + 1
            name = f"{base}{self.numbers[base]}"
        self.taken.add(name)
        return name


def identifier(text: str) -> str:
    """A text with what is no letter or number of ASCII made underscores, and not too long for a name."""
    cleaned = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")[:MOST_OF_TITLE] or "model"
    return f"_{cleaned}" if cleaned[0].isdigit() else cleaned
