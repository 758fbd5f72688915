"""Where everything stands. Graphviz lays out each panel by itself; the panels are then packed into columns of a page.

Columns are filled from top to bottom in the order of the panels, with as many columns as make the picture largest on
the page. Lengths are points (1/72 inch), y upwards, as in Graphviz.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphviz import Digraph

from uninas.errors import error
from uninas.render.formats.dot import CAPTION, TITLE, Places, Writer, hottest
from uninas.render.formats.fonts import own_fonts
from uninas.render.formats.style import Theme
from uninas.render.scenes.scene import Panel, Scene

MAX_LAID = 3000  # items in one panel: about two seconds, and then the time grows with the square

MM = 72 / 25.4  # points
PAGE = 178.0, 240.0  # mm: what a page of a paper leaves for a picture
GAP = 6.0  # half the room between panels
ARROW = 6.0  # length of an arrow's head
MAX_TRIED = 500  # heights of columns that are tried
PAD = 8.0  # around the picture
LARGEST = 9.0 / 11.0  # text of 11 points becomes one of 9 at most, where a width is given

_LOCK = threading.Lock()  # Graphviz and the environment belong to the whole process
_ready = False


@dataclass
class Box:
    """Something laid out by itself: its size and the places inside it."""

    width: float
    height: float
    places: Places = field(default_factory=Places)
    title: str = ""
    """The name of the cluster around it, which may grow to the width of its column."""
    left: float = 0.0
    right: float = 0.0
    """Sides of the column that it stands in."""
    inner: float = 0.0
    """Left side of what is in it."""
    bottom: float = 0.0


@dataclass(frozen=True)
class Laid:
    """A picture with every place known, as DOT that only needs to be drawn."""

    source: str
    width: float
    height: float
    scale: float
    """From points to the size that was asked for."""
    centres: Mapping[str, float]
    """Around which abscissa the lines of an item are centred, by its name."""


def lay_out(scene: Scene, theme: Theme, width: float | None = None) -> Laid:
    """Give everything in a scene its place. `width` in mm.

    Raises UninasError UNI030 for a panel of too many items.
    """
    writer = Writer(theme, hottest(scene))
    head, foot = (laid_text(writer, markup) for markup in (writer.head(scene), writer.foot(scene)))
    boxes = [laid_panel(writer, panel, scene.direction) for panel in scene.panels]
    across, high = placed(boxes, arranged(boxes, (width or PAGE[0]) / PAGE[1], beside=not scene.joins))
    around = PAD + (2 * GAP if scene.joins else 0)
    top, low = (PAD + (text.height + 2 * GAP if text else around - PAD) for text in (head, foot))
    full = max(across, *(text.width for text in (head, foot) if text), 0) + 2 * PAD
    total = top + high + low
    scale = 1.0
    if width:
        scale = min(width * MM / full, LARGEST)
        full = width * MM / scale
    collect(writer.places, boxes, (full - across) / 2, low)
    of_panel = {item.name: number for number, panel in enumerate(scene.panels) for item in panel.body.items()}
    first = len(writer.places.edges)
    for number, edge in enumerate(scene.joins):
        spline = way(boxes[of_panel[edge.tail]], boxes[of_panel[edge.head]], low + high)
        writer.places.edges[first + number] = {"pos": spline}
    root = writer.root(scene.direction)
    root.attr(bb=f"0,0,{full:.2f},{total:.2f}", pad="0")
    for panel in scene.panels:
        writer.panel(root, panel)
    for edge in scene.joins:
        writer.edge(root, edge)
    if head:
        text_node(root, TITLE, writer.head(scene), full / 2, total - PAD - head.height / 2)
    if foot:
        text_node(root, CAPTION, writer.foot(scene), full / 2, PAD + foot.height / 2)
    # Corners keep the drawing as large as the page, whatever lies in it.
    for name, at in (("page/low", "0,0"), ("page/high", f"{full:.2f},{total:.2f}")):
        root.node(name, "", shape="none", width="0", height="0", margin="0", style="invis", pos=at)
    centres = {
        item.name: float(writer.places.items[item.name]["pos"].split(",")[0])
        for item in scene.items()
        if item.kind != "section"
    }
    return Laid(str(root.source), full, total, scale, centres | {TITLE: full / 2})


def collect(places: Places, boxes: Sequence[Box], right: float, up: float) -> None:
    """Gather what is in all boxes, moved to where they stand."""
    for box in boxes:
        move(box.places, box.inner + right, box.bottom + up)
        box.left, box.right, box.bottom = box.left + right, box.right + right, box.bottom + up
        places.items |= box.places.items
        places.clusters |= box.places.clusters
        first = len(places.edges)
        places.edges |= {first + n: place for n, place in box.places.edges.items()}


def text_node(root: Digraph, name: str, label: str, x: float, y: float) -> None:
    """A label in its place."""
    root.node(name, label, shape="plain", style="", pos=f"{x:.2f},{y:.2f}")


# ---- Graphviz --------------------------------------------------------------------------------------------------------


def agraph(source: str) -> Any:
    """DOT text as a graph of pygraphviz."""
    try:
        import pygraphviz  # here, because it takes longer to load than everything else together
    except ImportError as problem:
        hint = "its wheel carries Graphviz, but expects libraries of X11 and GLib, which small systems leave out"
        raise error("UNI100", f"pictures need pygraphviz, which cannot be loaded: {problem}", None, hint,
                    "on Debian and Ubuntu: apt-get install libxrender1 libxext6 libglib2.0-0") from None  # fmt: skip
    return pygraphviz.AGraph(string=source)


def laid_by_dot(source: str) -> Any:
    """DOT text with the places that Graphviz's `dot` gives."""
    global _ready
    with _LOCK:
        graph = agraph(source)
        if _ready:
            graph.layout(prog="dot")
        else:
            with own_fonts():
                graph.layout(prog="dot")
            _ready = True
    return graph


