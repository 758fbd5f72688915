"""Search spaces as pictures: what is fixed, alternatives in dashed boxes, ranges and budgets written out.

A space says its choices only by name, so where a choice stands in the drawing is found by answering it: the nodes that
become the named block are where it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

from uninas.errors import Unfit, UninasError
from uninas.graph import Block, Graph, Node
from uninas.graph.summary import human, is_network, is_row
from uninas.ops.op import Shape
from uninas.render.scenes.drawing import Drawing, Place
from uninas.render.scenes.letters import Letters
from uninas.render.scenes.options import Options
from uninas.render.scenes.pages import occurrences, one_sheet
from uninas.render.scenes.scene import Cluster, Edge, Item, Line, Panel, Scene, Word, line
from uninas.render.scenes.sections import consists, section_column, wrapped
from uninas.render.scenes.sheets import Sheets
from uninas.render.scenes.simplify import simplified
from uninas.space import Choice, Limit, MoveRule, Space

MARK = "?"  # begins the name of a block that stands for a choice; no block of a text can be called so


COSTS = {
    "params": "parameters", "flops": "FLOPs (2 × MACs)", "macs": "MACs", "peak": "elements at one time",
    "activations": "elements of activations", "elementwise": "element-wise operations",
}  # fmt: skip


def space_scene(space: Space, options: Options) -> Scene:
    """The picture of a search space."""
    panels: list[Panel] = []
    drawing = Drawing(replace(options, show=options.show or ("attributes", "shape")), 0)
    if space.build is not None:
        panels += choice_panels(space, drawing)
    if space.start is not None:
        start = space.start()
        body = Cluster("start", "panel", (line(f"start: {start.name}", "bold"),))
        own = Drawing(options, start.cost.flops)
        if is_network(start):
            section_column(own, body, start, None)
        else:
            own.alone(Place(body, "", Letters(), (1,)), (simplified(start),))
        panels.append(own.panel(body))
    panels += move_panels(space.moves)
    scene = Scene(panels, options.direction, caption=options.caption)
    scene.title = space.name if options.title is None else options.title
    notes = [size(space), *[limit_text(limit) for limit in space.budget.limits]]
    scene.notes = tuple(line(note, "small") for note in notes if note)
    scene.marks = ("choice",) if any(item.mark == "choice" for item in scene.items()) else ()
    return scene


def size(space: Space) -> str:
    """How many architectures there are, in words."""
    if space.build is None:
        return f"{len(space.moves)} kinds of moves" if space.moves else ""
    if space.nested:
        return f"{len(space.choices)} choices, and further ones inside blocks"
    try:
        count = space.count()
    except UninasError:  # as in `space.sampled`: too many to be tried one by one
        return f"{len(space.choices)} choices, whose assignments are not counted"
    number = f"{count:,}" if count < 10**9 else f"{count:.1e}".replace("e+", " · 10^")
    return f"{len(space.choices)} choices, {number} assignments"


def limit_text(limit: Limit) -> str:
    """'MACs ≤ 450 M', '20 M ≤ parameters ≤ 30 M', 'FLOPs ≤ 110 % of the start'"""
    name = COSTS.get(limit.metric, limit.metric)

    def side(value: float | None) -> str:
        return "" if value is None else f"{value:.0%} of the start" if limit.relative else human(value)

    low, high = side(limit.low), side(limit.high)
    return (
        "budget: "
        + (f"{low} ≤ " if low else "")
        + name
        + (f" ≤ {high}" if high else "")
        + (f" at {limit.size}" if limit.at else "")
    )


def move_panels(rules: Sequence[MoveRule]) -> list[Panel]:
    """The kinds of moves, each with its alternatives; those that have none stand together."""
    panels = []
    for number, rule in enumerate(rules):
        if rule.options:
            body = Cluster(f"move {number}", "panel", (move_line(rule),))
            lines = tuple(line(option.text.replace("->", "→"), "text") for option in rule.options)
            body.members.append(Item(f"move/{number}", "block", lines, mark="choice"))
            panels.append(Panel(body))
    others = [rule for rule in rules if not rule.options]
    if others:
        body = Cluster("moves", "panel", (line("further moves" if panels else "moves", "bold"),))
        body.members.append(Item("moves", "block", tuple(map(move_line, others)), mark="choice"))
        panels.append(Panel(body))
    return panels


def move_line(rule: MoveRule) -> Line:
    """'insert  weight 0.7'"""
    return (Word(rule.name.replace("_", " "), "bold"), Word(f"  weight {rule.weight:g}", "small"))


# ---- choices ---------------------------------------------------------------------------------------------------------


def choice_panels(space: Space, drawing: Drawing) -> list[Panel]:
    """Sections with their choices, the blocks in which choices are made, and the alternatives."""
    first, last = member(space, 0), member(space, -1)
    blocks = block_choices(space, first)
    groups: dict[tuple[str, ...], list[str]] = {}
    for choice in space.choices:
        if choice.path in blocks:
            groups.setdefault(choice.options, []).append(choice.path)
    drawing.choices = {MARK + path: (path, f"one of {len(graphs)}") for path, graphs in blocks.items()}
    shown = simplified(marked(first, space, blocks), is_network(first))
    sheets = Sheets(shown, is_network(first))
    often = occurrences(shown)
    drawing.call = sheets.name_of
    panels = [section_panel(space, drawing, first, last, blocks, sheets)] if is_network(first) else []
    holders = [sheet for sheet in sheets.known.values() if any(map(holds_choice, sheet.variants))]
    for number, sheet in enumerate(holders):
        panels.append(one_sheet(drawing, sheet, sheets, f"b{number}.", often))
    for number, (options, paths) in enumerate(groups.items()):
        panels.append(alternatives_panel(f"choice {number}", paths, [blocks[paths[0]][name] for name in options]))
    return panels


def member(space: Space, answer: int, answers: Mapping[str, int] | None = None) -> Graph:
    """The member with every choice answered by its first (0) or last (-1) option, but for those in `answers`.

    Where these do not fit each other, that of the first options, which do.
    """
    assert space.build is not None
    given = answers or {}
    try:
        return space.build(lambda choice: given.get(choice.path, answer) % len(choice.options))
    except Unfit:
        return space.build(lambda choice: 0)


def block_choices(space: Space, first: Graph) -> dict[str, dict[str, Graph]]:
    """The choices among named blocks, with what is in each. A choice of words leaves no block of its name."""
    found: dict[str, dict[str, Graph]] = {}
    known: dict[tuple[str, ...], dict[str, Graph]] = {}
    for choice in space.choices:
        if choice.options not in known and all(option.isidentifier() for option in choice.options):
            members = (member(space, 0, {choice.path: answer}) for answer in range(len(choice.options)))
            known[choice.options] = {
                option: inside
                for option, graph in zip(choice.options, members, strict=True)
                if (inside := next((n.op.graph for _, _, n in graph.walk() if called(n) == option), None))  # type: ignore[union-attr]
            }
        if len(known.get(choice.options, ())) == len(choice.options):
            found[choice.path] = known[choice.options]
    return found


def called(node: Node) -> str:
    """The name of the block that a node applies."""
    return node.op.graph.name if isinstance(node.op, Block) else ""


def marked(graph: Graph, space: Space, blocks: Mapping[str, Mapping[str, Graph]]) -> Graph:
    """The graph with a block of the choice's name wherever a choice is made."""
    for path, options in blocks.items():
        names = list(options)
        largest = max(range(len(names)), key=lambda answer: len(options[names[answer]].nodes))
        other = 1 if largest == 0 else 0
        one, two = (
            {place: node for place, _, node in member(space, 0, {path: answer}).walk()} for answer in (largest, other)
        )
        here = {
            place: Block(replace(node.op.graph, name=MARK + path))
            for place, node in one.items()
            if isinstance(node.op, Block) and called(node) == names[largest]
            and place in two and called(two[place]) == names[other]
        }  # fmt: skip
        graph = relabelled(graph, here)
    return graph


