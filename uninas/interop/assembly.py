"""Steps in the tree of modules -> nested graphs: modules become blocks, rows of blocks stages, the rest sections.

Every module that takes one tensor and gives one becomes a block with the name of its class; modules that are a single
operation, and containers, leave no trace. A row of blocks in one container becomes a stage, what stands before the
first the stem, and what stands behind the last the head. A module that is called several times becomes one
part with shared weights where that is possible.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from uninas.graph import INPUT, Block, Each, Graph, GraphError, Node, Wire
from uninas.graph.builder import node_names, snake_case
from uninas.graph.graph import RESERVED
from uninas.graph.network import HEAD, STEM, block_name, stage_name
from uninas.graph.resolve import shared_each
from uninas.interop.lower import Step, Weight
from uninas.interop.trace import Trace
from uninas.ops.op import Op, Shape

MOST_WIRES = 3
"""What a module may take to be a block; one that takes more is a matter of the network around it."""


@dataclass
class _Part:
    """A run of steps: one step, or a module with everything inside it."""

    name: str  # of the step, or of the module
    label: str
    members: list[_Part]
    step: Step | None = None
    path: str = ""
    kind: str = ""
    copies: tuple[_Part, ...] = ()
    """Uses of one module, which this part stands for; their weights are shared."""
    in_a_row: bool = False
    """The copies follow each other, instead of standing side by side."""

    @property
    def steps(self) -> list[str]:
        if self.copies:
            return [name for copy in self.copies for name in copy.steps]
        return [self.name] if self.step else [name for member in self.members for name in member.steps]


class Assembly:
    """Steps in the tree of modules -> nested graphs."""

    def __init__(self, trace: Trace, inputs: tuple[Shape, ...], steps: list[tuple[str, Step]], outputs: Sequence[Wire]):
        self.trace, self.inputs, self.outputs = trace, inputs, list(outputs)
        self.steps = dict(steps)
        self.users: dict[str, set[str]] = {name: set() for name in self.steps}
        for name, step in steps:
            for wire in step.inputs:
                self.users.setdefault(wire.node, set()).add(name)
        self.weights: dict[str, Weight] = {}
        self.graphs: dict[Any, Graph] = {}

    # ---- the tree of modules -------------------------------------------------------------------------------------

    def tree(self) -> _Part:
        """Steps under the modules that made them; a module that is left and entered again is two."""
        top = _Part("", "", [], kind=self.trace.name)
        stack: list[_Part] = [top]
        for name, step in self.steps.items():
            around = [(path, kind) for path, kind in step.place.classes if path]
            depth = 0
            while depth < len(around) and depth + 1 < len(stack) and stack[depth + 1].name == around[depth][0]:
                depth += 1
            del stack[depth + 1 :]
            for path, kind in around[depth:]:
                plain = path.partition("@")[0]
                part = _Part(path, plain.rpartition(".")[2], [], path=plain, kind=kind)
                stack[-1].members.append(part)
                stack.append(part)
            stack[-1].members.append(_Part(name, _label(step), [], step, path=step.place.path))
        return self.grown(top)

    def grown(self, part: _Part) -> _Part:
        """The tree without modules that cannot be blocks, or that are one step or one module."""
        members: list[_Part] = []
        for member in part.members:
            if member.step:
                members.append(member)
                continue
            inner = self.grown(member)
            if self.is_slight(inner) or not self.is_block(inner):
                members += inner.members
            else:
                members.append(inner)
        part.members = self.united(members)
        return part

    # ---- shared weights ------------------------------------------------------------------------------------------

    def united(self, members: list[_Part]) -> list[_Part]:
        """The members, with several uses of one module as a single part where that is possible."""
        groups: dict[Any, list[_Part]] = {}
        for member in members:
            if weights := self.weights_of(member):
                groups.setdefault((member.path, member.kind, weights), []).append(member)
        for copies in groups.values():
            if len(copies) > 1 and all(self.is_row(copy) for copy in copies):
                members = self.with_one(members, copies) or members
        return members

    def weights_of(self, part: _Part) -> tuple[str, ...]:
        """The names of all parameters inside, in order; none where some are computed."""
        weights = [weight.static for name in part.steps for weight in self.steps[name].weights.values()]
        return tuple(static.name for static in weights) if all(static.name for static in weights) else ()

    def with_one(self, members: list[_Part], copies: list[_Part]) -> list[_Part] | None:
        """The members with these uses of a module as one part; None where their weights cannot be shared."""
        first = copies[0]
        ends = [(self.entering(copy.steps), self.leaving(copy.steps)) for copy in copies]
        row = all(ends[n][1] == ends[n + 1][0] for n in range(len(ends) - 1))
        row = row and all(self.users[ends[n][1][0].node] <= set(copies[n + 1].steps) for n in range(len(ends) - 1))
        shapes = [self.shape(entering[0]) for entering, _ in ends]
        if row and len(set(shapes)) > 1:
            return None
        one = _Part(first.name, first.label, [first], path=first.path, kind=first.kind, copies=tuple(copies))
        one.in_a_row = row
        known = dict(self.weights)
        try:
            self.operator(one, "")
        except GraphError:
            return None
        finally:
            self.weights = known
        return self.ordered([one if each is first else each for each in members if each is first or each not in copies])

    def ordered(self, members: list[_Part]) -> list[_Part] | None:
        """The members, each behind all that it takes from others, else as they stood; None where that is impossible."""
        owner = {name: number for number, member in enumerate(members) for name in member.steps}
        needs = [{owner[wire.node] for wire in self.entering(member.steps) if wire.node in owner} for member in members]
        done: list[int] = []
        while len(done) < len(members):
            ready = next((n for n in range(len(members)) if n not in done and needs[n] <= set(done)), None)
            if ready is None:
                return None
            done.append(ready)
        return [members[number] for number in done]

    def operator(self, part: _Part, prefix: str) -> Block | Each:
        """What a part with copies becomes: its module again and again, or for each of several wires."""
        first = part.copies[0]
        if part.in_a_row:
            if first.step:
                own = _label(first.step)
                self.weights.update({f"{prefix}{own}.{key}": each for key, each in first.step.weights.items()})
                return Block(self.alone(first, own, first.step.op, "Repeat"), len(part.copies))
            return Block(self.graph(first.members, first.kind, prefix), len(part.copies))
        if first.step:
            own = _label(first.step)
            op: Op | Block | Each = first.step.op
            self.weights.update({f"{prefix}{own}.{key}": each for key, each in first.step.weights.items()})
        else:
            own = snake_case(first.kind)
            op = Block(self.graph(first.members, first.kind, f"{prefix}{own}."))
        body = self.alone(first, own, op, "each")
        return shared_each(body, [(self.shape(self.entering(copy.steps)[0]),) for copy in part.copies])

    def alone(self, part: _Part, own: str, op: Op | Block | Each, name: str) -> Graph:
        """A graph of one node."""
        shape = self.shape(self.entering(part.steps)[0])
        return Graph((shape,), (Node(own, op, (Wire(INPUT),)),), (Wire(own),), name)

    def taken(self, part: _Part) -> list[Wire]:
        """The wires that a part takes, as its node has them."""
        if part.step:
            return list(part.step.inputs)
        if part.copies and not part.in_a_row:
            return [self.entering(copy.steps)[0] for copy in part.copies]
        return self.entering(part.steps)

    def given(self, part: _Part) -> list[Wire]:
        """The wires that a part gives, by the ports of its node."""
        if part.step:
            return [Wire(part.name, port) for port in range(len(part.step.shapes))]
        if part.copies:
            return [self.leaving(copy.steps)[0] for copy in (part.copies[-1:] if part.in_a_row else part.copies)]
        return self.leaving(part.steps)

    def is_slight(self, part: _Part) -> bool:
        """Whether a module is too little to be a block: one operation, or two in a row."""
        doing = [each for each in part.members if not (each.step and each.step.moves)]
        row = all(each.step for each in doing) and all(self.flows_on(part.members, n) for n in range(len(doing) - 1))
        return len(doing) <= 1 or (len(part.members) <= 2 and row)

    def is_row(self, part: _Part) -> bool:
        """Whether a module takes one wire and gives one."""
        return len(self.entering(part.steps)) == 1 and len(self.leaving(part.steps)) == 1

    def is_block(self, part: _Part) -> bool:
        """Whether a module takes a few wires and gives one."""
        return 1 <= len(self.entering(part.steps)) <= MOST_WIRES and len(self.leaving(part.steps)) == 1

    def entering(self, names: Sequence[str]) -> list[Wire]:
        inside = set(names)
        found = [wire for name in names for wire in self.steps[name].inputs if wire.node not in inside]
        return list(dict.fromkeys(found))

    def leaving(self, names: Sequence[str]) -> list[Wire]:
        inside = set(names)
        found = [wire for name in self.steps if name not in inside for wire in self.steps[name].inputs
                 if wire.node in inside]  # fmt: skip
        found += [wire for wire in self.outputs if wire.node in inside]
        return list(dict.fromkeys(found))

    # ---- graphs --------------------------------------------------------------------------------------------------

    def graph(self, members: Sequence[_Part], name: str, prefix: str) -> Graph:
        """The graph of some parts that take one wire, or the network's inputs, and give one."""
        names = [step for member in members for step in member.steps]
        entering = self.entering(names)
        outputs = self.leaving(names)
        label = self.labels(members, outputs)
        place: dict[Wire, Wire] = {wire: Wire(INPUT, n) for n, wire in enumerate(entering)}
        nodes: list[Node] = []
        for member, own in zip(members, label, strict=True):
            inputs = tuple(place[wire] for wire in self.taken(member))
            place.update({wire: Wire(own, port) for port, wire in enumerate(self.given(member))})
            if member.step:
                nodes.append(Node(own, member.step.op, inputs))
                self.weights.update({f"{prefix}{own}.{key}": weight for key, weight in member.step.weights.items()})
            elif member.copies:
                nodes.append(Node(own, self.operator(member, f"{prefix}{own}."), inputs))
            else:
                inner = self.graph(member.members, member.kind, f"{prefix}{own}.")
                nodes.append(Node(own, Block(inner), inputs))
        shapes = tuple(self.shape(wire) for wire in entering)
        return Graph(shapes, tuple(nodes), tuple(place[wire] for wire in outputs), name)

    def shape(self, wire: Wire) -> Shape:
        return self.inputs[wire.port] if wire.node == INPUT else self.steps[wire.node].shapes[wire.port]

    def labels(self, members: Sequence[_Part], outputs: Sequence[Wire]) -> list[str]:
        """Names for parts: of their own where a text must name them, those of elaboration elsewhere."""
        bases = [_base(member) for member in members]
        named: dict[int, str] = {}
        taken = {*bases, *RESERVED}
        for number, member in enumerate(members[:-1]):
            if self.flows_on(members, number):
                continue
            word = _word(member)
            label, count = word, 2
            while label in taken:
                label, count = f"{word}{count}", count + 1
            taken.add(label)
            named[number] = label
        return node_names(bases, named)

    def flows_on(self, members: Sequence[_Part], number: int) -> bool:
        """Whether a part's result goes to the next part alone, which takes nothing else."""
        made = self.given(members[number])
        inside = self.taken(members[number + 1])
        every = [wire for other in members for wire in self.entering(other.steps) if wire in made]
        return made == inside and len(every) == len(made) and not any(wire in self.outputs for wire in made)

    # ---- the network ---------------------------------------------------------------------------------------------

    def network(self, top: _Part) -> Graph:
        """Sections in a row where the network is one, else one graph."""
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            return replace(self.graph(top.members, self.trace.name, ""), name=self.trace.name)
        rows = self.rows(self.segments(top.members))
        last = max((n for n, (kind, _) in enumerate(rows) if kind == "stage"), default=-1)
        names = [HEAD if number > last else STEM if number == 0 else f"part{number}" for number in range(len(rows))]
        if last < 0 and rows:
            names, rows = _without_stages(rows[0][1])
        nodes: list[Node] = []
        previous = INPUT
        stages = 0
        for name, (kind, parts) in zip(names, rows, strict=True):
            if kind == "stage":
                name = stage_name(stages)
                stages += 1
                graph = self.stage(parts, name)
            else:
                graph = self.section([member for part in parts for member in part], name)
            nodes.append(Node(name, Block(graph), (Wire(previous),)))
            previous = name
        return Graph(self.inputs, tuple(nodes), (Wire(previous),), self.trace.name)

    def segments(self, members: Sequence[_Part]) -> list[list[_Part]]:
        """The parts between places that a single wire crosses."""
        found: list[list[_Part]] = [[]]
        done: list[str] = []
        every = [name for member in members for name in member.steps]
        for member in members:
            found[-1].append(member)
            done += member.steps
            rest = every[len(done) :]
            if not rest or (len(wires := self.leaving(done)) == 1 and self.entering(rest) == wires):
                found.append([])
        return [segment for segment in found if segment]

    def rows(self, segments: list[list[_Part]]) -> list[tuple[str, list[list[_Part]]]]:
        """Segments as stages and as what lies between them."""
        items: list[tuple[str, list[_Part]]] = []
        for segment in segments:
            items += self.opened(segment)
        rows: list[tuple[str, list[list[_Part]]]] = []
        key = ""
        for container, parts in items:
            kind = "stage" if container else "section"
            if rows and rows[-1][0] == kind and (kind == "section" or container == key):
                rows[-1][1].append(parts)
            else:
                rows.append((kind, [parts]))
            key = container
        return rows

    def opened(self, segment: list[_Part]) -> list[tuple[str, list[_Part]]]:
        """A segment as (container, parts): containers of a row of blocks are opened, other parts have none."""
        if len(segment) == 1 and not segment[0].step:
            part = segment[0]
            inner = self.segments(part.members)
            if _is_container(part, inner):
                return _gathered(entry for piece in inner for entry in self.opened_inside(piece, part.path))
            container = part.path.rpartition(".")[0]
            if container or part.path.rpartition(".")[2].isdigit():
                return [(container or "blocks", segment)]
        return [("", segment)]

    def opened_inside(self, piece: list[_Part], path: str) -> list[tuple[str, list[_Part]]]:
        if len(piece) == 1 and not piece[0].step:
            part = piece[0]
            inner = self.segments(part.members)
            if _is_container(part, inner):
                key = path if part.path.rpartition(".")[0] == path and not _name(part.path).isdigit() else part.path
                return _gathered(entry for each in inner for entry in self.opened_inside(each, key))
        return [(path, piece)]

    def stage(self, parts: list[list[_Part]], name: str) -> Graph:
        """A row of blocks."""
        nodes: list[Node] = []
        previous = INPUT
        for number, members in enumerate(parts):
            inner = block_name(number)
            graph = self.one(members, "block", f"{name}.{inner}.")
            nodes.append(Node(inner, Block(graph), (Wire(previous),)))
            previous = inner
        shape = nodes[0].op.graph.inputs  # type: ignore[union-attr]
        return Graph(shape, tuple(nodes), (Wire(previous),), name)

    def section(self, members: list[_Part], name: str) -> Graph:
        return self.one(members, name, f"{name}.")

    def one(self, members: list[_Part], name: str, prefix: str) -> Graph:
        """The graph of parts; a single module is that module."""
        if len(members) == 1 and not members[0].step and not members[0].copies:
            return self.graph(members[0].members, members[0].kind, prefix)
        return self.graph(members, name, prefix)


