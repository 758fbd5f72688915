"""Two graphs as one drawing: what was removed dashed and red, what was added green, what changed amber.

Sections and blocks that are equal stay closed; those that differ are opened until the operations that differ are seen.
A lineage is a row of such drawings, each reduced to the surroundings of its edit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from uninas.graph import Block, Each, Graph
from uninas.graph.diff import paired
from uninas.graph.summary import NAMELESS, describe, human, is_network, is_row, named_blocks
from uninas.ops.op import Op, Shape, show_shape, show_value
from uninas.render.formats import style
from uninas.render.scenes.captions import brief, caption, chained, tooltip, unit
from uninas.render.scenes.compare import ADDED, CHANGED, REMOVED, SAME, Comparison, Frame, Part, compare, folded
from uninas.render.scenes.letters import Letters
from uninas.render.scenes.options import Options
from uninas.render.scenes.scene import Cluster, Edge, Item, Line, Panel, Scene, Word, line
from uninas.render.scenes.simplify import bypasses, simplified

LONG = 48  # characters that a closed section says of what is in it


def difference_scene(before: Graph, after: Graph, options: Options) -> Scene:
    """One drawing of two graphs; of two networks, a panel for each section that differs."""
    counts: Counter[str] = Counter()
    if _of_sections(before) and _of_sections(after) and options.direction == "TB":
        panels, counts = section_panels(simplified(before, True), simplified(after, True))
    else:
        comparison = compared(before, after)
        panels, counts = [panel(comparison)], comparison.counts()
    scene = Scene(panels, options.direction, caption=options.caption, joins=chain(panels))
    scene.title = f"{before.name} → {after.name}" if options.title is None else options.title
    told = ", ".join(f"{counts[mark]} {mark}" for mark in (REMOVED, ADDED, CHANGED) if counts[mark])
    scene.notes = (line(told or "no difference", "small"), line(costs(before, after), "small"))
    scene.marks = marks_of(scene)
    return scene


def _of_sections(graph: Graph) -> bool:
    """Whether the graph is a network whose sections follow each other."""
    return is_network(graph) and is_row(graph)


def section_panels(before: Graph, after: Graph) -> tuple[list[Panel], Counter[str]]:
    """The sections that differ, each in a panel; those between are items of their own. And how much differs."""
    panels: list[Panel] = []
    counts: Counter[str] = Counter()
    seen: dict[tuple[str, str], str] = {}
    for one, two in paired(before, after):
        name = (two or one or after.nodes[0]).name
        if one and two and isinstance(one.op, Block) and isinstance(two.op, Block) and one.op != two.op:
            comparison = folded(compare(one.op.graph, two.op.graph, name, seen))
            counts += comparison.counts()
            made = panel(comparison)
            made.body.kind, made.body.name, made.body.lines = "panel", name, (line(name, "bold"),)
            panels.append(made)
            continue
        status = SAME if one and two else ADDED if two else REMOVED
        counts += Counter([status] * bool(status))
        part = Part(name, status, one.op if one else None, two.op if two else None, ((), ()))
        panels.append(Panel(Cluster("", "bare", (), [item(part, name)])))
    return panels, counts


def chain(panels: Sequence[Panel]) -> list[Edge]:
    """Wires from each panel to the next."""
    names = [[item.name for item in one.body.items()] for one in panels]
    return [Edge(a[-1], b[0]) for a, b in pairwise(names)]


def marks_of(scene: Scene) -> tuple[str, ...]:
    """The marks that occur, for the legend."""
    used = {item.mark for item in scene.items()} | {edge.mark for edge in scene.edges()}
    return tuple(mark for mark in (REMOVED, ADDED, CHANGED) if mark in used)


class Step(NamedTuple):
    """A step of a lineage: a graph, and what stands above it."""

    graph: Graph
    title: str
    notes: tuple[str, ...] = ()


def film_scene(steps: Sequence[Step], options: Options) -> Scene:
    """The steps of a lineage: the start, then what each edit did and around what."""
    panels = []
    for number, step in enumerate(steps):
        if number:
            comparison = surroundings(compared(steps[number - 1].graph, step.graph))
            one = panel(comparison)
            if not one.body.members:
                one.body.members.append(Item("same", "text", (line("draws the same", "small"),)))
        else:
            one = Panel(Cluster("", "bare", (), [Item("start", "block", (line(step.graph.name or "start", "bold"),))]))
        body = one.body
        body.name, body.kind = f"step {number}", "panel"
        said = [part for note in step.notes for part in broken(note)]
        body.lines = (line(step.title, "bold"), *(line(part, "small") for part in said))
        panels.append(prefixed(one, f"s{number}."))
    scene = Scene(panels, options.direction, caption=options.caption, joins=chain(panels))
    scene.title = f"{len(steps) - 1} edit{'s' * (len(steps) != 2)}" if options.title is None else options.title
    scene.notes = (line(costs(steps[0].graph, steps[-1].graph), "small"),)
    scene.marks = marks_of(scene)
    return scene


def broken(text: str, width: int = 38) -> list[str]:
    """Text in lines, broken at spaces and after the dots of paths."""
    lines = [""]
    for piece in re.split(r"(?<=[ .])", text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return lines


def compared(before: Graph, after: Graph) -> Comparison:
    """Two graphs as they are drawn, compared."""
    sections = _of_sections(before) and _of_sections(after)
    return folded(compare(simplified(before, sections), simplified(after, sections)))


def costs(before: Graph, after: Graph) -> str:
    """'26.9 M → 27.1 M parameters, 8.43 → 8.50 GFLOPs (2 × MACs)'"""
    one, two = before.cost, after.cost
    params = f"{human(one.params)} → {human(two.params)} parameters"
    return f"{params}, {human(one.flops)} → {unit(two.flops, 'FLOPs')} (2 × MACs)"


def surroundings(comparison: Comparison) -> Comparison:
    """Only what differs and what is next to it."""
    touched = {part.path for part in comparison.parts() if part.status}
    near = set(touched)
    for link in comparison.links:
        if link.status or {link.tail, link.head} & touched:
            near |= {link.tail, link.head}

    def kept(frame: Frame) -> Frame:
        parts = [kept(part) if isinstance(part, Frame) else part for part in frame.parts]
        return replace(frame, parts=[p for p in parts if (p.parts if isinstance(p, Frame) else p.path in near)])

    links = [link for link in comparison.links if {link.tail, link.head} <= near]
    return Comparison(kept(comparison.root), links)


# ---- drawing a comparison --------------------------------------------------------------------------------------------


def panel(comparison: Comparison) -> Panel:
    """The parts and wires of a comparison."""
    body = Cluster("", "bare")
    paths = {part.path for part in comparison.parts()}
    ends = [name for link in comparison.links for name in (link.tail, link.head) if name not in paths]
    root = f"{comparison.root.path}."
    terminals = [Item(end, "terminal", (line(end.removeprefix(root), "note"),)) for end in dict.fromkeys(ends)]
    body.members += [one for one in terminals if one.name.removeprefix(root).startswith("in")]
    draw(comparison.root, body)
    body.members += [one for one in terminals if one.name.removeprefix(root).startswith("out")]
    order: dict[str, list[str]] = {}
    for link in comparison.links:
        order.setdefault(link.head, []).append(link.tail)
    listed = [item.name for item in body.items()]
    skipping = bypasses((name, order.get(name, ())) for name in listed)
    edges = [
        Edge(link.tail, link.head, f"×{link.times}" if link.times > 1 else "", (link.tail, link.head) in skipping,
             mark=link.status)
        for link in comparison.links
    ]  # fmt: skip
    return Panel(body, edges)


def draw(frame: Frame, into: Cluster) -> None:
    """The items of a frame."""
    for part in frame.parts:
        if isinstance(part, Part):
            into.members.append(item(part, part.path.removeprefix(f"{frame.path}.")))
            continue
        name = part.path.removeprefix(f"{frame.path}.")
        title = f"each ×{part.copies}" if part.copies else part.name if part.name not in NAMELESS else name
        words = (Word(title, "bold"), *[Word(f"  {name}", "small")] * (title != name))
        inner = Cluster(part.path, "card" if part.copies else "frame", (words,), mark=CHANGED)
        draw(part, inner)
        into.members.append(inner)


def item(part: Part, name: str) -> Item:
    """A part as an item: what it is now, and what it was."""
    letters = Letters()
    nameless = isinstance(part.op, Block) and part.op.graph.name in NAMELESS
    now = name if nameless else said(part.op, letters)
    lines: list[Line] = [(Word(now, "bold" if isinstance(part.op, Block) else "plain"),)]
    if part.count > 1:
        lines[0] += (Word(f" ×{part.count}"),)
    if part.like:
        lines.append(line(f"changed like {part.like}", "small"))
    elif part.status == CHANGED:
        lines.append(line(", ".join(changes(part, letters)) or "inputs in another order", "small"))
    elif nameless:
        inside = describe(part.op).replace("_", " ").replace("->", "→")
        lines.append(line(inside if len(inside) <= LONG else f"{inside[: LONG - 4]} ...", "small"))
    elif isinstance(part.op, Block):
        inner = chained([part.op.graph], letters) if brief(part.op.graph) else ", ".join(named_blocks(part.op.graph))
        lines += [line(inner, "small")] * bool(inner)
    change = shapes(part)
    if change:
        lines.append(line(change, "small"))
    op = part.op
    family = op.family if isinstance(op, Op) else ""
    cost = tooltip(part.path, op, op.graph.cost) if isinstance(op, Block) else f"{part.path} | {op}"
    if isinstance(op, Op) and op.name in style.SYMBOLS and part.status != CHANGED:
        return Item(part.path, "merge", (line(style.SYMBOLS[op.name]),), family, cost, mark=part.status)
    return Item(part.path, "operation" if family else "block", tuple(lines), family, cost, mark=part.status)


def changes(part: Part, letters: Letters) -> list[str]:
    """What is different about an operation: 'kernel 3 → 5', or 'was relu'."""
    before, after = part.before, part.after
    if isinstance(before, Op) and type(before) is type(after):
        values = [(a.name, getattr(before, a.name), getattr(after, a.name)) for a in before.attrs]
        return [f"{name} {show_value(old)} → {show_value(new)}" for name, old, new in values if old != new]
    return [f"was {said(before, letters)}"] if before and before.canonical != part.op.canonical else []


def said(op: object, letters: Letters) -> str:
    """The lines of an item."""
    if isinstance(op, Op):
        return caption([op], letters)
    if isinstance(op, Block):
        return str(op)
    assert isinstance(op, Each)
    return f"{op} part"


def shapes(part: Part) -> str:
    """How the shapes of the outputs changed; '' where they did not."""
    before, after = part.shapes
    if part.status in (REMOVED, ADDED) or before == after:
        return ""
    return f"{_shape(before[0])} → {_shape(after[0])}"


def _shape(shape: Shape) -> str:
    return show_shape(shape).replace(" x ", "×")


def prefixed(one: Panel, prefix: str) -> Panel:
    """The panel with other names, so that several drawings can stand in one."""

    def cluster(old: Cluster) -> Cluster:
        members = [cluster(m) if isinstance(m, Cluster) else replace(m, name=prefix + m.name) for m in old.members]
        return Cluster(prefix + old.name, old.kind, old.lines, members, old.mark)

    edges = [replace(edge, tail=prefix + edge.tail, head=prefix + edge.head) for edge in one.edges]
    return Panel(cluster(one.body), edges)