def relabelled(graph: Graph, places: Mapping[str, Block], prefix: str = "") -> Graph:
    """The graph with other blocks at some places."""
    nodes = []
    for node in graph.nodes:
        path = f"{prefix}{node.name}"
        if path in places:
            node = replace(node, op=places[path])
        elif isinstance(node.op, Block) and any(place.startswith(f"{path}.") for place in places):
            node = replace(node, op=Block(relabelled(node.op.graph, places, f"{path}.")))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def holds_choice(graph: Graph) -> bool:
    """Whether a choice is made right inside a graph."""
    return any(called(node).startswith(MARK) for node in graph.nodes)


def alternatives_panel(name: str, paths: list[str], options: list[Graph]) -> Panel:
    """Blocks of which one is chosen, each in a dashed box."""
    title = (line(text, "bold") for text in wrapped(paths, ", "))
    body = Cluster(name, "panel", (*title, line("one of", "small")))
    drawing = Drawing(Options(), 0)
    for number, graph in enumerate(options):
        path = f"{name}/{number}."
        inner = Cluster(path, "choice", (line(graph.name, "bold"),))
        small = simplified(graph)
        drawing.alone(Place(inner, path, Letters(), (1,)), (small,))
        body.members.append(inner)
    return drawing.panel(body)


def section_panel(
    space: Space, drawing: Drawing, first: Graph, last: Graph, blocks: Mapping[str, object], sheets: Sheets
) -> Panel:
    """The sections one after another; those with choices are dashed and list them."""
    body = Cluster("network", "panel", (line("members", "bold"),))
    open_ = [choice for choice in space.choices if choice.path not in blocks]
    own = {node.name: [c for c in open_ if c.path.startswith(f"{node.name}.")] for node in first.nodes}
    inside = inner_choices(space, first)
    shared = [choice for choice in open_ if not any(choice in listed for listed in own.values())]
    if shared:
        body.members.append(Item("choices", "block", tuple(map(choice_line, shared)), mark="choice"))
    at = Place(body, "", Letters(), (1,))
    drawing.terminal(at, "in", "×".join(map(str, first.inputs[0])))
    edges = [Edge("choices", "in", hidden=True)] * bool(shared)
    before = "in"
    for node, twin in zip(first.nodes, last.nodes, strict=False):
        assert isinstance(node.op, Block)
        equal = is_row(node.op.graph) and not own[node.name]
        times = len(node.op.graph.nodes) if equal else 1
        lines: list[Line] = [(Word(node.name, "bold"), *[Word(f" ×{times}")] * (times > 1))]
        lines += [line(text, "text") for text in consists(node.op.graph, node, sheets if blocks else None)]
        lines += map(choice_line, own[node.name])
        lines += inside.get(node.name, ())
        shape = common(first.shapes(node.name)[0], last.shapes(twin.name)[0])
        mark = "choice" if own[node.name] or node.name in inside else ""
        body.members.append(Item(node.name, "section", tuple(lines), aside=shape, mark=mark))
        edges.append(Edge(before, node.name))
        before = node.name
    drawing.terminal(at, "out", "")
    return Panel(body, [*edges, Edge(before, "out")])