def _without_stages(parts: list[list[_Part]]) -> tuple[list[str], list[tuple[str, list[list[_Part]]]]]:
    """Sections of a network that has no stages: single operations are its stem and head, modules between its body."""
    modules = [number for number, part in enumerate(parts) for member in part if not member.step]
    if len(modules) < 2:
        return [HEAD], [("section", parts)]
    first, last = modules[0], modules[-1] + 1
    cut = {STEM: parts[:first], "body": parts[first:last], HEAD: parts[last:]}
    return [name for name in cut if cut[name]], [("section", part) for part in cut.values() if part]


def _gathered(entries: Iterable[tuple[str, list[_Part]]]) -> list[tuple[str, list[_Part]]]:
    """Entries of a container with single operations in a row as one."""
    found: list[tuple[str, list[_Part]]] = []
    for key, parts in entries:
        single = all(part.step for part in parts)
        if found and single and found[-1][0] == key and all(part.step for part in found[-1][1]):
            found[-1][1].extend(parts)
        else:
            found.append((key, list(parts)))
    return found


CONTAINERS = ("Sequential", "ModuleList")
ALIKE = 4  # modules of one class in a row that are one, whatever the module around them is called


def _is_container(part: _Part, inner: Sequence[Sequence[_Part]]) -> bool:
    """Whether a module is a row of blocks rather than a block: a list of modules, or what is called a stage."""
    blocks = [piece[0] for piece in inner if len(piece) == 1 and not piece[0].step]
    others = sum(not piece[0].step for piece in inner) - len(blocks)
    if len(inner) < 2 or not blocks or others > len(blocks):
        return False
    if part.kind in CONTAINERS:
        return True
    kinds = [block.kind for block in blocks]
    named = bool(re.search(r"stage|layer|blocks", f"{part.kind} {part.path.rstrip('0123456789.')}", re.IGNORECASE))
    rows = any(block.kind in CONTAINERS and len(block.members) > 1 for block in blocks)
    alike = len(blocks) == len(inner) >= ALIKE and len(set(kinds)) == 1
    return rows or alike or (named and len(set(kinds)) < len(kinds))


def _name(path: str) -> str:
    return path.rpartition(".")[2]


def _base(part: _Part) -> str:
    """The name that elaboration gives the node of a part."""
    if part.copies:
        return "again" if part.in_a_row else "parts"
    return part.label if part.step else snake_case(part.kind)


def _label(step: Step) -> str:
    """The name that elaboration would start from."""
    return step.op.name if isinstance(step.op, Op) else "parts"


def _word(member: _Part) -> str:
    """A short name for a wire: the module's own where it has a word for one, else what it is."""
    word = member.path.rpartition(".")[2] if member.step else member.label
    common = {"add": "y", "multiply": "y", "conv": "x", "chunk": "parts", "slice": "part"}
    if member.step and not (word.isidentifier() and not word.isdigit()):
        word = ""
    if member.step and _label(member.step) in common and not any(c.isalpha() for c in word):
        word = common[_label(member.step)]
    word = word if word.isidentifier() and word not in RESERVED else member.label
    return word if word.isidentifier() and word not in RESERVED else "x"