def drawn(laid: Laid, kind: str, **attributes: str) -> bytes:
    """The picture in a format of Graphviz."""
    with _LOCK:
        graph = agraph(laid.source)
        graph.graph_attr.update(attributes)
        graph.has_layout = True  # so that it is drawn as it stands
        return bytes(graph.draw(format=kind))


def laid_text(writer: Writer, markup: str) -> Box | None:
    """The size of a label."""
    if not markup:
        return None
    root = writer.root("TB")
    root.node("text", markup, shape="plain", style="")
    width, height = _corner(laid_by_dot(str(root.source)))
    return Box(width, height)


def laid_panel(writer: Writer, panel: Panel, direction: str) -> Box:
    """A panel, laid out by itself."""
    items = sum(1 for _ in panel.body.items())
    if items > MAX_LAID:
        raise error(
            "UNI030",
            f"expected at most {MAX_LAID:,} nodes in one part of a picture, but there are {items:,}",
            None,
            "draw less detail (--level, --depth) or write DOT or Mermaid, for which there is no such limit",
        )
    root = writer.root(direction)
    alone = Writer(writer.theme, writer.hottest, Places(edges={n: {"id": f"e{n}"} for n in range(len(panel.edges))}))
    alone.across = writer.across
    alone.panel(root, panel)
    graph = laid_by_dot(str(root.source))
    width, height = _corner(graph)
    box = Box(width, height)
    if panel.body.kind != "bare":
        box.title = f"cluster_{panel.body.name}"
    for node in graph.nodes_iter():
        box.places.items[str(node)] = {"pos": node.attr["pos"]}
    for edge in graph.edges_iter():
        found = {key: edge.attr[key] for key in ("pos", "lp") if edge.attr[key]}
        box.places.edges[int(edge.attr["id"][1:])] = found
    pending = list(graph.subgraphs_iter())
    while pending:
        cluster = pending.pop()
        found = {key: cluster.graph_attr[key] for key in ("bb", "lp", "lwidth", "lheight") if cluster.graph_attr[key]}
        box.places.clusters[cluster.name] = found
        pending += cluster.subgraphs_iter()
    if box.title:  # without the margin that Graphviz leaves around a cluster
        x, y, right, top = map(float, box.places.clusters[box.title]["bb"].split(","))
        move(box.places, -x, -y)
        box.width, box.height = right - x, top - y
    return box


def _corner(graph: Any) -> tuple[float, float]:
    """Width and height of a layout."""
    left, low, right, high = map(float, graph.graph_attr["bb"].split(","))
    return right - left, high - low


_POINT = re.compile(r"(-?[\d.]+(?:e[-+]?\d+)?),(-?[\d.]+(?:e[-+]?\d+)?)")


def move(places: Places, right: float, up: float) -> None:
    """Move everything."""

    def moved(attributes: Mapping[str, str]) -> dict[str, str]:
        return {
            key: _POINT.sub(lambda m: f"{float(m[1]) + right:.2f},{float(m[2]) + up:.2f}", value)
            if key in ("pos", "lp", "bb")
            else value
            for key, value in attributes.items()
        }

    places.items = {name: moved(found) for name, found in places.items.items()}
    places.clusters = {name: moved(found) for name, found in places.clusters.items()}
    places.edges = {number: moved(found) for number, found in places.edges.items()}


# ---- columns ---------------------------------------------------------------------------------------------------------


Column = list[list[int]]
"""Rows of boxes by number, from top to bottom."""