def inner_choices(space: Space, first: Graph) -> dict[str, list[Line]]:
    """What is chosen inside the blocks and steps of each section, at every place anew, a line for each kind."""
    if not space.nested:
        return {}
    assert space.build is not None
    known = {choice.path for choice in space.choices}
    asked: dict[str, Choice] = {}

    def first_of(choice: Choice) -> int:
        if choice.path not in known:
            asked.setdefault(choice.path, choice)
        return 0

    def last_of(choice: Choice) -> int:
        return first_of(choice) + len(choice.options) - 1

    for answer in (first_of, last_of):
        with suppress(Unfit):
            space.build(answer)
    found: dict[str, list[Line]] = {}
    for choice in asked.values():
        section = next((n.name for n in first.nodes if choice.path.startswith(f"{n.name}.")), "")
        if not section:  # a step of a section stands under its number alone; what an answer changes is where it is
            other = member(space, 0, {choice.path: 1})
            section = next((a.name for a, b in zip(first.nodes, other.nodes, strict=False) if a != b), "")
        name = choice.path.rpartition(".")[2].replace("alternative", "step")
        said = (Word(name, "note"), Word(f"  {options_text(choice.options)}, at every place", "small"))
        if section and said not in found.setdefault(section, []):
            found[section].append(said)
    return found


def common(one: Shape, two: Shape) -> str:
    """A shape with letters where two differ."""
    if len(one) != len(two):
        return ""
    return "×".join(str(a) if a == b else letter for a, b, letter in zip(one, two, "CHW", strict=False))


def choice_line(choice: Choice) -> Line:
    """'width  8 to 64, step 8'"""
    return (Word(choice.path.rpartition(".")[2], "note"), Word(f"  {options_text(choice.options)}", "small"))


def options_text(options: tuple[str, ...]) -> str:
    """Options in words: a range where they are one."""
    if len(options) > 3 and all(option.lstrip("-").isdigit() for option in options):
        numbers = [int(option) for option in options]
        steps = {b - a for a, b in pairwise(numbers)}
        if len(steps) == 1:
            step = steps.pop()
            return f"{numbers[0]} to {numbers[-1]}" + (f", step {step}" if step != 1 else "")
    shown = options if len(options) <= 8 else (*options[:7], "...")
    return f"one of {', '.join(shown)}"