def arranged(boxes: Sequence[Box], ratio: float, *, beside: bool = True) -> list[Column]:
    """The boxes by number, column by column. `ratio`: width of the page to its height.

    Where they may stand `beside` each other, a column with a wide box has narrow ones side by side.
    """
    spans = ((a, b) for a in range(len(boxes)) for b in range(a + 1, len(boxes) + 1))
    heights = sorted({round(tall(boxes[a:b]), 3) for a, b in spans})
    best: list[Column] = []
    least = float("inf")
    for height in heights[:: 1 + len(heights) // MAX_TRIED]:
        columns = [rows(boxes, column, beside) for column in filled(boxes, height)]
        width = sum(max(boxes[n].width for row in column for n in row) + 2 * GAP for column in columns)
        high = max(depth(boxes, column) for column in columns)
        size = max(width / ratio, high)
        if size < least - 1e-6:
            best, least = columns, size
    return best


def rows(boxes: Sequence[Box], column: Sequence[int], beside: bool) -> Column:
    """The boxes of a column, side by side where the widest leaves room for that."""
    wide = max(boxes[n].width for n in column)
    found: Column = []
    room = 0.0
    for n in column:
        needed = boxes[n].width + 2 * GAP
        if beside and found and needed <= room:
            found[-1].append(n)
        else:
            found.append([n])
            room = wide + 2 * GAP
        room -= needed
    return found


def depth(boxes: Sequence[Box], column: Column) -> float:
    """Height of a column."""
    return sum(max(boxes[n].height for n in row) + 2 * GAP for row in column) - 2 * GAP


def tall(boxes: Sequence[Box]) -> float:
    """Height of boxes above each other."""
    return sum(box.height + 2 * GAP for box in boxes) - 2 * GAP


def filled(boxes: Sequence[Box], height: float) -> list[list[int]]:
    """Columns of at most this height where that is possible."""
    columns: list[list[int]] = []
    for number in range(len(boxes)):
        if columns and tall([boxes[n] for n in (*columns[-1], number)]) <= height + 0.01:
            columns[-1].append(number)
        else:
            columns.append([number])
    return columns


def placed(boxes: Sequence[Box], columns: Sequence[Column]) -> tuple[float, float]:
    """Give the boxes their places; the rows of one column become equally wide. Returns width and height of all."""
    high = max((depth(boxes, column) for column in columns), default=0.0)
    left = 0.0
    for column in columns:
        wide = max(boxes[n].width for row in column for n in row)
        top = high
        for row in column:
            spare = (wide - sum(boxes[n].width + 2 * GAP for n in row) + 2 * GAP) / len(row)
            at = left
            for n in row:
                box = boxes[n]
                box.left, box.right, box.bottom = at, at + box.width + spare, top - box.height
                box.inner = at + spare / 2
                at = box.right + 2 * GAP
                if box.title:
                    stretch(box, spare / 2)
            top -= max(boxes[n].height for n in row) + 2 * GAP
        left += wide + 2 * GAP
    return max(left - 2 * GAP, 0.0), high


def stretch(box: Box, by: float) -> None:
    """Widen the frame of a panel on both sides; its heading stays at the left."""
    place = dict(box.places.clusters[box.title])
    x, y, right, top = map(float, place["bb"].split(","))
    place["bb"] = f"{x - by:.2f},{y:.2f},{right + by:.2f},{top:.2f}"
    if "lp" in place:
        across, up = map(float, place["lp"].split(","))
        place["lp"] = f"{across - by:.2f},{up:.2f}"
    box.places.clusters[box.title] = place


# ---- wires between panels --------------------------------------------------------------------------------------------


def way(before: Box, after: Box, high: float) -> str:
    """The spline of a wire between panels: straight down, or beside the column to the top of the next one.

    `high`: where the tops of all columns are.
    """
    x, low, to = (before.left + before.right) / 2, before.bottom, (after.left + after.right) / 2
    top = after.bottom + after.height
    if low >= top:
        corners = [(x, low), (x, (low + top) / 2), (to, (low + top) / 2), (to, top)]
    else:
        beside = before.right + GAP
        corners = [(x, low), (x, low - GAP), (beside, low - GAP), (beside, high + GAP), (to, high + GAP), (to, top)]
    return rounded(corners)


def rounded(corners: Sequence[tuple[float, float]], radius: float = 6.0) -> str:
    """A way through corners that are rounded, as a spline with an arrow at its end."""
    points = [corners[0]]
    for (x, y), (cx, cy), (nx, ny) in zip(corners, corners[1:], corners[2:], strict=False):
        before, after = abs(cx - x) + abs(cy - y), abs(nx - cx) + abs(ny - cy)
        r = min(radius, before / 2, after / 2)
        enter = (cx + (x - cx) * r / before, cy + (y - cy) * r / before) if before else (cx, cy)
        leave = (cx + (nx - cx) * r / after, cy + (ny - cy) * r / after) if after else (cx, cy)
        points += [points[-1], enter, enter, (cx, cy), (cx, cy), leave]
    x, y = corners[-1]
    stop = (x, y + ARROW)
    points += [points[-1], stop, stop]
    return f"e,{x:.2f},{y:.2f} " + " ".join(f"{a:.2f},{b:.2f}" for a, b in points)
